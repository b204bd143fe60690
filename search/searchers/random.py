"""Random search: the baseline that a method has to beat, under the same budget.

Networks are drawn uniformly among those predicted within the budget and trained as the derived network is; the best by
validation accuracy is the answer. What a random search cannot do is see the test part.

References:
    Li and Talwalkar, *Random search and reproducibility for NAS*, arXiv:1902.07638.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from time import perf_counter

import numpy as np

from ...errors import TargetError, UsageError
from ...spaces.architecture import Architecture
from ...spaces.space import SearchSpace
from ..deriver import is_connected
from ..evaluator import Trained, train
from ..method import Found, Problem
from ..moves import Predict, descend
from ..trace import Trace

_CHUNK = 256
_BARREN = 20_000  # uniform draws without a network within the budget, before draws are walked down to it
_MOST = 50  # networks that one random search trains, however fast they train


@dataclass(frozen=True)
class Trial:
    """One random network, trained."""

    architecture: Architecture
    predicted_ms: float
    trained: Trained


def random_search(
    problem: Problem, limit_ms: float, *, networks: int | None = None, seconds: float | None = None
) -> list[Trial]:
    """Train random networks predicted within a limit; return them in the order drawn.

    Args:
        problem: space, task, training and seed.
        limit_ms: predicted latency allowed.
        networks: how many; None for as many as start within ``seconds``, at least one.
        seconds: wall time, of the search that this is compared with.

    Raises:
        UsageError: neither a number nor a time is given.
    """
    if networks is None and seconds is None:
        raise UsageError("random search needs a number of networks or a time in seconds")
    start, task = perf_counter(), problem.task.fitted(problem.space)
    count, time_s = networks or _MOST, inf if seconds is None or networks is not None else seconds
    trials: list[Trial] = []
    rng = np.random.default_rng(problem.seed)
    for architecture, predicted_ms in within(problem.space, problem.predict(), limit_ms, rng):
        trained = train(architecture, problem.space, task, problem.training, seed=problem.seed, compute=problem.compute)
        trials.append(Trial(architecture, predicted_ms, trained))
        problem.progress("random", len(trials), count, {"validation_accuracy": trained.validation_accuracy})
        if len(trials) == count or perf_counter() - start >= time_s:
            break
    return trials


def within(
    space: SearchSpace, predict: Predict, limit_ms: float, rng: np.random.Generator
) -> Iterator[tuple[Architecture, float]]:
    """Yield different random networks with their predicted latency, none above a limit; ends when it finds no more.

    They are uniform among those within the limit. Where 20,000 draws held none, 20 draws are walked down to it.
    """
    size, seen, barren = round(10 ** min(space.size_log10, 9)), set[Architecture](), 0
    while len(seen) < size and barren < _BARREN:
        sample = space.sample(min(_CHUNK, size), rng)
        barren += len(sample)
        for architecture, predicted_ms in zip(sample, predict(sample).tolist(), strict=True):
            if architecture not in seen and predicted_ms <= limit_ms and is_connected(space, architecture):
                barren = 0
                yield architecture, predicted_ms
            seen.add(architecture)
    flat = np.zeros((len(space.sites), max(space.widths)))
    for start in space.sample(min(20, size), rng):
        if is_connected(space, start):
            for architecture, predicted_ms in descend(space, start, predict, flat):
                if predicted_ms <= limit_ms and architecture not in seen:
                    seen.add(architecture)
                    yield architecture, predicted_ms
                    break


def best(trials: list[Trial]) -> Trial:
    """Return the trial of the highest validation accuracy.

    Raises:
        TargetError: there is none.
    """
    if not trials:
        raise TargetError("no random network is predicted within the limit; ask for a higher target")
    return max(trials, key=lambda trial: trial.trained.validation_accuracy)


@dataclass(frozen=True)
class RandomSearcher:
    """Random search as a searcher of its own.

    Attributes:
        networks: how many are trained.
    """

    networks: int = 8

    def __call__(self, problem: Problem) -> Found:
        """Return the best random network by validation accuracy; its scores are 0, so repair only looks at savings."""
        start = perf_counter()
        limit_ms = problem.target_ms if problem.target_ms is not None else inf
        trials = random_search(problem, limit_ms, networks=self.networks)
        scores = np.zeros((len(problem.space.sites), max(problem.space.widths)))
        passes = sum(trial.trained.passes for trial in trials)
        return Found(best(trials).architecture, scores, Trace(), passes, perf_counter() - start)
