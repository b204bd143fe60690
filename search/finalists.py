"""Finalists: several networks that use the target are trained, and the best on held-out images is kept.

A law learnt on a few epochs of a supernet names a neighbourhood rather than a network. So what it would also have drawn
is measured and trained like the network found; DARTS chooses among four searches so. Where the supernet's weights rank
networks, what is drawn is trained in the order of its score with these.

References:
    Liu et al., *DARTS*, arXiv:1806.09055, section 3.1 (the best of several, by validation, trained from scratch); Guo
    et al., *Single Path One-Shot*, arXiv:1904.00420 (networks compared by inherited weights).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from ..metric import ACCURACY, Metric
from ..spaces.architecture import Architecture
from .deriver import draws
from .evaluator import Trained
from .neighbourhood import descend
from .repair import MARGIN, ROOM, Repair, Step
from .result import Rival

Scores = Callable[[Sequence[Architecture]], Iterable[float]]

_STEPS = 200  # of a walk
_DRAWN = 100  # networks drawn together, of which some may be expected to use the target
_TRIES = 8  # draws for each network wanted


def choose(
    repair: Repair,
    kept: Step,
    count: int,
    train: Callable[[Architecture], Trained],
    *,
    seed: int,
    metric: Metric = ACCURACY,
    inherited: Scores | None = None,
) -> tuple[Step, Trained, list[Rival]]:
    """Train the network kept and others that use the target; return the best by validation, and all of them.

    Args:
        repair: that has ended with ``kept``; what is measured here is added to its steps, the one returned last.
        kept: confirmed to be within the target.
        count: networks trained at most, ``kept`` among them.
        train: an architecture.
        seed: Seed of the draws.
        metric: by which networks are compared.
        inherited: scores of architectures with the supernet's weights, in order; None: draws are taken as they come.
    """
    drawn = islice(_drawn(repair, seed), _TRIES * count)
    if inherited is None:
        others = repair.also(drawn, count - 1)
    else:
        candidates, told = list(dict.fromkeys(drawn)), dict[Architecture, float]()
        for architecture, score in zip(candidates, inherited(candidates), strict=True):
            told[architecture] = score
            repair.progress("inherited", len(told), len(candidates), {"score": score})

        def worth(architecture: Architecture) -> float:
            if architecture not in told:  # a relative of one that was drawn
                (told[architecture],) = inherited([architecture])
            return metric.merit(told[architecture])

        others = repair.also(iter(sorted(candidates, key=worth, reverse=True)), count - 1, worth=worth)
    field = [Rival(step, train(step.architecture)) for step in [kept, *others]]
    for best in sorted(field, key=lambda each: -metric.merit(each.trained.validation_score)):  # of equals the first
        if best.step is kept:
            break
        again = repair.again(best.step)
        if again.measurement.latency_ms <= repair.target_ms:
            return again, best.trained, field
    repair.steps.remove(kept)
    repair.steps.append(kept)  # what is kept comes last
    return kept, field[0].trained, field


def _drawn(repair: Repair, seed: int) -> Iterator[Architecture]:
    """Yield draws of the law that are expected to use the target; where none of many is, the nearest, walked there."""
    random = draws(repair.scores, repair.space, np.random.default_rng(seed))
    while drawn := list(islice(random, _DRAWN)):
        expected_ms = repair.target_ms / repair.correction()  # of all that was measured by now
        least_ms, most_ms = (1 - ROOM) * expected_ms, (1 - MARGIN) * expected_ms
        predicted = repair.predict(drawn)
        near = [drawn[i] for i in np.flatnonzero((predicted >= least_ms) & (predicted <= most_ms))]
        yield from near or [_walked(repair, drawn[int(np.abs(predicted - most_ms).argmin())], most_ms)]


def _walked(repair: Repair, start: Architecture, limit_ms: float) -> Architecture:
    """Return where walks down to a latency and up to it again end."""
    space, predict, scores = repair.space, repair.predict, repair.scores
    down = next((a for a, ms in islice(descend(space, start, predict, scores), _STEPS) if ms <= limit_ms), start)
    *_, (end, _ms) = islice(descend(space, down, predict, scores, sign=-1, limit_ms=limit_ms), _STEPS)
    return end
