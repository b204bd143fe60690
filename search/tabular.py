"""A search on a table that others published: every accuracy and latency is known, so regret is exact.

The searcher sees accuracies only as far as its budget of queries goes, and latencies only through a predictor learnt
from some rows. What it found is then looked up, as it would be measured: the best candidates in turn, until one is
within the target. Only after that the table as a whole is opened, for the best network there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ..data import result as document
from ..data.result import RESULT, SCHEMA, Measured, Optimum, Queries, Result, Step, Verdict, verdict_of
from ..errors import UsageError
from ..spaces.architecture import Architecture
from ..spaces.saved import ARCHITECTURE, architecture_json, rebuild_line
from ..spaces.space import SearchSpace
from ..tasks.predicted import PredictedTask
from ..tasks.table import TableTask
from .feasibility import Feasibility, feasibility
from .method import Found, Method, Problem
from .price import Price
from .progress import Progress, silent
from .result import asked, named, versions, write_json
from .trace import Query
from .training import Training

LOOKUPS = 10  # final networks that are looked up at most
COMPARED = 3  # of them, where accuracies were predicted: what the table says decides between the best


@dataclass(frozen=True)
class Entry:
    """One network of the table; ``accuracy`` is a share."""

    architecture: Architecture
    accuracy: float
    latency_ms: float


@dataclass(frozen=True)
class TabularResult:
    """What a search on a table found, beside the best that there was.

    Attributes:
        space, method, task, seed, target_ms: what was asked.
        budget: accuracies that might be asked for.
        feasibility: Feasibility of the target, by the predictor, before the search.
        found: the network kept.
        predicted_ms: its latency as predicted.
        lookups_predicted_ms: those of ``lookups``.
        optimum: the most accurate network of the table within the target; None if there is none.
        queries: the accuracies asked for, in order.
        lookups: the networks looked up after the search, in order; ``found`` is one of them, the last unless
            accuracies were predicted.
        seconds: wall time of the search.
    """

    space: SearchSpace
    method: str
    task: str
    seed: int
    target_ms: float
    budget: int
    feasibility: Feasibility
    found: Entry
    predicted_ms: float
    lookups_predicted_ms: tuple[float, ...]
    optimum: Entry | None
    queries: tuple[Query, ...]
    lookups: tuple[Entry, ...]
    seconds: float

    @property
    def measured(self) -> Measured:
        """Return the table's latency of the network found: one number, and so the interval is that number."""
        own_ms = self.found.latency_ms
        return Measured(latency_ms=own_ms, low_ms=own_ms, high_ms=own_ms, verdict="ok")

    @property
    def verdict(self) -> Verdict:
        """Return whether the table's latency is within the target."""
        return verdict_of(self.measured, self.target_ms)

    @property
    def regret_points(self) -> float | None:
        """Return the accuracy points lost against the best network within the target; None where that is missed."""
        if self.optimum is None or self.verdict == "fail":
            return None
        return 100 * (self.optimum.accuracy - self.found.accuracy)

    def document(self, provenance: Mapping[str, Any] | None = None) -> Result:
        """Return the result as the document that is written, with what only a table can tell.

        Args:
            provenance: what only the caller knows: ``predictor``, ``predicted_interval_ms``, ``device``,
                ``networks``, ``without_latency``, ``remarks``, ``asked``, ``command``.
        """
        extra = dict(provenance or {})
        low_ms, high_ms = extra.pop("predicted_interval_ms", (None, None))
        graph = self.space.network_graph(self.found.architecture)
        optimum = None if self.optimum is None else Optimum(
            text=self.space.format(self.optimum.architecture), accuracy=self.optimum.accuracy,
            latency_ms=self.optimum.latency_ms,
        )  # fmt: skip
        return Result(
            schema=SCHEMA, space=self.space.spec, method=self.method, task=self.task, seed=self.seed, mode="target",
            target_ms=self.target_ms, lam=None, feasibility=self.feasibility.document(),
            found=document.Found(
                **named(self.space, self.found.architecture, self.predicted_ms),
                predicted_low_ms=low_ms, predicted_high_ms=high_ms,
                measured=self.measured,
                accuracy=self.found.accuracy, parameters=graph.parameters(), macs=graph.macs(),
            ),
            verdict=self.verdict,
            repairs=[
                Step(
                    **named(self.space, entry.architecture, predicted_ms), measured_ms=entry.latency_ms, verdict="ok",
                    accuracy=entry.accuracy,
                )
                for entry, predicted_ms in zip(self.lookups, self.lookups_predicted_ms, strict=True)
            ],
            queries=Queries(budget=self.budget, **asked(self.queries)), latencies_looked_up=len(self.lookups),
            optimum=optimum, regret_points=self.regret_points, versions=versions(), seconds={"search": self.seconds},
            **extra,
        )  # fmt: skip

    def save(self, directory: Path, provenance: Mapping[str, Any] | None = None) -> None:
        """Write ``architecture.json`` and ``result.json``: nothing was trained."""
        extra = dict(provenance or {}) | {"rebuild": rebuild_line(directory, trained=False)}
        write_json({
            directory / ARCHITECTURE: architecture_json(self.space, self.found.architecture),
            directory / RESULT: self.document(extra).to_json(),
        })  # fmt: skip


def search_table(
    space: SearchSpace,
    method: Method,
    task: TableTask,
    latencies_ms: Mapping[Architecture, float],
    price: Price,
    *,
    target_ms: float,
    queries: int,
    lookups: int = LOOKUPS,
    seed: int = 0,
    progress: Progress = silent,
    accuracy: PredictedTask | None = None,
) -> TabularResult:
    """Search a table for the most accurate network within a target.

    Args:
        space: Space of the table's networks.
        method: recipe of a searcher that asks for accuracies.
        task: the accuracies.
        latencies_ms: Latencies of the same networks.
        price: what networks of the space are predicted to cost.
        target_ms: budget of latency.
        queries: budget of accuracies.
        lookups: networks that may be looked up after the search.
        seed: Seed of everything random.
        progress: told what is done.
        accuracy: predicts accuracies, in place of asking the table for them; only those looked up are then known.

    Raises:
        TargetError: even the smallest network is predicted above the target (before any query).
        UsageError: the method trains networks, or a budget below 1.
    """
    if lookups < 1:
        raise UsageError(f"lookups={lookups}; allowed: from 1, what is found is always looked up")
    table = feasibility(
        space, price.predict, np.random.default_rng(seed), target_ms=target_ms, measured_ms=price.measured_ms
    )
    table.check()
    problem = Problem(
        space=space, proxy=space, price=price, task=task, target_ms=target_ms, lam=None, reference_ms=table.median_ms,
        training=Training(), seed=seed, queries=queries, progress=progress, accuracy=accuracy,
    )  # fmt: skip
    start = perf_counter()
    found = method.find(problem)
    seconds = perf_counter() - start
    looked = _looked_up(problem, found, task, latencies_ms, lookups)
    predicted = price.predict([entry.architecture for entry in looked]).tolist()
    fits = [i for i, entry in enumerate(looked) if entry.latency_ms <= target_ms]
    kept = max(fits, key=lambda i: looked[i].accuracy, default=len(looked) - 1)
    within = (Entry(a, accuracy, latencies_ms[a]) for a, accuracy in task.accuracies.items())
    optimum = max((e for e in within if e.latency_ms <= target_ms), key=lambda e: e.accuracy, default=None)
    return TabularResult(
        space, method.name, task.name, seed, target_ms, queries, table, looked[kept], predicted[kept],
        tuple(predicted), optimum, found.queries, looked, seconds,
    )  # fmt: skip


def _looked_up(
    problem: Problem, found: Found, task: TableTask, latencies_ms: Mapping[Architecture, float], limit: int
) -> tuple[Entry, ...]:
    """Return the candidates looked up, best first, until one is within the target; the last try is the safest.

    Where accuracies were predicted, the best few are looked up in any case: the model's errors are larger than what
    sets them apart. The safest try is the best one that would still be within the target if its latency were as far
    above what was predicted as the worst of those looked up, or else the one predicted fastest.
    """
    target_ms = problem.target_ms or 0.0
    left = list(found.candidates or (found.architecture,))
    least = 1 if problem.accuracy is None else min(COMPARED, limit)
    predicted = dict(zip(left, problem.predict()(left).tolist(), strict=True))
    looked: list[Entry] = []
    worst = 1.0
    while left and len(looked) < limit:
        best = left[0]
        fits = any(entry.latency_ms <= target_ms for entry in looked)
        if len(looked) == limit - 1 and not fits:
            safe = (a for a in left if predicted[a] * worst <= target_ms)
            best = next(safe, min(left, key=lambda a: predicted[a]))
        left.remove(best)
        looked.append(Entry(best, task.accuracies[best], latencies_ms[best]))
        if len(looked) >= least and (fits or looked[-1].latency_ms <= target_ms):
            break
        worst = max(worst, looked[-1].latency_ms / predicted[best])
    return tuple(looked)
