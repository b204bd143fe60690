"""LightNAS: one path, and a multiplier that learns to meet the target."""

from __future__ import annotations

from functools import partial

from ...arguments import Batch, Count, Positive, Share
from ..cost import Feed, PredictorCost
from ..forms import LearnedMultiplier, Linear
from ..laws.exclusive_top_k import ExclusiveTopK
from ..laws.gumbel import Gumbel
from ..method import Method
from ..searchers.alternation import Schedule
from ..searchers.gradient import GradientSearcher


def lightnas(
    *,
    feed: Feed = "draw",
    eta: Positive = 0.3,
    epochs: Count = 15,
    warm_up: Share = 0.2,
    batch: Batch = 64,
) -> Method:
    """LightNAS (Luo et al., arXiv:2208.14446); at a weight of latency in place of a target, the linear form.

    Args:
        feed: how the law is shown to a predictor; published is the very path that runs.
        eta: step of the multiplier.
        epochs: Epochs of the search.
        warm_up: share of them with weight steps only, on pairs of paths that share nothing.
        batch: images a step.
    """
    searcher = GradientSearcher(
        law=Gumbel,
        cost=partial(PredictorCost, feed=feed),
        weighted=Linear,
        targeted=partial(LearnedMultiplier, eta=eta, two_sided=True),
        schedule=Schedule(epochs=epochs, warm_up=warm_up, batch=batch, tau_first=5.0, tau_last=0.1),
        warm_up=partial(ExclusiveTopK, noise=0.0),
    )
    return Method(
        "lightnas",
        searcher,
        paper="Luo et al., arXiv:2208.14446",
        home="routed",
        pieces={
            "law": "gumbel; exclusive_top_k in warm-up",
            "objective": "learned multiplier, or linear",
            "deriver": "best score",
        },
    )


METHOD = lightnas
