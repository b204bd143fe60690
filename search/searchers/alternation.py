"""Gradient search: weight steps and law steps in turn, first or second order.

A weight step moves the supernet's weights on the ``weights`` part and leaves the law bit-identical; a law step moves
the law on the ``law`` part and leaves every weight and BatchNorm statistic bit-identical. Where a law draws several
paths they run one after the other and their gradients add up, so that a step needs the memory of one.

Of second order a law step looks one weight step ahead: it takes the loss at the weights that a step on training images
would lead to, and counts in how the law moves these (``unrolled.py``).

References:
    Liu et al., *DARTS*, arXiv:1806.09055.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import exp, log
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...errors import UsageError
from ...spaces.architecture import Architecture
from ...spaces.digest import identity_of
from ...spaces.network import Beside, Network
from ...spaces.space import SearchSpace
from ...tasks.task import Task
from .. import processes
from ..cuda_graphs import RecordedMixture, all_on
from ..deriver import Deriver, derive
from ..drop_block import drop_block
from ..law import Gates, Law
from ..laws.uniform import Uniform
from ..objective import CostTerm, Objective
from ..progress import Progress, silent
from ..steps import check_finite, cosine, frozen_statistics, move, set_rate
from ..trace import Epoch, Trace
from .checkpoint import Resumable
from .frank_wolfe import FrankWolfe
from .unrolled import Slopes, unrolled

_GAP_DRAWS = 64  # architectures behind an epoch's cost_sampled_ms


@dataclass(frozen=True)
class Schedule:
    """How weights and law take turns.

    Attributes:
        epochs: in all.
        warm_up: share of them, the first, with weight steps only; below 1 the law has one epoch at least.
        batch: images a step.
        weights_rate, weights_rate_last: learning rate of SGD, along a cosine.
        weights_momentum, weights_decay, clip: Momentum, weight decay and largest norm of a gradient, of SGD.
        law_rate, law_betas, law_decay: Arguments of Adam for the law. DARTS' rate of 3e-4 is for 50 epochs of CIFAR-10;
            small data need more.
        tau_first, tau_last: temperature of the draws, falling geometrically over the epochs.
        tau_from: share of the epochs after which it begins to fall.
        law_every: weight steps for each law step.
        law_only: weights rest once the law moves.
        paths: what weight steps run: the law's ``draw``; one path, a ``sample`` of the law or ``uniform``; or all
            ``routes`` as drawn, with one operation each, as sampled. A sample is a uniform one in warm-up.
        drop_skips: share of a skip's map that is dropped in square blocks in training, falling to 0 over the epochs.
    """

    epochs: int = 15
    warm_up: float = 0.2
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
    tau_from: float = 0.0
    law_every: int = 1
    law_only: bool = False
    paths: Literal["draw", "sample", "uniform", "routes"] = "draw"
    drop_skips: float = 0.0
    second_order: bool = False

    def __post_init__(self) -> None:
        if self.epochs < 1 or not 0 <= self.warm_up <= 1:
            raise UsageError(
                f"epochs={self.epochs}, warm_up={self.warm_up}; allowed: epochs from 1, warm_up from 0 to 1, the share "
                "of the epochs in which only weights learn"
            )

    @property
    def law_epochs(self) -> int:
        """Return how many epochs, the last ones, move the law."""
        return 0 if self.warm_up == 1 else max(1, round((1 - self.warm_up) * self.epochs))

    def tau(self, epoch: int) -> float:
        """Return the temperature of an epoch."""
        last = max(1, self.epochs - 1)
        share = max(0.0, epoch / last - self.tau_from) / (1 - self.tau_from)
        return exp(log(self.tau_first) + share * (log(self.tau_last) - log(self.tau_first)))


def check_learns(law: Law, schedule: Schedule) -> bool:
    """Return whether a law learns.

    Raises:
        UsageError: it has epochs and nothing to learn, or the other way round.
    """
    learns = bool(list(law.parameters()))
    if not learns and schedule.law_epochs:
        raise UsageError(f"{type(law).__name__} has nothing to learn; give warm_up=1: weights only")
    if learns and not schedule.law_epochs:
        raise UsageError(f"warm_up=1 leaves {type(law).__name__} no epoch to learn in; allowed: below 1")
    return learns


class Alternation(Resumable):
    """The state of one search; :meth:`run` carries it to the end.

    Args:
        law: moved in place.
        supernet: moved in place; ``forward(images, gates)`` gives logits.
        task: fitted to the supernet.
        objective: the cost and its form, and what else the law is asked for; a cost term alone will do.
        space: whose networks are derived and priced.
        schedule: how weights and law take turns.
        seed: Seed of order, augmentation and draws.
        compute: torch device of the supernet and the images; the law stays on the CPU.
        warm_up: law of the weight steps in warm-up; None for the law itself.
        deriver: how an architecture is made of the law.

    Raises:
        UsageError: the form needs another law or cost.
        TargetError: nothing is within a hard target.
    """

    kind = "checkpoint"
    stage = "search"
    schema = 2
    later = frozenset({"settings"})

    def __init__(
        self,
        law: Law,
        supernet: nn.Module,
        task: Task,
        objective: Objective | CostTerm,
        space: SearchSpace,
        schedule: Schedule,
        *,
        seed: int,
        compute: str = "cpu",
        warm_up: Law | None = None,
        deriver: Deriver = derive,
    ) -> None:
        super().__init__()
        processes.check_batch(schedule.batch)
        self.law, self.supernet, self.task, self.warm_up = law, supernet.to(compute), task, warm_up or law
        self.objective = Objective(objective) if isinstance(objective, CostTerm) else objective
        self.term, self.deriver = self.objective.term, deriver
        self.space, self.schedule, self.compute = space, schedule, compute
        self.uniform = Uniform(space)
        self.generator = torch.Generator().manual_seed(seed)
        self.trace = Trace()
        self.passes = 0
        self.mixture: RecordedMixture | None = None  # on a CUDA device, where all options are on
        self.where = "step 1"  # for errors
        self.weights_optimizer = torch.optim.SGD(
            supernet.parameters(), schedule.weights_rate, schedule.weights_momentum, weight_decay=schedule.weights_decay
        )
        self.law_optimizer = self._law_optimizer()
        self.derived()  # a deriver that does not fit says so before any training

    def run(self, checkpoint: Path | None = None, progress: Progress = silent, *, begins: bool = False) -> Trace:
        """Run the epochs that are left, saving after each; a checkpoint that is there is gone on from.

        If this search ``begins``, it is of another one that came before, and is replaced.

        Raises:
            InputRefusedError: the checkpoint cannot be read.
            OtherSearchError: the checkpoint is of another search.
            DivergedError: a loss or gradient is no number any more; the checkpoint of the epoch before is kept.
        """
        with processes.synchronised(self.supernet):
            self.train(checkpoint, progress, begins=begins)
        return self.trace

    @property
    def done(self) -> int:
        return len(self.trace.epochs)

    @property
    def total(self) -> int:
        return self.schedule.epochs

    def advance(self) -> dict[str, float]:
        epoch = self.epoch()
        numbers: dict[str, float | None] = {
            "loss": epoch.loss_law if epoch.loss_weights is None else epoch.loss_weights,
            "entropy": epoch.entropy,
            "derived_ms": epoch.derived_ms,
            "lam": epoch.lam,
        }
        return {name: value for name, value in numbers.items() if value is not None}

    def moving(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        parts: dict[str, nn.Module | torch.optim.Optimizer | None] = {
            "supernet": self.supernet, "law": self.law, "warm_up": self.warm_up,
            "weights_optimizer": self.weights_optimizer, "law_optimizer": self.law_optimizer,
        }  # fmt: skip
        return {name: part for name, part in parts.items() if part is not None}

    def state(self) -> dict[str, Any]:
        form = self.term.form
        learnt = {name: getattr(form, name) for name in form.learns}
        return {"trace": self.trace.rows(), "passes": self.passes, "form": learnt}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.trace, self.passes = Trace.from_rows(state["trace"]), int(state["passes"])
        for name in self.term.form.learns:
            setattr(self.term.form, name, float(state["form"][name]))

    def identity(self) -> dict[str, Any]:
        form, task = self.term.form, self.task
        return {
            "space": identity_of(self.space),
            "task": [task.name, len(task.weights), len(task.law), list(task.inputs[0].shape)],
            "schedule": asdict(self.schedule),
            "laws": [type(law).__name__ for law in (self.law, self.warm_up)],
            "settings": [dict(law.settings) for law in (self.law, self.warm_up)],
            "form": [type(form).__name__, {k: v for k, v in vars(form).items() if k not in form.learns}],
            "cost": self.term.model.identity(),
            "regularisers": [[type(r).__name__, _numbers(r)] for r in self.objective.regularisers],
            "distillation": self.objective.distillation and asdict(self.objective.distillation),
            "seed": self.generator.initial_seed(),
            "supernet": {key: list(value.shape) for key, value in self.supernet.state_dict().items()},
        }

    def epoch(self) -> Epoch:
        """Run one epoch and return its row of the trace."""
        number, schedule = len(self.trace.epochs), self.schedule
        searching, tau = number >= schedule.epochs - schedule.law_epochs, schedule.tau(number)
        weighing = not (searching and schedule.law_only)
        steps = self.task.weights.steps(schedule.batch)
        law_batches = self.stream("law", self.task.law, schedule.batch)
        weights_losses, law_losses = (self.tallies.setdefault(name, []) for name in ("weights", "law"))
        self.supernet.train()
        self._drop_skips(schedule.drop_skips * (1 - number / schedule.epochs))
        for index, images, labels in self.steps(self.task.weights, schedule.batch):
            self.where = f"step {index + 1} of {steps}, epoch {number + 1} of {schedule.epochs}"
            if searching and index % schedule.law_every == 0:
                ahead = (images, labels) if schedule.second_order else None
                law_losses.append(self.step_law(*next(law_batches), tau=tau, ahead=ahead))
            if weighing:
                done = (number * steps + index) / (schedule.epochs * steps)
                set_rate(self.weights_optimizer, cosine(schedule.weights_rate, schedule.weights_rate_last, done))
                weights_losses.append(self.step_weights(images, labels, tau=tau, warm=not searching))
        start = perf_counter()
        with torch.no_grad():
            sampled, direct = self._prices()
            entropy = float(self.law.entropy())
        row = Epoch(
            epoch=number,
            phase="search" if searching else "warm_up",
            loss_weights=fmean(weights_losses) if weighing else None,
            loss_law=fmean(law_losses) if searching else None,
            entropy=entropy,
            cost_sampled_ms=sampled,
            cost_direct_ms=direct,
            derived_ms=self.derived_ms(),
            lam=self.term.form.lam,
            tau=tau,
            seconds=self.spent_s + perf_counter() - start,
        )
        self.trace.epochs.append(row)
        self.end_epoch()
        return row

    def step_weights(self, images: Tensor, labels: Tensor, *, tau: float, warm: bool = False) -> float:
        """Take one weight step and return its loss."""
        with torch.no_grad():
            drawn = self._paths(tau, warm=warm)
        teacher = self._teacher(images, drawn)
        self.weights_optimizer.zero_grad()
        total = 0.0
        for gates in drawn:
            loss = self._loss(images, labels, gates, teacher) / len(drawn)
            total += float(check_finite(processes.mean(loss.detach()), f"weight {self.where}"))
            loss.backward()
        processes.average_gradients(self.supernet.parameters())
        move(self.weights_optimizer, self.schedule.clip)
        return total

    def step_law(
        self, images: Tensor, labels: Tensor, *, tau: float, ahead: tuple[Tensor, Tensor] | None = None
    ) -> float:
        """Take one law step and return its loss, the cost left out; ``ahead`` is a weight step's batch, to unroll."""
        drawn = self.law.draws(self.generator, tau=tau)
        with frozen_statistics(self.supernet):
            loss = self._law_loss(images, labels, drawn, ahead, self.law.beside())
        gradients = self.objective.gradients(loss, self.law, self.generator, drawn[0])
        for parameter, gradient in zip(self.law.parameters(), gradients, strict=True):
            parameter.grad = check_finite(gradient, f"law {self.where}")
        assert self.law_optimizer is not None
        self.law_optimizer.step()
        self.law.stepped()
        for regulariser in self.objective.regularisers:
            regulariser.stepped(self.law)
        if self.term.form.learns:
            self.term.form.update(self.derived_ms())
        return float(loss.detach())

    def derived(self) -> Architecture:
        """Return the architecture that would be derived now."""
        return self.deriver(self.law, self.space, self.term)

    def derived_ms(self) -> float:
        """Return its predicted latency."""
        with torch.no_grad():
            return float(self.term.model(self.space.gates([self.derived()])))

    def _drop_skips(self, rate: float) -> None:
        if isinstance(self.supernet, Network):
            drop = partial(drop_block, rate=rate, generator=self.generator)
            self.supernet.on_skip = drop if rate > 0 else None

    def _law_optimizer(self) -> torch.optim.Optimizer | None:
        """Return what moves the law; None where there is nothing to move."""
        law, form = self.law, self.term.form
        if not check_learns(law, self.schedule):
            return None
        if law.moves != form.moves:
            raise UsageError(
                f"{type(form).__name__} moves a law by {form.moves}, {type(law).__name__} is moved by {law.moves}: the "
                "form hard and the law simplex go together, and with no others"
            )
        if form.budget_ms is not None and form.moves == "frank_wolfe":
            return FrankWolfe(law, self.space, self.term.model, form.budget_ms)
        return torch.optim.Adam(
            law.parameters(), self.schedule.law_rate, self.schedule.law_betas, weight_decay=self.schedule.law_decay
        )

    def _paths(self, tau: float, *, warm: bool) -> tuple[Gates, ...]:
        """Return the gates that a weight step runs."""
        if warm and self.warm_up is not self.law:
            return self.warm_up.draws(self.generator, tau=tau)
        if self.schedule.paths == "draw":
            return self.law.draws(self.generator, tau=tau)
        law = self.uniform if warm or self.schedule.paths == "uniform" else self.law
        path = {name: row[0] for name, row in law.sample(1, self.generator).items()}
        if self.schedule.paths == "routes":
            deciding = {name for site in self.space.sites for name, _ in site.when}
            path |= {name: row for name, row in self.law.draw(self.generator, tau=tau).items() if name in deciding}
        return (path,)

    def _law_loss(
        self,
        images: Tensor,
        labels: Tensor,
        drawn: tuple[Gates, ...],
        ahead: tuple[Tensor, Tensor] | None = None,
        beside: Beside | None = None,
    ) -> Tensor:
        """Return the mean loss of all paths, with its gradient by the gates but without the passes that gave it."""
        law_batch = partial(self._slopes, images, labels, drawn, beside=beside)
        if ahead is None:
            value, slopes, _ = law_batch()
        else:
            value, slopes = unrolled(
                law_batch, partial(self._slopes, *ahead, drawn, beside=beside), self.weights_optimizer
            )
        slope = torch.zeros(())
        for gates, found in zip(drawn, slopes, strict=True):
            for gate, gradient in zip(gates.values(), found, strict=True):
                slope = slope + (gate * gradient).sum()
        return value + (slope - slope.detach())

    def _slopes(
        self,
        images: Tensor,
        labels: Tensor,
        drawn: tuple[Gates, ...],
        weights: Sequence[Tensor] = (),
        *,
        beside: Beside | None = None,
    ) -> Slopes:
        """Return the mean loss of all paths and its gradients, by every path's gates and by weights.

        Gradients are 0 where an option is off, unless it is run ``beside``; the passes themselves are let go.
        """
        teacher = self._teacher(images, drawn)
        value, slopes = torch.zeros(()), list[tuple[Tensor, ...]]()
        by_weights = [torch.zeros_like(weight) for weight in weights]
        for gates in drawn:
            leaves = [gate.detach().requires_grad_() for gate in gates.values()]
            loss = self._loss(images, labels, dict(zip(gates, leaves, strict=True)), teacher, beside) / len(drawn)
            told = check_finite(processes.mean(loss.detach()), f"law {self.where}")
            found = torch.autograd.grad(loss, [*leaves, *weights], materialize_grads=True)
            value = value + told
            slopes.append(found[: len(leaves)])
            by_weights = [total + own for total, own in zip(by_weights, found[len(leaves) :], strict=True)]
        processes.average([slope for found in slopes for slope in found])
        processes.average(by_weights)
        return value, slopes, by_weights

    def _loss(
        self, images: Tensor, labels: Tensor, gates: Gates, teacher: Tensor | None, beside: Beside | None = None
    ) -> Tensor:
        self.passes += len(labels) * processes.count()
        logits = self._logits(images, gates, beside)
        loss = self.task.loss(logits, labels.to(self.compute))
        if teacher is not None and self.objective.distillation is not None:
            loss = loss + self.objective.distillation(logits, teacher, self.task.distillation)
        return loss.cpu()

    def _teacher(self, images: Tensor, drawn: tuple[Gates, ...]) -> Tensor | None:
        """Return the logits that paths learn from, without gradient; no statistic moves."""
        if self.objective.distillation is None:
            return None
        with torch.no_grad(), frozen_statistics(self.supernet):
            every = (self.law.marginals(),) if self.objective.distillation.teacher == "mixture" else drawn
            return torch.stack([self._logits(images, gates) for gates in every]).mean(dim=0)

    def _logits(self, images: Tensor, gates: Gates, beside: Beside | None = None) -> Tensor:
        images, supernet = images.to(self.compute), self.supernet
        if not (
            images.is_cuda
            and processes.count() == 1
            and all_on(gates)
            and isinstance(supernet, Network)
            and supernet.on_skip is None
        ):
            return supernet(images, gates, beside=beside) if beside else supernet(images, gates)
        if self.mixture is None or self.mixture.shape != images.shape:
            self.mixture = RecordedMixture(supernet, images, gates)
        return self.mixture(images, gates)

    def _prices(self) -> tuple[float, float]:
        """Return the law's cost by samples and at its relaxed encoding, or where there is none at its likeliest."""
        model = self.term.model
        with torch.no_grad():
            sampled = model(self.law.sample(_GAP_DRAWS, self.generator)).mean()
            return float(sampled), float(model(self.law.marginals()))


def _numbers(value: object) -> dict[str, float]:
    """Return the attributes of an object that are numbers."""
    return {name: number for name, number in vars(value).items() if isinstance(number, float | int)}
