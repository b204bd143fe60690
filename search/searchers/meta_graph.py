"""The meta-graph: probabilities of edges that gather what is learnt, and a family of graphs pruned from them.

Each sweep draws a graph, asks for its score, accuracy less the logarithm of latency, and moves the probabilities by
how much better than usual that was, in units of the scores' usual spread. It ends when the graph of the likely edges
has not changed for some sweeps.

The meta-graph does not know the target. For one, edges are taken from the complete graph by rising probability until
the predicted latency of what is left is within the target. So targets share all answers, a smaller one is given a part
of what a larger one is given, and where that is measured above its target, the next smaller member of the family is
tried. A member that leaves room, as one edge more was too much, is repaired: the likeliest edges that fit come back.

References:
    Cheng et al., *SwiftNet*, arXiv:1906.08305 (node-wise search, meta-graph, Gibbs sampling, propagation, pruning in
    place of a width multiplier). The paper gives no rule for the update: it is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from math import inf, sqrt
from time import perf_counter
from typing import Any

import torch
from torch import nn

from ...errors import TargetError, UsageError
from ...spaces.architecture import Architecture
from ..deriver import as_scores
from ..laws.bernoulli import Bernoulli
from ..method import Found, Problem
from ..projection import prune
from ..repair import ROOM
from ..trace import Trace
from .asking import Asking, AskingSearcher
from .shrink import complete

_RATE = 0.05  # of the moving mean and spread of scores
_BELOW = 1 - 1e-9  # of a latency: what is strictly below it
_MEMBERS = 12  # of a family that may be measured for one target


class MetaGraph(Asking):
    """One meta-graph; :meth:`train` carries it on.

    Args:
        problem: whose space has edges.
        sweeps: at most.
        still: sweeps without a change of the likely edges after which it ends.
        eta, spread: Arguments of the law, :class:`.Bernoulli`.
        options: Options of :class:`Asking`.

    Attributes:
        law: the probabilities.
    """

    stage = "meta-graph"

    def __init__(self, problem: Problem, *, sweeps: int, still: int, eta: float, spread: float, **options: Any) -> None:
        super().__init__(problem, queries=sweeps, **options)
        self.sweeps, self.still = sweeps, still
        self.law = Bernoulli(self.space, eta=eta, spread=spread)
        self.mean, self.variance, self.unchanged = 0.0, 0.0, 0

    @property
    def left(self) -> int:
        return self.sweeps - self.rounds_done

    @property
    def finished(self) -> bool:
        return self.rounds_done >= self.sweeps or self.unchanged >= self.still or not self.queries.left

    def step(self) -> Mapping[str, float]:
        before, drawn = self.law.best(), self.law.sweep(self.generator)
        score = self.ask(drawn)
        self.law.learn(drawn, self.advantage(score))
        self.unchanged = self.unchanged + 1 if self.law.best() == before else 0
        return {"score": score, "entropy": float(self.law.entropy())}

    def advantage(self, score: float) -> float:
        """Return how much better than usual a score is, in units of their usual spread; 0 for the first."""
        if not self.rounds_done:
            self.mean = score
        apart = score - self.mean
        self.variance = apart**2 if self.rounds_done <= 1 else self.variance + _RATE * (apart**2 - self.variance)
        self.mean += _RATE * apart
        return apart / sqrt(self.variance) if self.variance else 0.0

    def family(self, target_ms: float) -> Iterator[Architecture]:
        """Yield graphs predicted within a target, each a part of the one before and faster, without any new answer.

        Raises:
            TargetError: even the graph without edges is predicted above it.
        """
        predict, limit_ms = self.problem.predict(), target_ms
        weights = dict(zip(self.law.names, self.law.weights.tolist(), strict=True))
        member = complete(self.problem)
        while True:
            try:
                member = prune(member, weights, self.space, lambda a: float(predict([a])[0]), limit_ms)
            except TargetError:
                if limit_ms == target_ms:
                    raise
                return
            yield member
            limit_ms = _BELOW * float(predict([member])[0])

    def moving(self) -> Mapping[str, nn.Module | torch.optim.Optimizer]:
        return {**super().moving(), "law": self.law}

    def state(self) -> dict[str, Any]:
        return super().state() | {"mean": self.mean, "variance": self.variance, "unchanged": self.unchanged}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.mean, self.variance = float(state["mean"]), float(state["variance"])
        self.unchanged = int(state["unchanged"])

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"meta-graph": [self.sweeps, self.still, self.law.eta, self.law.spread]}


@dataclass(frozen=True, kw_only=True)
class MetaGraphSearcher(AskingSearcher):
    """Learns a meta-graph, or takes it from its file, and prunes it to one problem's target.

    At a weight of latency, which is in the scores then, the graph of the likely edges is found.

    Attributes:
        sweeps: at most.
        still: sweeps without a change of the likely edges after which it ends.
        eta: step of the probabilities.
        spread: share of it that is passed on to edges that share a node.
    """

    sweeps: int = 300
    still: int = 50
    eta: float = 0.05
    spread: float = 0.25

    def __post_init__(self) -> None:
        if self.sweeps < 1 or self.still < 1:
            raise UsageError(f"sweeps={self.sweeps}, still={self.still}; allowed: both from 1")

    @property
    def accepts(self) -> frozenset[str]:
        """Return which settings it heeds: epochs are those of the supernet."""
        return super().accepts | (set() if self.schedule is None else {"epochs"})

    def graph(self, problem: Problem) -> MetaGraph:
        """Return the meta-graph of a problem, nothing learnt."""
        own = {"sweeps": self.sweeps, "still": self.still, "eta": self.eta, "spread": self.spread}
        return MetaGraph(problem, **own, **self.options)

    def __call__(self, problem: Problem) -> Found:
        """Learn and prune.

        Raises:
            TargetError: even the graph without edges is predicted above the target.
        """
        start, learnt = perf_counter(), self.graph(problem)
        learnt.train(problem.supernet or problem.checkpoint, problem.progress)
        target_ms = inf if problem.target_ms is None else problem.target_ms
        members = tuple(islice(learnt.family(target_ms), _MEMBERS)) if problem.lam is None else (learnt.law.best(),)
        seconds = max(learnt.seconds, perf_counter() - start)
        leaves_room = target_ms < inf and float(problem.predict()([members[0]])[0]) < (1 - ROOM) * target_ms
        return Found(
            members[0], as_scores(learnt.law.scores()), Trace(), learnt.passes, seconds,
            queries=tuple(learnt.queries.known.values()), candidates=() if leaves_room else members, begin=learnt.begin,
        )  # fmt: skip
