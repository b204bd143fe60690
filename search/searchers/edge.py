"""Networks at the edge of the target: those that use it are asked about, and what an option is worth is learnt there.

A target is used by larger networks than most that are drawn, so each is walked up to it, in a direction of its own. A
line learnt from the answers says what every option is worth where it counts; what is asked about next is where walks
along it end. Networks are compared by their loss, which tells more of few examples than the metric does, and what is
found is the best by the mean of its loss and of what the line says: the best of many answers owes something to luck.

What a network loses when it is cut tells less of it than what an epoch of training gives back. So the best few so far
learn for an epoch, as the one found will for all of them, and the best by its loss then is found.

References:
    Cai et al., *Once-for-All*, arXiv:1908.09791, section 3.3 (what networks with inherited weights are worth teaches a
    model, along which is searched).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from math import ceil, inf
from time import perf_counter
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import UsageError
from ...spaces.architecture import Architecture
from ...spaces.network import inherit
from ...spaces.space import SearchSpace
from ...tasks.task import Task
from ..deriver import Scores, network_scores
from ..evaluator import ByLoss, held_out
from ..method import Found, Problem
from ..need import ANY
from ..neighbourhood import descend, mutated, neighbours
from ..progress import silent
from ..queries import Queries
from ..repair import MARGIN
from ..trace import Query
from .one_shot import OneShot, OneShotSchedule

Worth = Callable[[Query], float]
"""What an answer is worth: the more the better."""

_CLIMB = 200  # steps of a walk
_BEST = 0.25  # share of those known from whose relatives walks start
_RATE = 0.2  # of sites of these that are drawn anew
_WALKS = 4  # for every network that is asked about
_FEW = 1024  # examples that an answer is of
_EXACT = 1e-3  # differences of loss below it are none


@dataclass(frozen=True)
class Edge:
    """Asks about networks that use the target.

    Attributes:
        queries: networks asked about, where the problem does not say how many.
        first: share of them that no answer had a part in.
        rounds: how often the line is learnt, for as many of the others each time.
    """

    queries: int = 80
    first: float = 0.5
    rounds: int = 4

    def ask(self, queries: Queries, worth: Worth) -> None:
        """Use up the queries, or end where no network is left to ask about."""
        space, rng = queries.problem.space, np.random.default_rng(queries.problem.seed)
        drawn = (self._walked(queries, start, _random(space, rng)) for start in self._starts(queries))
        first = max(2, round(self.first * queries.budget))
        queries.ask(islice(_new(queries, islice(drawn, _WALKS * first)), first))
        batch = ceil(queries.left / self.rounds)
        while queries.left and len(queries.known) >= 2:
            known = list(queries.known.values())
            scores, _ = line(space, known, worth)
            walks = (self._walked(queries, start, scores) for start in _relatives(space, known, worth, rng))
            near = (a for one in sorted(known, key=worth, reverse=True) for a in neighbours(space, one.architecture))
            pool = list(_new(queries, islice(walks, _WALKS * batch))) or list(islice(_new(queries, near), batch))
            if not pool:
                break
            order = np.argsort(-network_scores(scores, space, pool), kind="stable")
            queries.ask(pool[i] for i in order[:batch])

    def _starts(self, queries: Queries) -> Iterator[Architecture]:
        """Yield networks of one share of the options at every site, then random ones."""
        space = queries.problem.space
        most = max(space.widths)
        for number in range(most if not space.rules else 0):
            even = space.architecture(round(number / max(1, most - 1) * (width - 1)) for width in space.widths)
            if queries.may_ask(even):
                yield even
        yield from queries.draws(np.random.default_rng(queries.problem.seed))

    def _walked(self, queries: Queries, start: Architecture, scores: Scores) -> Architecture:
        """Return where walks down to the target, and up to it again, end."""
        space, predict, limit_ms = queries.problem.space, queries.problem.predict(), (1 - MARGIN) * queries.limit_ms
        if limit_ms == inf:
            return start
        down = islice(descend(space, start, predict, scores), _CLIMB)
        within = next((a for a, ms in down if ms <= limit_ms), start)
        *_, (end, _ms) = islice(descend(space, within, predict, scores, sign=-1, limit_ms=limit_ms), _CLIMB)
        return end


@dataclass(frozen=True)
class EdgeSearcher:
    """A supernet whose networks are asked about at the edge of the target; of those the best as far as can be told.

    Attributes:
        schedule: how the supernet is trained; without epochs its weights are those of a trained network.
        edge: how is asked.
        shortlist: networks that learn for an epoch before one of them is found; 1: the best is found as it is.
    """

    schedule: OneShotSchedule
    edge: Edge
    shortlist: int = 1

    needs = ANY
    gives_weights: ClassVar[bool] = True  # those of the trained network, where no supernet is trained

    @property
    def accepts(self) -> frozenset[str]:
        """Return which settings it heeds: a proxy and a file of a supernet only where one is trained."""
        heeded = frozenset({"epochs", "finalists", "queries"})
        return heeded | {"proxy", "supernet"} if self._trains else heeded

    @property
    def _trains(self) -> bool:
        return self.schedule.largest + self.schedule.epochs > 0

    def check(self, space: SearchSpace) -> None:
        """Refuse a space without trained weights where nothing is to be trained.

        Raises:
            UsageError: there is nothing to tell networks by.
        """
        if not self._trains and not getattr(space, "trained", False):
            raise UsageError(
                f"epochs=0 asks about parts of a trained network, and {space.spec} has no trained weights; give "
                "--epochs, a number from 1, or a space that tg.shrink made of a trained network"
            )

    def __call__(self, problem: Problem) -> Found:
        """Train the supernet, or take it from its file, and search its networks for this target."""
        start, proxy = perf_counter(), problem.proxy
        task = problem.task.fitted(proxy)
        shot = OneShot(proxy, task, self.schedule, seed=problem.seed, compute=problem.compute)
        kept = problem.supernet or problem.checkpoint
        supernet = shot.run(kept if self._trains else None, problem.progress)
        ask = ByLoss(proxy, supernet, task, seed=problem.seed, compute=problem.compute, few=_FEW)
        queries = Queries(problem, self.edge.queries, ask)
        queries.passes = shot.passes

        def worth(query: Query) -> float:
            return _worth(problem, query, ask.merit(query.architecture))

        self.edge.ask(queries, worth)
        found = queries.found(perf_counter() - start)
        scores, likely = line(problem.space, found.queries, worth)
        order = likely
        if not task.by_recipe:  # a task's own score is no loss on few examples
            order = np.array([worth(query) for query in found.queries])
        best = [found.queries[i] for i in np.argsort(-order, kind="stable")]
        begin = partial(inherit, supernet=supernet)
        learnt, passes = self._learnt(replace(problem, begin=begin), task, best)
        return replace(
            found, architecture=(learnt or best)[0].architecture, scores=scores, passes=found.passes + passes,
            candidates=tuple(query.architecture for query in learnt), repairable=bool(learnt), inherited=ask,
            begin=begin, seconds=perf_counter() - start, deployed=ask.deployed,
        )  # fmt: skip

    def _learnt(self, problem: Problem, task: Task, best: Sequence[Query]) -> tuple[list[Query], int]:
        """Return the first few, best first after an epoch of training, and the images of that.

        Where an epoch would tell nothing, or none is trained by the recipe, they stay as they are.

        Args:
            problem: knows how a network begins and is trained.
            task: fitted to its space.
            best: the best first.
        """
        begun = getattr(problem.space, "trained", False) or problem.training.start
        few = best[: self.shortlist] if self.shortlist > 1 else []
        if not (begun and task.by_recipe):  # an epoch from random weights tells nothing
            return list(few), 0
        full, quiet = problem.training, replace(problem, progress=silent)
        short = replace(full, epochs=1, warm_up=full.warm_up / full.epochs, validate=False, patience=0)
        worth, passes = list[float](), 0
        for query in few:
            trained = quiet.trained(query.architecture, task, short)
            _, loss = held_out(trained.network.to(problem.compute), task, problem.compute)
            worth.append(_worth(problem, query, -loss))
            passes += trained.passes
            problem.progress("shortlist", len(worth), len(few), {"loss": loss})
        return [few[i] for i in np.argsort(-np.array(worth), kind="stable")], passes


def line(space: SearchSpace, queries: Sequence[Query], worth: Worth) -> tuple[Scores, NDArray[np.float64]]:
    """Return what every option adds to what networks are worth, and what each of these is likely to be worth.

    Returns:
        ``(sites, K)`` in units of what they leave open, and ``(n,)`` the means of what was told and what the line says.
    """
    from sklearn.linear_model import RidgeCV

    told = np.array([worth(query) for query in queries])
    x = space.encode([query.architecture for query in queries], "raw")
    model = RidgeCV(np.logspace(-3, 3, 13)).fit(x, told)
    said = model.predict(x)
    left = max(float(np.std(said - told)), _EXACT)
    scores = np.zeros((len(space.sites), max(space.widths)))
    scores[np.arange(max(space.widths)) < np.array(space.widths)[:, None]] = np.asarray(model.coef_) / left
    return scores, (told + said) / 2


def _worth(problem: Problem, query: Query, merit: float) -> float:
    """Return a merit less the weight of latency, where that has one."""
    return merit - (problem.lam or 0.0) * query.predicted_ms / problem.reference_ms


def _relatives(
    space: SearchSpace, known: Sequence[Query], worth: Worth, rng: np.random.Generator
) -> Iterator[Architecture]:
    """Yield mutants of the best."""
    best = sorted(known, key=worth, reverse=True)[: max(2, round(_BEST * len(known)))]
    while True:
        yield mutated(space, best[int(rng.integers(len(best)))].architecture, rng, rate=_RATE)


def _random(space: SearchSpace, rng: np.random.Generator) -> Scores:
    return rng.normal(size=(len(space.sites), max(space.widths)))


def _new(queries: Queries, networks: Iterator[Architecture]) -> Iterator[Architecture]:
    """Yield networks that may be asked about, each once."""
    seen: list[Architecture] = []
    for network in networks:
        if queries.may_ask(network, seen):
            seen.append(network)
            yield network
