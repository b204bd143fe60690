"""A graph of nodes of which any edge may be left out: what AutoShrink and GRAM search.

Every stage of the network is the same graph. Its nodes have fixed operations, dealt out evenly by a seed; what is
chosen is the edges, from each node to any later one. Node 0 reads what enters the stage. A node convolves its inputs
side by side; nodes that nothing reads are leaves, and the leaves side by side, brought to one width, are what leaves
the stage.

A convolution of maps side by side is the sum of a convolution of each, so every edge has weights of its own, and the
cost is a sum over edges and leaves. Masks that differ in dead edges are one architecture, see `spaces.masks`.

References:
    Zhang et al., *AutoShrink*, arXiv:1911.09251; Cheng et al., *SwiftNet*, arXiv:1906.08305.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

from msgspec import Meta

from ...arguments import Classes, Seed, Size
from ..blocks import check_halvings
from ..graph import FIXED, INPUT, Block, Graph, GraphBuilder
from ..layers import BatchNorm, Conv, GlobalPool, Linear, Pool, Relu
from ..masks import EdgeMasks, deal

OPERATIONS = ("sep_conv_3x3", "conv_1x1")


@dataclass(frozen=True)
class NodeDag(EdgeMasks):
    """The graph, one for all stages.

    Args:
        n: nodes of the graph, N; it has N (N - 1) / 2 edges.
        stages: Stages of the network; each after the first halves the map and doubles the width.
        width: channels of the first stage.
        dealt: seed by which the operations are dealt out to the nodes.
        classes: classes of the classifier.
        size: height and width of the images; a multiple of what the stages divide them by.
        channels: channels of the images.
    """

    n: Annotated[int, Meta(ge=2, le=12)] = 6
    stages: Annotated[int, Meta(ge=1, le=6)] = 3
    width: Size = 16
    dealt: Seed = 0
    classes: Classes = 10
    size: Size = 32
    channels: Size = 3

    name: ClassVar[str] = "nodedag"
    small: ClassVar[tuple[str, ...]] = ("n=6,stages=1,width=6,size=8", "n=4,stages=2,width=4,size=8,classes=5")
    affine: ClassVar[bool] = False
    elastic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_halvings(self.size, self.stages)

    @cached_property
    def operations_of_nodes(self) -> tuple[str, ...]:
        """Return the operation of every node: as many of each as can be, in an order drawn by the seed."""
        return deal(OPERATIONS, self.n, self.dealt)

    # -- the network ---------------------------------------------------------------------------------------------

    def build(self) -> Graph:
        builder = GraphBuilder((self.channels, self.size, self.size))
        x = builder.add("stem/conv", Conv(self.width, 3), INPUT)
        x = builder.add("stem/relu", Relu(), builder.add("stem/bn", BatchNorm(), x))
        for stage in range(self.stages):
            if stage:
                x = builder.add(f"pool{stage}", Pool("max", 2, 2), x)
            x = self._stage(builder.at(f"stages/{stage}"), x, self.width * 2**stage)
        x = builder.add("head/pool", GlobalPool(), x)
        return builder.graph(builder.add("head/linear", Linear(self.classes), x))

    def _stage(self, builder: GraphBuilder, x: str, width: int) -> str:
        names = self.operations_of_nodes
        values = [_ready(builder.at("node0"), _convolve(names[0], width)(builder.at("enter"), x))]
        leaves: dict[str, tuple[str, int]] = {}
        for node in range(self.n):
            into, out = self.into(node), self.out_of(node)
            if node:
                terms = {
                    builder.block(site, names[node], _convolve(names[node], width), values[source], when=((site, on),)):
                    (site, on) for source, (site, on) in enumerate(into)
                }  # fmt: skip
                joined = builder.mix(f"node{node}/in", terms)
                values.append(builder.block(f"node{node}/ready", "norm_relu", _ready, joined, among=into))
            leaf = builder.block(
                f"leaf{node}", "leaf", lambda b, y: b.add("conv", Conv(width), y), values[node], among=into, unless=out
            )
            leaves[leaf] = (FIXED, 0)
        return _ready(builder.at("leave"), builder.mix("leaves", leaves))


def _ready(builder: GraphBuilder, x: str) -> str:
    return builder.add("relu", Relu(), builder.add("bn", BatchNorm(), x))


def _convolve(operation: str, width: int) -> Block:
    """Return the part of a node's convolution that one of its inputs has."""

    def build(builder: GraphBuilder, x: str) -> str:
        if operation == "sep_conv_3x3":
            inside = builder.shape(x)[0]
            x = builder.add("depthwise", Conv(inside, 3, groups=inside), x)
        return builder.add("pointwise", Conv(width), x)

    return build


SPACE = NodeDag
