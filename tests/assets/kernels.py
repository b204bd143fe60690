"""A space as a user may write one in a file of his own."""

from dataclasses import dataclass

from tempograd.arguments import Few, Size
from tempograd.spaces.architecture import Site
from tempograd.spaces.blocks import conv_bn
from tempograd.spaces.graph import INPUT, GraphBuilder
from tempograd.spaces.layers import Conv, GlobalPool, Linear, Relu
from tempograd.spaces.space import SearchSpace

KERNELS = {"k1": 1, "k3": 3, "k5": 5}


@dataclass(frozen=True)
class Kernels(SearchSpace):
    """Convolutions in a row, each of one of three kernels."""

    layers: Few = 2
    width: Size = 4

    @property
    def sites(self):
        return tuple(Site(f"layer{i}", tuple(KERNELS)) for i in range(self.layers))

    def build(self):
        builder = GraphBuilder((3, 8, 8))
        x = builder.block("stem", "stem", conv_bn(Conv(self.width)), INPUT)
        options = {name: conv_bn(Conv(self.width, kernel), Relu()) for name, kernel in KERNELS.items()}
        for site in self.sites:
            x = builder.choice(site.name, site.name, options, x)
        x = builder.add("pool", GlobalPool(), x)
        return builder.graph(builder.add("linear", Linear(10), x))


def narrow(width: Size = 2):
    """Return the same with few channels."""
    return Kernels(layers=4, width=width)
