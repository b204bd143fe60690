"""Seeded shapes on textures: no download."""

from __future__ import annotations

import numpy as np

from ...arguments import Count, Seed
from ..formats import Labelled
from ..images import Classification, classification

_IMAGES, _SIZE = 2000, 16
_SHAPES = ("disc", "square", "cross", "ring", "diamond")


def synthetic(*, limit: Count | None = None, seed: Seed = 0) -> Classification:
    """Draw 2,000 grey 16x16 images: one of 5 shapes in one of 2 textures on noise, at random places; 10 classes.

    Args:
        limit: images that are kept, classes with their shares.
        seed: decides images and split.
    """
    names = [f"{texture} {shape}" for texture in ("plain", "striped") for shape in _SHAPES]
    return classification("synthetic", _drawn(seed), seed=seed, limit=limit, class_names=names)


def _drawn(seed: int) -> Labelled:
    rng = np.random.default_rng(seed)
    labels = np.arange(_IMAGES) % 10
    y, x = np.mgrid[:_SIZE, :_SIZE]
    cy, cx = (rng.uniform(0.4 * _SIZE, 0.6 * _SIZE, (_IMAGES, 1, 1)) for _ in range(2))
    radius = rng.uniform(0.22 * _SIZE, 0.34 * _SIZE, (_IMAGES, 1, 1))
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
    )[labels % 5, np.arange(_IMAGES)]
    stripes = np.where((x + rng.integers(0, 4, (_IMAGES, 1, 1))) % 4 < 2, 1.0, 0.35)
    texture = np.where((labels // 5)[:, None, None] == 1, stripes, 0.8)
    images = 255 * (shapes * texture * 0.75 + rng.normal(0.12, 0.08, shapes.shape)).clip(0, 1)
    return Labelled(images.astype(np.uint8)[:, None], labels.astype(np.int64))


TASK = synthetic
