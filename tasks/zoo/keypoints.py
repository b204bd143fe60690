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

import msgspec
import numpy as np
from numpy.typing import NDArray

from ...arguments import Count, Seed, Size
from ...errors import InputRefusedError
from ..decode import need_pillow, pixels
from ..dense import Keypoints, cut, heat_maps, pairs_of
from ..folder import Skipped
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
        seed: decides the split into parts; the people of one image file stay together.
    """
    need_pillow()
    file = Path(path)
    read = _parsed(file)
    names = _names(read, file)
    skipped = Skipped()
    people = [one for one in read["annotations"] if _usable(one, len(names), skipped)][:limit]
    if not people:
        raise InputRefusedError(f"{file} has no person to learn from; {'; '.join(skipped.remarks()) or 'it has none'}")
    if len(people) * size**2 * (3 + len(names) / 16) > MEMORY_BYTES:
        raise InputRefusedError(f"{file} has {len(people)} people, more than memory holds at {size}; set limit or size")
    where = _images(read, file)
    folder = file.parent if images is None else Path(images)
    pictures = np.empty((len(people), 3, size, size), np.uint8)
    figures = _figures(people, len(names), file)
    for i, one in enumerate(people):
        if one["image_id"] not in where:
            raise InputRefusedError(
                f"{file}: annotation {one.get('id')} is of image {one['image_id']}, which is not there"
            )
        pictures[i] = _cut_out(folder, where[one["image_id"]], figures.corner[i], figures.side[i], size)
    points = (figures.points - figures.corner[:, None]) / figures.side[:, None, None]
    seen = figures.labelled & (points >= 0).all(axis=2) & (points < 1).all(axis=2)
    outside = int(figures.labelled.sum() - seen.sum())
    if not seen.any():
        raise InputRefusedError(f"{file}: all {outside} labelled points lie outside of the squares around their boxes")
    told = f"{outside} of {figures.labelled.sum()} labelled points lie outside of their squares, and do not count"
    remarks = (*skipped.remarks(), *([told] if outside else ()))
    first = dict[str, str]()  # of several images that are one file, the first
    for image in read["images"]:
        first.setdefault(image["file_name"], str(image["id"]))
    images_of = [first[where[one["image_id"]]["file_name"]] for one in people]
    ids = sorted(set(images_of))
    part_of = {ids[i]: number for number, part in enumerate(cut(len(ids), seed)) for i in part}
    owner = np.array([part_of[image] for image in images_of])
    maps = heat_maps(np.where(seen[..., None], points, 0), seen, max(1, size // 4))
    parts = [np.flatnonzero(owner == number) for number in range(3)]
    pairs = pairs_of([pictures[p] for p in parts], [maps[p] for p in parts], flip=False, heights=True)
    return Keypoints(
        f"keypoints:{path}",
        *pairs,
        count=len(names),
        class_names=names,
        remarks=remarks,
        figures=figures[parts[2]],
    )


class _Image(msgspec.Struct):
    id: int | str
    file_name: str
    width: float | None = None
    height: float | None = None


class _Person(msgspec.Struct):
    image_id: int | str
    keypoints: list[float] | None = None
    bbox: list[float] | None = None
    area: float | None = None


class _Category(msgspec.Struct):
    keypoints: list[str] | None = None


class _File(msgspec.Struct):
    """What is read of a file, by type."""

    images: list[_Image]
    annotations: list[_Person]
    categories: list[_Category]


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
    except (ValueError, RecursionError) as error:
        raise InputRefusedError(f"{path} is not JSON ({error})") from error
    missing = [key for key in ("images", "annotations", "categories") if not isinstance(told, dict) or key not in told]
    if missing:
        raise InputRefusedError(f"{path} lacks {', '.join(missing)}; expected COCO's person_keypoints format")
    try:
        msgspec.convert(told, _File)
    except msgspec.ValidationError as error:
        raise InputRefusedError(f"{path}: {error}; expected COCO's person_keypoints format") from error
    return told


def _images(told: dict[str, Any], path: Path) -> dict[Any, dict[str, Any]]:
    """Return the images by their id.

    Raises:
        InputRefusedError: two have one id: whose annotations are whose cannot be told.
    """
    found = dict[Any, dict[str, Any]]()
    for image in told["images"]:
        if (other := found.setdefault(image["id"], image)) is not image:
            raise InputRefusedError(
                f"{path}: the images {other['file_name']} and {image['file_name']} both have the id {image['id']}; "
                "give each its own"
            )
    return found


def _names(told: dict[str, Any], path: Path) -> tuple[str, ...]:
    for category in told["categories"]:
        if category.get("keypoints"):
            return tuple(str(name) for name in category["keypoints"])
    raise InputRefusedError(f"{path} has no category with keypoints; expected COCO's person_keypoints format")


def _usable(one: dict[str, Any], count: int, skipped: Skipped) -> bool:
    """Return whether a person can be learnt from; one that cannot is counted with the reason."""
    values, box = one.get("keypoints") or [], one.get("bbox") or []
    wrong = {
        "of a crowd": bool(one.get("iscrowd")),
        f"whose keypoints are not {3 * count} numbers": len(values) != 3 * count,
        "without a labelled point": not any(values[2::3]),
        "without a bbox of x, y, width and height above 0": len(box) != 4 or min(box[2:]) <= 0,
    }
    reason = next((reason for reason, found in wrong.items() if found), None)
    if reason:
        skipped.add("annotation", reason, f"id {one.get('id')}")
    return reason is None


def _figures(people: Sequence[dict[str, Any]], count: int, path: Path) -> Figures:
    """Return where people's points are, and the square around each; without an area that of the box counts."""
    values = np.array([one["keypoints"] for one in people], float).reshape(-1, count, 3)
    boxes = np.array([one["bbox"] for one in people], float).reshape(-1, 4)
    area = np.array([one.get("area") or box[2:].prod() for one, box in zip(people, boxes, strict=True)], float)
    finite = np.isfinite(values).all(axis=(1, 2)) & np.isfinite(boxes).all(axis=1) & np.isfinite(area)
    if not finite.all():
        one = people[int(finite.argmin())].get("id")
        raise InputRefusedError(f"{path}: keypoints, bbox or area of annotation {one} are no finite numbers")
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


def _cut_out(
    folder: Path, told: dict[str, Any], corner: NDArray[np.float64], side: float, size: int
) -> NDArray[np.uint8]:
    """Return a square of an image file, ``(3, size, size)``; ``corner`` and ``side`` are in pixels of the file.

    Raises:
        InputRefusedError: the file is missing, or of another size than its annotations are for.
    """
    from PIL import Image

    path = folder / told["file_name"]
    try:
        whole = Image.fromarray(pixels(path.read_bytes(), str(path), None, grey=False).transpose(1, 2, 0))
    except OSError as error:
        raise InputRefusedError(f"{path} cannot be read ({error.strerror}); name its folder: images=FOLDER") from error
    expected = (told.get("width") or whole.width, told.get("height") or whole.height)
    if expected != whole.size:
        raise InputRefusedError(
            f"{path} is {whole.width} by {whole.height}, its annotations are for {expected[0]} by {expected[1]}; "
            "take the images that were annotated"
        )
    box = (corner[0], corner[1], corner[0] + side, corner[1] + side)
    crop = whole.transform((size, size), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR)
    return np.asarray(crop).transpose(2, 0, 1)


TASK = keypoints
