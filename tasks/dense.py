"""Images with something to say of every place: maps of classes, and heat maps of points; in memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from ..errors import InputRefusedError
from ..metric import SHARE, Metric
from ..shown import counted
from .examples import PICTURES, places
from .oks import Figures, average_precision, installed
from .parts import Example, NumberedPart, mean_and_deviation, normalised
from .rows import ordered
from .task import SCORING_BATCH, Held, Input, Meter, Output, Preprocessing, Task, divergence, metered

IGNORED = 255  # the index of places in a mask that do not count
PCK = 0.2  # of the larger side of the box around a figure's points: nearer is right
_SHARES = (0.5, 0.3)  # of the parts weights and law


@dataclass(frozen=True)
class Pairs(NumberedPart[Tensor]):
    """One part of a task: images, and a target of as many dimensions for each.

    Attributes:
        images: ``(n, C, H, W)`` uint8.
        targets: ``(n, ...)`` uint8: class indices, or heights from 0 to 255.
        mean, std: ``(C,)`` of the ``weights`` part, on the scale 0..1.
        flip: whether an image and its target, both mirrored, are an example as well.
        heights: whether targets are heights, given as shares of 255; else they are indices.
    """

    images: Tensor
    targets: Tensor
    mean: Tensor
    std: Tensor
    flip: bool
    heights: bool

    def __len__(self) -> int:
        return len(self.images)

    def read(self, order: Iterable[Tensor]) -> Iterator[Example]:
        return ((self.images[index], self.targets[index]) for index in order)

    def drawn(self, count: int, generator: torch.Generator) -> Tensor | None:
        return torch.rand(count, generator=generator) < 0.5 if self.flip else None

    def changed(self, example: Example, drawn: Tensor) -> Example:
        images, targets = (torch.where(drawn.view(-1, *[1] * (x.ndim - 1)), x.flip(-1), x) for x in example)
        return images, targets

    def ready(self, example: Example) -> Example:
        """Return images, normalised float32 ``(n, C, H, W)``, and targets: int64 indices or float32 heights."""
        images, targets = example
        return normalised(images, self.mean, self.std), targets.float() / 255 if self.heights else targets.long()


@dataclass(frozen=True)
class Dense(Task):
    """Images in three parts, with a target for every place.

    Attributes:
        name: as it stands in results.
        weights, law, test: the parts.
        count: classes or points.
        class_names: Class names of these, by index.
        remarks: what was skipped on the way, and the like.
        decoded: the size that files were decoded to; None where images had one size from the start.
    """

    name: str
    weights: Pairs  # pyright: ignore[reportIncompatibleVariableOverride]
    law: Pairs  # pyright: ignore[reportIncompatibleVariableOverride]
    test: Pairs  # pyright: ignore[reportIncompatibleVariableOverride]
    count: int
    class_names: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    decoded: int | None = None

    @property
    def inputs(self) -> tuple[Input, ...]:
        return (Input(tuple(self.weights.images.shape[1:])),)

    @property
    def augmentation(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return "mirrored" if self.weights.flip else "none"

    @property
    def preprocessing(self) -> Preprocessing:  # pyright: ignore[reportIncompatibleVariableOverride]
        channels, height, width = self.weights.images.shape[1:]
        mean, std = tuple(self.weights.mean.tolist()), tuple(self.weights.std.tolist())
        mode = "L" if channels == 1 else "RGB"
        return Preprocessing((height, width), channels, mode, mean, std, decoded=self.decoded)

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, float]:
        return metered(self.meter(), outputs, targets)

    def examples(self, network: nn.Module, compute: str = "cpu") -> Mapping[str, Any]:
        inputs, targets = self.test.take(torch.arange(min(PICTURES, len(self.test))))
        images = inputs * self.test.std[:, None, None] + self.test.mean[:, None, None]
        with torch.no_grad():
            outputs = network(inputs.to(compute)).cpu()
        truth, given = self.shown(outputs, targets)
        ignored = IGNORED if self.output.kind == "map" else None
        return places(images, truth, given, kind=self.output.kind, names=self.class_names, ignored=ignored)

    @abstractmethod
    def shown(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return truth and outputs as one plane each, ``(n, h, w)``: classes, or heights of 0..1."""


@dataclass(frozen=True)
class Segmentation(Dense):
    """A class for every pixel; pixels of index 255 do not count. Smaller outputs are brought to the mask's size.

    Pixels weigh in the loss by one over the square root of their class's share of the part ``weights``, 1 on average:
    else a network that calls everything ground has learnt most of what there is.
    """

    @cached_property
    def class_weights(self) -> Tensor:
        """Return ``(count,)`` float32; a class that no pixel has weighs as the seldomest one."""
        targets = self.weights.targets
        counts = torch.bincount(targets[targets != IGNORED].long(), minlength=self.count).double()
        there = counts > 0
        if not bool(there.any()):
            return torch.ones(self.count)
        found = (counts.sum() / counts.clamp(min=float(counts[there].min()))).sqrt()
        return (found * counts.sum() / (found * counts).sum()).float()

    @property
    def metric(self) -> Metric:  # pyright: ignore[reportIncompatibleVariableOverride]
        return Metric("mIoU", unit=SHARE)

    @property
    def output(self) -> Output:
        return Output("map", self.count, self.weights.targets.shape[-1])

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        weight, sized = self.class_weights.to(outputs), _sized(outputs, targets)[:, : self.count]
        total = F.cross_entropy(sized, targets, weight, ignore_index=IGNORED, reduction="sum")
        return total / (targets != IGNORED).sum().clamp(min=1)

    def distillation(self, outputs: Tensor, teacher: Tensor) -> Tensor:
        """Return the mean divergence over each pixel's classes, of logits ``(b, count, H, W)`` from a teacher's."""
        return divergence(outputs[:, : self.count], teacher[:, : self.count])

    def shown(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return targets, _sized(outputs, targets)[:, : self.count].argmax(dim=1)

    def meter(self) -> Meter:
        return Confusion(torch.zeros(self.count, self.count, dtype=torch.int64))


@dataclass
class Confusion:
    """Counts pixels ``(truth, predicted)``; mIoU is the mean over the classes that occur in either."""

    counts: Tensor

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        predicted, known = _sized(outputs, targets).argmax(dim=1), targets != IGNORED
        n = len(self.counts)
        self.counts += torch.bincount(targets[known] * n + predicted[known], minlength=n * n).view(n, n)

    def values(self) -> dict[str, float]:
        right = self.counts.diagonal().double()
        union = self.counts.sum(dim=0) + self.counts.sum(dim=1) - right
        there = union > 0
        share = float(right.sum() / self.counts.sum().clamp(min=1))
        return {"mIoU": float((right[there] / union[there]).mean()) if there.any() else 0.0, "pixel accuracy": share}


def _sized(outputs: Tensor, targets: Tensor) -> Tensor:
    if outputs.shape[-2:] == targets.shape[-2:]:
        return outputs
    return F.interpolate(outputs, targets.shape[-2:], mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Keypoints(Dense):
    """A heat map for every point of a figure; points that are not labelled have an empty map and do not count.

    A network's map is taken as logits of where the point is, and learns by cross-entropy over all places: squared
    errors of maps that are nearly empty teach it little more than to give empty ones.

    Attributes:
        figures: the figures of the part ``test``, whose average precision is told beside, where COCO's package is
            installed (``pip install pycocotools``).
    """

    figures: Figures | None = None

    @property
    def metric(self) -> Metric:  # pyright: ignore[reportIncompatibleVariableOverride]
        return Metric(f"PCK@{PCK}", unit=SHARE)

    @property
    def output(self) -> Output:
        return Output("heatmaps", self.count, self.weights.targets.shape[-1])

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        there = _labelled(targets)
        truth = targets.flatten(2) / targets.sum(dim=(2, 3)).clamp(min=1e-6)[..., None]
        surprise = -(truth * outputs[:, : self.count].flatten(2).log_softmax(dim=2)).sum(dim=2)
        return (surprise * there).sum() / there.sum().clamp(min=1)

    def distillation(self, outputs: Tensor, teacher: Tensor) -> Tensor:
        """Return the mean divergence over each point's places, of logits ``(b, count, H, W)`` from a teacher's."""
        places, told = (maps[:, : self.count].flatten(2).transpose(1, 2) for maps in (outputs, teacher))
        return divergence(places, told)

    def shown(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        maps = outputs[:, : self.count]
        return targets.amax(dim=1), (maps - maps.amax(dim=(2, 3), keepdim=True)).exp().amax(dim=1)

    def meter(self) -> Meter:
        return Near(self.metric.name)

    def scores(self, network: nn.Module, part: Held, compute: str = "cpu") -> dict[str, float]:
        if part != "test" or self.figures is None or not installed():
            return super().scores(network, part, compute)
        meter = Near(self.metric.name, found=[])
        near = self._fed(meter, network, ordered(self.test, SCORING_BATCH, compute), compute)
        return near.values() | {"AP": average_precision(self.figures, *near.places())}


@dataclass
class Near:
    """Counts labelled points whose highest place is near the true one, by the size of the figure.

    With a list in ``found`` it keeps the places there, and how sure they are.
    """

    name: str
    near: int = 0
    seen: int = 0
    found: list[tuple[Tensor, Tensor]] | None = None

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        maps = outputs[:, : targets.shape[1]]
        found, truth, there = _places(maps), _places(targets), _labelled(targets)
        if self.found is not None:
            sides = torch.tensor(maps.shape[:1:-1])  # columns, rows
            self.found.append(((found.flip(2) + 0.5) / sides, maps.flatten(2).softmax(dim=2).amax(dim=2).mean(dim=1)))
        low = torch.where(there[..., None], truth, torch.inf).amin(dim=1)
        high = torch.where(there[..., None], truth, -torch.inf).amax(dim=1)
        side = (high - low).amax(dim=1).clamp(min=1)[:, None]
        self.near += int((((found - truth).norm(dim=2) <= PCK * side) & there).sum())
        self.seen += int(there.sum())

    def values(self) -> dict[str, float]:
        return {self.name: self.near / max(self.seen, 1)}

    def places(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return ``(n, points, 2)`` columns and rows as shares of the side, and ``(n,)`` how sure they are."""
        places, sure = (torch.cat(each).double().numpy() for each in zip(*(self.found or ()), strict=True))
        return places, sure


def _labelled(targets: Tensor) -> Tensor:
    return targets.amax(dim=(2, 3)) > 0


def _places(maps: Tensor) -> Tensor:
    """Return ``(b, points, 2)``: rows and columns of the highest places."""
    flat = maps.flatten(2).argmax(dim=2)
    return torch.stack([flat // maps.shape[3], flat % maps.shape[3]], dim=2).float()


def heat_maps(points: NDArray[np.float64], labelled: NDArray[np.bool_], side: int) -> NDArray[np.uint8]:
    """Return ``(n, points, side, side)`` heights, 255 at each point and a bell of one pixel around it.

    Args:
        points: ``(n, points, 2)`` columns and rows, as shares of the image's side.
        labelled: ``(n, points)``; the maps of others are empty.
        side: Side of the maps, in pixels.
    """
    at = np.clip(np.floor(points * side), 0, side - 1)
    grid = np.arange(side)
    rows = np.exp(-((grid - at[..., 1:]) ** 2) / 2)
    columns = np.exp(-((grid - at[..., :1]) ** 2) / 2)
    return np.round(255 * rows[..., :, None] * columns[..., None, :] * labelled[..., None, None]).astype(np.uint8)


def pairs_of(
    images: Sequence[NDArray[np.uint8]], targets: Sequence[NDArray[np.uint8]], *, flip: bool, heights: bool
) -> tuple[Pairs, Pairs, Pairs]:
    """Return the parts ``weights``, ``law`` and ``test``.

    Args:
        images: three arrays ``(n, C, H, W)``.
        targets: three arrays ``(n, ...)``: maps of classes ``(n, H, W)``, or heat maps ``(n, points, H, W)``.
        flip: whether images may be mirrored.
        heights: whether targets are heat maps.
    """
    mean, std = mean_and_deviation(images[0])
    weights, law, test = (
        Pairs(torch.from_numpy(x), torch.from_numpy(y), mean, std, flip, heights)
        for x, y in zip(images, targets, strict=True)
    )
    return weights, law, test


def cut(n: int, seed: int) -> list[NDArray[np.int64]]:
    """Return the sorted indices ``(m,)`` of each of the three parts of ``n`` examples, drawn by a seed.

    Raises:
        InputRefusedError: they are too few.
    """
    if n < 10:
        raise InputRefusedError(f"three parts of {counted(n, 'example')} would be too small; expected 10 or more")
    first, second = round(_SHARES[0] * n), round(sum(_SHARES) * n)
    return [np.sort(part) for part in np.split(np.random.default_rng(seed).permutation(n), [first, second])]
