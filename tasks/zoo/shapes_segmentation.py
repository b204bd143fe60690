"""Drawn shapes to be told from their background, pixel by pixel: no download."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta

from ...arguments import Seed
from ..dense import Segmentation, cut, pairs_of

Images = Annotated[int, Meta(ge=10, le=10_000)]
_NAMES = ("background", "disc", "square", "cross")
_SIZE = 32


def shapes_segmentation(*, images: Images = 1800, seed: Seed = 0) -> Segmentation:
    """Draw coloured 32x32 images with up to three shapes on a noisy ground; 4 classes of pixels, the main metric mIoU.

    Args:
        images: that are drawn.
        seed: decides images and split.
    """
    rng = np.random.default_rng(seed)
    pictures, masks = np.empty((images, 3, _SIZE, _SIZE), np.uint8), np.zeros((images, _SIZE, _SIZE), np.uint8)
    y, x = np.mgrid[:_SIZE, :_SIZE]
    for i in range(images):
        canvas = rng.uniform(0.1, 0.7, (3, 1, 1)) + rng.normal(0, 0.08, (3, _SIZE, _SIZE))
        for kind in rng.integers(1, len(_NAMES), rng.integers(1, 4)):
            dy, dx = np.abs(y - rng.uniform(5, 27)), np.abs(x - rng.uniform(5, 27))
            radius = rng.uniform(3.5, 7)
            shape = (
                np.hypot(dy, dx) < radius,
                np.maximum(dy, dx) < 0.85 * radius,
                (np.minimum(dy, dx) < 0.35 * radius) & (np.maximum(dy, dx) < radius),
            )[kind - 1]
            masks[i][shape] = kind
            canvas = np.where(shape, rng.uniform(0.2, 1, (3, 1, 1)) + rng.normal(0, 0.05, canvas.shape), canvas)
        pictures[i] = np.round(255 * canvas.clip(0, 1))
    parts = cut(images, seed)
    pairs = pairs_of([pictures[p] for p in parts], [masks[p] for p in parts], flip=True, heights=False)
    return Segmentation("shapes_segmentation", *pairs, count=len(_NAMES), class_names=_NAMES)


TASK = shapes_segmentation
