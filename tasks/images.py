"""Labelled images in memory: the parts, and the task that is made of them.

Images are kept as bytes, resized and grey spread over the channels when a task is fitted to a space.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from ..errors import InputRefusedError, UsageError
from ..metric import Metric
from ..spaces.space import SearchSpace
from .examples import confusion
from .formats import Labelled
from .parts import Example, ImagePart, mean_and_deviation
from .rows import ordered
from .task import SCORING_BATCH, Input, Meter, Output, Preprocessing, Task, check_outputs, metered

_LAW_SHARE = 0.375  # of what is not test: with a test fifth, 50 % / 30 % / 20 %
_TEST_SHARE = 0.2
_RESIZE_CHUNK = 1024
MOST_CLASSES = 100_000  # what spaces take
_MOST_BYTES = 2**28  # of images that tell mean and deviation


@dataclass(frozen=True)
class Images(ImagePart):
    """One part of a task: labelled images in memory.

    Attributes:
        images: ``(n, C, H, W)`` uint8.
        labels: ``(n,)`` int64.
        mean, std: ``(C,)`` of the ``weights`` part, on the scale 0..1.
        flip: whether a mirrored image means the same.
    """

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor
    flip: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of an image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def own_channels(self) -> int:
        """Return the channels of the images themselves: 1 where all are one grey."""
        return 1 if self.images.stride(1) == 0 else self.images.shape[1]

    def fitted(self, channels: int, size: tuple[int, int]) -> Images:
        """Return the part with images of other channels and another size."""
        repeats = channels // self.images.shape[1]
        images = channels_filled(resized(self.images, size), channels)
        return replace(self, images=images, mean=self.mean.repeat(repeats), std=self.std.repeat(repeats))

    def read(self, order: Iterable[Tensor]) -> Iterator[Example]:
        return ((self.images[index], self.labels[index]) for index in order)


@dataclass(frozen=True)
class Classification(Task):
    """Labelled images in three parts.

    Attributes:
        name: as it stands in results.
        weights, law, test: the parts.
        classes: how many there are.
        class_names: in the order of the labels; empty where they have none.
        remarks: what was skipped on the way, and the like.
        decoded: the size that files were decoded to; None where images had one size from the start.
        resize: how images were brought to the size of a space.
    """

    name: str
    weights: ImagePart  # pyright: ignore[reportIncompatibleVariableOverride]
    law: ImagePart  # pyright: ignore[reportIncompatibleVariableOverride]
    test: ImagePart  # pyright: ignore[reportIncompatibleVariableOverride]
    classes: int
    class_names: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    decoded: int | None = None
    resize: str = "none"

    @property
    def metric(self) -> Metric:  # pyright: ignore[reportIncompatibleVariableOverride]
        return Metric(chance=1 / self.classes)

    @property
    def inputs(self) -> tuple[Input, ...]:
        return (Input(self.weights.shape),)

    @property
    def output(self) -> Output:
        return Output("classes", self.classes)

    @property
    def augmentation(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return "shifted by up to an eighth" + (", mirrored" if self.weights.flip else "")

    @property
    def preprocessing(self) -> Preprocessing:  # pyright: ignore[reportIncompatibleVariableOverride]
        part = self.weights
        channels, height, width = part.shape
        mode = "L" if part.own_channels == 1 else "RGB"
        mean, std = tuple(part.mean.tolist()), tuple(part.std.tolist())
        return Preprocessing((height, width), channels, mode, mean, std, decoded=self.decoded, resize=self.resize)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, float]:
        return metered(self.meter(), outputs, targets)

    def meter(self) -> Meter:
        return Right()

    def examples(self, network: nn.Module, compute: str = "cpu") -> Mapping[str, Any]:
        with torch.no_grad():
            batches = ordered(self.test, SCORING_BATCH, compute)
            return confusion(network, batches, self.class_names, self.classes)

    def fitted(self, space: SearchSpace) -> Classification:
        """Return the task with images of a space's size and channels.

        A multiple of the size repeats pixels, anything else is interpolated with antialiasing; grey images fill every
        channel.

        Raises:
            UsageError: the space has fewer classes, or the images have channels that it does not take.
        """
        check_outputs(self, space)
        channels, height, width = space.graph.input_shape
        own = self.weights.own_channels
        if own not in {1, channels}:
            raise UsageError(f"{self.name} has {own} channels, {space.spec} takes {channels}; set channels={own}")
        weights, law, test = (part.fitted(channels, (height, width)) for part in (self.weights, self.law, self.test))
        return replace(self, weights=weights, law=law, test=test, resize=_resize(self.weights, (height, width)))


@dataclass
class Right:
    """Counts outputs ``(b, classes)`` whose largest is the label."""

    right: int = 0
    seen: int = 0

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        self.right += int((outputs.argmax(dim=1) == targets).sum())
        self.seen += len(targets)

    def values(self) -> dict[str, float]:
        return {"accuracy": self.right / self.seen}


def classification(
    name: str,
    train: Labelled,
    test: Labelled | None = None,
    *,
    seed: int,
    limit: int | None = None,
    flip: bool = False,
    classes: int | None = None,
    class_names: Sequence[str] = (),
    law: Labelled | None = None,
    remarks: Sequence[str] = (),
) -> Classification:
    """Return the task of labelled images in memory, split by class.

    Args:
        name: Name of the task.
        train: images to split into ``weights`` and ``law``, and ``test`` too where that is not given.
        test: images of their own for the final number.
        seed: Seed of the splits; the same seed gives the same parts.
        limit: how many images are kept, classes with their shares, and as many of a separate test set.
        flip: whether a mirrored image means the same.
        classes: how many there are; None for the largest label and one.
        class_names: by label.
        law: images of their own to validate on.
        remarks: what a user should know of them.

    Raises:
        UsageError: the limit leaves too few images of a class.
        InputRefusedError: they are too few to split by class.
    """
    train = limited(train, limit, seed)
    if test is None:
        train, test = split(train, _TEST_SHARE, seed)
    else:
        test = limited(test, limit, seed)
    weights, law = split(train, _LAW_SHARE, seed) if law is None else (train, law)
    some = weights.images[:: max(1, weights.images.nbytes // _MOST_BYTES)]  # as floats they take four times as much
    mean, std = mean_and_deviation(some)
    parts = [
        Images(torch.from_numpy(p.images), torch.from_numpy(p.labels), mean, std, flip) for p in (weights, law, test)
    ]
    found = int(max(train.labels.max(), test.labels.max())) + 1
    suffix = "" if limit is None else f",limit={limit}"
    return Classification(
        name + suffix,
        parts[0],
        parts[1],
        parts[2],
        classes=classes or found,
        class_names=tuple(class_names),
        remarks=tuple(remarks),
    )


def class_count(labels: NDArray[np.int64], place: object) -> int:
    """Return how many classes labels ``(n,)`` number from 0.

    Raises:
        InputRefusedError: there is one class only, or a label that is no number of a class.
    """
    count = int(labels.max()) + 1
    if not 2 <= count <= MOST_CLASSES:
        raise InputRefusedError(
            f"{place} has labels up to {count - 1}; expected two classes or more, numbered 0, 1, ... up to "
            f"{MOST_CLASSES - 1:,}"
        )
    return count


class Rows(Protocol):
    """Labelled examples of which some can be taken."""

    @property
    def labels(self) -> NDArray[np.int64]: ...

    def take(self, index: NDArray[Any]) -> Self: ...


R = TypeVar("R", bound=Rows)


def shares(validation: float | None) -> tuple[float, float]:
    """Return which share of what is not test is validated on, and which share of all is test."""
    return _LAW_SHARE if validation is None else validation, _TEST_SHARE


def split(data: R, share: float, seed: int) -> tuple[R, R]:
    """Split off a share of every class."""
    from sklearn.model_selection import train_test_split

    try:
        first, second = train_test_split(
            np.arange(len(data.labels)), test_size=share, random_state=seed, stratify=data.labels
        )
    except ValueError as error:
        counts = np.unique(data.labels, return_counts=True)[1]
        raise InputRefusedError(
            f"{len(data.labels)} images of {len(counts)} classes, {counts.min()} of the rarest, are too few to split "
            "by class; add images, or give train, val and test yourself"
        ) from error
    return data.take(np.sort(first)), data.take(np.sort(second))


def limited(data: R, limit: int | None, seed: int) -> R:
    """Return so many images, classes with their shares.

    Raises:
        UsageError: they would be fewer than ten a class.
    """
    if limit is None or limit >= len(data.labels):
        return data
    classes = len(np.unique(data.labels))
    if limit < 10 * classes:
        raise UsageError(f"limit {limit}; allowed: from {10 * classes}, ten images for each of {classes} classes")
    return split(data, limit / len(data.labels), seed)[1]


def _resize(part: ImagePart, size: tuple[int, int]) -> str:
    """Return how images of another size are brought to this one."""
    _, height, width = part.shape
    if (height, width) == size:
        return "none"
    return "nearest" if size[0] % height == 0 and size[1] % width == 0 else "bilinear"


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images ``(n, C, H, W)`` uint8 of another size; a multiple repeats pixels, all else is interpolated."""
    height, width = images.shape[2:]
    if size == (height, width):
        return images
    if size[0] % height == 0 and size[1] % width == 0:
        return images.repeat_interleave(size[0] // height, dim=2).repeat_interleave(size[1] // width, dim=3)
    chunks = [
        F.interpolate(chunk.float(), size, mode="bilinear", antialias=True, align_corners=False)
        for chunk in images.split(_RESIZE_CHUNK)
    ]
    return torch.cat([chunk.round().clamp(0, 255).to(torch.uint8) for chunk in chunks])


def channels_filled(images: Tensor, channels: int) -> Tensor:
    """Return images ``(n, channels, H, W)`` of ``(n, C, H, W)``: as they are, or one grey channel repeated."""
    return images if images.shape[1] == channels else images.expand(-1, channels, -1, -1)
