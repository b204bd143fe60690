"""Random search: the baseline that a method has to beat, under the same budget.

Networks are drawn uniformly among those predicted within the budget and trained as the derived network is; the best by
validation accuracy is the answer. What a random search cannot do is see the test part.

References:
    Li and Talwalkar, *Random search and reproducibility for NAS*, arXiv:1902.07638.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from time import perf_counter

import numpy as np

from ...errors import TargetError, UsageError
from ...metric import ACCURACY, Metric
from ...spaces.architecture import Architecture
from ..evaluator import Trained, train
from ..method import Found, Problem
from ..need import ANY
from ..neighbourhood import within
from ..processes import by_first
from ..queries import Queries

_MOST = 50  # networks that one random search trains, however fast they train


@dataclass(frozen=True)
class Trial:
    """One random network, trained."""

    architecture: Architecture
    predicted_ms: float
    trained: Trained


def random_search(
    problem: Problem,
    limit_ms: float,
    *,
    networks: int | None = None,
    seconds: float | None = None,
    deployed: Callable[[Architecture], Trained] | None = None,
) -> list[Trial]:
    """Train random networks predicted within a limit; return them in the order drawn.

    Args:
        problem: space, task, training and seed.
        limit_ms: predicted latency allowed.
        networks: how many; None for as many as start within ``seconds``, at least one.
        seconds: wall time, of the search that this is compared with.
        deployed: gives networks as they are kept, where the one found is not trained from scratch either.

    Raises:
        UsageError: neither a number nor a time is given.
    """
    if networks is None and seconds is None:
        raise UsageError("random search needs a number of networks or a time in seconds")
    start, task = perf_counter(), problem.task.fitted(problem.space)
    count, time_s = networks or _MOST, inf if seconds is None or networks is not None else seconds
    trials: list[Trial] = []
    rng = np.random.default_rng(problem.seed)
    problem.progress("random", 0, count, {})

    def trained_alike(architecture: Architecture) -> Trained:
        return train(
            architecture, problem.space, task, problem.training, seed=problem.seed, compute=problem.compute,
            progress=lambda _, done, total, numbers: problem.progress("random", len(trials), count, numbers),
            folder=problem.trainings, begin=problem.begin,
        )  # fmt: skip

    for architecture, predicted_ms in within(problem.space, problem.predict(), limit_ms, rng):
        trained = (deployed or trained_alike)(architecture)
        trials.append(Trial(architecture, predicted_ms, trained))
        problem.progress("random", len(trials), count, {"validation_score": trained.validation_score})
        if len(trials) == count or by_first(lambda: perf_counter() - start >= time_s):
            break
    return trials


def best(trials: list[Trial], metric: Metric = ACCURACY) -> Trial:
    """Return the trial of the best validation score.

    Raises:
        TargetError: there is none.
    """
    if not trials:
        raise TargetError("no random network is predicted within the limit; ask for a higher target")
    return max(trials, key=lambda trial: metric.merit(trial.trained.validation_score))


@dataclass(frozen=True)
class RandomSearcher:
    """Random search as a searcher of its own.

    Attributes:
        networks: whose accuracy is asked for, where the problem does not say how many.
    """

    networks: int = 8

    accepts = frozenset({"accuracy", "queries"})
    needs = ANY

    def __call__(self, problem: Problem) -> Found:
        """Return the best random network by validation accuracy; its scores are 0, so repair only looks at savings."""
        start, queries = perf_counter(), Queries(problem, self.networks)
        queries.ask(queries.draws(np.random.default_rng(problem.seed)))
        return queries.found(perf_counter() - start)
