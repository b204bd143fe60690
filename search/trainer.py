"""The training of one network by a recipe, that can be stopped between any two steps and gone on from bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own convention)
from torch.optim.swa_utils import AveragedModel

from ..spaces.network import Network
from ..tasks.figure import score_of, scores_of
from ..tasks.task import Task
from . import processes
from .augmentation import Augmenter
from .cuda_graphs import recorded
from .progress import Progress
from .searchers.checkpoint import Resumable
from .steps import check_finite, cosine, set_rate
from .teacher import Teacher
from .training import Training


class Trainer(Resumable):
    """Moves one network along its recipe.

    Args:
        network: trained in place, on the device ``compute``.
        task: fitted to the network.
        training: the recipe.
        seed: Seed of order and augmentation.
        compute: torch device.
        name: Name of the network, for errors.
        teacher: whose logits it learns from.
        identity: what else two trainings must share to be the same one.
    """

    kind = "training"
    stage = "train"

    def __init__(
        self,
        network: Network,
        task: Task,
        training: Training,
        *,
        seed: int,
        compute: str,
        name: str,
        teacher: Teacher | None = None,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(training.save_minutes * 60)
        processes.check_batch(training.batch, training.accumulate)
        self.network, self.task, self.training, self.compute, self.name = network, task, training, compute, name
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = optimizer_of(network, training)
        self.average = (
            AveragedModel(network, multi_avg_fn=_moving(training.ema), use_buffers=True) if training.ema else None
        )
        self.best = copy.deepcopy(network) if training.patience else None
        self.scaler = torch.amp.GradScaler(torch.device(compute).type, enabled=training.precision == "fp16")  # pyright: ignore[reportPrivateImportUsage]
        self.history: dict[str, list[float]] = {}
        self.passes, self._done, self._stopped = 0, 0, False
        self._teacher, self._identity = teacher, dict(identity or {})
        self._augmenter = Augmenter(training, task, network.graph.shape[0])
        part = task.weights
        self._first, _ = part.take(torch.arange(min(training.batch, len(part))))
        if teacher is not None:
            teacher.check(self._first[:2].to(compute), network.graph.shape)

    @property
    def done(self) -> int:
        return self._done

    @property
    def total(self) -> int:
        """Return the recipe's epochs, or those that there were where training ended early."""
        return self._done if self._stopped else self.training.epochs

    @property
    def kept(self) -> Network:
        """Return the network that training is for: the best epoch's, the average, or the last."""
        if self.best is not None and self.history:
            return self.best
        return self._candidate()

    def run(self, path: Path | None, progress: Progress) -> Network:
        """Train what is left, going on from a file that is there; return the network kept, in eval mode."""
        self.network.train()
        plain = self.training.precision == "fp32" and self.training.accumulate == 1 and processes.count() == 1
        replayed = recorded(self.network, self._first.to(self.compute)) if plain else nullcontext()
        with replayed, processes.synchronised(self.network):
            self.train(path, progress)
        return self.kept.eval()

    def advance(self) -> dict[str, float]:
        self.network.train()
        for step, images, labels in self.steps(self.task.weights, self.training.batch, pieces=self.training.accumulate):
            self._step(step, images, labels)
        told = {name: fmean(numbers) for name, numbers in self.tallies.items()}
        self.end_epoch()
        self._done += 1
        if self.training.validates:
            told["validation"] = self._validate()
        for name, number in told.items():
            self.history.setdefault(name, []).append(number)
        return told

    def moving(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        parts: dict[str, nn.Module | torch.optim.Optimizer | None] = {
            "network": self.network, "average": self.average, "best": self.best,
            "optimizer": self.optimizer if self.done < self.total else None,
        }  # fmt: skip
        return {name: part for name, part in parts.items() if part is not None}

    def state(self) -> dict[str, Any]:
        return {
            "done": self._done, "stopped": self._stopped, "passes": self.passes, "history": self.history,
            "scaler": self.scaler.state_dict(),
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        self._done, self._stopped, self.passes = int(state["done"]), bool(state["stopped"]), int(state["passes"])
        self.history = {name: list(numbers) for name, numbers in state["history"].items()}
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])

    def identity(self) -> dict[str, Any]:
        task = self.task
        return self._identity | {
            "network": self.name, "task": [task.name, len(task.weights), len(task.law)],
            "recipe": self.training.identity(), "seed": self.generator.initial_seed(),
            "teacher": self._teacher and self._teacher.digest,
        }  # fmt: skip

    def record(self) -> dict[str, Any]:
        """Return how the network was trained, JSON-ready."""
        told = {"epochs": self.done, "history": self.history, "processes": processes.count()}
        return {"recipe": self.training.to_json()} | told

    @property
    def _counts(self) -> bool:
        """Return whether every step tells the main metric: of classes it costs nothing."""
        return self.task.output.kind == "classes" and not self._augmenter.mixes

    def _step(self, step: int, images: Tensor, labels: Tensor) -> None:
        training, steps = self.training, self.task.weights.steps(self.training.batch)
        done, total = self._done * steps + step, training.epochs * steps
        set_rate(self.optimizer, rate(training, done, steps))
        where, name, told = f"step {done + 1} of {total}, training {self.name}", self.task.metric.name, 0.0
        inputs, targets = self._augmenter(images, labels, self.generator)
        self.optimizer.zero_grad()
        loss = 0.0
        for piece, wanted in zip(inputs.chunk(training.accumulate), targets.chunk(training.accumulate), strict=True):
            value, outputs = self._loss(piece.to(self.compute), wanted.to(self.compute))
            loss += float(check_finite(processes.mean(value.detach()), where)) / training.accumulate
            self.scaler.scale(value / training.accumulate).backward()
            if self._counts:
                given = self.task.metrics(outputs.detach().cpu(), wanted)
                told += scores_of(self.task, given)[name] / training.accumulate
        processes.average_gradients(self.network.parameters())
        self.scaler.unscale_(self.optimizer)
        if training.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), training.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.network)
        self.passes += len(labels) * processes.count()
        self.tallies.setdefault("loss", []).append(loss)
        if self._counts:
            self.tallies.setdefault(name, []).append(float(processes.mean(torch.tensor(told))))

    def _loss(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        training, task = self.training, self.task
        with autocast(training, self.compute):
            outputs = self.network(images)
        outputs = outputs.float()
        if training.label_smoothing or self._augmenter.mixes:
            loss = F.cross_entropy(outputs, targets, label_smoothing=training.label_smoothing)
        else:
            loss = task.loss(outputs, targets)
        if self._teacher is not None:
            told = self._teacher(images).float() / training.temperature
            learnt = task.distillation(outputs / training.temperature, told) * training.temperature**2
            loss = (1 - training.teacher_share) * loss + training.teacher_share * learnt
        return loss, outputs

    def _validate(self) -> float:
        """Score what would be kept now; keep it if it is the best, end training where patience is at its end."""
        candidate = self._candidate().eval()
        score, metric = self._held_out(candidate), self.task.metric
        merits = [metric.merit(value) for value in [*self.history.get("validation", []), score]]
        best = merits.index(max(merits))
        if self.best is not None:
            if best == len(merits) - 1:
                self.best.load_state_dict(candidate.state_dict())
            self._stopped = len(merits) - 1 - best >= self.training.patience
        return score

    def _held_out(self, network: Network) -> float:
        return processes.by_first(lambda: score_of(self.task, self.task.score(network, "law", self.compute)))

    def _candidate(self) -> Network:
        return self.network if self.average is None else cast(Network, self.average.module)


def optimizer_of(network: nn.Module, training: Training) -> torch.optim.Optimizer:
    """Return the optimiser of a recipe; scales of BatchNorm and biases are a second group where they do not decay."""
    groups: list[dict[str, Any]] = [{"params": list(network.parameters())}]
    if not training.decay_all:
        flat = [weight for weight in network.parameters() if weight.ndim < 2]
        wide = [weight for weight in network.parameters() if weight.ndim >= 2]
        groups = [{"params": wide}, {"params": flat, "weight_decay": 0.0}]
    if training.optimizer == "adamw":
        betas = training.beta1, training.beta2
        return torch.optim.AdamW(groups, training.learning_rate, betas, weight_decay=training.weight_decay)
    return torch.optim.SGD(
        groups,
        training.learning_rate,
        training.momentum,
        weight_decay=training.weight_decay,
        nesterov=training.nesterov,
    )


def rate(training: Training, done: int, steps: int) -> float:
    """Return the learning rate of a step.

    Args:
        training: the recipe.
        done: steps before it.
        steps: Steps of an epoch.

    Example:
        >>> [round(rate(Training(epochs=4, warm_up=2, learning_rate=1), done, 2), 2) for done in range(8)]
        [0.25, 0.5, 0.75, 1.0, 1.0, 0.85, 0.5, 0.15]
    """
    rising = round(training.warm_up * steps)
    if done < rising:
        return training.learning_rate * (done + 1) / rising
    return cosine(training.learning_rate, training.last_rate, (done - rising) / (training.epochs * steps - rising))


def autocast(training: Training, compute: str) -> Any:
    """Return the context in which a network computes in the recipe's precision."""
    if training.precision == "fp32":
        return nullcontext()
    return torch.autocast(torch.device(compute).type, torch.bfloat16 if training.precision == "bf16" else torch.float16)


def _moving(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """Return how an average moves towards what is now, after so many steps."""

    def move(average: Sequence[Tensor], now: Sequence[Tensor], count: Tensor | int) -> None:
        share = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        with torch.no_grad():
            for own, other in zip(average, now, strict=True):
                own.lerp_(other, share) if own.is_floating_point() else own.copy_(other)

    return move
