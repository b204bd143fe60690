"""DenseNAS: routes through blocks of growing width, priced by the chained cost."""

from __future__ import annotations

from functools import partial

from ...arguments import Batch, Count, Positive, Share
from ..forms import LearnedMultiplier, LogTarget
from ..laws.markov_route import MarkovRoute
from ..method import Method
from ..searchers.alternation import Schedule
from ..searchers.gradient import GradientSearcher


def densenas(
    *,
    eta: Positive = 0.3,
    epochs: Count = 40,
    warm_up: Share = 0.75,
    batch: Batch = 64,
    mix: bool = False,
) -> Method:
    """DenseNAS (Fang et al., arXiv:1906.09607); chained cost is the circuit of the routes.

    The published loss pulls latency down at a fixed weight, also below the target; here a target's weight is learnt as
    LightNAS does (2208.14446). A published weight step mixes all routes, one operation on each; here it runs one route
    unless ``mix`` is set, since weights learn faster so. Law steps mix all routes and two operations.

    Args:
        eta: step of the multiplier under a target.
        epochs: Epochs of the search.
        warm_up: share of them with weight steps only: here they cost a seventh of the others, and what the law then
            learns from ranks networks the better.
        batch: images a step.
        mix: weight steps run all routes, weighed by the law, as published.
    """
    searcher = GradientSearcher(
        law=MarkovRoute,
        weighted=LogTarget,
        targeted=partial(LearnedMultiplier, eta=eta, two_sided=True),
        schedule=Schedule(
            epochs=epochs, warm_up=warm_up, batch=batch, weights_rate=0.1, paths="routes" if mix else "sample"
        ),
    )
    return Method(
        "densenas",
        searcher,
        paper="Fang et al., arXiv:1906.09607",
        home="routed",
        first_for="routes through blocks",
        pieces={
            "law": f"markov_route: two operations at a time, routes; weights on {'all routes' if mix else 'one path'}",
            "objective": "log_target, or learned multiplier under a target",
            "deriver": "viterbi",
        },
    )


METHOD = densenas
