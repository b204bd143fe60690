"""Finalists: several networks that use the target are trained, and the best on held-out images is kept.

A law learnt on a few epochs of a supernet names a neighbourhood rather than a network. So what it would also have drawn
is walked to the target, measured and trained like the network found; DARTS chooses among four searches so.

References:
    Liu et al., *DARTS*, arXiv:1806.09055, section 3.1 (the best of several, by validation, trained from scratch).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np

from ..spaces.architecture import Architecture
from .deriver import is_connected, ranked
from .evaluator import Trained
from .moves import descend
from .repair import Repair, Step
from .result import Rival

_AIM = 0.965  # of the target: the middle of what uses it
_STEPS = 200  # of a walk
_TRIES = 8  # draws for each network wanted
_CONNECTED = 50  # derived networks looked at for one that connects input and output


def choose(
    repair: Repair, kept: Step, count: int, train: Callable[[Architecture], Trained], *, seed: int
) -> tuple[Step, Trained, list[Rival]]:
    """Train the network kept and others that use the target; return the best by validation, and all of them.

    Args:
        repair: that has ended with ``kept``; what is measured here is added to its steps, the one returned last.
        kept: confirmed to be within the target.
        count: networks trained at most, ``kept`` among them.
        train: an architecture.
        seed: of the draws.
    """
    others = repair.also(islice(_drawn(repair, kept, seed), _TRIES * count), count - 1)
    field = [Rival(step, train(step.architecture)) for step in [kept, *others]]
    for best in sorted(field, key=lambda each: -each.trained.validation_accuracy):  # of equals the first
        if best.step is kept:
            break
        again = repair.again(best.step)
        if again.measurement.latency_ms <= repair.target_ms:
            return again, best.trained, field
    repair.steps.remove(kept)
    repair.steps.append(kept)  # what is kept comes last
    return kept, field[0].trained, field


def _drawn(repair: Repair, kept: Step, seed: int) -> Iterator[Architecture]:
    """Yield draws of the law, each walked to where its latency is expected to use the target."""
    space, rng = repair.space, np.random.default_rng(seed)
    correction = kept.measurement.latency_ms / kept.predicted_ms
    limit_ms = _AIM * repair.target_ms / correction
    while True:
        scores = repair.scores + rng.gumbel(size=repair.scores.shape)  # whose largest is a draw: the Gumbel-max trick
        start = next((a for a in islice(ranked(scores, space), _CONNECTED) if is_connected(space, a)), None)
        if start is None:
            yield kept.architecture  # no news, but the end of a count of tries comes
            continue
        down = next(
            (a for a, ms in islice(descend(space, start, repair.predict, scores), _STEPS) if ms <= limit_ms), start
        )
        *_, (end, _ms) = islice(descend(space, down, repair.predict, scores, sign=-1, limit_ms=limit_ms), _STEPS)
        yield end
