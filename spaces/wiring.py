"""How the cells of a space are wired: which states a node takes in, and by which site."""

from __future__ import annotations

from collections.abc import Iterable

Wiring = tuple[tuple[tuple[tuple[str, int], ...], ...], ...]
"""Cells, their nodes, the in-edges of these: a site, and the number of the state it comes from."""


def wiring_of(nodes: Iterable[tuple[str, ...]]) -> Wiring:
    """Return the wiring of cells whose nodes see every state before them.

    A cell begins where a node has no more in-edges than the one before.

    Args:
        nodes: the in-edges of every node, as sites.

    Example:
        >>> wiring_of([("a", "b"), ("c", "d", "e")])
        (((('a', 0), ('b', 1)), (('c', 0), ('d', 1), ('e', 2))),)
    """
    cells: list[list[tuple[tuple[str, int], ...]]] = []
    for node in nodes:
        if not cells or len(node) <= len(cells[-1][-1]):
            cells.append([])
        cells[-1].append(tuple((site, source) for source, site in enumerate(node)))
    return tuple(map(tuple, cells))
