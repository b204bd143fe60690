"""People and their joints, from annotations in COCO's format.

References:
    Lin et al., *Microsoft COCO*, arXiv:1405.0312 (the format); Xiao et al., *Simple Baselines for Human Pose Estimation
    and Tracking*, arXiv:1804.06208 (crops of a quarter more than the box, one heat map a joint).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arguments import Count, Seed, Size
from ...errors import InputRefusedError
from ..decode import need_pillow, pixels
from ..dense import Keypoints, cut, heat_maps, pairs_of
from ..oks import Figures
from ..pictures import MEMORY_BYTES

_MARGIN = 1.25  # of a box's larger side
_LARGEST_BYTES = 2**30


def keypoints(
    path: Path, *, images: Path | None = None, size: Size = 64, limit: Count | None = None, seed: Seed = 0
) -> Keypoints:
    """Read annotations as COCO's ``person_keypoints_*.json``: each labelled person is one example, cut out as a square.

    Heat maps are a quarter as wide as the images; the main metric is PCK@0.2, by the box around a person's points. The
    average precision by object keypoint similarity is told beside it where pycocotools is installed.

    Args:
        path: the JSON file.
        images: the folder of its images; by default the one that the file is in.
        size: height and width of what is cut out.
        limit: people that are kept, the first in the file.
        seed: decides the split into parts; the people of one image stay together.
    """
    need_pillow()
    file = Path(path)
    told = _parsed(file)
    names = _names(told, file)
    people = [one for one in told["annotations"] if _labelled(one, len(names))][:limit]
    if len(people) * size**2 * (3 + len(names) / 16) > MEMORY_BYTES:
        raise InputRefusedError(f"{file} has {len(people)} people, more than memory holds at {size}; set limit or size")
    where = {image["id"]: image["file_name"] for image in told["images"]}
    folder = file.parent if images is None else Path(images)
    pictures = np.empty((len(people), 3, size, size), np.uint8)
    figures = _figures(people, len(names), file)
    for i, one in enumerate(people):
        if one["image_id"] not in where:
            raise InputRefusedError(
                f"{file}: annotation {one.get('id')} is of image {one['image_id']}, which is not there"
            )
        pictures[i] = _cut_out(folder / str(where[one["image_id"]]), figures.corner[i], figures.side[i], size)
    points = (figures.points - figures.corner[:, None]) / figures.side[:, None, None]
    seen = figures.labelled & (points >= 0).all(axis=2) & (points < 1).all(axis=2)
    ids = sorted({str(one["image_id"]) for one in people})
    part_of = {ids[i]: number for number, part in enumerate(cut(len(ids), seed)) for i in part}
    owner = np.array([part_of[str(one["image_id"])] for one in people])
    maps = heat_maps(np.where(seen[..., None], points, 0), seen, max(1, size // 4))
    parts = [np.flatnonzero(owner == number) for number in range(3)]
    pairs = pairs_of([pictures[p] for p in parts], [maps[p] for p in parts], flip=False, heights=True)
    return Keypoints(f"keypoints:{path}", *pairs, count=len(names), class_names=names, figures=figures[parts[2]])


def _parsed(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputRefusedError(f"{path} is no file; name a JSON file of COCO's format")
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise InputRefusedError(f"{path} is larger than {_LARGEST_BYTES / 2**30:.0f} GiB")
        told = json.loads(path.read_bytes())
    except OSError as error:
        raise InputRefusedError(
            f"{path} cannot be read ({error.strerror}); name a JSON file of COCO's format"
        ) from error
    except ValueError as error:
        raise InputRefusedError(f"{path} is not JSON ({error})") from error
    missing = [key for key in ("images", "annotations", "categories") if not isinstance(told, dict) or key not in told]
    if missing:
        raise InputRefusedError(f"{path} lacks {', '.join(missing)}; expected COCO's person_keypoints format")
    return told


def _names(told: dict[str, Any], path: Path) -> tuple[str, ...]:
    for category in told["categories"]:
        if category.get("keypoints"):
            return tuple(str(name) for name in category["keypoints"])
    raise InputRefusedError(f"{path} has no category with keypoints; expected COCO's person_keypoints format")


def _labelled(one: dict[str, Any], count: int) -> bool:
    values, box = one.get("keypoints", []), one.get("bbox", [])
    there = len(values) == 3 * count and len(box) == 4 and min(box[2:]) > 0 and not one.get("iscrowd")
    return bool(there and any(values[2::3]))


def _figures(people: Sequence[dict[str, Any]], count: int, path: Path) -> Figures:
    """Return where people's points are, and the square around each; without an area that of the box counts."""
    try:
        values = np.array([one["keypoints"] for one in people], float).reshape(-1, count, 3)
        boxes = np.array([one["bbox"] for one in people], float).reshape(-1, 4)
        area = np.array([one.get("area") or box[2:].prod() for one, box in zip(people, boxes, strict=True)], float)
    except (TypeError, ValueError) as error:
        raise InputRefusedError(f"{path} has keypoints, a bbox or an area that are no numbers ({error})") from error
    side = _MARGIN * boxes[:, 2:].max(axis=1)
    numbers = {name: number for number, name in enumerate(sorted({str(one["image_id"]) for one in people}))}
    return Figures(
        points=values[..., :2],
        labelled=values[..., 2] > 0,
        corner=boxes[:, :2] + boxes[:, 2:] / 2 - side[:, None] / 2,
        side=side,
        area=area,
        image=np.array([numbers[str(one["image_id"])] for one in people], int),
    )


def _cut_out(path: Path, corner: NDArray[np.float64], side: float, size: int) -> NDArray[np.uint8]:
    """Return a square of an image file, ``(3, size, size)``; ``corner`` and ``side`` are in pixels of the file."""
    from PIL import Image

    try:
        whole = Image.fromarray(pixels(path.read_bytes(), str(path), None, grey=False).transpose(1, 2, 0))
    except OSError as error:
        raise InputRefusedError(f"{path} cannot be read ({error.strerror}); name its folder: images=FOLDER") from error
    box = (corner[0], corner[1], corner[0] + side, corner[1] + side)
    crop = whole.transform((size, size), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR)
    return np.asarray(crop).transpose(2, 0, 1)


TASK = keypoints
