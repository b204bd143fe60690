"""Branches of several resolutions side by side, whose depths and fusions are chosen: the space of ScaleNAS.

A network begins with one fine branch. Each stage adds a branch of half the resolution and twice the width, and has
modules. In a module every branch has its own depth. After every block the branch adds up what it has and any of the
other branches, brought to its resolution by strided convolutions or by a 1x1 convolution and repetition. Past its depth
a branch passes on what it has, and takes nothing.

All branches end in the head. Which one a task decides: the pooled branches side by side give classes; the branches
enlarged to the finest one and side by side give a map, of classes or of heights.

Not as published: images of up to 64 pixels are halved once before the first branch, larger ones twice; the first branch
has no stage of its own; the head of maps has a hidden layer as wide as the finest branch, not as all of them together.

References:
    Cheng et al., *ScaleNAS*, arXiv:2011.14584; Sun et al., *HRNet*, arXiv:1902.09212 (branches, fusions, heads).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

from msgspec import Meta

from ...arguments import Classes, Size
from ...errors import UsageError
from ..architecture import Site
from ..blocks import basic, conv_bn
from ..common.convolution import Convolution, Upsample
from ..graph import FIXED, INPUT, Block, Condition, Graph, GraphBuilder
from ..kind import Kind
from ..layers import Concat, Conv, GlobalPool, Linear, Relu
from ..space import SearchSpace

FUSION = ("none", "fuse")
SMALL_IMAGE = 64  # pixels: up to here the finest branch has half of them, else a quarter
_FUSE = 1  # the option that takes another branch


@dataclass(frozen=True)
class Multibranch(SearchSpace):
    """Modules of branches.

    Args:
        modules: Modules of each stage, joined by hyphens; the first stage has 2 branches, each further one more. HRNet
            has 1-4-3.
        width: channels of the finest branch; each coarser one has twice as many.
        least: blocks of a branch in a module, at least.
        depth: blocks of a branch in a module, at most.
        output: what the networks give, as the task asks.
        classes: classes or points.
        side: height and width of the map that is given; 0 for those of the finest branch.
        size: height and width of the images.
        channels: channels of the images.
    """

    modules: str = "1-1"
    width: Size = 16
    least: Annotated[int, Meta(ge=1, le=8)] = 1
    depth: Annotated[int, Meta(ge=1, le=8)] = 3
    output: Kind = "classes"
    classes: Classes = 10
    side: Annotated[int, Meta(ge=0, le=8192)] = 0
    size: Size = 32
    channels: Size = 3

    name: ClassVar[str] = "multibranch"
    small: ClassVar[tuple[str, ...]] = (
        "modules=1-1,width=4,depth=2,size=16",
        "modules=1,width=4,depth=2,size=12,output=map,classes=3,side=12",
    )
    outputs: ClassVar[tuple[Kind, ...]] = ("classes", "map", "heatmaps")

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "modules", str(self.modules))
        if not re.fullmatch("[1-9](-[1-9]){0,4}", self.modules):
            raise UsageError(f"modules={self.modules!r}; allowed: 1 to 5 numbers from 1 to 9, such as 1-4-3")
        if self.least > self.depth:
            raise UsageError(f"least={self.least}, depth={self.depth}; allowed: a least depth up to the largest")
        if self.output not in self.outputs:
            raise UsageError(f"output={self.output!r}; allowed: {', '.join(self.outputs)}")

    @property
    def gives(self) -> tuple[Kind, ...]:
        return (self.output,)

    @cached_property
    def branches(self) -> tuple[int, ...]:
        """Return the number of branches of every module."""
        return tuple(
            branches for branches, modules in enumerate(self.modules.split("-"), 2) for _ in range(int(modules))
        )

    # -- what is chosen ------------------------------------------------------------------------------------------

    @property
    def sites(self) -> tuple[Site, ...]:
        return self._sites

    @cached_property
    def _sites(self) -> tuple[Site, ...]:
        """Return by module and branch its depth, and the fusions into it after each block."""
        depths = tuple(f"d{depth}" for depth in range(self.least, self.depth + 1))
        found: list[Site] = []
        for module, branches in enumerate(self.branches):
            for branch in range(branches):
                if len(depths) > 1:
                    found.append(Site(depth_site(module, branch), depths))
                found += [
                    Site(fusion_site(module, branch, step, other), FUSION, self._reached(module, branch, step))
                    for step in range(self.depth)
                    for other in _others(branches, branch)
                ]
        return tuple(found)

    def _reached(self, module: int, branch: int, step: int) -> Condition:
        """Return the depths at which a branch has a block at a step; empty where all do."""
        if step < self.least:
            return ()
        return tuple((depth_site(module, branch), n - self.least) for n in range(step + 1, self.depth + 1))

    def _passed(self, module: int, branch: int, step: int) -> Condition:
        """Return the depths at which a branch has none."""
        return tuple((depth_site(module, branch), n - self.least) for n in range(self.least, step + 1))

    # -- the network ---------------------------------------------------------------------------------------------

    def build(self) -> Graph:
        builder = GraphBuilder((self.channels, self.size, self.size))
        x = conv_bn(Conv(self.width, 3, 2), Relu())(builder.at("stem/a"), INPUT)
        if self.size > SMALL_IMAGE:
            x = conv_bn(Conv(self.width, 3, 2), Relu())(builder.at("stem/b"), x)
        values = [x]
        for module, branches in enumerate(self.branches):
            while len(values) < branches:
                narrow = conv_bn(Conv(self._width(len(values)), 3, 2), Relu())
                values.append(narrow(builder.at(f"branch{len(values)}"), values[-1]))
            for step in range(self.depth):
                values = self._step(builder.at(f"m{module}/s{step}"), module, step, values)
        return builder.graph(self._head(builder.at("head"), values))

    def _step(self, builder: GraphBuilder, module: int, step: int, values: list[str]) -> list[str]:
        """Append a block of every branch that is deep enough, and the fusions after it; return the branches' values."""
        branches = range(len(values))
        reached = [self._reached(module, branch, step) for branch in branches]
        passed = [self._passed(module, branch, step) for branch in branches]
        own = [builder.block(f"b{b}", "basic", basic(self._width(b)), values[b], when=reached[b]) for b in branches]
        there = [_either(builder, f"b{b}/there", own[b], reached[b], values[b], passed[b]) for b in branches]
        found: list[str] = []
        for b in branches:
            terms = {own[b]: (FIXED, 0)}
            for other in _others(len(values), b):
                term = fusion_site(module, b, step, other), _FUSE
                align = self._align(other, b, builder.shape(own[b])[1])
                label = "down" if other < b else "up"
                terms[builder.block(f"b{b}/from{other}", label, align, there[other], when=(term,))] = term
            fused = builder.add(f"b{b}/relu", Relu(), builder.mix(f"b{b}/sum", terms))
            found.append(_either(builder, f"b{b}/out", fused, reached[b], values[b], passed[b]))
        return found

    def _align(self, source: int, target: int, side: int) -> Block:
        """Return what brings a branch to another's resolution and width."""

        def build(builder: GraphBuilder, x: str) -> str:
            if source > target:
                x = conv_bn(Conv(self._width(target)))(builder, x)
                return builder.add("repeat", Upsample((side, side)), x)
            for n in range(source, target):
                last = n == target - 1
                out = self._width(target if last else source)
                x = conv_bn(Conv(out, 3, 2), None if last else Relu())(builder.at(f"down{n}"), x)
            return x

        return build

    def _head(self, builder: GraphBuilder, values: list[str]) -> str:
        if self.output == "classes":
            pooled = [builder.add(f"pool{b}", GlobalPool(), value) for b, value in enumerate(values)]
            return builder.add("linear", Linear(self.classes), builder.add("all", Concat(), *pooled))
        side = builder.shape(values[0])[1]
        fine = [
            builder.add(f"enlarge{b}", Upsample((side, side), "bilinear"), value)
            for b, value in enumerate(values[1:], 1)
        ]
        x = builder.add("all", Concat(), values[0], *fine)
        x = conv_bn(Conv(self.width), Relu())(builder.at("mix"), x)
        x = builder.add("to", Convolution(self.classes, (1, 1), (1, 1), (0, 0), (1, 1)), x)
        asked = self.side or side
        return x if asked == side else builder.add("resize", Upsample((asked, asked), "bilinear"), x)

    def _width(self, branch: int) -> int:
        return self.width * 2**branch


def depth_site(module: int, branch: int) -> str:
    """Return the site of a branch's depth in a module."""
    return f"m{module}/b{branch}/depth"


def fusion_site(module: int, branch: int, step: int, other: int) -> str:
    """Return the site that decides whether a branch takes another one after a block."""
    return f"m{module}/b{branch}/s{step}/from{other}"


def _others(branches: int, branch: int) -> Iterator[int]:
    return (other for other in range(branches) if other != branch)


def _either(builder: GraphBuilder, name: str, new: str, reached: Condition, old: str, passed: Condition) -> str:
    """Append what a branch has: the new value where its depth reaches, else the one that it passes on."""
    if not reached:
        return new
    return builder.mix(name, [(new, term) for term in reached] + [(old, term) for term in passed])


SPACE = Multibranch
