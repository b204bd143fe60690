"""Vision transformers whose depth and widths are chosen: the search spaces of AutoFormer.

One width of the embedding and one depth hold for the whole network; every layer chooses its number of heads, each of 64
numbers, and how many times wider than the embedding its perceptron is. In a supernet all networks are parts of the
largest: the first channels, the first heads, the first layers.

References:
    Chen, Peng, Fu and Ling, *AutoFormer: Searching Transformers for Visual Recognition*, arXiv:2107.00651 (table 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from ...arguments import Classes, Positive, Size
from ...errors import UsageError
from ..architecture import Site
from ..common.convolution import Convolution
from ..common.elementwise import Activation, ByWeight, Learnt
from ..common.normalisation import LayerNorm
from ..common.reshaping import Join, Permute, Reduce, Reshape, Slice
from ..common.sequence import Dense
from ..common.vision import TokenAttention
from ..graph import INPUT, Block, Condition, Graph, GraphBuilder
from ..layers import Add, Linear
from ..network import Network, places
from ..space import SearchSpace

EPS = 1e-5
REACH = 14


@dataclass(frozen=True)
class Family:
    """What may be chosen: widths of the embedding, heads, how much wider perceptrons are, and most layers."""

    widths: tuple[int, ...]
    heads: tuple[int, ...]
    ratios: tuple[float, ...]
    layers: int


FAMILIES = {
    "tiny": Family((192, 216, 240), (3, 4), (3.5, 4.0), 14),
    "small": Family((320, 384, 448), (5, 6, 7), (3.0, 3.5, 4.0), 14),
    "base": Family((528, 576, 624), (8, 9, 10), (3.0, 3.5, 4.0), 16),
}


@dataclass(frozen=True)
class VisionTransformer(SearchSpace):
    """The space of one family.

    Args:
        family: ``tiny``, ``small`` or ``base``, as published.
        layers: at most; the network may have one or two fewer. 0 is the family's own number.
        width: factor of the embedding's widths.
        head: numbers of a head.
        attention: ``relative`` as published: keys and values know how far apart patches are; ``plain``: they do not;
            ``fused``: plain, and one operator in the exported network, which ONNX Runtime alone has.
        patch: height and width of a patch.
        classes: classes of the classifier.
        size: height and width of the images, a multiple of ``patch``.
        channels: channels of the images.

    Example:
        >>> from tempograd import registry
        >>> deit = "width=w192;depth=d12;" + ";".join(f"h{i}=h3;m{i}=x4" for i in range(12))
        >>> space = registry.create("space", "vit:attention=plain")
        >>> space.network_graph(space.parse(deit)).parameters()  # DeiT-Ti
        5717416
    """

    family: Literal["tiny", "small", "base"] = "tiny"
    layers: Annotated[int, Meta(ge=0, le=64)] = 0
    width: Positive = 1.0
    head: Size = 64
    attention: Literal["relative", "plain", "fused"] = "relative"
    patch: Size = 16
    classes: Classes = 1000
    size: Size = 224
    channels: Size = 3

    name: ClassVar[str] = "vit"
    small: ClassVar[tuple[str, ...]] = (
        "layers=3,width=0.05,head=3,patch=4,size=8,classes=5",
        "layers=1,width=0.04,head=2,attention=fused,patch=4,size=8,classes=5",
    )
    everywhere: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size % self.patch:
            raise UsageError(f"size={self.size}; allowed: a multiple of patch={self.patch}")

    @cached_property
    def widths_of_embedding(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(max(1, round(width * self.width)) for width in FAMILIES[self.family].widths))

    @cached_property
    def depths(self) -> tuple[int, ...]:
        most = self.layers or FAMILIES[self.family].layers
        return tuple(range(max(1, most - 2), most + 1))

    @property
    def sites(self) -> tuple[Site, ...]:
        return self._sites

    @cached_property
    def _sites(self) -> tuple[Site, ...]:
        family = FAMILIES[self.family]
        found = [Site("width", tuple(f"w{width}" for width in self.widths_of_embedding))]
        found += [Site("depth", tuple(f"d{depth}" for depth in self.depths))] if len(self.depths) > 1 else []
        for layer in range(max(self.depths)):
            when = self._when(layer)
            found.append(Site(f"h{layer}", tuple(f"h{heads}" for heads in family.heads), when))
            found.append(Site(f"m{layer}", tuple(map(_ratio, family.ratios)), when))
        return tuple(found)

    def _when(self, layer: int) -> Condition:
        """Return the depths that have a layer; none if all have."""
        deep = tuple(("depth", i) for i, depth in enumerate(self.depths) if depth > layer)
        return () if len(deep) == len(self.depths) else deep

    def build(self) -> Graph:
        builder = GraphBuilder((self.channels, self.size, self.size))
        options = {f"w{width}": self._network(width) for width in self.widths_of_embedding}
        return builder.graph(builder.choice("net", "width", options, INPUT))

    def _network(self, width: int) -> Block:
        family = FAMILIES[self.family]

        def build(builder: GraphBuilder, x: str) -> str:
            x = builder.block("embed", "embed", self._embed(width), x)
            ends: dict[str, tuple[str, int]] = {}
            for layer in range(max(self.depths)):
                heads = {f"h{heads}": self._attention(width, heads) for heads in family.heads}
                perceptrons = {_ratio(ratio): _perceptron(width, int(width * ratio)) for ratio in family.ratios}
                x = builder.choice(f"layers/{layer}/attention", f"h{layer}", heads, x)
                x = builder.choice(f"layers/{layer}/perceptron", f"m{layer}", perceptrons, x)
                if layer + 1 in self.depths:
                    ends[x] = ("depth", self.depths.index(layer + 1))
            x = builder.mix("depth", ends) if len(ends) > 1 else x
            return builder.block("head", "head", self._classify(width), x)

        return build

    def _embed(self, width: int) -> Block:
        side = self.size // self.patch

        def build(builder: GraphBuilder, x: str) -> str:
            cut = Convolution(width, (self.patch,) * 2, (self.patch,) * 2, (0, 0), (1, 1))
            x = builder.add("flat", Reshape((width, side**2)), builder.add("patches", cut, x))
            x = builder.add("tokens", Permute((1, 0)), x)
            x = builder.add("joined", Join(0), builder.add("class", Learnt((1, width)), x), x)
            return builder.add("positions", ByWeight("add", (side**2 + 1, width)), x)

        return build

    def _attention(self, width: int, heads: int) -> Block:
        def build(builder: GraphBuilder, x: str) -> str:
            y = builder.add("norm", LayerNorm((width,), EPS), x)
            y = builder.add("attention", TokenAttention(heads, self.head, self.attention, REACH), y)
            return builder.add("add", Add(), x, y)

        return build

    def _classify(self, width: int) -> Block:
        """Return the classifier of the mean of all patches."""

        def build(builder: GraphBuilder, x: str) -> str:
            x = builder.add("norm", LayerNorm((width,), EPS), x)
            x = builder.add("patches", Slice(0, 1, builder.shape(x)[0]), x)
            x = builder.add("mean", Reduce("mean", (0,)), x)
            return builder.add("linear", Linear(self.classes), x)

        return build

    def supernet(self) -> Network:
        """Return an ``nn.Module`` in which all networks are parts of the largest, as published."""
        return Network(self.graph, shared=places(self.graph))


def _ratio(ratio: float) -> str:
    """Return the name of an option: ``x3_5``, since no name of a layer holds a point."""
    return f"x{ratio:g}".replace(".", "_")


def _perceptron(width: int, hidden: int) -> Block:
    def build(builder: GraphBuilder, x: str) -> str:
        y = builder.add("norm", LayerNorm((width,), EPS), x)
        y = builder.add("gelu", Activation("gelu"), builder.add("wider", Dense(hidden), y))
        return builder.add("add", Add(), x, builder.add("back", Dense(width), y))

    return build


SPACE = VisionTransformer
