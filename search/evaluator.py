"""Training and scoring of one network.

From scratch: SGD with a cosine schedule, light augmentation. With inherited weights: BatchNorm statistics belong to the
mixture that the supernet ran, so they are taken anew before scoring.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from math import cos, pi

import torch
from torch import Tensor, nn

from ..errors import DivergedError, UsageError
from ..spaces.architecture import Architecture
from ..spaces.network import Network, inherit
from ..spaces.space import SearchSpace
from ..tasks.task import Part, Task
from .cuda_graphs import recorded
from .malloc import keep_freed_memory
from .progress import Progress, silent


@dataclass(frozen=True)
class Training:
    """How a network is trained from scratch.

    Attributes:
        epochs, batch: passes over the images, images a step.
        learning_rate: at the start; it falls to 0 along a cosine.
        momentum, weight_decay: of SGD.
        clip: largest norm of a gradient.
    """

    epochs: int = 20
    batch: int = 64
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 3e-4
    clip: float = 5.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2:
            raise UsageError(f"epochs={self.epochs}, batch={self.batch}; allowed: epochs from 1, batch from 2")


@dataclass(frozen=True)
class Trained:
    """A trained network and how well it does.

    Attributes:
        network: in eval mode, on the CPU.
        accuracy: on the test part, a share.
        validation_accuracy: on the law part, a share.
        passes: images that went forward and backward.
    """

    network: Network
    accuracy: float
    validation_accuracy: float
    passes: int


def train(
    architecture: Architecture,
    space: SearchSpace,
    task: Task,
    training: Training,
    *,
    seed: int,
    compute: str = "cpu",
    progress: Progress = silent,
) -> Trained:
    """Train an architecture from scratch on the ``weights`` part and score it.

    On a CPU the same seed gives the same network, bit by bit.

    Args:
        architecture: of ``space``.
        space: whose network is built.
        task: fitted to the space.
        training: schedule.
        seed: of weights, order and augmentation.
        compute: torch device.
        progress: told of every epoch, stage ``train``.

    Raises:
        DivergedError: the loss is no number any more; the message names the step.
    """
    keep_freed_memory()
    with seeded(seed):
        network = space.to_torch(architecture).to(compute)
        own = task.trained(network.eval())
    if own is not None:
        return _trained_by(own, task, compute)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        network.parameters(), training.learning_rate, training.momentum, weight_decay=training.weight_decay
    )
    network.train()
    part, done, passes = task.weights, 0, 0
    total = training.epochs * part.steps(training.batch)
    first, _ = part.take(torch.arange(min(training.batch, len(part))))
    progress("train", 0, training.epochs, {})
    with recorded(network, first.to(compute)):
        for epoch in range(training.epochs):
            for images, labels in part.batches(training.batch, generator, augment=True):
                set_rate(optimizer, cosine(training.learning_rate, 0.0, done / total))
                loss = task.loss(network(images.to(compute)), labels.to(compute))
                where = f"step {done + 1} of {total}, training {architecture.key}"
                step(optimizer, check_finite(loss, where), training.clip)
                done, passes = done + 1, passes + len(labels)
            progress("train", epoch + 1, training.epochs, {"loss": float(loss.detach())})  # pyright: ignore[reportPossiblyUnboundVariable]
    network.eval()
    scores = task.score(network, "test", compute), task.score(network, "law", compute)
    return Trained(network.to("cpu"), *scores, passes)


def _trained_by(network: nn.Module, task: Task, compute: str) -> Trained:
    """Return a network that its task trained, scored.

    Raises:
        UsageError: the task gave another module than the network.
    """
    if not isinstance(network, Network):
        raise UsageError(f"{task.name} gave back {type(network).__name__} from train; return the network it was given")
    scores = task.score(network.eval(), "test", compute), task.score(network, "law", compute)
    return Trained(network.to("cpu"), *scores, 0)


def check_compute(compute: str) -> None:
    """Raise UsageError, with what is there, unless torch can compute on a device of this name."""
    try:
        torch.zeros((), device=compute)
    except (AssertionError, RuntimeError) as error:  # a torch without CUDA asserts; an unknown name is the other
        found = torch.accelerator.current_accelerator(check_available=True)
        allowed = "cpu" if found is None else f"cpu, {found.type}"
        why = str(error).splitlines()[0]
        raise UsageError(f"compute={compute}: torch {torch.__version__} cannot ({why}); here: {allowed}") from error


def inherited_accuracy(
    architecture: Architecture, space: SearchSpace, supernet: Network, task: Task, *, seed: int = 0
) -> float:
    """Return an architecture's accuracy on the ``law`` part with the supernet's weights, BatchNorm recalibrated.

    Args:
        architecture: of a space of the same sites.
        space: whose supernet it is.
        supernet: on the CPU.
        task: fitted to the space.
        seed: of the images that BatchNorm is recalibrated with.
    """
    network = inherit(space.to_torch(space.from_key(architecture.key)), supernet)
    recalibrate(network, task.weights, torch.Generator().manual_seed(seed))
    return task.score(network, "law")


def recalibrate(network: Network, part: Part, generator: torch.Generator, *, batches: int = 8, batch: int = 64) -> None:
    """Take the statistics of every BatchNorm anew, as plain means over some batches; leaves eval mode on."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a plain mean
    network.train()
    done = 0
    with torch.no_grad():
        while done < batches:
            for images, _ in part.batches(batch, generator):
                network(images)
                done += 1
                if done == batches:
                    break
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def step(optimizer: torch.optim.Optimizer, loss: Tensor, clip: float) -> None:
    """Take one step, gradients clipped to a norm."""
    optimizer.zero_grad()
    loss.backward()
    move(optimizer, clip)


def move(optimizer: torch.optim.Optimizer, clip: float) -> None:
    """Take a step along the gradients that are there, clipped to a norm."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    nn.utils.clip_grad_norm_(weights, clip)
    optimizer.step()


def check_finite(value: Tensor, where: str) -> Tensor:
    """Return the value.

    Raises:
        DivergedError: it is NaN or infinite; the message says where.
    """
    if not bool(torch.isfinite(value).all()):
        raise DivergedError(f"NaN or infinity in {where}; what was saved before is kept. Try a lower learning rate")
    return value


def cosine(first: float, last: float, share: float) -> float:
    """Return a value on the cosine from ``first`` to ``last``.

    >>> cosine(1.0, 0.0, 0.5)
    0.5
    """
    return last + (first - last) * (1 + cos(pi * share)) / 2


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Seed torch's own generator, which initial weights are drawn from, and leave it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
