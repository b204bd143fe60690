"""Stages that are graphs of cells, and how many cells each has: the network above the cell, as H-DAS searches it.

A stage is a row of cells. The first sees the two values that enter the stage, each later one the last three values: of
these it keeps exactly two in-edges, each a skip or a pooling, and reads their sum. The last two values side by side
leave the stage. How many cells a stage has is chosen too; cells and edges past that number are not there. Between two
stages a reduction cell halves the map and doubles the width.

The cells are those of `darts`. They are given, ``cell=``, or searched as well: then the space has two levels, the sites
of ``darts:stages=3`` and those of the stages.

References:
    Liu et al., *H-DAS*, arXiv:2101.04028. Ours: the convolutions that bring what enters a stage to the width of its
    cells, a reduction cell that reads one value as all cells do, the poolings' BatchNorm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, ClassVar

from msgspec import Meta

from ...arguments import Classes, Few, Size
from ...errors import InputRefusedError, InvalidArchitectureError, UsageError
from ..architecture import KeepInputs, Site
from ..blocks import check_halvings, relu_conv_bn
from ..graph import INPUT, Block, Condition, Graph, GraphBuilder, block_graph, resolve
from ..layers import Add, BatchNorm, Concat, Conv, GlobalPool, Linear
from ..level import Level
from ..space import SearchSpace
from ..wiring import Wiring
from .darts import EDGES, KINDS, NODES, STEM_MULTIPLIER, Darts, factorised, options_of

CONNECTIONS = ("none", "skip_connect", "max_pool_3x3", "avg_pool_3x3")
WINDOW = 3  # values, the last ones, that a cell sees
KEPT = 2  # in-edges of a cell
STAGES = 3
_LIGHT = "4.3.3.0.3.3.0.0.3.0.0.3.0.1.1.3.3.0.3.3.0.0.3.0.0.3.0.1"  # cells of few weights, of small instances


@dataclass(frozen=True)
class Staged(SearchSpace):
    """The graph of cells of every stage.

    Args:
        cell: the cells, as the key of an architecture of `darts`: 28 numbers, or 70 of ``darts:stages=3``; or the
            folder of a result of a search of one of these, whose key is taken. Empty: they are searched too.
        most: cells of a stage at most.
        least: and at least; as many as ``most``: all stages have so many, and their graphs are searched alone.
        stages: Stages of the network; cells are searched where there are three.
        width: channels of the cells of the first stage, doubled at each reduction.
        classes: classes of the classifier.
        size: height and width of the input; a multiple of what the reductions divide it by.
        channels: channels of the input.

    Raises:
        UsageError: an argument is out of its range, or does not go with another.
        InputRefusedError: the folder holds no cell of `darts`.
    """

    cell: str = ""
    most: Few = 4
    least: Few = 2
    stages: Annotated[int, Meta(ge=1, le=STAGES)] = STAGES
    width: Size = 16
    classes: Classes = 10
    size: Size = 32
    channels: Size = 3

    name: ClassVar[str] = "staged"
    small: ClassVar[tuple[str, ...]] = (
        f"cell={_LIGHT},stages=2,most=2,least=1,width=4,size=8",
        f"cell={_LIGHT},stages=1,most=2,least=1,width=4,size=8,classes=5",
    )
    affine: ClassVar[bool] = False
    elastic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "cell", self.cell and key_of(self.cell))
        if self.least > self.most:
            raise UsageError(f"least={self.least}, most={self.most}; allowed: least up to most, the cells of a stage")
        check_halvings(self.size, self.stages)
        if not self.cell and self.stages != STAGES:
            raise UsageError(
                f"stages={self.stages} without a cell; allowed: cell=KEY or cell=FOLDER, or {STAGES} stages, whose "
                "cells are searched too"
            )

    # -- sites -------------------------------------------------------------------------------------------------------

    @property
    def sites(self) -> tuple[Site, ...]:
        return self._sites

    @cached_property
    def _sites(self) -> tuple[Site, ...]:
        found = [] if self.cell else [*self._cells.sites]
        for stage in range(self.stages):
            if self.most > self.least:
                found.append(Site(_length(stage), tuple(str(number) for number in self._lengths)))
            found += [
                Site(edge, CONNECTIONS, self._when(stage, place))
                for place in self._places
                for edge, _ in _edges(stage, place)
            ]
        return tuple(found)

    @property
    def rules(self) -> tuple[KeepInputs, ...]:
        return self._rules

    @cached_property
    def _rules(self) -> tuple[KeepInputs, ...]:
        nodes = (_edges(stage, place) for stage in range(self.stages) for place in self._places)
        graph = (KeepInputs(tuple(edge for edge, _ in node), KEPT) for node in nodes)
        return (*(() if self.cell else self._cells.rules), *graph)

    @property
    def wiring(self) -> Wiring:
        graphs = (tuple(_edges(stage, place) for place in self._places) for stage in range(self.stages))
        return (*(() if self.cell else self._cells.wiring), *graphs)

    @property
    def _places(self) -> range:
        """Return the numbers of a stage's cells, from 1."""
        return range(1, self.most + 1)

    @property
    def _lengths(self) -> range:
        """Return how many cells a stage may have."""
        return range(self.least, self.most + 1)

    def _when(self, stage: int, place: int) -> Condition:
        """Return what a cell is there for; empty for always."""
        if place <= self.least:
            return ()
        return tuple((_length(stage), option) for option, number in enumerate(self._lengths) if number >= place)

    # -- the two levels ----------------------------------------------------------------------------------------------

    @property
    def levels(self) -> tuple[Level, ...]:
        if self.cell:
            return (Level("stages", {}, lambda given: self),)
        return (
            Level("cells", self._chain, lambda given: self._cells),
            Level("stages", {}, lambda given: replace(self, cell=_key(given))),
        )

    @cached_property
    def _cells(self) -> Darts:
        """Return the space of the cells alone: a chain of them, of middle length."""
        middle = self._lengths[(len(self._lengths) - 1) // 2]
        return Darts(STAGES * middle + STAGES - 1, self.width, self.classes, self.size, self.channels, stages=STAGES)

    @cached_property
    def _chain(self) -> dict[str, int]:
        """Return the sites of the stages as the chain has them: middle length, skips from the last two values."""
        found = {_length(stage): (len(self._lengths) - 1) // 2 for stage in range(self.stages)}
        for stage in range(self.stages):
            for place in self._places:
                edges = [edge for edge, _ in _edges(stage, place)]
                found |= {
                    edge: CONNECTIONS.index("skip_connect" if edge in edges[-KEPT:] else "none") for edge in edges
                }
        return {site.name: found[site.name] for site in self.sites if site.name in found}

    # -- the network -------------------------------------------------------------------------------------------------

    def build(self) -> Graph:
        builder = GraphBuilder((self.channels, self.size, self.size))
        x = builder.add("stem/conv", Conv(STEM_MULTIPLIER * self.width, 3), INPUT)
        x = builder.add("stem/bn", BatchNorm(), x)
        x = relu_conv_bn(NODES * self.width)(builder.at("stem/fit"), x)
        entering = (x, x)
        for stage in range(self.stages):
            x = self._stage(builder, stage, entering)
            if stage + 1 < self.stages:
                width = self.width * 2 ** (stage + 1)
                kind = f"reduce{stage}"
                cell = builder.block(f"r{stage}", kind, self._cell(kind, width, reduces=True), x)
                entering = factorised(NODES * width)(builder.at(f"s{stage + 1}/fit"), x), cell
        x = builder.add("head/pool", GlobalPool(), x)
        return builder.graph(builder.add("head/linear", Linear(self.classes), x))

    def _stage(self, builder: GraphBuilder, stage: int, entering: tuple[str, str]) -> str:
        states, kind, width = [*entering], f"normal{stage}", self.width * 2**stage
        connections = _connections(options_of(NODES * width, 1))
        for place in self._places:
            edges = [builder.choice(edge, edge, connections, states[source]) for edge, source in _edges(stage, place)]
            x = builder.add(f"s{stage}/c{place}/in", Add(), *edges)
            cell = self._cell(kind, width, reduces=False)
            states.append(builder.block(f"s{stage}/c{place}/cell", kind, cell, x, when=self._when(stage, place)))
        ends = [
            builder.add(f"s{stage}/end{number}", Concat(), *states[number : number + 2]) for number in self._lengths
        ]
        if len(ends) == 1:
            return ends[0]
        return builder.mix(f"s{stage}/end", {end: (_length(stage), option) for option, end in enumerate(ends)})

    def _cell(self, kind: str, width: int, *, reduces: bool) -> Block:
        """Return a cell as a block that reads one value: with its choices, or as it is given."""
        searched = _searched(kind, width, 2 if reduces else 1)
        if not self.cell:
            return searched
        taken = _taken(self.cell)

        def build(builder: GraphBuilder, x: str) -> str:
            graph = resolve(block_graph(builder.shape(x), searched), taken)
            for node in graph.nodes:
                builder.add(node.name, node.operation, *node.inputs)
            return graph.output

        return build


def key_of(text: str) -> str:
    """Return the key of the cells that a text tells: itself, or that in the folder of a result.

    Raises:
        UsageError: numbers that are no key.
        InputRefusedError: a folder that holds no cell of `darts`.
    """
    if all(part.isdecimal() for part in text.split(".")):
        sizes = {len(_of(stages).sites): stages for stages in KINDS}
        stages = sizes.get(text.count(".") + 1)
        if stages is None:
            raise UsageError(f"cell={text[:40]}; allowed: a key of {' or '.join(map(str, sizes))} numbers, or a folder")
        try:
            return _of(stages).from_key(text).key
        except InvalidArchitectureError as error:
            raise UsageError(f"cell={text}: {error}") from error
    from ..saved import load_architecture

    try:
        space, architecture = load_architecture(text)
    except InputRefusedError as error:
        raise InputRefusedError(f"cell={text} is no key of a cell, and no folder that holds one: {error}") from error
    if isinstance(space, Darts) and space.in_edges == "two":
        return architecture.key
    if isinstance(space, Staged):
        return space.cell or _key(space.taken(architecture))
    raise InputRefusedError(
        f"cell={text}: the folder holds a network of {space.spec}, which has no cell of two in-edges a node; allowed: "
        "a result of a search of darts or staged, or a cell's key"
    )


def _of(stages: int) -> Darts:
    return Darts(layers=STAGES + 2, stages=stages)  # pyright: ignore[reportArgumentType]  # a key of `KINDS`


def _key(taken: Mapping[str, int]) -> str:
    """Return the key of the cells of each stage, of options by site."""
    return ".".join(str(taken[site.name]) for site in _of(STAGES).sites)


def _taken(key: str) -> dict[str, int]:
    """Return the options of the cells of each stage, by site; where all stages share a cell, of each of them."""
    choices = [int(part) for part in key.split(".")]
    sites = _of(STAGES).sites
    if len(choices) < len(sites):
        normal, reduce = choices[: len(EDGES)], choices[len(EDGES) :]
        choices = normal + (reduce + normal) * (STAGES - 1)
    return {site.name: choice for site, choice in zip(sites, choices, strict=True)}


def _length(stage: int) -> str:
    return f"s{stage}/length"


def _edges(stage: int, place: int) -> tuple[tuple[str, int], ...]:
    """Return the in-edges of a stage's cell: the site, and the value it comes from; the first two enter the stage."""
    sources = range(max(0, place + 1 - WINDOW), place + 1)
    return tuple((f"s{stage}/c{place}/e{source}", source) for source in sources)


def _connections(blocks: Mapping[str, Block]) -> dict[str, Block]:
    return {name: blocks[name] for name in CONNECTIONS}


def _searched(kind: str, width: int, stride: int) -> Block:
    """Return a cell with its choices; all its layers that have weights are blocks, which a table prices."""

    def build(builder: GraphBuilder, x: str) -> str:
        states = [builder.block(f"pre{i}", "pre", relu_conv_bn(width), x) for i in range(2)]
        for target in range(2, 2 + NODES):
            edges = [
                builder.choice(f"e{i}", f"{kind}/e{i}", options_of(width, stride if source < 2 else 1), states[source])
                for i, (source, end) in enumerate(EDGES)
                if end == target
            ]
            states.append(builder.add(f"node{target - 2}", Add(), *edges))
        return builder.add("concat", Concat(), *states[2:])

    return build


SPACE = Staged
