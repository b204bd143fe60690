"""Grey 8x8 images of handwritten digits, from scikit-learn: no download."""

from __future__ import annotations

import numpy as np

from ...arguments import Count, Seed
from ..formats import Labelled
from ..images import Classification, classification


def digits(*, limit: Count | None = None, seed: Seed = 0) -> Classification:
    """Return 1,797 grey 8x8 images of handwritten digits, 10 classes; they come with scikit-learn.

    Args:
        limit: images that are kept, classes with their shares.
        seed: decides the split into parts.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]  # pyright: ignore[reportAttributeAccessIssue]
    labels = bunch.target.astype(np.int64)  # pyright: ignore[reportAttributeAccessIssue]
    return classification(
        "digits", Labelled(images, labels), seed=seed, limit=limit, class_names=[str(digit) for digit in range(10)]
    )


TASK = digits
