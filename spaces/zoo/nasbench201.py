"""NAS-Bench-201: one cell of 4 nodes, 6 edges, 5 operations; 15,625 networks.

References:
    Dong and Yang, *NAS-Bench-201*, ICLR 2020, arXiv:2001.00326; NATS-Bench, arXiv:2009.00437.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, ClassVar

from ...arguments import Classes, Few, Size
from ...errors import InvalidArchitectureError
from ..architecture import Architecture, Site
from ..blocks import relu_conv_bn
from ..encoding import RAW, Encoding, OneHots, cell_encodings
from ..graph import INPUT, Block, Graph, GraphBuilder
from ..layers import Add, BatchNorm, Conv, GlobalPool, Identity, Linear, Pool, Relu, Zero
from ..notation import Notation, mistake
from ..space import SearchSpace

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
OPTIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
_SITES = tuple(Site(f"e{i}", OPTIONS) for i in range(len(EDGES)))
_INDEX_SEED = 88  # the published index is a shuffle of the lexicographic order by Python's generator with this seed


def _pruned(rows: dict[str, Any]) -> dict[str, Any]:
    """Scale an edge by the probability that it lies on a path from input to output."""
    none = OPTIONS.index("none")
    active = {edge: 1 - rows[f"e{i}"][..., none] for i, edge in enumerate(EDGES)}
    one = active[EDGES[0]] * 0 + 1
    forward, backward = {0: one}, {3: one}
    for node in (1, 2, 3):
        cut = one
        for source, target in EDGES:
            if target == node:
                cut = cut * (1 - forward[source] * active[source, target])
        forward[node] = 1 - cut
    for node in (2, 1, 0):
        cut = one
        for source, target in EDGES:
            if source == node:
                cut = cut * (1 - active[source, target] * backward[target])
        backward[node] = 1 - cut
    found: dict[str, Any] = {}
    for i, (source, target) in enumerate(EDGES):
        row = rows[f"e{i}"]
        live = (forward[source] * backward[target])[..., None]
        vertex = row * 0
        vertex[..., none] += 1
        found[f"e{i}"] = row * live + vertex * (1 - live)
    return found


_PRUNED = OneHots("pruned", _pruned)


@dataclass(frozen=True)
class NasBench201(SearchSpace):
    """The published space.

    Args:
        cells: cells in each of the three stages (N).
        width: channels of the first stage (C), doubled at each reduction.
        classes: classes of the classifier.
        size: height and width of the input.
        channels: channels of the input.
    """

    cells: Few = 5
    width: Size = 16
    classes: Classes = 10
    size: Size = 32
    channels: Size = 3

    name: ClassVar[str] = "nasbench201"
    small: ClassVar[tuple[str, ...]] = ("cells=1,width=4,size=8",)
    encodings: ClassVar[tuple[Encoding, ...]] = cell_encodings(RAW, _PRUNED)
    affine: ClassVar[bool] = False
    elastic: ClassVar[bool] = False

    @property
    def sites(self) -> tuple[Site, ...]:
        return _SITES

    @property
    def nodes(self) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(f"e{i}" for i, (_, end) in enumerate(EDGES) if end == node) for node in (1, 2, 3))

    def build(self) -> Graph:
        builder = GraphBuilder((self.channels, self.size, self.size))
        x = builder.add("stem/conv", Conv(self.width, 3), INPUT)
        x = builder.add("stem/bn", BatchNorm(), x)
        number = 0
        for stage in range(3):
            if stage:
                x = _reduction(builder.at(f"cells/{number}"), x, self.width * 2**stage)
                number += 1
            for _ in range(self.cells):
                x = _cell(builder.at(f"cells/{number}"), x)
                number += 1
        for name, operation in (("bn", BatchNorm()), ("relu", Relu()), ("pool", GlobalPool())):
            x = builder.add(f"head/{name}", operation, x)
        return builder.graph(builder.add("head/linear", Linear(self.classes), x))

    @property
    def notations(self) -> tuple[Notation, ...]:
        return (
            Notation("string of NAS-Bench-201", r"\s*\|", self._read_string, self._write_string),
            Notation("published index", r"\d+$", self._read_index, self._write_index),
            *super().notations,
        )

    def _write_string(self, architecture: Architecture) -> str:
        nodes: dict[int, list[str]] = {1: [], 2: [], 3: []}
        for (source, target), choice in zip(EDGES, architecture.choices, strict=True):
            nodes[target].append(f"{OPTIONS[choice]}~{source}")
        return "+".join(f"|{'|'.join(edges)}|" for edges in nodes.values())

    def _read_string(self, text: str) -> Architecture:
        edges = [(found[0].strip(), found.start()) for found in re.finditer(r"[^|+]*[^|+\s][^|+]*", text)]
        found: list[int] = []
        for (edge, at), (source, target) in zip(edges, EDGES, strict=False):
            option, _, origin = edge.partition("~")
            if option not in OPTIONS or origin != str(source):
                raise mistake(
                    text,
                    at,
                    f"edge {edge[:40]!r} into node {target}; expected one of {', '.join(OPTIONS)}, and ~{source}",
                )
            found.append(OPTIONS.index(option))
        if len(edges) != len(EDGES):
            raise mistake(
                text, edges[6][1] if len(edges) > 6 else len(text), f"{len(edges)} edges; expected {len(EDGES)}"
            )
        return self.architecture(found)

    def _read_index(self, text: str) -> Architecture:
        return self.from_index(int(text))

    def _write_index(self, architecture: Architecture) -> str:
        return str(self.index(architecture))

    def from_index(self, index: int) -> Architecture:
        """Return the architecture of a published index, 0..15624."""
        if not 0 <= index < len(self._order):
            raise InvalidArchitectureError(f"index {index}; allowed: 0..{len(self._order) - 1}")
        return self.architecture(self._order[index])

    def index(self, architecture: Architecture) -> int:
        """Return the published index."""
        return self._position[architecture.choices]

    @cached_property
    def _order(self) -> list[tuple[int, ...]]:
        order = list(product(range(len(OPTIONS)), repeat=len(EDGES)))
        random.Random(_INDEX_SEED).shuffle(order)
        return order

    @cached_property
    def _position(self) -> dict[tuple[int, ...], int]:
        return {choices: index for index, choices in enumerate(self._order)}


def _cell(builder: GraphBuilder, x: str) -> str:
    channels = builder.shape(x)[0]
    options: dict[str, Block] = {
        "none": lambda b, x: b.add("zero", Zero(), x),
        "skip_connect": lambda b, x: b.add("identity", Identity(), x),
        "nor_conv_1x1": relu_conv_bn(channels, 1),
        "nor_conv_3x3": relu_conv_bn(channels, 3),
        "avg_pool_3x3": lambda b, x: b.add("pool", Pool("avg", 3, 1, 1), x),
    }
    nodes = [x]
    for target in (1, 2, 3):
        inputs = [
            builder.choice(f"e{i}", f"e{i}", options, nodes[source])
            for i, (source, end) in enumerate(EDGES)
            if end == target
        ]
        nodes.append(builder.add(f"node{target}", Add(), *inputs))
    return nodes[-1]


def _reduction(builder: GraphBuilder, x: str, out: int) -> str:
    """The residual block between stages: two convolutions beside a pooled 1x1."""
    y = relu_conv_bn(out, 3, 2)(builder.at("conv_a"), x)
    y = relu_conv_bn(out, 3)(builder.at("conv_b"), y)
    short = builder.add("down/pool", Pool("avg", 2, 2), x)
    short = builder.add("down/conv", Conv(out), short)
    return builder.add("sum", Add(), short, y)


SPACE = NasBench201
