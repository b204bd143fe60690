"""A chain of convolutions: each block is a 3x3 or a 5x5 convolution, or is left out."""

from dataclasses import dataclass
from typing import ClassVar

from tempograd.spaces.architecture import Site
from tempograd.spaces.blocks import relu_conv_bn
from tempograd.spaces.graph import INPUT, Graph, GraphBuilder
from tempograd.spaces.layers import Conv, GlobalPool, Identity, Linear
from tempograd.spaces.space import SearchSpace


@dataclass(frozen=True)
class Chain(SearchSpace):
    """A chain of blocks.

    Args:
        blocks: how many.
        width: channels of every block.
        classes: classes of the classifier.
        size: height and width of the input.
        channels: channels of the input.
    """

    blocks: int = 7
    width: int = 4
    classes: int = 10
    size: int = 8
    channels: int = 3

    name: ClassVar[str] = "chain"
    small: ClassVar[tuple[str, ...]] = ("blocks=7,width=4,size=8",)

    @property
    def sites(self) -> tuple[Site, ...]:
        return tuple(Site(f"b{i}", ("skip", "conv3", "conv5")) for i in range(self.blocks))

    def build(self) -> Graph:
        options = {
            "skip": lambda builder, x: builder.add("identity", Identity(), x),
            "conv3": relu_conv_bn(self.width, 3),
            "conv5": relu_conv_bn(self.width, 5),
        }
        builder = GraphBuilder((self.channels, self.size, self.size))
        x = builder.add("stem", Conv(self.width, 3), INPUT)
        for i in range(self.blocks):
            x = builder.choice(f"block{i}", f"b{i}", options, x)
        x = builder.add("pool", GlobalPool(), x)
        return builder.graph(builder.add("head", Linear(self.classes), x))
