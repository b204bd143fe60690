"""Accuracies that a search pays for: a query trains a network or looks into a table, and a budget counts them.

Asking again about a known network costs nothing and tells nothing new, and under another name it is not asked about.
What was asked, in which order, is the trace.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from math import inf

import numpy as np

from ..errors import TargetError, UsageError
from ..spaces.architecture import Architecture
from ..spaces.canonical import network_names
from ..tasks.table import TableTask
from .evaluator import train
from .front import pick
from .method import Found, Problem
from .neighbourhood import within
from .trace import Query, Trace

Ask = Callable[[Sequence[Architecture]], Iterable[float]]
"""Gives the scores of networks, in order."""

ENUMERABLE = 20_000  # networks of a space that is gone through as a whole
_DRAWN = 2000  # of a larger one, looked at for the fastest


class Queries:
    """Accuracies of one problem, asked at most so often.

    Args:
        problem: whose task answers: images by training from scratch, a table by its number.
        default: the budget where the problem states none.
        ask: how accuracies of several networks are had, in order, where not as the task says.

    Attributes:
        budget: different networks that may be asked about.
        known: the answers, in order.
        passes: images that went forward and backward through a network.
    """

    def __init__(self, problem: Problem, default: int, ask: Ask | None = None) -> None:
        self.problem, self.budget = problem, default if problem.queries is None else problem.queries
        self.known: dict[Architecture, Query] = {}
        self.passes = 0
        self._names: dict[Architecture, int] = {}
        self._asked: set[int] = set()
        self._named = 0  # the first so many of those known are among them
        self._predict = problem.predict()
        self._ask = ask or self._by_task()

    @property
    def left(self) -> int:
        """Return how many networks may still be asked about."""
        return self.budget - len(self.known)

    def __call__(self, architecture: Architecture) -> Query:
        """Return an architecture's accuracy.

        Raises:
            UsageError: the budget is used up, or a table lacks the architecture.
        """
        if architecture not in self.known:
            if not self.left:
                raise UsageError(f"accuracy asked of a network more than the budget of {self.budget}; raise --queries")
            self.ask([architecture])
        return self.known[architecture]

    def ask(self, architectures: Iterable[Architecture]) -> None:
        """Ask about those of some architectures that are not known, together, as far as the budget goes."""
        new: dict[Architecture, None] = {}
        for architecture in architectures:
            if len(new) == self.left:
                break
            if architecture not in self.known:
                new[architecture] = None
        if not new:
            return
        predicted_ms = self._predict(list(new)).tolist()
        for architecture, ms, score in zip(new, predicted_ms, self._ask(list(new)), strict=True):
            self.known[architecture] = Query(architecture, ms, score)
            self.problem.progress("queries", len(self.known), self.budget, {"validation_score": score})

    def merit(self, query: Query) -> float:
        """Return what the search wants most of: merit by the metric, less the weight of latency where that has one."""
        lam = self.problem.lam or 0.0
        return self.problem.task.metric.merit(query.score) - lam * query.predicted_ms / self.problem.reference_ms

    def found(self, seconds: float) -> Found:
        """Return the best network predicted within the target, and all as candidates, best first.

        Raises:
            TargetError: nothing was asked, because no network is predicted within the target.
        """
        if not self.known:
            raise TargetError(
                f"no network is predicted within {self.limit_ms:.4g} ms; the fastest found is predicted at "
                f"{self._least_ms():.4g} ms, ask for at least that"
            )
        space = self.problem.space
        ranked = sorted(self.known.values(), key=self.merit, reverse=True)
        merits, predicted_ms = [self.merit(query) for query in ranked], [query.predicted_ms for query in ranked]
        first = ranked[pick(merits, predicted_ms, self.limit_ms) if min(predicted_ms) <= self.limit_ms else 0]
        scores = np.zeros((len(space.sites), max(space.widths)))  # no law: repair only looks at savings
        return Found(
            first.architecture, scores, Trace(), self.passes, seconds,
            queries=tuple(self.known.values()), candidates=tuple(query.architecture for query in ranked),
        )  # fmt: skip

    @property
    def limit_ms(self) -> float:
        """Return the predicted latency allowed."""
        return inf if self.problem.target_ms is None else self.problem.target_ms

    def settled(self, architecture: Architecture) -> Architecture:
        """Return the network that is asked about where a search comes to an architecture."""
        return architecture

    def members(self) -> list[Architecture] | None:
        """Return all networks there are, where that can be gone through: a table's, or those of a small space."""
        if isinstance(self.problem.task, TableTask):
            return list(self.problem.task.accuracies)
        small = 10**self.problem.space.size_log10 <= ENUMERABLE
        return list(self.problem.space.enumerate()) if small else None

    def draws(self, rng: np.random.Generator) -> Iterator[Architecture]:
        """Yield different random networks predicted within the target, until there are no more."""
        space = self.problem.space
        if isinstance(self.problem.task, TableTask):
            members = list(self.problem.task.accuracies)
            predicted = self._predict(members)
            for i in rng.permutation(len(members)):
                if predicted[i] <= self.limit_ms and space.is_connected(members[i]):
                    yield members[i]
        else:
            drawn: set[int] = set()
            for architecture, _ in within(space, self._predict, self.limit_ms, rng):
                if self._name(architecture) not in drawn:
                    drawn.add(self._name(architecture))
                    yield architecture

    def _least_ms(self) -> float:
        """Return the least predicted latency of a network that connects input and output."""
        space = self.problem.space
        drawn = self.members() or space.sample(_DRAWN, np.random.default_rng(self.problem.seed))
        return float(min(self._predict([a for a in drawn if space.is_connected(a)]), default=inf))

    def may_ask(self, architecture: Architecture, besides: Collection[Architecture] = ()) -> bool:
        """Return whether a network is new, see `is_new`, there, connected and predicted within the target."""
        task = self.problem.task
        return (
            architecture not in self.known
            and (not isinstance(task, TableTask) or architecture in task.accuracies)
            and self.problem.space.is_connected(architecture)
            and float(self._predict([architecture])[0]) <= self.limit_ms
            and self.is_new(architecture, besides)
        )

    def is_new(self, architecture: Architecture, besides: Collection[Architecture] = ()) -> bool:
        """Return whether no name of a network was asked about, nor is about to be; in a table each name has a number.

        Args:
            architecture: one name of the network.
            besides: architectures that are about to be asked about.
        """
        if architecture in self.known or architecture in besides:
            return False
        if isinstance(self.problem.task, TableTask):
            return True
        self._asked.update(self._name(one) for one in islice(self.known, self._named, None))
        self._named = len(self.known)
        name = self._name(architecture)
        return name not in self._asked and all(name != self._name(one) for one in besides)

    def _name(self, architecture: Architecture) -> int:
        """Return what all architectures that are one network share."""
        if architecture not in self._names:
            space = self.problem.space
            sites = [site.name for site in space.sites]
            self._names[architecture] = int(network_names(space.graph, sites, space.choices([architecture]))[0])
        return self._names[architecture]

    def _by_task(self) -> Ask:
        """Return how the problem's accuracies are had: by a model, in a table, or by training."""
        predicted, task = self.problem.accuracy, self.problem.task
        if predicted is not None:
            return lambda architectures: predicted.predict(architectures).tolist()
        return self._in_table(task) if isinstance(task, TableTask) else self._by_training()

    def _in_table(self, task: TableTask) -> Ask:
        def ask(architecture: Architecture) -> float:
            if architecture not in task.accuracies:
                raise UsageError(f"{task.name} lacks {architecture.key}; search among the table's networks")
            return task.accuracies[architecture]

        return partial(map, ask)

    def _by_training(self) -> Ask:
        problem = self.problem
        task = problem.task.fitted(problem.space)

        def ask(architecture: Architecture) -> float:
            trained = train(
                architecture, problem.space, task, problem.training, seed=problem.seed, compute=problem.compute,
                folder=problem.trainings,
            )  # fmt: skip
            self.passes += trained.passes
            return trained.validation_score

        return partial(map, ask)
