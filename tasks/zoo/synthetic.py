"""Seeded shapes on textures: no download."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta

from ...arguments import Count, Seed, Share
from ..formats import Labelled
from ..images import Classification, classification

_IMAGES, _SIZE = 2000, 16
_NOISE, _SPREAD = 0.08, 0.1
_SHAPES = ("disc", "square", "cross", "ring", "diamond")


def synthetic(
    *,
    noise: Share = _NOISE,
    spread: Annotated[float, Meta(ge=0, le=0.3)] = _SPREAD,
    limit: Count | None = None,
    seed: Seed = 0,
) -> Classification:
    """Draw 2,000 grey 16x16 images: one of 5 shapes in one of 2 textures on noise, at random places; 10 classes.

    As it is, nearly every network learns it. With ``noise=0.12,spread=0.25`` networks of one latency differ by many
    points after ten epochs, so that there is something to find.

    Args:
        noise: standard deviation of the noise, black to white being 1.
        spread: how far from the middle a shape's centre may lie, in image sizes.
        limit: images that are kept, classes with their shares.
        seed: decides images and split.
    """
    names = [f"{texture} {shape}" for texture in ("plain", "striped") for shape in _SHAPES]
    images = _drawn(seed, noise, spread)
    own = "" if (noise, spread) == (_NOISE, _SPREAD) else f":noise={noise:g},spread={spread:g}"
    return classification(f"synthetic{own}", images, seed=seed, limit=limit, class_names=names)


def _drawn(seed: int, noise: float, spread: float) -> Labelled:
    rng = np.random.default_rng(seed)
    labels = np.arange(_IMAGES) % 10
    y, x = np.mgrid[:_SIZE, :_SIZE]
    cy, cx = (rng.uniform((0.5 - spread) * _SIZE, (0.5 + spread) * _SIZE, (_IMAGES, 1, 1)) for _ in range(2))
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
    images = 255 * (shapes * texture * 0.75 + rng.normal(0.12, noise, shapes.shape)).clip(0, 1)
    return Labelled(images.astype(np.uint8)[:, None], labels.astype(np.int64))


TASK = synthetic
