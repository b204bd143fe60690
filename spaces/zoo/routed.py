"""DenseNAS: a chain of blocks of growing width, of which a route visits some.

Block i may be followed by one of its next ``reach`` blocks whose map is as large or half, of the same or the next
stage, or, in the last stage, by the end. A block begins with an *alignment* layer, one for every block that may come
before it, which brings the map to its width and size; then come *basic* layers, each an operation or a skip. What a
route does not visit is not there: its sites decide nothing, and the chained cost is the circuit of these sites.

==========  ==========================================  =======================  ==============
base        alignment                                   basic layers             end
==========  ==========================================  =======================  ==============
``mbv2``    6 inverted residuals: kernel 3, 5, 7 by     the same 6, or a skip    1x1 convolution
            expansion 3, 6
``resnet``  one residual block                          residual block or skip   1x1 convolution
==========  ==========================================  =======================  ==============

References:
    Fang et al., *DenseNAS*, arXiv:1906.09607.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from ...arguments import Classes, Few, Size
from ...errors import UnknownNameError, UsageError
from ..architecture import Site
from ..blocks import basic, conv_bn, inverted_residual
from ..graph import FIXED, INPUT, Block, Condition, Graph, GraphBuilder
from ..layers import Conv, GlobalPool, Identity, Linear, Relu
from ..space import SearchSpace

SMALL = "8-12/16-24/32-48"
MOBILENET = "16/24/32-40-48/56-64-72-96-112-128/160-176-192-320-352-384"  # the published one, at 224 pixels
OPERATIONS = tuple(f"k{kernel}_e{expansion}" for kernel in (3, 5, 7) for expansion in (3, 6))
MOST_BLOCKS = 64
BASES = {"mbv2": OPERATIONS, "resnet": ("basic",)}


@dataclass(frozen=True)
class Routed(SearchSpace):
    """Blocks and the routes through them.

    Args:
        base: ``mbv2`` or ``resnet``.
        blocks: the widths of the blocks, ``-`` between blocks, ``/`` between stages; each stage halves the map.
        reach: how many of the next blocks may follow one: published are 4, and 10 for ``resnet``.
        layers: basic layers of a block.
        head: channels after the last block.
        classes: classes of the classifier.
        size: height and width of the images; more than 64 are halved by the stem.
        channels: channels of the images.
    """

    base: str = "mbv2"
    blocks: str = SMALL
    reach: Few = 4
    layers: Few = 3
    head: Size = 128
    classes: Classes = 10
    size: Size = 32
    channels: Size = 3

    name: ClassVar[str] = "routed"
    small: ClassVar[tuple[str, ...]] = (
        "blocks=4/6-8/10-12,reach=2,layers=1,head=16,size=8",
        "base=mbv2,blocks=2/3-4/5-6,reach=2,layers=1,head=8,size=8,classes=5",
        "base=resnet,blocks=2/3-4/5-6,reach=3,layers=2,head=8,size=8,classes=5",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.base not in BASES:
            raise UnknownNameError("base of routed", self.base, BASES)
        object.__setattr__(self, "blocks", str(self.blocks))
        parts = self.blocks.replace("/", "-").split("-")
        if len(parts) > MOST_BLOCKS or not all(re.fullmatch("0*[1-9][0-9]{0,3}", part) for part in parts):
            raise UsageError(
                f"blocks={self.blocks!r}; allowed: up to {MOST_BLOCKS} widths from 1 to 9999, such as {SMALL!r}"
            )

    @cached_property
    def _blocks(self) -> list[tuple[int, int]]:
        """Return width and stage of every block."""
        stages = enumerate(self.blocks.split("/"))
        return [(int(width), stage) for stage, widths in stages for width in widths.split("-")]

    def followers(self, i: int) -> list[int]:
        """Return the blocks that may follow block ``i``; the number of blocks stands for the end."""
        stage = self._blocks[i][1]
        near = range(i + 1, min(i + self.reach, len(self._blocks) - 1) + 1)
        found = [j for j in near if self._blocks[j][1] - stage <= 1]
        return [*found, len(self._blocks)] if stage == self._blocks[-1][1] else found

    @cached_property
    def _conditions(self) -> dict[tuple[int, int], Condition]:
        """Return what must be taken for a step ``(i, j)``; empty where every route takes it."""
        found: dict[tuple[int, int], Condition] = {}
        for i in range(len(self._blocks)):
            after = self.followers(i)
            for option, j in enumerate(after):
                found[i, j] = ((_route(i), option),) if len(after) > 1 else self._visited(i, found)
        return found

    def _visited(self, j: int, steps: Mapping[tuple[int, int], Condition]) -> Condition:
        """Return the steps into block ``j``, of which a route takes one if it visits the block."""
        into = [condition for (_, end), condition in steps.items() if end == j]
        return () if () in into else tuple(term for condition in into for term in condition)

    @property
    def sites(self) -> tuple[Site, ...]:
        return self._sites

    @cached_property
    def _sites(self) -> tuple[Site, ...]:
        """Return by block the operations of its alignments and basic layers, and its route on."""
        found: list[Site] = []
        operations, steps = BASES[self.base], self._conditions
        for j in range(len(self._blocks)):
            when = self._visited(j, steps)
            if len(operations) > 1:
                found += [Site(_step(i, j), operations, steps[i, end]) for i, end in steps if end == j]
            found += [Site(f"b{j}/layer{k}", (*operations, "skip"), when) for k in range(self.layers)]
            after = self.followers(j)
            if len(after) > 1:
                found.append(Site(_route(j), tuple(self._name(k) for k in after), when))
        return tuple(found)

    def build(self) -> Graph:
        builder = GraphBuilder((self.channels, self.size, self.size))
        width = self._blocks[0][0]
        stem = conv_bn(Conv(width, 3, 2 if self.size > 64 else 1), Relu())
        outputs = [self._basic_layers(builder, 0, builder.block("stem", "conv_3x3", stem, INPUT))]
        for j in range(1, len(self._blocks) + 1):
            into = [i for i in range(j) if (i, j) in self._conditions]
            terms = {self._enter(builder, i, j, outputs[i]): self._term(i, j) for i in into}
            x = builder.mix(f"b{j}/in", terms)
            if j < len(self._blocks):
                outputs.append(self._basic_layers(builder, j, x))
            else:
                return builder.graph(builder.block("classifier", "classifier", self._classify, x))
        raise AssertionError("the end is always reached")

    def _enter(self, builder: GraphBuilder, i: int, j: int, x: str) -> str:
        """Append the alignment from block ``i`` into block ``j``."""
        name, when = _step(i, j), self._conditions[i, j]
        if j == len(self._blocks):
            return builder.block(name, "conv_1x1", conv_bn(Conv(self.head), Relu()), x, when=when)
        (width, stage), before = self._blocks[j], self._blocks[i][1]
        options = {operation: self._operation(operation, width, 1 + stage - before) for operation in BASES[self.base]}
        if len(options) > 1:
            return builder.choice(name, name, options, x)
        ((label, block),) = options.items()
        return builder.block(name, label, block, x, when=when)

    def _basic_layers(self, builder: GraphBuilder, j: int, x: str) -> str:
        width = self._blocks[j][0]
        options = {operation: self._operation(operation, width) for operation in BASES[self.base]}
        for k in range(self.layers):
            name = f"b{j}/layer{k}"
            x = builder.choice(name, name, {**options, "skip": _skip}, x)
        return x

    def _operation(self, name: str, width: int, stride: int = 1) -> Block:
        if name == "basic":
            return basic(width, stride)
        kernel, expansion = (int(part[1:]) for part in name.split("_"))
        return lambda builder, x: inverted_residual(width, expansion * builder.shape(x)[0], kernel, stride)(builder, x)

    def _classify(self, builder: GraphBuilder, x: str) -> str:
        return builder.add("linear", Linear(self.classes), builder.add("pool", GlobalPool(), x))

    def _term(self, i: int, j: int) -> tuple[str, int]:
        after = self.followers(i)
        return (_route(i), after.index(j)) if len(after) > 1 else (FIXED, 0)

    def _name(self, j: int) -> str:
        return "end" if j == len(self._blocks) else f"b{j}"


def _route(i: int) -> str:
    return f"b{i}/next"


def _step(i: int, j: int) -> str:
    return f"b{j}/from{i}"


def _skip(builder: GraphBuilder, x: str) -> str:
    return builder.add("identity", Identity(), x)


SPACE = Routed
