"""Bayesian optimisation under the latency target: the fewest accuracies for the best network."""

from __future__ import annotations

from ...arguments import Count, Share
from ..method import Method
from ..searchers.surrogate import SurrogateSearcher


def surrogate_search(*, queries: Count = 24, first: Share = 0.2, rounds: Count = 8) -> Method:
    """Expected improvement (BANANAS, arXiv:1910.11858) times the chance to meet the target (Gardner et al., ICML 2014).

    Args:
        queries: networks whose accuracy is asked for, unless the search says how many.
        first: share of them that are random.
        rounds: how often the surrogate is learnt.
    """
    return Method(
        "surrogate_search",
        SurrogateSearcher(queries, first, rounds),
        paper="White et al., arXiv:1910.11858",
        first_for="accuracies that are in a table, or cheap to get",
        pieces={"law": "none", "objective": "expected improvement within the target", "deriver": "best accuracy"},
    )


METHOD = surrogate_search
