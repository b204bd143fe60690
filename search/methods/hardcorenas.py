"""HardCoRe-NAS: no weight of latency, only steps within the budget."""

from __future__ import annotations

from ...arguments import Batch, Count, Share
from ..forms import Hard
from ..laws.simplex import Simplex
from ..method import Method
from ..projection import within_target
from ..searchers.alternation import Schedule
from ..searchers.gradient import GradientSearcher


def hardcorenas(
    *,
    epochs: Count = 15,
    warm_up: Share = 2 / 3,
    batch: Batch = 64,
) -> Method:
    """HardCoRe-NAS (Nayman et al., arXiv:2102.11646): one-shot training, then Frank-Wolfe steps of the law.

    Args:
        epochs: Epochs of the search.
        warm_up: share of them in which weights train on uniform paths; in the others only the law moves.
        batch: images a step.
    """
    searcher = GradientSearcher(
        law=Simplex,
        weighted=None,
        targeted=Hard,
        schedule=Schedule(epochs=epochs, warm_up=warm_up, batch=batch, paths="uniform", law_only=True),
        deriver=within_target,
    )
    return Method(
        "hardcorenas",
        searcher,
        paper="Nayman et al., arXiv:2102.11646",
        home="mbconv",
        first_for="no predictor, but a table of operations",
        pieces={
            "law": "simplex",
            "objective": "hard: every iterate within the budget",
            "deriver": "projection onto the budget",
        },
        weighs=False,
        table_only=True,
    )


METHOD = hardcorenas
