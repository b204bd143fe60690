"""Tasks: labelled images in three parts, and the tasks that have a name.

``weights`` trains networks, ``law`` moves the law and validates, ``test`` is for the final number; no searcher sees it.

=======================  ========================================================================================
``digits``               1,797 grey 8x8 images of scikit-learn, 10 classes; no download
``synthetic``            seeded shapes on textures, 10 classes
``fashion_mnist:PATH``   the four published idx files, gzipped or not
``cifar10:PATH``         the binary version, ``train``/``test`` folders of images by class, or Parquet files
=======================  ========================================================================================

``,limit=N`` after any of them keeps N images, classes with their shares, and as many of a separate test set.

A task may also be a column of a table that others published, ``table:FILE:COLUMN``: accuracies without images.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from ..errors import InputRefusedError, UnknownNameError, UsageError
from ..spaces.architecture import Architecture
from ..spaces.space import SearchSpace
from .images import Labelled, read_cifar10, read_fashion_mnist

_LAW_SHARE = 0.375  # of what is not test: with a test fifth, 50 % / 30 % / 20 %
_TEST_SHARE = 0.2
_RESIZE_CHUNK = 1024
_SHIFT = 8  # images are shifted by up to an eighth of their size
_SYNTHETIC = 2000


@dataclass(frozen=True)
class Part:
    """One part of a task.

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

    def __len__(self) -> int:
        return len(self.labels)

    def steps(self, batch: int) -> int:
        """Return the steps of one pass; what does not fill a batch is left out, except where it is all there is."""
        return max(1, len(self) // batch)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return images, normalised float32, and labels."""
        return self._normalised(self.images[index]), self.labels[index]

    def batches(
        self, batch: int, generator: torch.Generator, *, augment: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one pass of shuffled batches; augmented ones are shifted by up to an eighth, and mirrored."""
        order = torch.randperm(len(self), generator=generator)
        for start in range(0, self.steps(batch) * batch, batch):
            index = order[start : start + batch]
            images = self.images[index]
            if augment:
                images = _augmented(images, self.flip, generator)
            yield self._normalised(images), self.labels[index]

    def _normalised(self, images: Tensor) -> Tensor:
        return (images.float() / 255 - self.mean[:, None, None]) / self.std[:, None, None]


@dataclass(frozen=True)
class Task:
    """Labelled images in three parts."""

    name: str
    weights: Part
    law: Part
    test: Part
    classes: int

    def fitted(self, space: SearchSpace) -> Task:
        """Return the task with images of a space's size and channels.

        A multiple of the size repeats pixels, anything else is interpolated with antialiasing; grey images fill every
        channel.

        Raises:
            UsageError: the space has fewer classes, or the images have channels that it does not take.
        """
        channels, height, width = space.graph.input_shape
        (outputs,) = space.graph.shape
        if outputs < self.classes:
            raise UsageError(f"{self.name} has {self.classes} classes, {space.spec} tells {outputs} apart; set classes")
        own = self.weights.images.shape[1]
        if own not in {1, channels}:
            raise UsageError(f"{self.name} has {own} channels, {space.spec} takes {channels}; set channels={own}")
        return replace(
            self, **{key: _fitted(getattr(self, key), channels, (height, width)) for key in ("weights", "law", "test")}
        )


@dataclass(frozen=True)
class TableTask:
    """Accuracies that are known already: of what is asked a search sees no more than it may.

    Attributes:
        name: file and column.
        accuracies: shares, of the only networks there are.
    """

    name: str
    accuracies: Mapping[Architecture, float]

    def fitted(self, space: SearchSpace) -> Task:
        """Refuse: there are no images.

        Raises:
            UsageError: always; the method trains networks.
        """
        raise UsageError(
            f"{self.name} is a table without images, and this method trains networks of {space.name}; use one that "
            "asks for accuracies only, see tempograd methods"
        )


def table_column(spec: str) -> tuple[Path, str] | None:
    """Return file and column of ``table:FILE:COLUMN``, or None if the spec is no table; both may hold colons.

    Raises:
        UsageError: the spec begins so, but names no Parquet, CSV or TSV file with a column.

    >>> table_column("table:nb201.parquet:help:gold_6226")
    (PosixPath('nb201.parquet'), 'help:gold_6226')
    """
    if not spec.startswith("table:"):
        return None
    found = re.fullmatch(r"table:(.+?\.(?:parquet|(?:csv|tsv)(?:\.gz)?)):(.+)", spec, re.IGNORECASE)
    if found is None:
        raise UsageError(
            f"cannot read {spec!r}; write table:FILE:COLUMN, the file ending in .parquet, .csv, .tsv or .csv.gz"
        )
    return Path(found[1]), found[2]


def load_task(spec: str, *, seed: int = 0) -> Task:
    """Return the task that a spec names, such as ``digits`` or ``cifar10:PATH,limit=5000``.

    Args:
        spec: name, for files a path, and how many images at most.
        seed: of the split; the same seed gives the same parts.

    Raises:
        UnknownNameError: no such task.
        UsageError: a path is missing or not wanted, or the limit leaves too few images.
        InputRefusedError: files that are missing, malformed or too large.
    """
    whole, limit = _limit_of(spec)
    name, _, path = whole.partition(":")
    if name not in TASKS:
        raise UnknownNameError("task", name, TASKS)
    if bool(path) != (name in _FROM_FILES):
        wanted = f"{name}:PATH" if name in _FROM_FILES else name
        raise UsageError(f"cannot read task {spec!r}; write {wanted}")
    train, test, flip = TASKS[name](path, seed)
    train = _limited(train, limit, seed)
    if test is None:
        train, test = _split(train, _TEST_SHARE, seed)
    else:
        test = _limited(test, limit, seed)
    weights, law = _split(train, _LAW_SHARE, seed)
    scaled = weights.images.astype(np.float32) / 255
    mean = torch.from_numpy(scaled.mean(axis=(0, 2, 3)))
    std = torch.from_numpy(scaled.std(axis=(0, 2, 3)).clip(min=1e-3))
    parts = [
        Part(torch.from_numpy(p.images), torch.from_numpy(p.labels), mean, std, flip) for p in (weights, law, test)
    ]
    return Task(name + spec[len(whole) :], *parts, classes=int(max(train.labels.max(), test.labels.max())) + 1)


def _digits(path: str, seed: int) -> tuple[Labelled, None, bool]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]  # pyright: ignore[reportAttributeAccessIssue]
    return Labelled(images, bunch.target.astype(np.int64)), None, False  # pyright: ignore[reportAttributeAccessIssue]


def _synthetic(path: str, seed: int, *, size: int = 16) -> tuple[Labelled, None, bool]:
    """Draw one of 5 shapes (disc, square, cross, ring, diamond) in one of 2 textures on noise, at random places."""
    rng = np.random.default_rng(seed)
    labels = np.arange(_SYNTHETIC) % 10
    y, x = np.mgrid[:size, :size]
    cy, cx = (rng.uniform(0.4 * size, 0.6 * size, (_SYNTHETIC, 1, 1)) for _ in range(2))
    radius = rng.uniform(0.22 * size, 0.34 * size, (_SYNTHETIC, 1, 1))
    dy, dx = np.abs(y - cy), np.abs(x - cx)
    distance = np.hypot(dy, dx)
    shapes = np.stack(
        [
            distance < radius,
            np.maximum(dy, dx) < 0.85 * radius,
            (np.minimum(dy, dx) < 0.35 * radius) & (np.maximum(dy, dx) < radius),
            (distance < radius) & (distance > 0.55 * radius),
            dy + dx < radius,
        ]
    )[labels % 5, np.arange(_SYNTHETIC)]
    stripes = np.where((x + rng.integers(0, 4, (_SYNTHETIC, 1, 1))) % 4 < 2, 1.0, 0.35)
    texture = np.where((labels // 5)[:, None, None] == 1, stripes, 0.8)
    images = 255 * (shapes * texture * 0.75 + rng.normal(0.12, 0.08, shapes.shape)).clip(0, 1)
    return Labelled(images.astype(np.uint8)[:, None], labels.astype(np.int64)), None, False


def _fashion_mnist(path: str, seed: int) -> tuple[Labelled, Labelled, bool]:
    return *read_fashion_mnist(Path(path)), True


def _cifar10(path: str, seed: int) -> tuple[Labelled, Labelled, bool]:
    return *read_cifar10(Path(path)), True


TASKS: dict[str, Callable[[str, int], tuple[Labelled, Labelled | None, bool]]] = {
    "digits": _digits,
    "synthetic": _synthetic,
    "fashion_mnist": _fashion_mnist,
    "cifar10": _cifar10,
}
_FROM_FILES = {"fashion_mnist", "cifar10"}


def _split(data: Labelled, share: float, seed: int) -> tuple[Labelled, Labelled]:
    """Split off a share of every class."""
    from sklearn.model_selection import train_test_split

    try:
        first, second = train_test_split(
            np.arange(len(data.labels)), test_size=share, random_state=seed, stratify=data.labels
        )
    except ValueError as error:
        raise InputRefusedError(f"{len(data.labels)} images are too few to split by class: {error}") from error
    return data.take(np.sort(first)), data.take(np.sort(second))


def _limit_of(spec: str) -> tuple[str, int | None]:
    """Return a spec without its limit, and the limit."""
    found = re.fullmatch(r"(.+),limit=([0-9]{1,9})", spec)
    return (found[1], int(found[2])) if found else (spec, None)


def _limited(data: Labelled, limit: int | None, seed: int) -> Labelled:
    if limit is None or limit >= len(data.labels):
        return data
    classes = len(np.unique(data.labels))
    if limit < 10 * classes:
        raise UsageError(f"limit {limit}; allowed: from {10 * classes}, ten images for each of {classes} classes")
    return _split(data, limit / len(data.labels), seed)[1]


def _fitted(part: Part, channels: int, size: tuple[int, int]) -> Part:
    images = part.images
    height, width = images.shape[2:]
    if size[0] % height == 0 and size[1] % width == 0:
        images = images.repeat_interleave(size[0] // height, dim=2).repeat_interleave(size[1] // width, dim=3)
    else:
        chunks = [
            F.interpolate(chunk.float(), size, mode="bilinear", antialias=True, align_corners=False)
            for chunk in images.split(_RESIZE_CHUNK)
        ]
        images = torch.cat([chunk.round().clamp(0, 255).to(torch.uint8) for chunk in chunks])
    repeats = channels // images.shape[1]
    if repeats == 1:
        return replace(part, images=images)
    return replace(
        part, images=images.expand(-1, channels, -1, -1), mean=part.mean.repeat(repeats), std=part.std.repeat(repeats)
    )


def _augmented(images: Tensor, flip: bool, generator: torch.Generator) -> Tensor:
    """Shift each image on a frame of zeros, and mirror half of them where that keeps the meaning."""
    n, _, height, width = images.shape
    reach = max(1, height // _SHIFT)
    padded = F.pad(images, (reach,) * 4)
    top, left = torch.randint(0, 2 * reach + 1, (2, n, 1), generator=generator)
    rows, columns = top + torch.arange(height), left + torch.arange(width)
    if flip:
        mirrored = torch.rand(n, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    return padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
