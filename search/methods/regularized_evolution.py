"""Regularised evolution: the oldest die, however good they are."""

from __future__ import annotations

from ...arguments import Count
from ..method import Method
from ..searchers.evolution import EvolutionSearcher


def regularized_evolution(*, queries: Count = 24, population: Count = 10, tournament: Count = 3) -> Method:
    """Regularised evolution (Real et al., arXiv:1802.01548), children above the target rejected before.

    Args:
        queries: networks whose accuracy is asked for, unless the search says how many.
        population: networks alive; this and the tournament are those of NAS-Bench-201's own baseline (2001.00326).
        tournament: how many compete to be the parent.
    """
    return Method(
        "regularized_evolution",
        EvolutionSearcher("ageing", queries, population, tournament, None),
        paper="Real et al., arXiv:1802.01548",
        pieces={"law": "none", "objective": "reject", "deriver": "best accuracy"},
    )


METHOD = regularized_evolution
