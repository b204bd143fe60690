"""Average precision of figures by object keypoint similarity, as COCO's own package reckons it.

The similarity of found points to true ones is the mean over labelled points of ``exp(-d^2 / (2 area (2 sigma)^2))``. A
figure is found at a threshold if it is at least as similar; the precision is averaged over recall and over the
thresholds .5, .55, ... .95.

References:
    https://cocodataset.org/#keypoints-eval; Lin et al., *Microsoft COCO*, arXiv:1405.0312.
"""

from __future__ import annotations

from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

SIGMA = 0.05  # how far annotators scatter, as a share of a figure's size, where there are not COCO's 17 points
_COCO_POINTS = 17


@dataclass(frozen=True)
class Figures:
    """Where the points of some figures truly are, in pixels of the images that they were cut out of.

    Attributes:
        points: ``(n, points, 2)`` columns and rows.
        labelled: ``(n, points)`` bool.
        corner: ``(n, 2)`` column and row of the upper left corner of the square that was cut out.
        side: ``(n,)`` of that square.
        area: ``(n,)`` of the figure, in square pixels.
        image: ``(n,)`` numbers: figures of one image have the same.
    """

    points: NDArray[np.float64]
    labelled: NDArray[np.bool_]
    corner: NDArray[np.float64]
    side: NDArray[np.float64]
    area: NDArray[np.float64]
    image: NDArray[np.int64]

    def __getitem__(self, index: NDArray[np.int64]) -> Figures:
        return Figures(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


def installed() -> bool:
    """Return whether COCO's package is there."""
    return find_spec("pycocotools") is not None


def average_precision(figures: Figures, found: NDArray[np.float64], confidence: NDArray[np.float64]) -> float:
    """Return the average precision, 0 to 1, of one found figure for each true one.

    Args:
        figures: the true ones.
        found: ``(n, points, 2)`` columns and rows, as shares of the square that was cut out.
        confidence: ``(n,)``: the surer ones count first.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    count = figures.points.shape[1]
    in_pixels = figures.corner[:, None] + figures.side[:, None, None] * found
    true = [
        _figure(*one) | {"id": 1 + i, "area": float(figures.area[i]), "iscrowd": 0}
        for i, one in enumerate(zip(figures.image, figures.points, figures.labelled, strict=True))
    ]
    told = [
        _figure(image, points, np.ones(count, bool)) | {"score": float(sure)}
        for image, points, sure in zip(figures.image, in_pixels, confidence, strict=True)
    ]
    with redirect_stdout(StringIO()):  # it reports to the terminal
        truth = COCO()
        images = [{"id": int(image)} for image in np.unique(figures.image)]
        truth.dataset = cast(Any, {"images": images, "annotations": true, "categories": [{"id": 1}]})
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(cast(Any, told)), "keypoints")
        if count != _COCO_POINTS:
            evaluation.params.kpt_oks_sigmas = np.full(count, SIGMA)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def _figure(image: np.int64, points: NDArray[np.float64], labelled: NDArray[np.bool_]) -> dict[str, Any]:
    triples = np.column_stack([np.where(labelled[:, None], points, 0), np.where(labelled, 2, 0)])
    return {
        "image_id": int(image),
        "category_id": 1,
        "keypoints": triples.ravel().tolist(),
        "num_keypoints": int(labelled.sum()),
        "bbox": [*points[labelled].min(axis=0).tolist(), *np.ptp(points[labelled], axis=0).tolist()],
    }
