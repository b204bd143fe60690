"""Training and scoring of one network.

Training goes by a recipe (``training.py``, ``trainer.py``). With inherited weights BatchNorm statistics belong to the
mixture that the supernet ran, so they are taken anew before scoring.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..spaces.architecture import Architecture
from ..spaces.digest import identity_of
from ..spaces.network import Network, inherit
from ..spaces.space import SearchSpace
from ..tasks.figure import figure, outputs_of, score_of, scores_of
from ..tasks.task import SCORING_BATCH, Part, Task
from .augmentation import check_mixed, library
from .malloc import keep_freed_memory
from .own_training import OwnTraining, same_kind
from .processes import by_first, count, in_turns
from .progress import Progress, silent
from .start import Begin, Started, read_weights, started
from .steps import seeded
from .teacher import Teacher, load_teacher, of_module
from .trainer import Trainer
from .training import INHERITED, RECIPES, Training

_BATCHES = 8  # that statistics are taken from


@dataclass(frozen=True)
class Trained:
    """A trained network and how well it does.

    Attributes:
        network: in eval mode, on the CPU.
        score: on the test part, by the task's metric.
        validation_score: on the law part.
        passes: images that went forward and backward.
        record: how it was trained, JSON-ready: the recipe, the epochs, what each told, the weights it began with.
        metrics: every metric of the task on the test part, by name.
    """

    network: Network
    score: float
    validation_score: float
    passes: int
    record: Mapping[str, Any] = field(default_factory=dict[str, Any])
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])


def train(
    architecture: Architecture,
    space: SearchSpace,
    task: Task,
    training: Training,
    *,
    seed: int,
    compute: str = "cpu",
    progress: Progress = silent,
    folder: Path | None = None,
    teacher: nn.Module | None = None,
    begin: Begin | None = None,
) -> Trained:
    """Train an architecture by a recipe on the ``weights`` part and score it.

    On a CPU the same seed gives the same network, bit by bit, also where the training was stopped and gone on from.

    Args:
        architecture: Architecture of ``space``.
        space: whose network is built.
        task: fitted to the space.
        training: the recipe.
        seed: Seed of weights, order and augmentation.
        compute: torch device.
        progress: told of every epoch, stage ``train``.
        folder: where the training is saved after every epoch and every ``save_minutes``, and gone on from; what is
            finished there is not trained again.
        teacher: network that this one learns from; None for the recipe's.
        begin: gives a network the weights of the supernet, for a recipe that starts with ``inherited`` ones.

    Raises:
        DivergedError: the loss is no number any more; the message names the step.
        UsageError: a recipe that asks for what is not there: inherited weights, a library.
        InputRefusedError: the recipe's teacher or weights cannot be read.
    """
    keep_freed_memory()
    with seeded(seed):
        network = space.to_torch(architecture)
        known = task.known(architecture)
        if known is not None:
            score = figure(known, f"the {task.metric.name} of {task.name}")  # a predicted share may be above 1
            return Trained(network.eval(), score, score, 0, {"trained": False, **task.told})
        if task.own_training is not None:
            made = OwnTraining(network.eval(), task, name=architecture.key, seed=seed, space=identity_of(space))
            made.train(None if folder is None else made.file(folder), progress)
            return _judged(made.network.eval(), task, compute)
        own = task.trained(network.eval())
    if own is not None:
        return _judged(same_kind(own, task).eval(), task, compute)
    begun = started(network, training.start, begin)
    trainer = Trainer(
        network.to(compute), task, training, seed=seed, compute=compute, name=architecture.key,
        teacher=_teacher(training, teacher, compute),
        identity={"space": identity_of(space), "start": begun.digest},
    )  # fmt: skip
    progress("train", 0, training.epochs, {})
    kept = trainer.run(None if folder is None else trainer.file(folder), progress)
    return _judged(kept, task, compute, trainer.passes, trainer.record() | {"started": begun.to_json()})


def check_training(
    training: Training, compute: str, *, supernet: bool, task: Task | None = None, taught: bool = False
) -> None:
    """Refuse a recipe that could not be followed to its end, before any work.

    Args:
        training: the recipe.
        compute: torch device.
        supernet: whether one of the very networks to be trained will be there.
        task: what networks learn; None where they are not trained by a recipe.
        taught: whether there is a teacher that the recipe does not name.

    Raises:
        UsageError: it asks for weights of a supernet, a library or a precision that are not there, for what the task's
            images cannot be changed by, or says how to learn from a teacher where there is none.
        InputRefusedError: its teacher, or the weights it starts with, cannot be read.
    """
    if training.start == INHERITED and not supernet:
        raise UsageError(
            f"start={INHERITED} of the recipe {training.name}: no supernet of these very networks is trained; use a "
            "method that trains one, without --proxy, or start with a file"
        )
    if task is not None:
        check_mixed(training, task)
    if training.mixup or training.cutmix or training.rand_augment:
        library()
    kind = torch.device(compute).type
    if training.precision != "fp32" and not torch.amp.is_autocast_available(kind):
        raise UsageError(f"precision={training.precision}: torch has no autocast for {kind}; set fp32")
    for key in () if training.teacher or taught else ("teacher_share", "temperature"):
        if getattr(training, key) != getattr(RECIPES["small"], key):
            raise UsageError(
                f"{key}={getattr(training, key):g} of the recipe {training.name} counts only with a teacher, and there "
                f"is none; leave {key} out, or name a teacher"
            )
    if training.teacher:
        load_teacher(Path(training.teacher))
    if training.start not in {"", INHERITED}:
        read_weights(training.start)


def _teacher(training: Training, given: nn.Module | None, compute: str) -> Teacher | None:
    if given is not None:
        return of_module(given, compute)
    return load_teacher(Path(training.teacher), compute) if training.teacher else None


def _judged(
    network: Network, task: Task, compute: str, passes: int = 0, record: Mapping[str, Any] = MappingProxyType({})
) -> Trained:
    """Return a network in eval mode, on the device ``compute``, with its scores as the first process found them."""
    test, law = by_first(lambda: _scores(network, task, compute))
    return Trained(network.to("cpu"), test[task.metric.name], law, passes, dict(record), test)


def _scores(network: Network, task: Task, compute: str) -> tuple[dict[str, float], float]:
    """Return every metric on the part `test` and the main one on `law`.

    Raises:
        InputRefusedError: a user's task gave what is no figure.
        DivergedError: the network gives NaN or infinity.
    """
    test = scores_of(task, task.scores(network, "test", compute))
    return test, score_of(task, task.score(network, "law", compute))


def check_compute(compute: str) -> None:
    """Raise UsageError, with what is there, unless torch can compute on a device of this name."""
    try:
        torch.zeros((), device=compute)
    except (AssertionError, RuntimeError) as error:  # a torch without CUDA asserts; an unknown name is the other
        found = torch.accelerator.current_accelerator(check_available=True)
        allowed = "cpu" if found is None else f"cpu, {found.type}"
        why = str(error).splitlines()[0]
        raise UsageError(f"compute={compute}: torch {torch.__version__} cannot ({why}); here: {allowed}") from error


class Inherited:
    """Scores on the ``law`` part with a supernet's weights, BatchNorm recalibrated, on the device that computes.

    Several networks are asked about at once: the images that statistics are taken from are then loaded once, and of
    several processes each answers for its own.

    Args:
        space: whose supernet it is.
        supernet: on the device ``compute``.
        task: fitted to the space.
        seed: Seed of the images that BatchNorm is recalibrated with, and of the ``few``.
        compute: torch device.
        few: images of the part that a score is of, the same for all networks, where many scores are asked for and each
            is to cost little; statistics are then taken from half as many batches. None: all.
    """

    def __init__(
        self,
        space: SearchSpace,
        supernet: Network,
        task: Task,
        *,
        seed: int = 0,
        compute: str = "cpu",
        few: int | None = None,
    ) -> None:
        self._space, self._supernet, self._task, self._seed, self._compute = space, supernet, task, seed, compute
        self._images: list[Tensor] = []
        self._few: Tensor | None = None
        if few is not None and task.by_recipe and few < len(task.law):
            self._few = torch.randperm(len(task.law), generator=torch.Generator().manual_seed(seed))[:few]

    def __call__(self, architectures: Sequence[Architecture]) -> Iterable[float]:
        """Return a score each, in order: one after the other as they are found, unless several processes share them.

        Args:
            architectures: Architectures of a space of the same sites.
        """
        if count() > 1:
            return in_turns(architectures, lambda own: [self._score(each) for each in own])
        return map(self._score, architectures)

    def deployed(self, architecture: Architecture) -> Trained:
        """Return a network as it is kept where none is trained anew: the supernet's weights, statistics its own."""
        record = {"epochs": 0, "started": Started(INHERITED).to_json()}
        return _judged(self._network(architecture), self._task, self._compute, record=record)

    def _score(self, architecture: Architecture) -> float:
        if self._few is None:
            score = self._task.score(self._network(architecture), "law", self._compute)
        else:
            score = self._task.glance(self._network(architecture), self._few, self._compute)
        return score_of(self._task, score)

    def _network(self, architecture: Architecture) -> Network:
        space = self._space
        network = inherit(space.to_torch(space.from_key(architecture.key)).to(self._compute), self._supernet)
        if not self._task.by_recipe:  # it has no examples to take statistics from
            return network.eval()
        if not self._images:
            generator = torch.Generator().manual_seed(self._seed)
            batches = _BATCHES if self._few is None else _BATCHES // 2
            found = calibration(self._task.weights, generator, batches=batches)
            self._images = [each.to(self._compute) for each in found]
        recalibrate(network, self._images)
        return network


class ByLoss(Inherited):
    """The same with the mean loss beside: of few examples it tells two networks apart where the metric does not.

    A task that only scores networks has no loss; there it is what the score is worth, its sign turned.
    """

    def merit(self, architecture: Architecture) -> float:
        """Return the loss, its sign turned."""
        if architecture not in self._losses:  # known from a file, or another process was asked
            self._score(architecture)
        return -self._losses[architecture]

    @cached_property
    def _losses(self) -> dict[Architecture, float]:
        return {}

    def _score(self, architecture: Architecture) -> float:
        task = self._task
        if task.by_recipe:
            score, loss = held_out(self._network(architecture), task, self._compute, self._few)
        else:
            score = super()._score(architecture)
            loss = -task.metric.merit(score)
        self._losses[architecture] = loss
        return score


def held_out(network: Network, task: Task, compute: str = "cpu", index: Tensor | None = None) -> tuple[float, float]:
    """Return the score of a network in eval mode on the part ``law``, and its mean loss there.

    Args:
        network: on the device ``compute``.
        task: fitted to its space.
        compute: torch device.
        index: ``(n,)`` examples of the part; None for all.
    """
    index = torch.arange(len(task.law)) if index is None else index
    meter, total = task.meter(), 0.0
    with torch.no_grad():
        for some in index.split(SCORING_BATCH):
            inputs, targets = task.law.take(some)
            outputs = outputs_of(network(inputs.to(compute)), task.name)
            total += float(task.loss(outputs, targets.to(compute))) * len(targets)
            meter.add(outputs.cpu(), targets)
    return score_of(task, meter.values()[task.metric.name]), total / len(index)


def calibration(part: Part, generator: torch.Generator, *, batches: int = _BATCHES, batch: int = 64) -> list[Tensor]:
    """Return batches of inputs ``(b, ...)`` for BatchNorm's statistics; a small part is gone through more than once."""
    found: list[Tensor] = []
    while len(found) < batches:
        found += [inputs for inputs, _ in islice(part.batches(batch, generator), batches - len(found))]
    return found


def recalibrate(network: Network, batches: Iterable[Tensor]) -> None:
    """Take the statistics of every BatchNorm anew, as plain means over inputs ``(b, ...)``; leaves eval mode on."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a plain mean
    network.train()
    with torch.no_grad():
        for inputs in batches if norms else ():
            network(inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
