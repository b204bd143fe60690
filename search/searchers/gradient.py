"""Gradient search: weight steps and law steps in turn, first order.

A weight step moves the supernet's weights on the ``weights`` part and leaves the law bit-identical; a law step moves
the law on the ``law`` part and leaves every weight and BatchNorm statistic bit-identical.

References:
    Liu et al., *DARTS*, arXiv:1806.09055 (first-order alternation).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from time import perf_counter
from typing import Protocol

import torch
from torch import Tensor, nn

from ...spaces.space import SearchSpace
from ..deriver import as_scores, derive
from ..evaluator import cosine, seeded, set_rate, step
from ..law import Gates, Law
from ..method import Found, Problem
from ..objective import CostTerm, Form, PredictorCost
from ..progress import Progress, silent
from ..task import Task
from ..trace import Epoch, Trace
from .checkpoint import load_state, save_state

_GAP_DRAWS = 64  # architectures behind an epoch's cost_sampled_ms


@dataclass(frozen=True)
class Schedule:
    """How weights and law take turns.

    Attributes:
        epochs: in all, ``warm_up`` of them with weight steps only.
        batch: images a step.
        weights_rate, weights_rate_last: learning rate of SGD, along a cosine.
        weights_momentum, weights_decay, clip: of SGD.
        law_rate, law_betas, law_decay: of Adam. DARTS' 3e-4 is for 50 epochs of CIFAR-10; small data need more.
        tau_first, tau_last: temperature of the draws, falling geometrically over the epochs.
    """

    epochs: int = 15
    warm_up: int = 3
    batch: int = 64
    weights_rate: float = 0.025
    weights_rate_last: float = 0.001
    weights_momentum: float = 0.9
    weights_decay: float = 3e-4
    clip: float = 5.0
    law_rate: float = 0.03
    law_betas: tuple[float, float] = (0.5, 0.999)
    law_decay: float = 1e-3
    tau_first: float = 1.0
    tau_last: float = 1.0

    def tau(self, epoch: int) -> float:
        """Return the temperature of an epoch."""
        share = epoch / max(1, self.epochs - 1)
        return exp(log(self.tau_first) + share * (log(self.tau_last) - log(self.tau_first)))


class LawFactory(Protocol):
    """Makes a law for a space, its first parameters drawn by a generator."""

    def __call__(self, space: SearchSpace, generator: torch.Generator) -> Law: ...


class Alternation:
    """The state of one search; :meth:`run` carries it to the end.

    Args:
        law: moved in place.
        supernet: moved in place; ``forward(images, gates)`` gives logits.
        task: fitted to the supernet.
        term: the cost, its model a ``PredictorCost`` over ``space``.
        space: whose networks are derived and priced.
        schedule: how weights and law take turns.
        seed: of order, augmentation and draws.
        compute: torch device of the supernet and the images; the law stays on the CPU.
    """

    def __init__(
        self,
        law: Law,
        supernet: nn.Module,
        task: Task,
        term: CostTerm,
        space: SearchSpace,
        schedule: Schedule,
        *,
        seed: int,
        compute: str = "cpu",
    ) -> None:
        self.law, self.supernet, self.task, self.term = law, supernet.to(compute), task, term
        self.space, self.schedule, self.compute = space, schedule, compute
        self.generator = torch.Generator().manual_seed(seed)
        self.trace = Trace()
        self.passes = 0
        self.weights_optimizer = torch.optim.SGD(
            supernet.parameters(), schedule.weights_rate, schedule.weights_momentum, weight_decay=schedule.weights_decay
        )
        self.law_optimizer = torch.optim.Adam(
            law.parameters(), schedule.law_rate, schedule.law_betas, weight_decay=schedule.law_decay
        )

    def run(self, checkpoint: Path | None = None, progress: Progress = silent) -> Trace:
        """Run the epochs that are left, saving after each; a checkpoint that is there is gone on from.

        Raises:
            MismatchError: the checkpoint is of another search.
        """
        if checkpoint is not None and checkpoint.exists():
            load_state(self, checkpoint)
        while len(self.trace.epochs) < self.schedule.epochs:
            epoch = self.epoch()
            if checkpoint is not None:
                save_state(self, checkpoint)
            numbers = {
                "loss": epoch.loss_weights,
                "entropy": epoch.entropy,
                "derived_ms": epoch.derived_ms,
                "lam": epoch.lam,
            }
            progress("search", epoch.epoch + 1, self.schedule.epochs, numbers)
        return self.trace

    def epoch(self) -> Epoch:
        """Run one epoch and return its row of the trace."""
        start, number, schedule = perf_counter(), len(self.trace.epochs), self.schedule
        searching, tau = number >= schedule.warm_up, schedule.tau(number)
        steps = self.task.weights.steps(schedule.batch)
        law_batches = self._law_batches()
        weights_loss = law_loss = 0.0
        self.supernet.train()
        for index, (images, labels) in enumerate(
            self.task.weights.batches(schedule.batch, self.generator, augment=True)
        ):
            if searching:
                law_loss += self.step_law(*next(law_batches), tau=tau) / steps
            done = (number * steps + index) / (schedule.epochs * steps)
            set_rate(self.weights_optimizer, cosine(schedule.weights_rate, schedule.weights_rate_last, done))
            weights_loss += self.step_weights(images, labels, tau=tau) / steps
        with torch.no_grad():
            sampled, direct = self._prices()
            entropy = float(self.law.entropy())
        row = Epoch(
            epoch=number,
            phase="search" if searching else "warm_up",
            loss_weights=weights_loss,
            loss_law=law_loss if searching else None,
            entropy=entropy,
            cost_sampled_ms=sampled,
            cost_direct_ms=direct,
            derived_ms=self.derived_ms(),
            lam=self.term.form.lam,
            tau=tau,
            seconds=perf_counter() - start,
        )
        self.trace.epochs.append(row)
        return row

    def step_weights(self, images: Tensor, labels: Tensor, *, tau: float) -> float:
        """Take one weight step and return its cross-entropy."""
        with torch.no_grad():
            gates = self.law.draw(self.generator, tau=tau)
        loss = self._loss(images, labels, gates)
        step(self.weights_optimizer, loss, self.schedule.clip)
        return float(loss.detach())

    def step_law(self, images: Tensor, labels: Tensor, *, tau: float) -> float:
        """Take one law step and return its cross-entropy, the cost left out."""
        gates = self.law.draw(self.generator, tau=tau)
        parameters = tuple(self.law.parameters())
        with frozen_statistics(self.supernet):
            loss = self._loss(images, labels, gates)
            objective = loss + self.term(self.law, self.generator, gates)
            gradients = torch.autograd.grad(objective, parameters)  # the law's only: no weight gets a gradient
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.law_optimizer.step()
        self.law.stepped()
        self.term.form.update(self.derived_ms())
        return float(loss.detach())

    def derived_ms(self) -> float:
        """Return the predicted latency of the architecture that would be derived now."""
        with torch.no_grad():
            return float(self.term.model(self.space.gates([derive(self.law, self.space)])))

    def _loss(self, images: Tensor, labels: Tensor, gates: Gates) -> Tensor:
        self.passes += len(labels)
        gates = {site: gate.to(self.compute) for site, gate in gates.items()}
        logits = self.supernet(images.to(self.compute), gates)
        return nn.functional.cross_entropy(logits, labels.to(self.compute)).cpu()

    def _law_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self.task.law.batches(self.schedule.batch, self.generator)

    def _prices(self) -> tuple[float, float]:
        """Return the law's cost by samples and at its relaxed encoding, or where there is none at its likeliest."""
        model = self.term.model
        with torch.no_grad():
            sampled = model(self.law.sample(_GAP_DRAWS, self.generator)).mean()
            return float(sampled), float(model(self.law.marginals()))


@dataclass(frozen=True)
class GradientSearcher:
    """Puts the pieces together for one problem.

    Attributes:
        law: makes the law.
        cost: makes the cost from ``(module, space, encoding)``.
        weighted: makes the form from ``(lam, reference_ms)``, where latency has a weight.
        targeted: makes the form from ``target_ms``, where it has a target.
        schedule: how weights and law take turns.
    """

    law: LawFactory
    cost: Callable[[nn.Module, SearchSpace, str | None], PredictorCost]
    weighted: Callable[[float, float], Form]
    targeted: Callable[[float], Form]
    schedule: Schedule

    def __call__(self, problem: Problem) -> Found:
        """Search and derive."""
        with seeded(problem.seed):
            supernet = problem.proxy.supernet()
        law = self.law(problem.space, torch.Generator().manual_seed(problem.seed))
        cost = self.cost(problem.module, problem.space, problem.encoding)
        if problem.target_ms is not None:
            form = self.targeted(problem.target_ms)
        else:
            form = self.weighted(problem.lam or 0.0, problem.reference_ms)
        task = problem.task.fitted(problem.proxy)
        run = Alternation(
            law,
            supernet,
            task,
            CostTerm(cost, form),
            problem.space,
            self.schedule,
            seed=problem.seed,
            compute=problem.compute,
        )
        trace = run.run(problem.checkpoint, problem.progress)
        architecture = derive(law, problem.space)
        seconds = sum(epoch.seconds for epoch in trace.epochs)  # those before an interruption count too
        return Found(architecture, as_scores(law.scores()), trace, run.passes, seconds, cost.feed)


@contextmanager
def frozen_statistics(module: nn.Module) -> Generator[None]:
    """Normalise by the batch without moving any running statistic."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
