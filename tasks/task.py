"""What a task owes: everything that a search asks of what is learnt, so that nothing else asks which task it is.

A task has three parts. ``weights`` trains networks, ``law`` moves the law and validates, ``test`` is for the final
number; no searcher sees it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from types import MappingProxyType
from typing import Any, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from .. import registry
from ..errors import InputRefusedError, TempogradError, UsageError
from ..metric import Metric
from ..spaces.architecture import Architecture
from ..spaces.kind import Kind
from ..spaces.own import told_error
from ..spaces.space import SearchSpace
from .figure import figure, outputs_of
from .rows import ordered

SCORING_BATCH = 256
Held = Literal["law", "test"]  # the parts that networks are judged on
FedMeter = TypeVar("FedMeter", bound="Meter")
T = TypeVar("T")


class Part(Protocol):
    """One part of a task: batches of inputs and targets, in an order that a generator decides."""

    def __len__(self) -> int: ...

    def steps(self, batch: int) -> int:
        """Return the steps of one pass; what does not fill a batch is left out, except where it is all there is."""
        ...

    def batches(
        self, batch: int, generator: torch.Generator, *, augment: bool = False, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one pass of shuffled batches: inputs ``(b, ...)`` ready for a network, and targets ``(b, ...)``.

        Args:
            batch: examples a step.
            generator: decides order and augmentation.
            augment: whether inputs are changed as the task's augmentation says.
            start: the position: steps that are passed over. With the generator as it was when the pass began, what is
                yielded are the very batches that were left.
        """
        ...

    def ordered(self, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all examples once, in order, not augmented: inputs and targets ``(b, ...)``, fewer at the end."""
        ...

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs and targets of these indices ``(n,)``, not augmented."""
        ...


@dataclass(frozen=True)
class Input:
    """What a network is given: the shape of one example, such as ``(3, 224, 224)``, and its type."""

    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Output:
    """What a network must give.

    Attributes:
        kind: ``classes`` is ``(b, count)`` logits, ``map`` is ``(b, count, H, W)`` logits, ``heatmaps`` are ``(b,
            count, side, side)`` logits of where each point is, ``sequence`` is ``(b, count, length)`` logits of what
            comes next.
        count: classes, points or tokens.
        side: height and width of targets that are maps, if they have one size. Heat maps must be as large, other maps
            may be smaller.
    """

    kind: Kind
    count: int
    side: int | None = None


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes an input: what a result says, so that the network can be fed by others.

    Attributes:
        size: height and width in pixels.
        channels: Channels of the network's input; a grey image fills all of them.
        mode: how Pillow is to read an image, ``L`` or ``RGB``.
        scale: pixels are divided by it first.
        mean, std: Mean and standard deviation of each channel, after that; ``(x / scale - mean) / std``.
        decoded: an image file's shorter side is brought to this size in pixels, and its middle square taken; None where
            images have one size from the start.
        resize: how that is brought to ``size``: ``none``, ``nearest`` or ``bilinear``.
    """

    size: tuple[int, int]
    channels: int
    mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 255.0
    decoded: int | None = None
    resize: str = "none"


class Meter(Protocol):
    """Adds up what metrics are made of, batch by batch."""

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Take in one batch: outputs ``(b, count, ...)`` of a network, and targets ``(b, ...)``."""
        ...

    def values(self) -> dict[str, float]:
        """Return every metric of all batches so far, by name."""
        ...


@dataclass
class Collected:
    """A meter that keeps every output and asks a function at the end: for data that are few."""

    metrics: Callable[[Tensor, Tensor], Mapping[str, float]]
    outputs: list[Tensor] = field(default_factory=list[Tensor])
    targets: list[Tensor] = field(default_factory=list[Tensor])

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        self.outputs.append(outputs.cpu())
        self.targets.append(targets.cpu())

    def values(self) -> dict[str, float]:
        return dict(self.metrics(torch.cat(self.outputs), torch.cat(self.targets)))


class Task(ABC):
    """What networks learn. A task of your own derives from this class, or has only a method ``score``.

    Attributes:
        name: as it stands in results.
        weights, law, test: the parts.
        metric: the main one: networks are compared by it, in its direction.
        class_names: what the outputs stand for, by index; empty where they have no names.
        augmentation: what ``augment`` does to inputs, in words.
        remarks: what a user should know of his data, such as files that were skipped.
        preprocessing: how an image becomes an input; None where inputs are no images.
        told: what a result is to say of where scores come from that are known without training.
        by_recipe: whether a search's recipe says how networks are trained, on the device that it names; else they are
            trained by the task itself, or not at all.
        own_training: what tells the training that `trained` does from every other one: networks that it gave are kept
            while a search is unfinished; None: they are not kept.
    """

    name: str
    weights: Part
    law: Part
    test: Part
    metric: Metric
    class_names: tuple[str, ...] = ()
    augmentation: str = "none"
    remarks: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    told: Mapping[str, Any] = MappingProxyType({})
    by_recipe: bool = True
    own_training: str | None = None

    @property
    @abstractmethod
    def inputs(self) -> tuple[Input, ...]:
        """Return what networks are given; one entry for each input."""

    @property
    @abstractmethod
    def output(self) -> Output:
        """Return what networks must give."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar that training minimises, of outputs ``(b, count, ...)`` and targets ``(b, ...)``."""

    @abstractmethod
    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, float]:
        """Return every metric by name, the main one too, of outputs ``(b, count, ...)`` and targets ``(b, ...)``."""

    def meter(self) -> Meter:
        """Return what adds up metrics over batches."""
        return Collected(self.metrics)

    def distillation(self, outputs: Tensor, teacher: Tensor) -> Tensor:
        """Return how far outputs are from those of a teacher: a scalar, 0 where both say the same.

        By default both are logits ``(b, count, ...)`` over dimension 1, of an example, a pixel or a step, and this is
        their mean Kullback-Leibler divergence.
        """
        return divergence(outputs, teacher)

    def fitted(self, space: SearchSpace) -> Task:
        """Return the task with inputs of a space's shape.

        Raises:
            UsageError: the space cannot give what the task asks for, or takes other inputs.
        """
        check_outputs(self, space)
        if self.inputs[0].shape != tuple(space.graph.input_shape):
            raise UsageError(
                f"{self.name} gives inputs of {self.inputs[0].shape}, {space.spec} takes {space.graph.input_shape}"
            )
        return self

    def score(self, network: nn.Module, part: Held, compute: str = "cpu") -> float:
        """Return the main metric of a network in eval mode on a part.

        Args:
            network: on the device ``compute``.
            part: ``law`` or ``test``.
            compute: torch device.
        """
        return self.scores(network, part, compute)[self.metric.name]

    def scores(self, network: nn.Module, part: Held, compute: str = "cpu") -> dict[str, float]:
        """Return every metric of a network in eval mode on a part, by name.

        Raises:
            DivergedError: the network gives NaN or infinity.
        """
        batches = ordered(self.law if part == "law" else self.test, SCORING_BATCH, compute)
        return self._fed(self.meter(), network, batches, compute).values()

    def glance(self, network: nn.Module, index: Tensor, compute: str = "cpu") -> float:
        """Return the main metric of a network in eval mode on some examples of the part ``law``.

        Args:
            network: on the device ``compute``.
            index: ``(n,)`` their indices.
            compute: torch device.
        """
        batches = (self.law.take(some) for some in index.split(SCORING_BATCH))
        return self._fed(self.meter(), network, batches, compute).values()[self.metric.name]

    def _fed(
        self, meter: FedMeter, network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], compute: str
    ) -> FedMeter:
        with torch.no_grad():
            for inputs, targets in batches:
                meter.add(outputs_of(network(inputs.to(compute)), self.name).cpu(), targets)
        return meter

    def examples(self, network: nn.Module, compute: str = "cpu") -> Mapping[str, Any]:
        """Return what a network in eval mode makes of the part ``test``, for a report: see ``examples.py``."""
        return {}

    def trained(self, network: nn.Module) -> nn.Module | None:
        """Return the network after training of the task's own; None where it is trained on the part ``weights``."""
        return None

    def known(self, architecture: Architecture) -> float | None:
        """Return the main metric of a network that is known without it; None where the network has to be asked."""
        return None


def divergence(outputs: Tensor, teacher: Tensor) -> Tensor:
    """Return ``KL(teacher || outputs)`` of logits over dimension 1, the mean over all others.

    >>> float(divergence(torch.ones(2, 3), torch.zeros(2, 3)))  # no logit says more than another
    0.0
    """
    told, learnt = teacher.log_softmax(dim=1), outputs.log_softmax(dim=1)
    return F.kl_div(learnt, told, log_target=True, reduction="none").sum(dim=1).mean()


def metered(meter: Meter, outputs: Tensor, targets: Tensor) -> dict[str, float]:
    """Return what a meter says of one batch alone, outputs ``(b, count, ...)`` and targets ``(b, ...)``."""
    meter.add(outputs, targets)
    return meter.values()


def check_kind(task: Task, space: type[SearchSpace]) -> None:
    """Refuse a space none of whose instances gives the kind of output that a task asks for.

    Raises:
        UsageError: the message names both, and the spaces that do give it.
    """
    kind = task.output.kind
    if kind not in space.outputs:
        giving = [name for name in registry.names("space") if kind in registry.load("space", name).outputs]
        raise UsageError(
            f"{task.name} asks for {kind}, {space.name} gives {told_kinds(space.outputs)}; "
            + (f"spaces that give {kind}: {', '.join(giving)}" if giving else "take another space or task")
        )


def told_kinds(kinds: Sequence[Kind]) -> str:
    """Return kinds of output in words.

    >>> told_kinds(("classes", "map"))
    'classes or map'
    """
    return " or ".join(kinds) or "several outputs"


def check_outputs(task: Task, space: SearchSpace) -> None:
    """Refuse a space whose networks do not give what a task asks for.

    Raises:
        UsageError: it gives another kind of output, fewer classes, or heat maps of another size; the message names
            both.
    """
    check_kind(task, type(space))
    asked, (have, *sides) = task.output, space.graph.shape
    if asked.kind not in space.gives:
        way = f"set output={asked.kind}" if "output" in signature(type(space)).parameters else "take another task"
        raise UsageError(f"{task.name} asks for {asked.kind}, {space.spec} gives {told_kinds(space.gives)}; {way}")
    if have < asked.count:
        raise UsageError(
            f"{task.name} has {asked.count} {'classes' if asked.kind in {'classes', 'map'} else asked.kind}, "
            f"{space.spec} tells {have} apart; set classes={asked.count}"
        )
    if asked.kind == "heatmaps" and asked.side is not None and sides != [asked.side, asked.side]:
        raise UsageError(
            f"{task.name} has heatmaps of {asked.side}x{asked.side}, {space.spec} gives {'x'.join(map(str, sides))}; "
            f"set side={asked.side}"
        )


class Scored(Task):
    """A task of a user's that only says how good a network is.

    Args:
        name: as it stands in results.
        made: an object with ``score(network) -> float``, and if it likes ``train(network) -> network`` and a
            ``metric``, which is otherwise called ``score`` and better where it is higher.
        training: what tells its ``train`` from every other one; None if nothing does.

    Raises:
        UsageError: the object has no such method, or its metric is none.
    """

    by_recipe = False

    def __init__(self, name: str, made: Any, training: str | None = None) -> None:
        if not callable(getattr(made, "score", None)):
            raise UsageError(
                f"{name} is no task: it has no score(network) -> float, and is no tempograd.tasks.task.Task"
            )
        self.name, self._made = name, made
        self.own_training = training if callable(getattr(made, "train", None)) else None
        self._known: tuple[nn.Module, float] | None = None
        self.metric: Metric = getattr(made, "metric", Metric("score", unit=""))
        if not isinstance(self.metric, Metric):  # pyright: ignore[reportUnnecessaryIsInstance] - a user's
            raise UsageError(f"{name} has the metric {self.metric!r}; expected a tempograd.metric.Metric")

    @property
    def inputs(self) -> tuple[Input, ...]:
        return ()

    @property
    def output(self) -> Output:
        raise self._refusal("what networks must give is not known")

    @property
    def weights(self) -> Part:  # pyright: ignore[reportIncompatibleVariableOverride]
        raise self._refusal("there is nothing to train a supernet on")

    law = test = weights  # pyright: ignore[reportAssignmentType, reportIncompatibleVariableOverride]

    def fitted(self, space: SearchSpace) -> Task:
        return self

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        raise self._refusal("it has no loss")

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, float]:
        raise self._refusal("it has no metrics of outputs")

    def scores(self, network: nn.Module, part: Held, compute: str = "cpu") -> dict[str, float]:
        if self._known is None or self._known[0] is not network:  # both parts ask: a score may take long
            with torch.no_grad():
                self._known = network, self._asked("score", network, self._figure)
        return {self.metric.name: self._known[1]}

    def trained(self, network: nn.Module) -> nn.Module | None:
        if not callable(getattr(self._made, "train", None)):
            return network
        found = self._asked("train", network, lambda made: made)
        if not isinstance(found, nn.Module):
            raise InputRefusedError(f"{self.name}.train gave {found!r:.100}; expected the trained network")
        return found

    def _asked(self, verb: str, network: nn.Module, read: Callable[[Any], T]) -> T:
        """Return what a user's method gives; whatever it raises is told with his line."""
        try:
            return read(getattr(self._made, verb)(network))
        except TempogradError:
            raise
        except (Exception, SystemExit) as error:  # whatever a user's code raises
            raise InputRefusedError(f"{self.name}.{verb} failed: {told_error(error)}") from error

    def _figure(self, value: Any) -> float:
        return figure(value, f"{self.name}.score(network)")

    def _refusal(self, why: str) -> UsageError:
        trains = callable(getattr(self._made, "train", None))
        does = "trains and scores networks itself" if trains else "only scores networks"
        return UsageError(
            f"{self.name} {does}: {why}. Take a method that asks for scores: random_search, "
            "regularized_evolution or, in a trained network of your own, slim without --epochs; see tempograd methods"
        )
