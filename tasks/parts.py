"""Parts of tasks whose examples have numbers: the order of a pass, what augmentation draws, how images become inputs.

A part says how examples of given numbers are read, and if it likes what is drawn for a batch that is augmented, and
what that does. All else is the same for images in memory and in files, for maps, and for windows of a text.

Examples stay as they are kept, images as bytes, until a step takes them: `rows.own_rows` cuts them for one of several
processes and hands them to the device that computes, and only there they are made `ready`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LARGE = 64 * 64  # pixels of images that are normalised one by one
_SHIFT = 8  # images are shifted by up to an eighth of their size

Example = tuple[Tensor, Tensor]  # some inputs (b, ...) and targets (b, ...)
Shifts = tuple[Tensor, Tensor, Tensor | None]
D = TypeVar("D")


class NumberedPart(ABC, Generic[D]):
    """One part of a task, see `tasks.task.Part`; ``D`` is what is drawn for a batch that is augmented."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, order: Iterable[Tensor]) -> Iterator[Example]:
        """Yield the examples of each tensor of numbers ``(b,)``, as they are kept; those that are broken left out."""

    def drawn(self, count: int, generator: torch.Generator) -> D | None:
        """Draw how a batch of so many is augmented; None if it is not."""
        return None

    def changed(self, example: Example, drawn: D) -> Example:
        """Return a batch that was read, augmented as was drawn."""
        return example

    def ready(self, example: Example) -> Example:
        """Return a batch as a network takes it, on the device where its inputs are."""
        return example

    def steps(self, batch: int) -> int:
        """Return the steps of one pass; what does not fill a batch is left out, except where it is all there is."""
        return max(1, len(self) // batch)

    def take(self, index: Tensor) -> Example:
        """Return the inputs and targets of these numbers ``(n,)``, not augmented."""
        (example,) = self.read([index])
        return self.ready(example)

    def ordered(self, batch: int) -> Iterator[Example]:
        """Yield all examples once, in their own order, not augmented; the last batch may be smaller."""
        return map(self.ready, self.kept_in_order(batch))

    def kept_in_order(self, batch: int) -> Iterator[Example]:
        """Yield what :meth:`ordered` does, as it is kept."""
        return self.read(torch.arange(len(self)).split(batch))

    def batches(
        self, batch: int, generator: torch.Generator, *, augment: bool = False, start: int = 0
    ) -> Iterator[Example]:
        """Yield one pass of shuffled batches from a step on.

        What is passed over draws from the generator all the same, and is not read: a pass that goes on is the pass that
        was begun.
        """
        return map(self.ready, self.kept(batch, generator, augment=augment, start=start))

    def kept(
        self, batch: int, generator: torch.Generator, *, augment: bool = False, start: int = 0
    ) -> Iterator[Example]:
        """Yield what :meth:`batches` does, augmented but as it is kept: images as bytes."""
        cut = torch.randperm(len(self), generator=generator).split(batch)[: self.steps(batch)]
        for index in cut[:start] if augment else ():
            self.drawn(len(index), generator)
        for index, example in zip(cut[start:], self.read(cut[start:]), strict=False):
            drawn = self.drawn(len(index), generator) if augment else None
            yield example if drawn is None else self.changed(example, drawn)


class ImagePart(NumberedPart[Shifts]):
    """Labelled images ``(n, C, H, W)`` uint8, shifted by up to an eighth and mirrored where they are augmented.

    Attributes:
        labels: ``(n,)`` int64.
        mean, std: ``(C,)`` of the ``weights`` part, on the scale 0..1.
        flip: whether a mirrored image means the same.
    """

    labels: Tensor
    mean: Tensor
    std: Tensor
    flip: bool

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of an image."""

    @property
    @abstractmethod
    def own_channels(self) -> int:
        """Return the channels of the images themselves: 1 where all are one grey."""

    @abstractmethod
    def fitted(self, channels: int, size: tuple[int, int]) -> ImagePart:
        """Return the part with images of other channels and another size."""

    def __len__(self) -> int:
        return len(self.labels)

    def drawn(self, count: int, generator: torch.Generator) -> Shifts:
        return moves(count, self.shape[1], self.flip, generator)

    def changed(self, example: Example, drawn: Shifts) -> Example:
        images, labels = example
        return moved(images, *drawn), labels

    def ready(self, example: Example) -> Example:
        return normalised(example[0], self.mean, self.std), example[1]


def mean_and_deviation(images: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each channel, ``(C,)`` on the scale 0..1, of images ``(n, C, H, W)``."""
    scaled = images.astype(np.float32) / 255
    deviation = scaled.std(axis=(0, 2, 3)).clip(min=1e-3)
    return torch.from_numpy(scaled.mean(axis=(0, 2, 3))), torch.from_numpy(deviation)


def moves(n: int, height: int, flip: bool, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
    """Draw how images are shifted, ``(n, 1)`` down and right from the frame's corner, and whether they are mirrored."""
    top, left = torch.randint(0, 2 * _reach(height) + 1, (2, n, 1), generator=generator)
    return top, left, torch.rand(n, 1, generator=generator) < 0.5 if flip else None


def moved(images: Tensor, top: Tensor, left: Tensor, mirrored: Tensor | None) -> Tensor:
    """Shift each image on a frame of zeros, and mirror those that are to be mirrored.

    Args:
        images: ``(n, C, H, W)`` uint8.
        top: ``(n, 1)`` shifts down, as `moves` draws them.
        left: ``(n, 1)`` shifts to the right.
        mirrored: ``(n, 1)`` flags; None for no image.

    Returns:
        ``(n, C, H, W)`` uint8, in memory channels last.
    """
    n, channels, height, width = images.shape
    found = np.zeros((n, height, width, channels), np.uint8)
    down, right = ((each[:, 0] - _reach(height)).tolist() for each in (top, left))
    flips = [False] * n if mirrored is None else mirrored[:, 0].tolist()
    # by numpy, and so in this thread alone: torch's would wait for each other wherever cores are busy decoding
    for to, image, y, x, flip in zip(found, images.permute(0, 2, 3, 1).numpy(), down, right, flips, strict=True):
        seen = image[max(0, y) : height + min(0, y), max(0, x) : width + min(0, x)]
        first = max(0, x) if flip else max(0, -x)
        place = to[max(0, -y) : height - max(0, y), first : first + seen.shape[1]]
        for channel in range(channels) if flip else ():  # one by one: many times faster than pixel by pixel
            place[..., channel] = seen[:, ::-1, channel]
        if not flip:
            place[...] = seen
    return torch.from_numpy(found).permute(0, 3, 1, 2)


def normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return ``(images / 255 - mean) / std`` as float32, mean and deviation by channel, on the images' device.

    On a CPU larger images go one by one, so that all four steps find them in the cache, and in this thread alone:
    threads of torch would wait for each other wherever cores are busy decoding. Elsewhere it is one operation.
    """
    n, channels, height, width = images.shape
    if images.device.type != "cpu":
        return in_one(images, mean.to(images.device), std.to(images.device))
    if height * width < _LARGE or not images.permute(0, 2, 3, 1).is_contiguous():
        return (images.float() / 255 - mean[:, None, None]) / std[:, None, None]
    found = np.empty((n, height, width * channels), np.float32)  # numpy asks for huge pages
    centers, scales = mean.repeat(width).numpy(), std.repeat(width).numpy()
    for to, image in zip(found, images.permute(0, 2, 3, 1).reshape(n, height, -1).numpy(), strict=True):
        to[...] = image
        to /= np.float32(255)
        to -= centers
        to /= scales
    return torch.from_numpy(found).view(n, height, width, channels).permute(0, 3, 1, 2)


def in_one(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return what `normalised` does to ``(n, C, H, W)``, up to rounding, as one operation that reads bytes."""
    scale = (1 / (255 * std))[:, None, None]
    return torch.addcmul((-mean / std)[:, None, None], images, scale)


def _reach(height: int) -> int:
    return max(1, height // _SHIFT)
