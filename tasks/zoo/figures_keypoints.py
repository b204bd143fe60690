"""Drawn stick figures whose head, hands and feet are to be found: no download."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from ...arguments import Seed
from ..dense import Keypoints, cut, heat_maps, pairs_of
from ..oks import Figures

Images = Annotated[int, Meta(ge=10, le=10_000)]
_NAMES = ("head", "left hand", "right hand", "left foot", "right foot")
_SIZE, _MAP = 32, 16


def figures_keypoints(*, images: Images = 600, seed: Seed = 0) -> Keypoints:
    """Draw grey 32x32 images of stick figures; heat maps of 16x16 for 5 points, the main metric PCK@0.2.

    Args:
        images: that are drawn.
        seed: decides images and split.
    """
    rng = np.random.default_rng(seed)
    pictures, points = np.empty((images, 1, _SIZE, _SIZE), np.uint8), np.empty((images, len(_NAMES), 2))
    for i in range(images):
        points[i], pictures[i, 0] = _figure(rng)
    maps = heat_maps(points, np.ones(points.shape[:2], bool), _MAP)
    parts = cut(images, seed)
    pairs = pairs_of([pictures[p] for p in parts], [maps[p] for p in parts], flip=False, heights=True)
    test = parts[2]
    whole = np.full(len(test), float(_SIZE))
    figures = Figures(
        points=_SIZE * points[test],
        labelled=np.ones((len(test), len(_NAMES)), bool),
        corner=np.zeros((len(test), 2)),
        side=whole,
        area=np.ptp(_SIZE * points[test], axis=1).clip(min=1).prod(axis=1),
        image=np.arange(len(test)),
    )
    return Keypoints("figures_keypoints", *pairs, count=len(_NAMES), class_names=_NAMES, figures=figures)


def _figure(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the points of one figure ``(5, 2)``, as shares of the side, and its picture."""
    hip, length = rng.uniform((0.4, 0.5), (0.6, 0.6)), rng.uniform(0.18, 0.26)
    neck = hip + length * _towards(rng.uniform(-0.3, 0.3) - np.pi / 2)
    head = neck + 0.45 * length * _towards(rng.uniform(-0.4, 0.4) - np.pi / 2)
    hands = [neck + length * _towards(side + rng.uniform(-0.9, 0.9)) for side in (np.pi, 0.0)]
    feet = [hip + length * _towards(np.pi / 2 + side * rng.uniform(0.15, 0.7)) for side in (1, -1)]
    canvas = rng.normal(0.25, 0.08, (_SIZE, _SIZE))
    ink = rng.uniform(0.7, 1)
    for start, end in ((hip, neck), (neck, head), *((neck, hand) for hand in hands), *((hip, foot) for foot in feet)):
        for share in np.linspace(0, 1, 24):
            column, row = np.clip((start + share * (end - start)) * _SIZE, 0, _SIZE - 1).astype(int)
            canvas[row, column] = ink
    y, x = np.mgrid[:_SIZE, :_SIZE]
    canvas[np.hypot(x - head[0] * _SIZE, y - head[1] * _SIZE) < 2] = ink
    return np.clip(np.array([head, *hands, *feet]), 0, 0.999), np.round(255 * canvas.clip(0, 1)).astype(float)


def _towards(angle: float) -> NDArray[np.float64]:
    return np.array([np.cos(angle), np.sin(angle)])


TASK = figures_keypoints
