"""CIFAR-10, from its binary version, folders of images, or Parquet files."""

from __future__ import annotations

from pathlib import Path

from ...arguments import Count, Seed
from ..folder import scan
from ..formats import read_cifar10
from ..images import Classification, classification
from ..pictures import picture_task

_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cifar10(path: Path, *, limit: Count | None = None, seed: Seed = 0) -> Classification:
    """Read CIFAR-10, coloured 32x32 images in 10 classes: the binary version, folders of images, or Parquet files.

    Args:
        path: the folder that holds them.
        limit: images that are kept, classes with their shares, and as many of the test set.
        seed: decides the split into parts.
    """
    folder = Path(path)
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        found = scan(folder)
        return picture_task(
            "cifar10", found.parts["train"], found.parts["test"], None, class_names=found.class_names, size=None,
            seed=seed, limit=limit, remarks=found.remarks,
        )  # fmt: skip
    train, test = read_cifar10(folder)
    return classification("cifar10", train, test, seed=seed, limit=limit, flip=True, class_names=_NAMES)


TASK = cifar10
