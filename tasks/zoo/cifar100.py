"""CIFAR-100, from its binary version."""

from __future__ import annotations

from pathlib import Path

from ...arguments import Count, Seed
from ..formats import read_cifar100
from ..images import Classification, classification


def cifar100(path: Path, *, limit: Count | None = None, seed: Seed = 0) -> Classification:
    """Read CIFAR-100, coloured 32x32 images in 100 classes: ``train.bin`` and ``test.bin`` of the binary version.

    Args:
        path: the folder that holds them.
        limit: images that are kept, classes with their shares, and as many of the test set.
        seed: decides the split into parts.
    """
    train, test, names = read_cifar100(Path(path))
    return classification("cifar100", train, test, seed=seed, limit=limit, flip=True, class_names=names, classes=100)


TASK = cifar100
