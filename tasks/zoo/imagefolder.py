"""Your own images in folders, one for each class."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from ...arguments import Count, Seed, Size
from ...errors import UsageError
from ..folder import scan
from ..images import Classification
from ..pictures import picture_task


def imagefolder(
    path: Path,
    *,
    size: Size | None = None,
    val: Annotated[float, Meta(gt=0, lt=1)] | None = None,
    limit: Count | None = None,
    seed: Seed = 0,
) -> Classification:
    """Read images of any sizes, formats and number of classes from folders.

    Either ``train/CLASS/*`` beside ``val/CLASS/*`` and ``test/CLASS/*``, or ``CLASS/*`` alone, which is split. With
    ``train`` and only one of the others, that one is the test part, and part of ``train`` is validated on. Hidden files
    are skipped; files that cannot be read too, up to one in a hundred. Both are counted and named.

    Args:
        path: the folder.
        size: height and width that images are brought to: the shorter side, then the middle square. By default their
            own where all are square and alike, else a multiple of 32 near their median, 224 at most.
        val: share of the training images to validate on, where there is no folder for it; 0.375 by default.
        limit: images that are kept, classes with their shares, and as many of the test set.
        seed: decides the split into parts.
    """
    folder = Path(path)
    found = scan(folder)
    test, law = found.parts.get("test"), found.parts.get("val")
    if test is None:
        test, law = law, None
    if val is not None and law is not None:
        raise UsageError(
            f"val={val} is a share of train to validate on, and {path} has a folder for that; leave val out"
        )
    return picture_task(
        f"imagefolder:{path}", found.parts["train"], test, law, class_names=found.class_names, size=size, seed=seed,
        limit=limit, validation=val, remarks=found.remarks,
    )  # fmt: skip


TASK = imagefolder
