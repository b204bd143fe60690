"""H-DAS: the cells of each stage first, then how the cells of a stage are joined and how many there are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

from ...arguments import Batch, Beside, Count, NonNegative, Positive, Share
from ...spaces.space import SearchSpace
from ..cost import Feed, PredictorCost
from ..forms import LearnedMultiplier, Linear
from ..laws.softmax import Softmax
from ..method import Method
from ..regularisers import Depth, Length, Regulariser
from ..searchers.alternation import Schedule
from ..searchers.gradient import GradientSearcher
from ..searchers.pipeline import Pipeline


def hdas(
    *,
    depth: NonNegative = 1.0,
    length: NonNegative = 0.4,
    share: Share = 0.5,
    draws: Annotated[Count, Beside("feed", "sampled")] = 4,
    feed: Feed = "sampled",
    epochs: Count = 30,
    warm_up: Share = 0.2,
    batch: Batch = 64,
    eta: Positive = 0.3,
    second_order: bool = False,
) -> Method:
    """H-DAS (Liu et al., arXiv:2101.04028): ``darts:stages=3``, then `staged`; the space says which levels there are.

    ``darts:stages=3`` has the level of cells alone, ``staged:cell=...`` that of stages alone, `staged` without a cell
    both: its cells are found first and given to the search of its stages.

    Read in the paper and its authors' code: the two levels, cells of each stage, the graph of a stage and what a cell
    sees, lengths, the losses ``-depth`` and ``0.4 * cells`` in the search of stages, softmax, the schedule's order.
    Ours: depth of what would be kept in place of raw logits, so that it is bounded; both losses in the step of
    accuracy; latency of the whole network at both levels, whose multiplier under a target (LightNAS, 2208.14446) stands
    for the number of cells; cells searched in a chain of middle length; law steps at the present weights.

    Args:
        depth: weight of the mean depth of a stage's cells, which is to be large.
        length: weight of the expected number of cells, at a weight of latency; under a target that decides.
        share: Share of the epochs that the cells have, where stages are searched too.
        draws: architectures sampled for the predictor, per law step.
        feed: how the law is shown to the predictor.
        epochs: Epochs of the search, of both levels together.
        warm_up: share of each level's epochs with weight steps only.
        batch: images a step.
        eta: step of the multiplier under a target.
        second_order: law steps look one weight step ahead, as published.
    """
    searcher = partial(
        GradientSearcher,
        law=Softmax,
        cost=partial(PredictorCost, feed=feed, draws=draws),
        weighted=Linear,
        targeted=partial(LearnedMultiplier, eta=eta, two_sided=True),
        schedule=Schedule(epochs=epochs, warm_up=warm_up, batch=batch, second_order=second_order),
    )
    stages = searcher(regularisers=(partial(Depth, depth),), weighed=(_length(length),))
    return Method(
        "hdas",
        Pipeline({"cells": searcher(), "stages": stages}, epochs, {"cells": share, "stages": 1 - share}),
        paper="Liu et al., arXiv:2101.04028",
        home="staged",
        first_for="how cells are joined, and how many there are",
        pieces={
            "law": "softmax of operations, of connections, of lengths",
            "objective": "linear, or learned multiplier under a target; -depth of stages, at a weight number of cells",
            "deriver": "best score; cells, then stages",
            "read": "two levels, cells of each stage, windows of three, lengths, depth, number of cells",
            "ours": "depth of kept edges, losses in one step, latency at both levels, chain of middle length",
        },
    )


def _length(weight: float) -> Callable[[SearchSpace], Regulariser]:
    """Return what makes the loss of the number of cells, where that is chosen."""

    def make(space: SearchSpace) -> Regulariser:
        return Length(weight, space) if any(site.when for site in space.sites) else Regulariser()

    return make


METHOD = hdas
