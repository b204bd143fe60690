"""LA-DARTS: a latency predictor in the loss of DARTS' law."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from ...arguments import Batch, Beside, Count, Positive, Share
from ..cost import Feed, PredictorCost
from ..forms import LearnedMultiplier, Linear
from ..laws.gumbel import Gumbel
from ..laws.softmax import Softmax
from ..method import Method
from ..searchers.alternation import Schedule
from ..searchers.gradient import GradientSearcher


def la_darts(
    *,
    draws: Annotated[Count, Beside("feed", "sampled")] = 4,
    feed: Feed = "sampled",
    one_path: bool = False,
    none: bool = True,
    epochs: Count = 15,
    warm_up: Share = 0.2,
    batch: Batch = 64,
    eta: Positive = 0.3,
    second_order: bool = False,
) -> Method:
    """LA-DARTS (Xu et al., arXiv:2001.06392); a target's weight is learnt as LightNAS does (2208.14446).

    Args:
        draws: architectures sampled for the predictor, per law step.
        feed: how the law is shown to the predictor.
        one_path: run one operation an edge (hard Gumbel draws, arXiv:1910.04465), not the mixture: far cheaper steps.
        none: whether an edge may be left out where no rule counts edges, as in `nasbench201`. Behind BatchNorm a
            mixture does not see what ``none`` costs, so DARTS does not derive it: ``none=false`` takes it out,
            and a small target is then met by skips.
        epochs: Epochs of the search.
        warm_up: share of them with weight steps only.
        batch: images a step.
        eta: step of the multiplier.
        second_order: law steps look one weight step ahead, as DARTS does (1806.09055).
    """
    searcher = GradientSearcher(
        law=partial(Gumbel if one_path else Softmax, none=none),
        cost=partial(PredictorCost, feed=feed, draws=draws),
        weighted=Linear,
        targeted=partial(LearnedMultiplier, eta=eta, two_sided=True),
        schedule=Schedule(epochs=epochs, warm_up=warm_up, batch=batch, second_order=second_order),
    )
    return Method(
        "la_darts",
        searcher,
        paper="Xu et al., arXiv:2001.06392",
        first_for="cell spaces, and any space: the default",
        pieces={
            "law": "gumbel" if one_path else "softmax",
            "objective": "linear, or learned multiplier under a target",
            "deriver": "best score",
        },
    )


METHOD = la_darts
