"""Gradient search: a law, a supernet, a cost and its form, put together for one problem.

References:
    Liu et al., *DARTS*, arXiv:1806.09055.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Protocol

import torch
from torch import nn

from ...errors import UsageError
from ...spaces.network import inherit
from ...spaces.space import SearchSpace
from ...tasks.predicted import PredictedTask
from ..cost import CostModel, PredictorCost
from ..deriver import Deriver, as_scores, derive
from ..evaluator import Inherited
from ..forms import Form
from ..law import Fixed, Law, Product
from ..method import Found, Problem
from ..need import ANY, Need
from ..objective import CostTerm, Objective
from ..regularisers import Distillation, Regulariser
from ..steps import seeded
from .alternation import Alternation, Schedule, check_learns
from .predicted import Surrogate, asked_again


class LawFactory(Protocol):
    """Makes a law for a space, its first parameters drawn by a generator."""

    def __call__(self, space: SearchSpace, generator: torch.Generator) -> Law: ...


@dataclass(frozen=True)
class GradientSearcher:
    """Puts the pieces together for one problem.

    Attributes:
        law: makes the law.
        weighted: makes the form from ``(lam, reference_ms)``, where latency has a weight; None: it cannot.
        targeted: makes the form from ``target_ms``, where it has a target.
        schedule: how weights and law take turns.
        cost: makes the cost from ``(module, space, encoding)``, where the problem has a predictor.
        regularisers: each makes one for a space.
        weighed: more of them, where latency has a weight: under a target, they would pull away from it.
        distillation: what paths learn from their mixture.
        warm_up: makes the law of weight steps in warm-up, if another.
        deriver: how an architecture is made of the law.
    """

    law: LawFactory
    weighted: Callable[[float, float], Form] | None
    targeted: Callable[[float], Form]
    schedule: Schedule
    cost: Callable[[nn.Module, SearchSpace, str | None], CostModel] = PredictorCost
    regularisers: tuple[Callable[[SearchSpace], Regulariser], ...] = ()
    weighed: tuple[Callable[[SearchSpace], Regulariser], ...] = ()
    distillation: Distillation | None = None
    warm_up: LawFactory | None = None
    deriver: Deriver = derive

    accepts = frozenset({"accuracy", "epochs", "finalists", "proxy"})

    @property
    def needs(self) -> Need:
        """Return what its laws need of a space."""
        return _needs_of(self.law) & _needs_of(self.warm_up)

    def check(self, space: SearchSpace) -> None:
        """Raise UsageError if the law does not fit the space, or has no epoch to learn in."""
        check_learns(self.law(space, torch.Generator()), self.schedule)

    def __call__(self, problem: Problem) -> Found:
        """Search and derive."""
        law = _over(self.law, problem, torch.Generator().manual_seed(problem.seed))
        if problem.accuracy is not None:
            return self._predicted(problem, problem.accuracy, law)
        with seeded(problem.seed):
            supernet = problem.proxy.supernet()
        task = problem.task.fitted(problem.proxy)
        objective = Objective(
            CostTerm(problem.price.as_cost(self.cost), self.form(problem)),
            self._regularisers(problem),
            self.distillation,
        )
        run = Alternation(
            law,
            supernet,
            task,
            objective,
            problem.space,
            self.schedule,
            seed=problem.seed,
            compute=problem.compute,
            warm_up=None if self.warm_up is None else _over(self.warm_up, problem, torch.Generator()),
            deriver=self.deriver,
        )
        if problem.stage is not None:
            run.carried = problem.stage.carried
        begins = problem.stage is not None and problem.stage.begins
        trace = run.run(problem.checkpoint, problem.progress, begins=begins)
        seconds = sum(epoch.seconds for epoch in trace.epochs)  # those before an interruption count too
        inherited = None
        if problem.proxy.elastic:  # other supernets do not rank networks
            inherited = Inherited(problem.proxy, supernet, task, seed=problem.seed, compute=problem.compute)
        return Found(
            run.derived(),
            as_scores(law.scores()),
            trace,
            run.passes,
            seconds,
            feed=getattr(objective.term.model, "feed", None),
            inherited=inherited,
            begin=partial(inherit, supernet=supernet),
        )

    def _predicted(self, problem: Problem, task: PredictedTask, law: Law) -> Found:
        """Search by predicted accuracy, with no supernet: only the law moves."""
        start = perf_counter()
        run = Alternation(
            law,
            Surrogate(task, problem.seed),
            task,
            Objective(
                CostTerm(problem.price.as_cost(self.cost), self.form(problem)),
                self._regularisers(problem),
            ),
            problem.space,
            replace(self.schedule, warm_up=0.0, law_only=True, law_every=1, second_order=False, drop_skips=0.0),
            seed=problem.seed,
            deriver=self.deriver,
        )
        trace = run.run(problem.checkpoint, problem.progress)
        scores = as_scores(law.scores())
        corrected = asked_again(problem, task, scores, run.derived())
        candidates, feed = tuple(corrected(1.0)), getattr(run.term.model, "feed", None)
        return Found(
            candidates[0], scores, trace, 0, perf_counter() - start, feed=feed, candidates=candidates,
            corrected=corrected,
        )  # fmt: skip

    def _regularisers(self, problem: Problem) -> tuple[Regulariser, ...]:
        made = self.regularisers + (self.weighed if problem.target_ms is None else ())
        return tuple(regulariser(problem.searched) for regulariser in made)

    def form(self, problem: Problem) -> Form:
        """Return how the cost enters the loss of a problem.

        Raises:
            UsageError: latency has a weight, and the method needs a target.
        """
        if problem.target_ms is not None:
            return self.targeted(problem.target_ms)
        if self.weighted is None:
            raise UsageError("this method holds a target and knows no weight of latency; give --target-ms, not --lam")
        return self.weighted(problem.lam or 0.0, problem.reference_ms)


def _over(make: LawFactory, problem: Problem, generator: torch.Generator) -> Law:
    """Return a law over what is searched; what is given stands beside it."""
    law = make(problem.searched, generator)
    return Product(problem.space, [law, Fixed(problem.space, problem.given)]) if problem.given else law


def _needs_of(make: LawFactory | None) -> Need:
    """Return what a law needs, told by its class; of any other factory it is told when the law is made."""
    while isinstance(make, partial):
        make = make.func
    return make.needs if isinstance(make, type) and issubclass(make, Law) else ANY
