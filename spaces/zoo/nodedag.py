"""A graph of nodes of which any edge may be left out: what AutoShrink and GRAM search.

Every stage of the network is the same graph. Its nodes have fixed operations, dealt out evenly by a seed; what is
chosen is the edges, from each node to any later one. Node 0 reads what enters the stage. A node convolves its inputs
side by side; nodes that nothing reads are leaves, and the leaves side by side, brought to one width, are what leaves
the stage.

A convolution of maps side by side is the sum of a convolution of each, so every edge has weights of its own, and the
cost is a sum over edges and leaves. An edge out of a node that nothing enters carries nothing. Such an edge is ``none``
in every architecture: two masks that differ in dead edges are one architecture.

References:
    Zhang et al., *AutoShrink*, arXiv:1911.09251; Cheng et al., *SwiftNet*, arXiv:1906.08305.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from math import log10
from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from ...arguments import Classes, Seed, Size
from ...errors import UsageError
from ..architecture import Architecture, Site
from ..graph import FIXED, INPUT, Block, Condition, Graph, GraphBuilder
from ..layers import BatchNorm, Conv, GlobalPool, Linear, Pool, Relu
from ..notation import Notation, mistake, spans
from ..space import SearchSpace

OPTIONS = ("none", "edge")
OPERATIONS = ("sep_conv_3x3", "conv_1x1")
EMPTY = "no edges"


@dataclass(frozen=True)
class NodeDag(SearchSpace):
    """The graph, one for all stages.

    Args:
        n: nodes of the graph, N; it has N (N - 1) / 2 edges.
        stages: of the network; each after the first halves the map and doubles the width.
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
        if self.size % 2 ** (self.stages - 1):
            raise UsageError(
                f"size={self.size}; allowed: a multiple of {2 ** (self.stages - 1)}, since {self.stages} stages halve "
                f"the map {self.stages - 1} times"
            )

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        return self._edges

    @cached_property
    def _edges(self) -> tuple[tuple[int, int], ...]:
        """Return the edges by target, then by source."""
        return tuple((source, target) for target in range(1, self.n) for source in range(target))

    @property
    def sites(self) -> tuple[Site, ...]:
        return self._sites

    @cached_property
    def _sites(self) -> tuple[Site, ...]:
        return tuple(Site(_edge(*edge), OPTIONS) for edge in self.edges)

    @property
    def nodes(self) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(_edge(i, j) for i in range(j)) for j in range(1, self.n))

    @cached_property
    def operations_of_nodes(self) -> tuple[str, ...]:
        """Return the operation of every node: as many of each as can be, in an order drawn by the seed."""
        even = [OPERATIONS[node % len(OPERATIONS)] for node in range(self.n)]
        return tuple(even[i] for i in np.random.default_rng(self.dealt).permutation(self.n))

    # -- architectures: masks without dead edges -----------------------------------------------------------------

    def cleaned(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return masks ``(n, edges)`` in which the edges out of nodes that nothing enters are ``none``."""
        clean = rows.copy()
        there = np.zeros((len(rows), self.n), bool)
        there[:, 0] = True
        for column, (source, target) in enumerate(self.edges):  # by target: its sources are settled before
            clean[:, column] *= there[:, source]
            there[:, target] |= clean[:, column] == 1
        return clean

    def architecture(self, choices: Iterable[int]) -> Architecture:
        found = super().architecture(choices)
        (clean,) = self.cleaned(np.array([found.choices], np.int64)).tolist()
        return Architecture(self.spec, tuple(clean))

    def choices(self, architectures: Iterable[Architecture]) -> NDArray[np.int64]:
        return self.cleaned(super().choices([*architectures]))

    def enumerate(self) -> Iterator[Architecture]:
        yield from (Architecture(self.spec, mask) for mask in _clean(1, (True,), self.n))

    def _draw(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        return self.cleaned(super()._draw(n, rng))

    @property
    def size_log10(self) -> float:
        return log10(_masks(1, 1, self.n))

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
            into: Condition = tuple((_edge(source, node), 1) for source in range(node))
            out: Condition = tuple((_edge(node, target), 1) for target in range(node + 1, self.n))
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

    # -- how people write it -------------------------------------------------------------------------------------

    @property
    def notations(self) -> tuple[Notation, ...]:
        return (Notation("edges", rf"\s*(\d+>|{EMPTY})", self._read_edges, self._write_edges), *super().notations)

    def _write_edges(self, architecture: Architecture) -> str:
        taken = zip(self.edges, architecture.choices, strict=True)
        return " ".join(f"{source}>{target}" for (source, target), on in taken if on) or EMPTY

    def _read_edges(self, text: str) -> Architecture:
        choices = [0] * len(self.edges)
        if text.strip() != EMPTY:
            for part, at in spans(text, " "):
                source, _, target = part.partition(">")
                ends = tuple(int(end) if end.isdecimal() else -1 for end in (source, target))
                if part and ends not in self.edges:
                    raise mistake(
                        text, at, f"no edge {part[:20]!r}; expected FROM>TO of nodes 0..{self.n - 1}, upwards"
                    )
                if part:
                    choices[self.edges.index(ends)] = 1
        return self.architecture(choices)


@cache
def _masks(node: int, there: int, n: int) -> int:
    """Return how many masks without dead edges there are, if ``there`` of the nodes before ``node`` have an input."""
    if node == n:
        return 1
    return _masks(node + 1, there, n) + (2**there - 1) * _masks(node + 1, there + 1, n)


def _clean(node: int, there: tuple[bool, ...], n: int) -> Iterator[tuple[int, ...]]:
    """Yield the edges into ``node`` and later ones of every mask without dead edges."""
    if node == n:
        yield ()
        return
    for into in product(*((0, 1) if source else (0,) for source in there)):
        for rest in _clean(node + 1, (*there, any(into)), n):
            yield (*into, *rest)


def _edge(source: int, target: int) -> str:
    return f"e{source}-{target}"


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
