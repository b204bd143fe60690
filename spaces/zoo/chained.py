"""Blocks and the network made of them in one space: what EG-DAS searches at two levels.

A network is a few stages; each after the first begins with a convolution that halves the map and doubles the width. A
stage takes one block out of a few *slots*, and a number of copies of it, one after the other. A block is a cell of
DARTS on one value: its two inputs are what enters, as it is and through a 1x1 convolution; each of its nodes keeps
exactly two in-edges; its nodes side by side go through a 1x1 convolution.

Slots and stages are sites of one space. So a latency predictor is learnt once and knows the blocks as well as the
networks, and a search may fix either level and look at the other. A slot that no stage takes computes nothing.

References:
    Zhang et al., *Enhanced Gradient for Differentiable Architecture Search*, arXiv:2103.12529 (EG-DAS: two levels,
    blocks, then networks of them); Liu et al., *DARTS*, arXiv:1806.09055 (cells). EG-DAS' operations and how it writes
    a network are not to be had: both are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from ...arguments import Classes, Size
from ..architecture import KeepInputs, Site
from ..blocks import check_halvings, relu_conv_bn
from ..encoding import RAW, Counts, Encoding, LayerTotals, OneHots, Rows
from ..graph import INPUT, Block, Graph, GraphBuilder
from ..layers import Add, BatchNorm, Concat, Conv, GlobalPool, Identity, Linear, Pool, Relu, Zero
from ..space import SearchSpace


def _used(rows: Rows) -> Rows:
    """Scale the rows of a slot by the probability that a stage takes it."""
    stages = [row for name, row in rows.items() if name.endswith("/block")]
    left: Any = math.prod(1 - row for row in stages)
    return {
        name: row if name.startswith("s") else row * (1 - left[..., int(name[1 : name.index("/")]), None])
        for name, row in rows.items()
    }


USED = OneHots("used", _used)
LAYERS = LayerTotals("layers", USED)
OPTIONS = ("none", "skip_connect", "max_pool_3x3", "conv_1x1", "sep_conv_3x3", "sep_conv_5x5")


@dataclass(frozen=True)
class Chained(SearchSpace):
    """Stages of copies of blocks.

    Args:
        blocks: slots, of which every stage takes one.
        n: nodes of a block; node ``i`` chooses two of ``2 + i`` in-edges.
        stages: Stages of the network; each after the first halves the map and doubles the width.
        copies: Copies of its block that a stage has at most.
        width: channels of the first stage.
        classes: classes of the classifier.
        size: height and width of the images; a multiple of what the stages divide them by.
        channels: channels of the images.
    """

    blocks: Annotated[int, Meta(ge=2, le=8)] = 3
    n: Annotated[int, Meta(ge=1, le=6)] = 3
    stages: Annotated[int, Meta(ge=1, le=6)] = 3
    copies: Annotated[int, Meta(ge=2, le=16)] = 3
    width: Size = 16
    classes: Classes = 10
    size: Size = 32
    channels: Size = 3

    name: ClassVar[str] = "chained"
    small: ClassVar[tuple[str, ...]] = (
        "blocks=2,n=2,stages=2,copies=3,width=4,size=8",
        "blocks=2,n=1,stages=1,copies=3,width=4,size=8,classes=5",
    )
    encodings: ClassVar[tuple[Encoding, ...]] = (USED, RAW, LAYERS, Counts("counts", (USED,), LAYERS))
    affine: ClassVar[bool] = False
    elastic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_halvings(self.size, self.stages)

    @property
    def slots(self) -> Mapping[str, tuple[str, ...]]:
        return self._slots

    @cached_property
    def _slots(self) -> dict[str, tuple[str, ...]]:
        edges = [edge for into in self._into for edge in into]
        return {f"b{slot}": tuple(f"b{slot}/{edge}" for edge in edges) for slot in range(self.blocks)}

    @cached_property
    def _into(self) -> tuple[tuple[str, ...], ...]:
        """Return the names of every node's in-edges, by source."""
        return tuple(tuple(f"e{source}-{2 + node}" for source in range(2 + node)) for node in range(self.n))

    @property
    def sites(self) -> tuple[Site, ...]:
        return self._sites

    @cached_property
    def _sites(self) -> tuple[Site, ...]:
        counts = tuple(str(1 + n) for n in range(self.copies))
        stages = [
            site
            for stage in range(self.stages)
            for site in (Site(f"s{stage}/block", tuple(self.slots)), Site(f"s{stage}/copies", counts))
        ]
        return (*stages, *(Site(edge, OPTIONS) for edges in self.slots.values() for edge in edges))

    @property
    def rules(self) -> tuple[KeepInputs, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._rules

    @cached_property
    def _rules(self) -> tuple[KeepInputs, ...]:
        return tuple(KeepInputs(tuple(f"{slot}/{edge}" for edge in into)) for slot in self.slots for into in self._into)

    def build(self) -> Graph:
        builder = GraphBuilder((self.channels, self.size, self.size))
        x = builder.add("stem/conv", Conv(self.width, 3), INPUT)
        x = builder.add("stem/bn", BatchNorm(), x)
        for stage in range(self.stages):
            width = self.width * 2**stage
            if stage:
                x = relu_conv_bn(width, 3, 2)(builder.at(f"reduce{stage}"), x)
            x = self._stage(builder.at(f"stages/{stage}"), stage, x, width)
        x = builder.add("head/pool", GlobalPool(), builder.add("head/relu", Relu(), x))
        return builder.graph(builder.add("head/linear", Linear(self.classes), x))

    def _stage(self, builder: GraphBuilder, stage: int, x: str, width: int) -> str:
        """Append as many copies of the block as there may be, and take the value after as many as are chosen."""
        options = {slot: self._block(slot, width) for slot in self.slots}
        count, ends = f"s{stage}/copies", dict[str, tuple[str, int]]()
        for copy in range(self.copies):

            def one(b: GraphBuilder, y: str) -> str:
                return b.choice("block", f"s{stage}/block", options, y)

            more = tuple((count, n) for n in range(copy, self.copies))
            x = builder.block(f"copy{copy}", "copy", one, x, when=more if copy else ())
            ends[x] = count, copy
        return builder.mix("copies", ends)

    def _block(self, slot: str, width: int) -> Block:
        def build(builder: GraphBuilder, x: str) -> str:
            states = [x, builder.block("enter", "enter", relu_conv_bn(width), x)]
            for node, into in enumerate(self._into):
                edges = [
                    builder.choice(edge, f"{slot}/{edge}", _options(width), states[source])
                    for source, edge in enumerate(into)
                ]
                states.append(builder.add(f"node{node}", Add(), *edges))
            beside = builder.add("beside", Concat(), *states[2:]) if self.n > 1 else states[2]
            return builder.block("leave", "leave", relu_conv_bn(width), beside)

        return build


def _options(width: int) -> dict[str, Block]:
    return {
        "none": lambda b, x: b.add("zero", Zero(), x),
        "skip_connect": lambda b, x: b.add("identity", Identity(), x),
        "max_pool_3x3": lambda b, x: b.add("bn", BatchNorm(), b.add("pool", Pool("max", 3, 1, 1), x)),
        "conv_1x1": relu_conv_bn(width),
        "sep_conv_3x3": _separable(width, 3),
        "sep_conv_5x5": _separable(width, 5),
    }


def _separable(width: int, kernel: int) -> Block:
    def build(builder: GraphBuilder, x: str) -> str:
        x = builder.add("depthwise", Conv(width, kernel, groups=width), builder.add("relu", Relu(), x))
        return builder.add("bn", BatchNorm(), builder.add("pointwise", Conv(width), x))

    return build


SPACE = Chained
