"""Searches that ask for accuracies in steps, kept in one file: each network by training, or all by one supernet.

Of two stages, the first trains the supernet where there is to be one, the second asks. A step is saved with every
answer known, so that one that is stopped goes on, and a search for another target goes on from the same file: neither
stage knows the target.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import nn

from ...errors import UsageError
from ...spaces.architecture import Architecture
from ...spaces.digest import identity_of
from ...spaces.network import inherit
from ...tasks.table import TableTask
from ..cost import PredictorCost
from ..evaluator import Inherited
from ..forms import MICROSECOND, Score
from ..method import Problem
from ..need import EDGES
from ..queries import Queries
from ..start import Begin
from ..trace import Query
from .checkpoint import Resumable
from .one_shot import OneShot, OneShotSchedule

_FEW = 512  # images that an answer of a supernet is of: hundreds of answers are averaged, or compared in a round


class Asking(Resumable):
    """A search that asks in steps.

    Args:
        problem: whose task answers.
        queries: different networks that may be asked about, where the problem does not say how many.
        weight: Weight of the logarithm of latency in the score, where the problem does not say: its ``lam``.
        epochs: for which a network is trained that is asked about, at most.
        patience: epochs without a better one after which such a training ends, and its best epoch counts; 0 for as the
            problem's training says.
        schedule: Schedule of the supernet that answers in place of trainings; None for none. A table needs neither.

    Attributes:
        queries: what was asked.
        evaluations: how often it was asked, known networks too.
        seconds: wall time, also that of before an interruption.
    """

    kind = "record"
    later = frozenset({"images", "recipe"})

    def __init__(
        self, problem: Problem, *, queries: int, weight: float, epochs: int, patience: int,
        schedule: OneShotSchedule | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.problem, self.space, self.epochs = problem, problem.space, epochs
        self.patience = patience if patience < epochs else 0  # too late to end anything
        self.form = Score(weight if problem.lam is None else problem.lam, MICROSECOND)
        self.generator = torch.Generator().manual_seed(problem.seed)
        self.shot: OneShot | None = None
        ask = None
        if schedule is None and problem.proxy != problem.space:
            raise UsageError(f"proxy {problem.proxy.spec}: no supernet is trained; leave it out, or say shared=true")
        if schedule is not None and not isinstance(problem.task, TableTask):
            task = problem.task.fitted(problem.proxy)
            self.shot = OneShot(problem.proxy, task, schedule, seed=problem.seed, compute=problem.compute)
            self.shot.generator = self.generator
            supernet = self.shot.supernet
            ask = Inherited(problem.proxy, supernet, task, seed=problem.seed, compute=problem.compute, few=_FEW)
        training = problem.training
        training = replace(training, epochs=epochs, patience=self.patience or training.patience)
        brief = replace(problem, training=training)
        self.queries, self.rounds_done, self.evaluations, self.seconds = Queries(brief, queries, ask), 0, 0, 0.0

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Return whether nothing is left to ask."""

    @property
    @abstractmethod
    def left(self) -> int:
        """Return how many steps may be left at most."""

    @abstractmethod
    def step(self) -> Mapping[str, float]:
        """Ask what is asked at a time; return numbers that tell how it went."""

    @property
    def done(self) -> int:
        """Return the number of the supernet's epochs and of steps."""
        return self.rounds_done + (self.shot.done if self.shot else 0)

    @property
    def total(self) -> int:
        """Return the number of both in all, as far as can be told."""
        waiting = self.shot.total - self.shot.done if self.shot else 0
        return self.done + waiting + (0 if self.finished and not waiting else self.left)

    @property
    def told(self) -> tuple[str, int, int]:
        """Return the supernet's epochs until a step is done, then the steps by themselves."""
        if self.shot and not self.rounds_done:
            return self.shot.told
        before = self.shot.total if self.shot else 0
        return self.stage, self.rounds_done, self.total - before

    def advance(self) -> Mapping[str, float]:
        start = perf_counter()
        if self.shot and self.shot.done < self.shot.total:
            numbers = self.shot.advance()
        else:
            if self.shot:
                self.shot.supernet.eval()
            numbers = self.step()
            self.rounds_done += 1
        self.seconds += perf_counter() - start
        return numbers

    def may_ask(self, architecture: Architecture) -> bool:
        """Return whether an answer is known or the budget has room for it."""
        return architecture in self.queries.known or self.queries.left > 0

    def ask(self, architecture: Architecture) -> float:
        """Return the score of a network: accuracy, less the logarithm of its predicted latency."""
        self.evaluations += 1
        return self.score(self.queries(architecture))

    def score(self, query: Query) -> float:
        """Return the score of an answer."""
        return self.form.value(self.merit(query), query.predicted_ms)

    def merit(self, query: Query) -> float:
        """Return what an answer is worth by the task's metric, without latency."""
        return self.problem.task.metric.merit(query.score)

    @property
    def passes(self) -> int:
        """Return the images that went through a network."""
        return self.queries.passes + (self.shot.passes if self.shot else 0)

    @property
    def begin(self) -> Begin | None:
        """Return what gives a network the supernet's weights; None where each answer is a training."""
        return partial(inherit, supernet=self.shot.supernet) if self.shot else None

    def moving(self) -> Mapping[str, nn.Module | torch.optim.Optimizer]:
        return self.shot.moving() if self.shot else {}

    def state(self) -> dict[str, Any]:
        known = [[query.architecture.key, query.predicted_ms, query.score] for query in self.queries.known.values()]
        supernet = self.shot.state() if self.shot else None
        return {
            "known": known, "passes": self.queries.passes, "evaluations": self.evaluations, "steps": self.rounds_done,
            "seconds": self.seconds, "supernet": supernet,
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        for key, predicted_ms, score in state["known"]:
            architecture = self.space.from_key(key)
            self.queries.known[architecture] = Query(architecture, predicted_ms, score)
        self.queries.passes, self.evaluations = int(state["passes"]), int(state["evaluations"])
        self.rounds_done, self.seconds = int(state["steps"]), float(state["seconds"])
        if self.shot:
            self.shot.restore(state["supernet"])

    def identity(self) -> dict[str, Any]:
        problem, cost = self.problem, self.problem.price.as_cost(PredictorCost)
        task = problem.task
        images = None if isinstance(task, TableTask) else [len(task.weights), len(task.law)]
        recipe = None if images is None or self.shot else self.queries.problem.training.identity()
        return {
            "space": identity_of(self.space), "task": problem.task.name, "seed": problem.seed, "score": self.form.lam,
            "epochs": self.epochs, "batch": problem.training.batch, "cost": cost.identity(),
            "supernet": self.shot.identity() if self.shot else None,
            "images": images, "recipe": recipe,
        } | ({"patience": self.patience} if self.patience else {})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class AskingSearcher:
    """How a searcher over edges asks, whatever it makes of the answers.

    Attributes:
        weight: Weight of the logarithm of latency in the score, under a target.
        epochs: for which a network is trained that is asked about, at most.
        patience: epochs without a better one after which such a training ends; 0 for as the search's recipe says.
        schedule: Schedule of the supernet that answers in place of trainings; None for none.
    """

    weight: float = 0.1
    epochs: int = 5
    patience: int = 0
    schedule: OneShotSchedule | None = None

    needs = EDGES

    @property
    def accepts(self) -> frozenset[str]:
        """Return which settings it heeds: a smaller space only where a supernet is trained; epochs are a subclass's."""
        return frozenset({"queries", "supernet"} | ({"proxy"} if self.schedule else set()))

    @property
    def options(self) -> dict[str, Any]:
        """Return what :class:`Asking` takes of them."""
        return {
            "weight": self.weight, "epochs": self.epochs, "patience": self.patience, "schedule": self.schedule,
        }  # fmt: skip
