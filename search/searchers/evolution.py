"""Evolution: networks that are asked about become parents of the next.

A child is a crossover or a mutation, repaired by the space's rules; one predicted above the target is never asked
about (rejection, as in Once-for-All). Three ways to choose who stays:

============  ============================================================================================
``ageing``    the youngest stay; the parent is the best of a random few, mutated at one site
``best``      the best quarter are parents; half of the children by mutation, half by crossover
``nsga2``     accuracy and latency at once: by fronts, then by crowding; parents compete with children
============  ============================================================================================

References:
    Real et al., *Regularized evolution for image classifier architecture search*, arXiv:1802.01548 (ageing); Cai et
    al., *Once-for-All*, arXiv:1908.09791 (best); Deb et al., *A fast and elitist multiobjective genetic algorithm:
    NSGA-II*, IEEE TEVC 2002.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import Literal

import numpy as np

from ...errors import UnknownNameError, UsageError
from ...metric import ACCURACY, Metric
from ...spaces.architecture import Architecture
from ..method import Found, Problem
from ..need import ANY
from ..neighbourhood import crossed, mutated
from ..queries import Queries
from ..trace import Query

Survival = Literal["ageing", "best", "nsga2"]
SURVIVALS = ("ageing", "best", "nsga2")
_TRIES = 200  # children rejected in a row, before a random network takes the place of one
_PARENTS = 0.25


@dataclass(frozen=True)
class EvolutionSearcher:
    """Evolution as a searcher.

    Attributes:
        survival: who stays.
        queries: networks whose accuracy is asked for, where the problem does not say how many.
        population: networks alive; the first are random.
        tournament: how many compete to be a parent; for ``ageing`` and ``nsga2``.
        rate: Rate of mutation, a site; None for one change.
    """

    survival: Survival = "nsga2"
    queries: int = 100
    population: int = 20
    tournament: int = 2
    rate: float | None = 0.1

    accepts = frozenset({"accuracy", "queries"})
    needs = ANY

    def __post_init__(self) -> None:
        if self.survival not in SURVIVALS:
            raise UnknownNameError("survival", self.survival, SURVIVALS)
        if self.population < 2 or not 1 <= self.tournament <= self.population:
            raise UsageError(
                f"population={self.population}, tournament={self.tournament}; allowed: a population from 2, a "
                "tournament from 1 up to it"
            )

    def __call__(self, problem: Problem) -> Found:
        """Return the best network asked about."""
        start, queries = perf_counter(), Queries(problem, self.queries)
        self.ask(queries)
        return queries.found(perf_counter() - start)

    def ask(self, queries: Queries) -> None:
        """Use up the queries, or end where no network is left to ask about."""
        if self.survival == "nsga2":
            by_fronts([])  # what it needs is missed now, not after the first networks are trained
        rng = np.random.default_rng(queries.problem.seed)
        fresh = queries.draws(rng)
        queries.ask(islice(fresh, self.population))
        alive = list(queries.known.values())
        while queries.left and alive:
            children: list[Architecture] = []
            for _ in range(1 if self.survival == "ageing" else self.population):
                child = self._child(queries, alive, rng, children) or _stranger(queries, fresh, children)
                if child is None or len(children) == queries.left:
                    break
                children.append(child)
            if not children:
                break
            queries.ask(children)
            alive = self._survivors(queries, alive, [queries(child) for child in children])

    def _child(
        self, queries: Queries, alive: list[Query], rng: np.random.Generator, born: Sequence[Architecture]
    ) -> Architecture | None:
        """Return a child that may be asked about, or None where many in a row may not."""
        space, parent = queries.problem.space, self._choice(queries, alive, rng)
        for _ in range(_TRIES):
            one = parent()
            if self.survival == "ageing":
                child = mutated(space, one, rng)
            elif self.survival == "best":
                mutant = rng.random() < 0.5
                child = mutated(space, one, rng, rate=self.rate) if mutant else crossed(space, one, parent(), rng)
            else:
                child = mutated(space, crossed(space, one, parent(), rng), rng, rate=self.rate)
            child = queries.settled(child)
            if queries.may_ask(child, born):
                return child
        return None

    def _choice(self, queries: Queries, alive: list[Query], rng: np.random.Generator) -> Callable[[], Architecture]:
        """Return a function that chooses a parent."""
        order = (
            by_fronts(alive, queries.problem.task.metric)
            if self.survival == "nsga2"
            else sorted(alive, key=queries.merit, reverse=True)
        )
        parents = max(2, round(_PARENTS * len(order)))

        def choose() -> Architecture:
            if self.survival == "best":
                return order[int(rng.integers(min(parents, len(order))))].architecture
            rivals = rng.choice(len(order), min(self.tournament, len(order)), replace=False)
            return order[int(rivals.min())].architecture

        return choose

    def _survivors(self, queries: Queries, alive: list[Query], born: list[Query]) -> list[Query]:
        if self.survival == "ageing":
            return (alive + born)[-self.population :]
        if self.survival == "nsga2":
            return by_fronts(alive + born, queries.problem.task.metric)[: self.population]
        return sorted(alive + born, key=queries.merit, reverse=True)[: self.population]


def _stranger(queries: Queries, fresh: Iterator[Architecture], born: Sequence[Architecture]) -> Architecture | None:
    return next((each for each in fresh if queries.is_new(each, born)), None)


def by_fronts(queries: list[Query], metric: Metric = ACCURACY) -> list[Query]:
    """Return networks by fronts of their metric and latency, the least crowded of a front first.

    Raises:
        UsageError: pymoo is not installed, which sorts.
    """
    try:
        from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
        from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting
    except ImportError as error:
        raise UsageError("evolution sorts with pymoo: pip install 'tempograd[evolution]'") from error
    costs = np.array([[-metric.merit(query.score), query.predicted_ms] for query in queries])
    order: list[int] = []
    for front in NonDominatedSorting().do(costs) if queries else ():
        crowding = calc_crowding_distance(costs[front])
        order += [int(i) for i in front[np.argsort(-crowding, kind="stable")]]
    return [queries[i] for i in order]
