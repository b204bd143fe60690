"""Graphs of nodes of which any edge may be left out: what spaces share whose architectures are masks of edges.

An edge out of a node that nothing enters carries nothing. It is ``none`` in every architecture: two masks that differ
in dead edges are one. Where the operations of nodes are chosen too, that of a node which nothing enters is its first
option, for the same reason.

References:
    Zhang et al., *AutoShrink*, arXiv:1911.09251; Cheng et al., *SwiftNet*, arXiv:1906.08305.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, cached_property
from itertools import product
from math import log10
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .architecture import Architecture, Site
from .notation import Notation, mistake, spans
from .space import SearchSpace

if TYPE_CHECKING:
    from .graph import Condition

OPTIONS = ("none", "edge")
EMPTY = "no edges"


class EdgeMasks(SearchSpace, ABC):
    """Base of spaces of one graph of ``n`` nodes; node 0 reads what enters it.

    Attributes:
        n: nodes; there are N (N - 1) / 2 edges, from each node to any later one.
    """

    n: int

    @property
    def operation_sites(self) -> tuple[Site, ...]:
        """Return the sites at which the operations of nodes 1, 2, ... are chosen; none where they are fixed."""
        return ()

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        return () if self.operation_sites else self._edges

    @cached_property
    def _edges(self) -> tuple[tuple[int, int], ...]:
        """Return the edges by target, then by source."""
        return tuple((source, target) for target in range(1, self.n) for source in range(target))

    @property
    def sites(self) -> tuple[Site, ...]:
        return self._sites

    @cached_property
    def _sites(self) -> tuple[Site, ...]:
        return (*(Site(edge_name(*edge), OPTIONS) for edge in self._edges), *self.operation_sites)

    @property
    def nodes(self) -> tuple[tuple[str, ...], ...]:
        if self.operation_sites:
            return ()
        return tuple(tuple(edge_name(i, j) for i in range(j)) for j in range(1, self.n))

    def into(self, node: int) -> Condition:
        """Return the edges into a node, taken."""
        return tuple((edge_name(source, node), 1) for source in range(node))

    def out_of(self, node: int) -> Condition:
        """Return the edges out of a node, taken."""
        return tuple((edge_name(node, target), 1) for target in range(node + 1, self.n))

    # -- architectures: masks without dead edges -----------------------------------------------------------------

    def cleaned(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return option indices ``(n, sites)`` without dead edges, and without operations of nodes that are not there.

        What was clean stays as it is.
        """
        clean = rows.copy()
        there = np.zeros((len(rows), self.n), bool)
        there[:, 0] = True
        for column, (source, target) in enumerate(self._edges):  # by target: its sources are settled before
            clean[:, column] *= there[:, source]
            there[:, target] |= clean[:, column] == 1
        if self.operation_sites:
            clean[:, len(self._edges) :] *= there[:, 1:]
        return clean

    def architecture(self, choices: Iterable[int]) -> Architecture:
        found = super().architecture(choices)
        (clean,) = self.cleaned(np.array([found.choices], np.int64)).tolist()
        return Architecture(self.spec, tuple(clean))

    def choices(self, architectures: Iterable[Architecture]) -> NDArray[np.int64]:
        return self.cleaned(super().choices([*architectures]))

    def enumerate(self) -> Iterator[Architecture]:
        for mask, there in _clean(1, (True,), self.n):
            chosen = (range(self._operations) if on else (0,) for on in there[1:])
            for operations in product(*chosen) if self.operation_sites else ((),):
                yield Architecture(self.spec, (*mask, *operations))

    def _draw(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        return self.cleaned(super()._draw(n, rng))

    @property
    def size_log10(self) -> float:
        return log10(_masks(1, 1, self.n, self._operations))

    @property
    def _operations(self) -> int:
        """Return how many operations a node chooses among."""
        return len(self.operation_sites[0].options) if self.operation_sites else 1

    # -- how people write it -------------------------------------------------------------------------------------

    @property
    def notations(self) -> tuple[Notation, ...]:
        if self.operation_sites:
            return super().notations
        return (Notation("edges", rf"\s*(\d+>|{EMPTY})", self._read_edges, self._write_edges), *super().notations)

    def _write_edges(self, architecture: Architecture) -> str:
        taken = zip(self._edges, architecture.choices, strict=True)
        return " ".join(f"{source}>{target}" for (source, target), on in taken if on) or EMPTY

    def _read_edges(self, text: str) -> Architecture:
        choices = [0] * len(self._edges)
        if text.strip() != EMPTY:
            for part, at in spans(text, " "):
                source, _, target = part.partition(">")
                ends = tuple(int(end) if end.isdecimal() else -1 for end in (source, target))
                if part and ends not in self._edges:
                    raise mistake(
                        text, at, f"no edge {part[:20]!r}; expected FROM>TO of nodes 0..{self.n - 1}, upwards"
                    )
                if part:
                    choices[self._edges.index(ends)] = 1
        return self.architecture(choices)


def deal(options: Sequence[str], n: int, seed: int) -> tuple[str, ...]:
    """Return an operation for each of ``n`` nodes: as many of each as can be, in an order drawn by a seed."""
    even = [options[node % len(options)] for node in range(n)]
    return tuple(even[i] for i in np.random.default_rng(seed).permutation(n))


def edge_name(source: int, target: int) -> str:
    """Return the name of an edge's site."""
    return f"e{source}-{target}"


@cache
def _masks(node: int, there: int, n: int, operations: int) -> int:
    """Return how many architectures there are, if ``there`` of the nodes before ``node`` have an input."""
    if node == n:
        return 1
    without, more = (_masks(node + 1, count, n, operations) for count in (there, there + 1))
    return without + (2**there - 1) * operations * more


def _clean(node: int, there: tuple[bool, ...], n: int) -> Iterator[tuple[tuple[int, ...], tuple[bool, ...]]]:
    """Yield the edges into ``node`` and later ones of every mask without dead edges, and which nodes are there."""
    if node == n:
        yield (), there
        return
    for into in product(*((0, 1) if source else (0,) for source in there)):
        for rest, found in _clean(node + 1, (*there, any(into)), n):
            yield (*into, *rest), found
