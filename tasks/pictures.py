"""Images in files: decoded once into memory where they fit, else by threads when a batch is asked for.

Both ways give the same batches. Pillow lets go of Python's lock while it decodes, so threads use all cores, and need
neither copies of this process nor shared memory.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from io import FileIO
from typing import Any, Protocol

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputRefusedError
from ..shown import counted
from .decode import BrokenImageError, header, legible, need_pillow, pixels
from .formats import Labelled
from .images import Classification, channels_filled, classification, limited, resized, shares, split
from .parts import Example, ImagePart, moved
from .rows import Turn

MEMORY_BYTES = 2**30  # of decoded images, or an eighth of the free memory if that is less
BROKEN_SHARE = 0.01  # of images that cannot be read: more are refused
_LOOKED_AT = 2000  # images that tell size, colour, mean and deviation
_AHEAD = 3  # batches decoded before they are asked for
_TOGETHER = 8  # images that a thread decodes at a time
_SHOWN = 5
_BATCH = 256


class Bytes(Protocol):
    """Where the bytes of compressed images come from, by number."""

    def __len__(self) -> int: ...

    def read(self, i: int) -> bytes:
        """Return the bytes of one image."""
        ...

    def place(self, i: int) -> str:
        """Return how one image is called in messages."""
        ...


@dataclass(frozen=True)
class FileBytes:
    """Images in files, whole or a part of one: names in one block of bytes, so that millions of them are cheap.

    Attributes:
        names: ``(files,)`` paths as UTF-8.
        file: ``(n,)`` which file each image is in.
        offset, size: ``(n,)`` where in it, in bytes; size -1 for the whole file.
        called: ``(n,)`` names in messages; empty: the paths.
    """

    names: NDArray[Any]
    file: NDArray[np.int64]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    called: NDArray[Any]

    @classmethod
    def of(cls, paths: Iterable[str]) -> FileBytes:
        """Return whole files."""
        names = np.array([os.fsencode(path) for path in paths], bytes)
        n = len(names)
        return cls(names, np.arange(n), np.zeros(n, np.int64), np.full(n, -1), np.empty(0, bytes))

    def __len__(self) -> int:
        return len(self.file)

    def read(self, i: int) -> bytes:
        path, size = bytes(self.names[self.file[i]]), int(self.size[i])
        try:
            with FileIO(path) as file:
                if size < 0:
                    return file.readall()
                file.seek(int(self.offset[i]))
                return file.read(size)
        except OSError as error:
            raise BrokenImageError(f"{legible(os.fsdecode(path))} cannot be read: {error.strerror}") from error

    def place(self, i: int) -> str:
        path = legible(os.fsdecode(bytes(self.names[self.file[i]])))
        return f"{path}, {legible(os.fsdecode(bytes(self.called[i])))}" if len(self.called) else path


@dataclass(frozen=True)
class HeldBytes:
    """Images whose compressed bytes are in memory."""

    contents: Sequence[bytes]
    places: Sequence[str]

    def __len__(self) -> int:
        return len(self.contents)

    def read(self, i: int) -> bytes:
        return self.contents[i]

    def place(self, i: int) -> str:
        return self.places[i]


@dataclass(frozen=True)
class Examples:
    """Compressed images and their labels ``(n,)``; ``index`` are those of the source that are meant."""

    source: Bytes
    labels: NDArray[np.int64]
    index: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        if not len(self.index):
            object.__setattr__(self, "index", np.arange(len(self.labels)))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[Any]) -> Examples:
        """Return the images of these indices ``(n,)``, not read yet."""
        return Examples(self.source, self.labels[index], self.index[index])


@dataclass
class Broken:
    """Images that could not be read, of all that there are; more than a share of them is refused."""

    total: int
    places: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, place: str, error: BrokenImageError) -> None:
        """Count one.

        Raises:
            InputRefusedError: they are more than the share.
        """
        self.places[place] = str(error)
        if len(self.places) > BROKEN_SHARE * self.total:
            told = "; ".join(list(self.places.values())[:_SHOWN])
            raise InputRefusedError(  # at the first too many, so that there may be more
                f"{len(self.places)} or more of {self.total} images cannot be read, allowed: {BROKEN_SHARE:.0%}. "
                f"{told}. Repair or remove them"
            )

    def remarks(self) -> tuple[str, ...]:
        """Return a sentence that counts and names them."""
        if not self.places:
            return ()
        more = ", ..." if len(self.places) > _SHOWN else ""
        return (
            f"skipped {counted(len(self.places), 'image')} that cannot be read: "
            f"{', '.join(list(self.places)[:_SHOWN])}{more}",
        )


@dataclass(frozen=True)
class Decoder:
    """Turns compressed images into pixels of one size.

    Attributes:
        size: height and width.
        grey: one channel, else three.
        broken: where those that cannot be read are counted.
    """

    size: int
    grey: bool
    broken: Broken

    def one(self, source: Bytes, i: int) -> NDArray[np.uint8] | None:
        """Return ``(H, W, C)`` pixels, or None of an image that cannot be read."""
        try:
            return pixels(source.read(i), source.place(i), self.size, grey=self.grey).transpose(1, 2, 0)
        except BrokenImageError as error:
            self.broken.add(source.place(i), error)
            return None

    def batches(
        self, examples: Examples, order: Iterable[NDArray[np.int64]], *, whole: bool = False
    ) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
        """Yield ``(b, C, H, W)`` uint8, channels last in memory, and the indices that they are of, for each array.

        Some batches are decoded ahead, by as many threads as there are cores.

        Args:
            examples: the compressed images.
            order: arrays of indices.
            whole: whether the place of one that cannot be read is taken by the next that can; else it is left out.
        """
        waiting: deque[_Batch] = deque()
        pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="decode")
        try:
            for index in order:
                waiting.append(_Batch(self, examples, index, pool, whole=whole))
                if len(waiting) > _AHEAD:
                    yield from waiting.popleft().read()
            while waiting:
                yield from waiting.popleft().read()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Batch:
    """A batch on its way: threads decode it by a few images each, into one block of memory."""

    def __init__(
        self, decoder: Decoder, examples: Examples, index: NDArray[np.int64], pool: ThreadPoolExecutor, *, whole: bool
    ) -> None:
        self._decoder, self._examples, self._whole = decoder, examples, whole
        self._index = index.copy()
        self._pixels = np.empty((len(index), decoder.size, decoder.size, 1 if decoder.grey else 3), np.uint8)
        pieces = [range(at, min(at + _TOGETHER, len(index))) for at in range(0, len(index), _TOGETHER)]
        self._parts = [pool.submit(self._decode, piece) for piece in pieces]

    def read(self) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
        """Wait, and yield the images that could be read, ``(n, C, H, W)`` uint8, with their indices ``(n,)``."""
        kept = [place for part in self._parts for place in part.result()]
        found, index = self._pixels, self._index
        if len(kept) < len(index):
            found, index = found[kept], index[kept]
        if kept:
            yield torch.from_numpy(found).permute(0, 3, 1, 2), index

    def _decode(self, places: range) -> list[int]:
        """Decode the images at some places of the batch; return the places that are filled."""
        examples, kept = self._examples, list[int]()
        for place in places:
            first = int(self._index[place])
            for index in range(first, first + (len(examples) if self._whole else 1)):
                at = index % len(examples)
                image = self._decoder.one(examples.source, int(examples.index[at]))
                if image is not None:
                    self._pixels[place], self._index[place] = image, at
                    kept.append(place)
                    break
        return kept


@dataclass(frozen=True)
class Streamed(ImagePart):
    """One part of a task: labelled images in files, decoded when they are asked for.

    Attributes:
        examples: the compressed images.
        labels: ``(n,)`` int64.
        decoder: makes pixels of them.
        mean, std: ``(C,)`` of the ``weights`` part, on the scale 0..1.
        flip: whether a mirrored image means the same.
        channels, size: Channels and image size of a space that it is fitted to; None: as decoded.
        turn: the process whose rows shuffled batches hold; None: all rows.
    """

    examples: Examples
    labels: Tensor
    decoder: Decoder
    mean: Tensor
    std: Tensor
    flip: bool = False
    channels: int | None = None
    size: tuple[int, int] | None = None
    turn: Turn | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of an image."""
        return (self.channels or self.own_channels, *(self.size or (self.decoder.size, self.decoder.size)))

    @property
    def own_channels(self) -> int:
        """Return the channels of the images themselves: 1 or 3."""
        return 1 if self.decoder.grey else 3

    def fitted(self, channels: int, size: tuple[int, int]) -> Streamed:
        """Return the part with images of other channels and another size."""
        repeats = channels // self.own_channels
        mean, std = self.mean.repeat(repeats), self.std.repeat(repeats)
        return replace(self, channels=channels, size=size, mean=mean, std=std)

    def own_rows(self, turn: Turn) -> Streamed:
        """Return the part with the rows of one of several processes: it decodes no others."""
        return replace(self, turn=turn)

    def kept(
        self, batch: int, generator: torch.Generator, *, augment: bool = False, start: int = 0
    ) -> Iterator[Example]:
        """Yield one pass of shuffled batches of bytes from a step on; augmented ones are shifted, and mirrored.

        What is passed over draws from the generator all the same, and is not decoded. An image that cannot be read is
        stood in for by the next one of the part, so that all batches are whole.
        """
        order = torch.randperm(len(self), generator=generator)
        cut = [order[step * batch : (step + 1) * batch] for step in range(self.steps(batch))]
        for index in cut[:start] if augment else ():
            self.drawn(len(index), generator)
        rows = [slice(None) if self.turn is None else self.turn.rows(len(index)) for index in cut]
        own = [index[row] for index, row in zip(cut[start:], rows[start:], strict=True)]
        for step, (images, labels) in enumerate(self.read(own, whole=True), start):
            drawn = self.drawn(len(cut[step]), generator) if augment else None
            if drawn is not None:
                top, left, mirrored = drawn
                row = rows[step]
                images = moved(images, top[row], left[row], None if mirrored is None else mirrored[row])
            yield images, labels

    def read(self, order: Iterable[Tensor], *, whole: bool = False) -> Iterator[Example]:
        arrays = (index.numpy() for index in order)
        for images, index in self.decoder.batches(self.examples, arrays, whole=whole):
            fitted = images if self.size is None else resized(images, self.size)
            yield channels_filled(fitted, self.shape[0]), self.labels[torch.from_numpy(index)]


def picture_task(
    name: str,
    train: Examples,
    test: Examples | None,
    law: Examples | None,
    *,
    class_names: Sequence[str],
    size: int | None,
    seed: int,
    limit: int | None = None,
    validation: float | None = None,
    remarks: Sequence[str] = (),
) -> Classification:
    """Return the task of compressed images: in memory where they fit, else decoded when they are asked for.

    Args:
        name: Name of the task.
        train: images to train on, split as far as the others are missing.
        test: for the final number.
        law: to validate on.
        class_names: by label.
        size: height and width; None: their own where all are square and alike, else what their median says.
        seed: Seed of the splits.
        limit: how many of ``train``, ``law`` and ``test`` are kept.
        validation: the share of what is not ``test`` that is validated on, where ``law`` is not given.
        remarks: what is known of them already.

    Raises:
        InputRefusedError: images that cannot be read are more than a hundredth, there is one class only, or one has
            too few to be split.
        UsageError: the limit leaves too few.
    """
    need_pillow()
    if len(class_names) < 2:
        raise InputRefusedError(f"{name} has the class {', '.join(class_names)} only; expected two or more")
    counts = np.bincount(train.labels, minlength=len(class_names))
    if absent := [class_names[label] for label in np.flatnonzero(counts == 0).tolist()]:
        told = f"{', '.join(absent[:_SHOWN])}{', ...' if len(absent) > _SHOWN else ''}"
        remarks = (*remarks, f"train has no images of {told}")
    first = limited(train, limit, seed)
    held = None if test is None else limited(test, limit, seed)
    if held is None:
        first, held = split(first, shares(None)[1], seed)
    weights, judged = (
        (first, limited(law, limit, seed)) if law is not None else split(first, shares(validation)[0], seed)
    )
    broken = Broken(len(weights) + len(judged) + len(held))
    found_size, grey = _looked_at(weights, size, broken)
    decoder = Decoder(found_size, grey, broken)
    total = (len(weights) + len(judged) + len(held)) * found_size**2 * (1 if grey else 3)
    if total <= min(MEMORY_BYTES, psutil.virtual_memory().available // 8):
        parts = [_decoded(part, decoder) for part in (weights, judged, held)]
        made = classification(name, parts[0], parts[2], law=parts[1], seed=seed, flip=True, classes=len(class_names))
    else:
        mean, std = _statistics(weights, decoder)
        streamed = [
            Streamed(part, torch.from_numpy(part.labels), decoder, mean, std, flip=True)
            for part in (weights, judged, held)
        ]
        made = Classification(name, *streamed[:3], classes=len(class_names))
    return replace(made, class_names=tuple(class_names), remarks=(*remarks, *broken.remarks()), decoded=found_size)


def _looked_at(examples: Examples, size: int | None, broken: Broken) -> tuple[int, bool]:
    """Return the size of images, and whether all are grey, as the first bytes of some tell."""
    sizes: set[tuple[int, int]] = set()
    shorter: list[int] = []
    all_grey = True
    for i in examples.index[:: max(1, len(examples) // _LOOKED_AT)].tolist():
        try:
            width, height, grey = header(examples.source.read(i), examples.source.place(i))
        except BrokenImageError as error:
            broken.add(examples.source.place(i), error)
            continue
        sizes.add((width, height))
        shorter.append(min(width, height))
        all_grey = all_grey and grey
    if size is not None:
        return size, all_grey
    width, height = next(iter(sizes), (0, 0))
    if len(sizes) == 1 and width == height <= 224:
        return width, all_grey
    return int(min(224, max(32, np.median(shorter) // 32 * 32))), all_grey


def _decoded(part: Examples, decoder: Decoder) -> Labelled:
    found = np.empty((len(part), 1 if decoder.grey else 3, decoder.size, decoder.size), np.uint8)
    kept: list[NDArray[np.int64]] = []
    done = 0
    for images, index in decoder.batches(part, _in_order(len(part))):
        found[done : done + len(images)] = images.numpy()
        kept.append(index)
        done += len(images)
    return Labelled(found[:done], part.labels[np.concatenate(kept)])


def _in_order(n: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, n, _BATCH):
        yield np.arange(start, min(start + _BATCH, n))


def _statistics(part: Examples, decoder: Decoder) -> tuple[Tensor, Tensor]:
    """Return mean and deviation ``(C,)`` of some images, evenly taken."""
    index = np.arange(0, len(part), max(1, len(part) // _LOOKED_AT))
    sums, squares, count = np.zeros(1), np.zeros(1), 0
    for images, _ in decoder.batches(part, (index[i : i + 64] for i in range(0, len(index), 64))):
        values = images.numpy().astype(np.float64) / 255
        sums, squares = sums + values.sum(axis=(0, 2, 3)), squares + (values**2).sum(axis=(0, 2, 3))
        count += values[:, 0].size
    mean = sums / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1e-6))
    return torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(std.astype(np.float32))
