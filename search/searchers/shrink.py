"""Rounds of edge removal: of the edges that are left some are tried off, one at a time, and the best is dropped.

A graph is shrunk from the complete one. In each round at most ``k`` of its edges, in random order, are tried: the graph
without that edge, and without what it leaves dead, is scored by accuracy less the logarithm of latency. The edge whose
removal scores best goes for good. So a walk of rounds with ``E`` edges asks exactly ``sum of min(k, E)`` times.

Where one supernet answers, answers of a round share their weights and can be compared better: the best two edges go at
once, the graph without both is asked about too, and about half of the answers are needed.

References:
    Zhang et al., *AutoShrink*, arXiv:1911.09251.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import torch

from ...errors import TargetError, UsageError
from ...spaces.architecture import Architecture
from ..method import Found, Problem
from ..trace import Trace
from .asking import Asking, AskingSearcher
from .one_shot import effects

_ALL = 1_000_000  # queries: a walk ends by itself


@dataclass(frozen=True)
class Round:
    """What one round did.

    Attributes:
        edges: on before it.
        tried: edges tried off, in order, as places of sites.
        scores: Scores of the graphs without them.
        dropped: Those of these that are dropped for good, best first.
    """

    edges: int
    tried: tuple[int, ...]
    scores: tuple[float, ...]
    dropped: tuple[int, ...]


class Shrink(Asking):
    """One walk; :meth:`train` carries it on.

    Args:
        problem: whose space has edges.
        k: edges tried a round at most.
        drop: How many of these are dropped a round at most.
        keep: share of the complete graph's edges at which it ends.
        options: Options of :class:`Asking`.

    Attributes:
        current: the graph that is left.
        rounds: what was done.
    """

    stage = "shrink"

    def __init__(self, problem: Problem, *, k: int, drop: int, keep: float, **options: Any) -> None:
        super().__init__(problem, queries=_ALL, **options)
        self.k, self.drop, self.keep = k, drop, keep
        self._none = [site.options.index("none") for site in self.space.sites]
        self.current = complete(problem)
        self.rounds: list[Round] = []

    @property
    def on(self) -> list[int]:
        """Return the edges that are left, as places of sites."""
        return [
            i for i, (taken, none) in enumerate(zip(self.current.choices, self._none, strict=True)) if taken != none
        ]

    @property
    def left(self) -> int:
        return len(self.on)

    @property
    def finished(self) -> bool:
        target_ms = self.problem.target_ms
        within = target_ms is not None and float(self.problem.predict()([self.current])[0]) <= target_ms
        few = len(self.on) <= self.keep * len(self.space.sites)
        return few or not self.queries.left or (within and bool(self.queries.known))

    def step(self) -> Mapping[str, float]:
        on = self.on
        order = torch.randperm(len(on), generator=self.generator).tolist()
        tried: dict[int, float] = {}
        for edge in [on[i] for i in order[: self.k]]:
            lighter = self._without(edge)
            if self.may_ask(lighter):
                tried[edge] = self.ask(lighter)
        best = sorted(tried, key=tried.__getitem__, reverse=True)[: self.drop]
        for edge in best:
            self.current = self._without(edge)
        self.rounds.append(Round(len(on), tuple(tried), tuple(tried.values()), tuple(best)))
        if len(best) > 1 and self.may_ask(self.current):
            self.ask(self.current)  # without two at once it has not been asked about
        return {"edges": float(len(self.on)), "score": max(tried.values())}

    def _without(self, edge: int) -> Architecture:
        return self.space.changed(self.current, {edge: self._none[edge]})

    def state(self) -> dict[str, Any]:
        return super().state() | {"current": self.current.key, "rounds": [asdict(each) for each in self.rounds]}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.current = self.space.from_key(state["current"])
        self.rounds = [
            Round(row["edges"], tuple(row["tried"]), tuple(row["scores"]), tuple(row["dropped"]))
            for row in state["rounds"]
        ]

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"walk": [self.k, self.drop, self.keep]}


@dataclass(frozen=True, kw_only=True)
class ShrinkSearcher(AskingSearcher):
    """Shrinks the complete graph of one problem.

    Under a target the walk ends as soon as what is left is predicted within it, and the most accurate graph asked about
    that is predicted within it is found; at a weight of latency it goes on, and the best score is found.

    Attributes:
        k: edges tried a round at most.
        keep: share of the edges at which the walk ends.
    """

    k: int = 10
    keep: float = 0.01

    def __post_init__(self) -> None:
        if self.k < 1 or not 0 <= self.keep < 1:
            raise UsageError(f"k={self.k}, keep={self.keep}; allowed: edges from 1, a share from 0, below 1")

    @property
    def accepts(self) -> frozenset[str]:
        """Return which settings it heeds: epochs are those of an answer that is trained."""
        return super().accepts | ({"epochs"} if self.schedule is None else set())

    def walk(self, problem: Problem) -> Shrink:
        """Return the walk of a problem, not begun."""
        return Shrink(problem, k=self.k, drop=2 if self.schedule else 1, keep=self.keep, **self.options)

    def __call__(self, problem: Problem) -> Found:
        """Walk, and return the best graph asked about.

        Raises:
            TargetError: no graph asked about is predicted within the target.
        """
        start, walk = perf_counter(), self.walk(problem)
        walk.train(problem.supernet or problem.checkpoint, problem.progress)
        limit_ms = walk.queries.limit_ms
        fitting = [query for query in walk.queries.known.values() if query.predicted_ms <= limit_ms]
        if not fitting:
            raise TargetError(
                f"none of {len(walk.queries.known)} graphs asked about is predicted within {limit_ms:.4g} ms; raise "
                "--queries, or ask for a higher target"
            )
        merits = [(walk.score(q) if problem.target_ms is None else walk.merit(q), -q.predicted_ms) for q in fitting]
        first = fitting[merits.index(max(merits))]
        known = tuple(walk.queries.known.values())
        seconds = max(walk.seconds, perf_counter() - start)
        return Found(
            first.architecture,
            effects(problem.space, known, problem.task.metric),
            Trace(),
            walk.passes,
            seconds,
            queries=known,
            begin=walk.begin,
        )


def complete(problem: Problem) -> Architecture:
    """Return the architecture of all edges."""
    sites = problem.space.sites
    return problem.space.architecture(1 - site.options.index("none") for site in sites)
