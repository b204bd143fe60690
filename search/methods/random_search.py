"""Random search among the networks predicted within the target."""

from __future__ import annotations

from ...arguments import Count
from ..method import Method
from ..searchers.random import RandomSearcher


def random_search(*, networks: Count = 8) -> Method:
    """Random search (Li and Talwalkar, arXiv:1902.07638).

    Args:
        networks: how many are trained.
    """
    return Method(
        "random_search",
        RandomSearcher(networks),
        paper="Li and Talwalkar, arXiv:1902.07638",
        first_for="a baseline",
        pieces={"law": "none", "objective": "reject", "deriver": "best validation accuracy"},
    )


METHOD = random_search
