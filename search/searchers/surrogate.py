"""Surrogate search: the accuracies asked for teach a model that says where to ask next.

A Gaussian process on features of the network's graph learns the accuracies (their ranks, as normal scores: one bad
network must not set the scale). The networks asked about next have the largest *expected improvement* on the best one
known, times the *chance to be within it*, which is read off the latency predictor's residuals.
Networks more likely above the target than within it are left out: tried with smaller chances, the best of them were
asked about, were above it together, and had used up the queries.

References:
    Jones et al., *Efficient global optimization*, 1998 (expected improvement); Gardner et al., *Bayesian optimization
    with inequality constraints*, ICML 2014; White et al., *BANANAS*, arXiv:1910.11858 (features of the graph, mutants
    of the best as candidates); Salinas et al., *A quantile-based approach for hyperparameter transfer learning*, ICML
    2020 (normal scores).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import islice
from math import ceil
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from ...errors import UsageError
from ...spaces.architecture import Architecture
from ...spaces.space import SearchSpace
from ...tasks.table import TableTask
from ..method import Found, Problem
from ..need import ANY
from ..neighbourhood import mutated, neighbours
from ..queries import Queries

LIKELY = 0.5  # chance to be within the target, below which a network is not looked at
_BEST, _MUTANTS, _RANDOM = 10, 20, 200  # of a space too large to go through: whose relatives are looked at, and others


@dataclass(frozen=True)
class SurrogateSearcher:
    """Bayesian optimisation over architectures.

    Attributes:
        queries: networks whose accuracy is asked for, where the problem does not say how many.
        first: share of them that are random.
        rounds: how often the model is learnt, for as many of the others each time.
    """

    queries: int = 100
    first: float = 0.2
    rounds: int = 8

    accepts = frozenset({"accuracy", "queries"})
    needs = ANY

    def __post_init__(self) -> None:
        if not 0 < self.first < 1 or self.rounds < 1:
            raise UsageError(
                f"first={self.first}, rounds={self.rounds}; allowed: a share between 0 and 1, rounds from 1"
            )

    def __call__(self, problem: Problem) -> Found:
        """Return the best network asked about."""
        start, rng, queries = perf_counter(), np.random.default_rng(problem.seed), Queries(problem, self.queries)
        queries.ask(islice(queries.draws(rng), max(2, round(self.first * queries.budget))))
        batch = ceil(queries.left / self.rounds)
        members, model = queries.members(), _Surrogate(problem)
        while queries.left and len(queries.known) >= 2:
            pool = self._pool(problem, queries, members, rng)
            if not pool:
                break
            order = np.argsort(-model.gain(queries, pool), kind="stable")
            chosen = (pool[i] for i in order if problem.space.is_connected(pool[i]))
            left = queries.left
            queries.ask(islice(chosen, batch))
            if queries.left == left:
                break  # nothing connects input and output any more
        return queries.found(perf_counter() - start)

    def _pool(
        self, problem: Problem, queries: Queries, members: list[Architecture] | None, rng: np.random.Generator
    ) -> list[Architecture]:
        """Return networks that might be asked about next: all, or relatives of the best and random ones."""
        if members is None:
            space = problem.space
            ranked = sorted(queries.known.values(), key=queries.merit, reverse=True)[:_BEST]
            near = [child for query in ranked[:2] for child in neighbours(space, query.architecture)]
            near += [mutated(space, q.architecture, rng, rate=0.1) for q in ranked for _ in range(_MUTANTS)]
            members = [*dict.fromkeys([*near, *islice(queries.draws(rng), _RANDOM)])]
        chance = problem.chance(problem.predict()(members))
        pool = [a for a, p in zip(members, chance, strict=True) if p >= LIKELY and a not in queries.known]
        return pool if isinstance(problem.task, TableTask) else _once_each(problem.space, list(queries.known), pool)


def _once_each(space: SearchSpace, known: list[Architecture], pool: list[Architecture]) -> list[Architecture]:
    """Return one architecture for every network of a pool that is not known, under whatever name.

    Trained again it would say what it said before; the model, which takes answers for noisy, would ask all the same.
    """
    groups = space.groups([*known, *pool]).tolist()
    first: dict[int, Architecture] = {}
    for group, architecture in zip(groups[len(known) :], pool, strict=True):
        first.setdefault(group, architecture)
    return [architecture for group, architecture in first.items() if group not in groups[: len(known)]]


class _Surrogate:
    """What the accuracies known say of the others."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        space = problem.space
        self.encoding = "compiled" if space.has_cells else space.sparing_encoding.name

    def gain(self, queries: Queries, pool: list[Architecture]) -> NDArray[np.float64]:
        """Return ``(n,)``: expected improvement of the normal score, times the chance to be within the target."""
        known, problem = list(queries.known.values()), self.problem
        merit = np.array([queries.merit(query) for query in known])
        score = norm.ppf(rankdata(merit) / (len(merit) + 1))
        mean, sd = self._posterior([query.architecture for query in known], score, pool)
        z = (mean - score.max()) / np.maximum(sd, 1e-9)
        expected = sd * (z * norm.cdf(z) + norm.pdf(z))
        return expected * problem.chance(problem.predict()(pool))

    def _posterior(
        self, known: list[Architecture], score: NDArray[np.float64], pool: list[Architecture]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        X = self.problem.space.encode([*known, *pool], self.encoding).astype(float)
        spread = X[: len(known)].std(axis=0)
        Z = (X[:, spread > 0] - X[: len(known), spread > 0].mean(axis=0)) / spread[spread > 0]
        if not Z.shape[1]:
            return np.zeros(len(pool)), np.ones(len(pool))  # networks that no feature tells apart
        usual = Z.shape[1] ** 0.5  # distance of two networks, give or take
        kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(usual, (usual / 20, usual * 20), nu=2.5)
        model = GaussianProcessRegressor(kernel + WhiteKernel(0.1, (1e-3, 1.0)), normalize_y=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a rate at its bound is as good as any beyond
            model.fit(Z[: len(known)], score)
        mean, sd = model.predict(Z[len(known) :], return_std=True)[:2]
        return np.asarray(mean, float), np.asarray(sd, float)
