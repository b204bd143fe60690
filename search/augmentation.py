"""Augmentation by a library: RandAugment, mixup and cutmix of torchvision, or of kornia where that does not load.

Both draw from torch's own generator, so each batch seeds it from the generator of its training, and leaves it as it
was: a training that is gone on from draws the same.

References:
    Cubuk et al., *RandAugment*, arXiv:1909.13719; Zhang et al., *mixup*, arXiv:1710.09412; Yun et al., *CutMix*,
    arXiv:1905.04899.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from ..errors import UsageError
from ..tasks.task import Task
from . import processes
from .training import Training

_BINS = 31  # steps of a strength that torchvision's RandAugment knows; kornia has as many


class Library(Protocol):
    """What training wants of a library; everything random comes from torch's own generator."""

    name: str

    def rand(self, images: Tensor, operations: int, magnitude: int) -> Tensor:
        """Return images ``(b, C, H, W)`` of 0..1, changed one by one."""
        ...

    def mixup(self, images: Tensor, labels: Tensor, alpha: float, classes: int) -> tuple[Tensor, Tensor]:
        """Return weighted means of two images each, and ``(b, classes)`` shares of labels."""
        ...

    def cutmix(self, images: Tensor, labels: Tensor, alpha: float, classes: int) -> tuple[Tensor, Tensor]:
        """Return images with a box of another one, and ``(b, classes)`` shares of labels."""
        ...


class Augmenter:
    """What a recipe does to each batch beside the task's own augmentation.

    Args:
        training: the recipe.
        task: fitted to the network; says how its images were normalised.
        classes: outputs of the network.

    Raises:
        UsageError: no library is there; the message has the command that installs one. Or the task gives no images, or
            no classes.
    """

    def __init__(self, training: Training, task: Task, classes: int) -> None:
        self.training, self.classes = training, classes
        check_mixed(training, task)
        self.mixes = bool(training.mixup or training.cutmix)
        self._library = library() if self.mixes or training.rand_augment else None
        self._mean, self._std = torch.zeros(()), torch.ones(())
        if training.rand_augment and task.preprocessing is not None:
            self._mean, self._std = (
                torch.tensor(numbers)[:, None, None] for numbers in (task.preprocessing.mean, task.preprocessing.std)
            )

    def __call__(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return normalised images ``(b, C, H, W)``, and labels: as they were, or where images are mixed as shares.

        Each of several processes mixes its own rows of a batch, by draws of its own.
        """
        training, used = self.training, self._library
        if used is None:
            return images, labels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (), generator=generator)) + processes.rank())
            if training.rand_augment:
                mean, std = self._mean.to(images.device), self._std.to(images.device)
                shown = (images * std + mean).clamp(0, 1)
                images = (used.rand(shown, training.rand_augment, training.rand_magnitude) - mean) / std
            if not self.mixes:
                return images, labels
            labels = labels.to(images.device)
            cut = not training.mixup or (training.cutmix > 0 and bool(torch.rand(()) < 0.5))
            mix = used.cutmix if cut else used.mixup
            return mix(images, labels, training.cutmix if cut else training.mixup, self.classes)


def check_mixed(training: Training, task: Task) -> None:
    """Refuse a recipe that changes images and labels of a task that has none, or that has no class for each image.

    Raises:
        UsageError: the message names the key, its value and the task.
    """
    for key in ("rand_augment", "mixup", "cutmix", "label_smoothing"):
        value = getattr(training, key)
        if value and (task.preprocessing is None or task.output.kind != "classes"):
            raise UsageError(
                f"{key}={value:g} of the recipe {training.name} is for images with a class each; {task.name} asks for "
                f"{task.output.kind}: set it to 0"
            )


def library() -> Library:
    """Return torchvision, or kornia where that does not load.

    Raises:
        UsageError: neither is there.
    """
    for made in (_Torchvision, _Kornia):
        try:
            return made()
        except (ImportError, RuntimeError):  # a torchvision of another torch: operators that it wants do not exist
            continue
    raise UsageError(
        "rand_augment, mixup and cutmix need torchvision or kornia, and neither loads here; pip install "
        "'tempograd[augmentation]', or set them to 0"
    )


class _Torchvision:
    name = "torchvision"

    def __init__(self) -> None:
        self._v2: Any = import_module("torchvision.transforms.v2")

    def rand(self, images: Tensor, operations: int, magnitude: int) -> Tensor:
        change = self._v2.RandAugment(operations, magnitude, _BINS)
        whole = (images * 255).round().to(torch.uint8)
        return torch.stack([change(image) for image in whole]).float() / 255

    def mixup(self, images: Tensor, labels: Tensor, alpha: float, classes: int) -> tuple[Tensor, Tensor]:
        return self._v2.MixUp(alpha=alpha, num_classes=classes)(images, labels)

    def cutmix(self, images: Tensor, labels: Tensor, alpha: float, classes: int) -> tuple[Tensor, Tensor]:
        return self._v2.CutMix(alpha=alpha, num_classes=classes)(images, labels)


class _Kornia:
    name = "kornia"

    def __init__(self) -> None:
        self._kornia: Any = import_module("kornia.augmentation")
        self._auto: Any = import_module("kornia.augmentation.auto")

    def rand(self, images: Tensor, operations: int, magnitude: int) -> Tensor:
        change = self._auto.RandAugment(operations, magnitude)
        if images.shape[1] != 1:
            return change(images).clamp(0, 1)
        return change(images.expand(-1, 3, -1, -1)).mean(dim=1, keepdim=True).clamp(0, 1)  # it knows colours only

    def mixup(self, images: Tensor, labels: Tensor, alpha: float, classes: int) -> tuple[Tensor, Tensor]:
        share = torch.distributions.Beta(alpha, alpha).sample()  # kornia itself draws it uniformly
        mix = self._kornia.RandomMixUpV2(lambda_val=share.repeat(2), p=1.0, data_keys=["input", "class"])
        mixed, told = mix(images, labels)
        return self._shares(mixed, told, classes)

    def cutmix(self, images: Tensor, labels: Tensor, alpha: float, classes: int) -> tuple[Tensor, Tensor]:
        mix = self._kornia.RandomCutMixV2(beta=alpha, p=1.0, data_keys=["input", "class"], use_correct_lambda=True)
        cut, told = mix(images, labels)
        own, other, weight = told.unbind(2)
        return self._shares(cut, torch.stack([other, own, weight], 2), classes)  # here the weight is that of its own

    def _shares(self, images: Tensor, told: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        """Return images, and of ``(.., b, 3)``, label, other label and the other's weight, the share of each class."""
        own, other, weight = told.reshape(-1, 3).unbind(1)
        first, second = (F.one_hot(labels.long(), classes).float() for labels in (own, other))
        return images, torch.lerp(first, second, weight[:, None].float())
