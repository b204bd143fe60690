"""Surrogate search: the accuracies asked for teach a model that says where to ask next.

A Gaussian process on features of the network's graph learns the accuracies (their ranks, as normal scores: one bad
network must not set the scale). The networks asked about next have the largest *expected improvement* on the best that
is likely within the target, times the *chance to be within it*, which is read off the latency predictor's residuals.
So a network near the target is not lost to a predictor's interval, and one far above it is never asked about.

References:
    Jones et al., *Efficient global optimization*, 1998 (expected improvement); Gardner et al., *Bayesian optimization
    with inequality constraints*, ICML 2014; White et al., *BANANAS*, arXiv:1910.11858 (features of the graph, candidates
    by mutation of the best); Salinas et al., *A quantile-based approach for hyperparameter transfer learning*, ICML
    2020 (normal scores).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from ...errors import UsageError
from ...spaces.architecture import Architecture
from ..deriver import is_connected
from ..method import Found, Problem
from ..moves import mutated, neighbours
from ..queries import Queries

LEAST_CHANCE = 0.02  # to be within the target, below which a network is not looked at
LIKELY = 0.5  # chance from which a network known is one to improve on
_BEST, _MUTANTS, _RANDOM = 10, 40, 500  # of a space too large to go through: whose relatives are looked at, and others


@dataclass(frozen=True)
class SurrogateSearcher:
    """Bayesian optimisation over architectures.

    Attributes:
        queries: networks whose accuracy is asked for, where the problem does not say how many.
        first: of them random.
        batch: asked about before the model is learnt anew.
    """

    queries: int = 100
    first: int = 20
    batch: int = 5

    def __post_init__(self) -> None:
        if self.first < 2 or self.batch < 1:
            raise UsageError(f"first={self.first}, batch={self.batch}; allowed: first from 2, batch from 1")

    def __call__(self, problem: Problem) -> Found:
        """Return the best network asked about."""
        start, rng, queries = perf_counter(), np.random.default_rng(problem.seed), Queries(problem, self.queries)
        queries.ask(islice(queries.draws(rng), self.first))
        members, model = queries.members(), _Surrogate(problem)
        while queries.left and len(queries.known) >= 2:
            pool = self._pool(problem, queries, members, rng)
            order = np.argsort(-model.gain(queries, pool), kind="stable")
            chosen = (pool[i] for i in order if is_connected(problem.space, pool[i]))
            before = len(queries.known)
            queries.ask(islice(chosen, self.batch))
            if len(queries.known) == before:
                break
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
        return [a for a, p in zip(members, chance, strict=True) if p >= LEAST_CHANCE and a not in queries.known]


class _Surrogate:
    """The model of one search; hyperparameters are gone on from."""

    def __init__(self, problem: Problem) -> None:
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        space = problem.space
        self.problem = problem
        self.encoding = "compiled" if "compiled" in space.graph_encodings else "counts"
        self.kernel: Any = None
        self._matern = lambda d: (
            ConstantKernel(1.0, (1e-2, 1e2)) * Matern(d**0.5, (d**0.5 / 20, d**0.5 * 20), nu=2.5)
            + WhiteKernel(0.1, (1e-3, 1.0))
        )

    def gain(self, queries: Queries, pool: list[Architecture]) -> NDArray[np.float64]:
        """Return ``(n,)``: expected improvement of the normal score, times the chance to be within the target."""
        known, problem = list(queries.known.values()), self.problem
        merit = np.array([queries.merit(query) for query in known])
        chance_known = problem.chance(np.array([query.predicted_ms for query in known]))
        score = norm.ppf(rankdata(merit) / (len(merit) + 1))
        likely = chance_known >= LIKELY
        best = score[likely].max() if likely.any() else score.min()
        mean, sd = self._posterior([query.architecture for query in known], score, pool)
        z = (mean - best) / np.maximum(sd, 1e-9)
        expected = sd * (z * norm.cdf(z) + norm.pdf(z))
        return expected * problem.chance(problem.predict()(pool))

    def _posterior(
        self, known: list[Architecture], score: NDArray[np.float64], pool: list[Architecture]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor

        X = self.problem.space.encode([*known, *pool], self.encoding).astype(float)
        spread = X[: len(known)].std(axis=0)
        Z = (X[:, spread > 0] - X[: len(known), spread > 0].mean(axis=0)) / spread[spread > 0]
        if not Z.shape[1]:
            return np.zeros(len(pool)), np.ones(len(pool))  # networks that no feature tells apart
        model = GaussianProcessRegressor(self._matern(Z.shape[1]), normalize_y=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a rate at its bound is as good as any beyond
            model.fit(Z[: len(known)], score)
        mean, sd = model.predict(Z[len(known) :], return_std=True)[:2]
        return np.asarray(mean), np.asarray(sd)
