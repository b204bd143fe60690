"""DenseNAS: routes through blocks of growing width, priced by the chained cost."""

from __future__ import annotations

from functools import partial

from ..forms import LogTarget
from ..laws.markov_route import MarkovRoute
from ..method import ROUTES, Method
from ..searchers.gradient import GradientSearcher, Schedule


def densenas(
    *,
    lam: float = 0.15,
    epochs: int = 15,
    warm_up: int = 5,
    batch: int = 64,
) -> Method:
    """DenseNAS (Fang et al., arXiv:1906.09607); chained cost is the circuit of the routes.

    Args:
        lam: weight of the cost under a target.
        epochs: of the search.
        warm_up: epochs of weight steps only, among them.
        batch: images a step.
    """
    searcher = GradientSearcher(
        law=MarkovRoute,
        weighted=LogTarget,
        targeted=partial(LogTarget, lam),
        schedule=Schedule(epochs=epochs, warm_up=warm_up, batch=batch, paths="sample"),
    )
    return Method(
        "densenas",
        searcher,
        paper="Fang et al., arXiv:1906.09607",
        needs=ROUTES,
        pieces={
            "law": "markov_route: two operations at a time, routes",
            "objective": "log_target",
            "deriver": "viterbi",
        },
    )


METHOD = densenas
