"""MSG-DAS: single paths that share nothing, taught by their mixture."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from ...arguments import Batch, Beside, Count, NonNegative, Positive, Share
from ..forms import LearnedMultiplier, Linear
from ..laws.exclusive_top_k import ExclusiveTopK
from ..method import Method
from ..regularisers import Distillation, Teaching
from ..searchers.alternation import Schedule
from ..searchers.gradient import GradientSearcher


def msgdas(
    *,
    paths: Count = 2,
    distillation: NonNegative = 1.0,
    teacher: Annotated[Teaching, Beside("distillation")] = "mixture",
    drop_skips: Share = 0.1,
    eta: Positive = 0.3,
    epochs: Count = 15,
    warm_up: Share = 0.2,
    batch: Batch = 64,
) -> Method:
    """MSG-DAS (Tan et al., arXiv:2107.04324).

    Args:
        paths: Paths of one step, K.
        distillation: weight of what they learn from the teacher.
        teacher: ``mixture``, the supernet with all options weighed by the law, one more pass a step, without gradient;
            or the cheaper ``mean`` of the step's own paths.
        drop_skips: share of a skip's map that is dropped in training at first.
        eta: step of the multiplier under a target.
        epochs: Epochs of the search.
        warm_up: share of them with weight steps only.
        batch: images a step.
    """
    searcher = GradientSearcher(
        law=partial(ExclusiveTopK, paths=paths),
        weighted=Linear,
        targeted=partial(LearnedMultiplier, eta=eta, two_sided=True),
        schedule=Schedule(
            epochs=epochs, warm_up=warm_up, batch=batch, tau_first=5.0, tau_last=0.1, drop_skips=drop_skips
        ),
        distillation=Distillation(distillation, teacher=teacher),
    )
    return Method(
        "msgdas",
        searcher,
        paper="Tan et al., arXiv:2107.04324",
        home="nasbench201",
        pieces={
            "law": "exclusive_top_k",
            "objective": "linear or learned multiplier, distillation",
            "deriver": "best score",
        },
    )


METHOD = msgdas
