"""Fashion-MNIST, from its published idx files.

References:
    Xiao et al., *Fashion-MNIST*, arXiv:1708.07747.
"""

from __future__ import annotations

from pathlib import Path

from ...arguments import Count, Seed
from ..formats import read_fashion_mnist
from ..images import Classification, classification

_NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def fashion_mnist(path: Path, *, limit: Count | None = None, seed: Seed = 0) -> Classification:
    """Read the four published idx files, gzipped or not: grey 28x28 images of clothes, 10 classes.

    Args:
        path: the folder that holds them.
        limit: images that are kept, classes with their shares, and as many of the test set.
        seed: decides the split into parts.
    """
    train, test = read_fashion_mnist(Path(path))
    return classification("fashion_mnist", train, test, seed=seed, limit=limit, flip=True, class_names=_NAMES)


TASK = fashion_mnist
