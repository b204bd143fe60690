"""Your own images with a mask of class indices for each."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arguments import Count, Seed, Size
from ...errors import InputRefusedError
from ..decode import header, need_pillow, pixels
from ..dense import IGNORED, Segmentation, cut, pairs_of
from ..folder import SUFFIXES, Skipped, lines_of, parts_of
from ..links import once, shared
from ..pictures import MEMORY_BYTES

_LAW = 0.375  # of train, where nothing else is validated on


def segmentation(path: Path, *, size: Size = 128, limit: Count | None = None, seed: Seed = 0) -> Segmentation:
    """Read images and masks of the same name: ``images/a.jpg`` and ``masks/a.png``; the main metric is mIoU.

    Both folders stand in ``train``, ``val`` and ``test``, as for ``imagefolder``, or in the folder itself, which is
    split. A mask holds a class index for each pixel, grey or with a palette; 255 is not counted. Names of classes are
    taken from a file ``classes.txt``, one a line: then no mask may hold an index beyond them. Images without a mask,
    and masks without an image, are skipped and named; two images of one name are refused.

    Args:
        path: the folder.
        size: height and width that the middle squares of images and masks are brought to.
        limit: images that are kept of each folder, the first by name.
        seed: decides the split into parts.
    """
    need_pillow()
    root, skipped = Path(path), Skipped()
    if not root.is_dir():
        raise InputRefusedError(f"{root} is not a folder; give one with images/ and masks/, or with train/ and val/")
    folders = parts_of(root)
    files = {part: _pairs(folder, skipped)[:limit] for part, folder in folders.items()}
    total = sum(map(len, files.values())) * 4 * size**2
    if total > MEMORY_BYTES:
        raise InputRefusedError(
            f"{root} takes {total / 2**30:.1f} GiB at {size} pixels; allowed: {MEMORY_BYTES / 2**30:.1f}. "
            "Set size or limit"
        )
    read = {part: _read(pairs, size) for part, pairs in files.items()}
    found = {part: _indices(masks) for part, (_, masks) in read.items()}
    known = sorted(set[int]().union(*found.values()))
    names = lines_of(root / "classes.txt")
    classes = _classes(known, names, {part: [mask for _, mask in pairs] for part, pairs in files.items()}, read)
    if classes < 2:
        raise InputRefusedError(f"the masks of {root} hold no two classes; expected indices 0, 1, ... and 255 for none")
    absent = [index for index in range(classes) if index not in known]
    unlearnt = [index for index in known if index not in found["train"]]
    remarks = [
        f"no pixel of {whose} has the index {', '.join(map(str, indices[:5]))}{', ...' * (len(indices) > 5)}"
        for whose, indices in (("any mask", absent), ("train, but of other masks,", unlearnt))
        if indices
    ]
    remarks += shared({part: {"": [image for image, _ in pairs]} for part, pairs in files.items()})
    parts = _split(read, seed)
    pairs = pairs_of([x for x, _ in parts], [y for _, y in parts], flip=True, heights=False)
    return Segmentation(
        f"segmentation:{path}", *pairs, count=classes, class_names=names,
        remarks=(*skipped.remarks(), *remarks), decoded=size,
    )  # fmt: skip


_Read = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def _indices(masks: NDArray[np.uint8]) -> set[int]:
    """Return the class indices that masks ``(n, H, W)`` hold."""
    return set(np.flatnonzero(np.bincount(masks.reshape(-1), minlength=IGNORED + 1)[:IGNORED]).tolist())


def _classes(
    known: Sequence[int], names: Sequence[str], masks: Mapping[str, Sequence[Path]], read: Mapping[str, _Read]
) -> int:
    """Return how many classes there are: as many as have names, or else as the indices ask for.

    Raises:
        InputRefusedError: a mask holds an index that has no name.
    """
    if not names:
        return known[-1] + 1 if known else 0
    for part, paths in masks.items():
        for path, mask in zip(paths, read[part][1], strict=True):
            largest = max(_indices(mask), default=0)
            if largest >= len(names):
                raise InputRefusedError(
                    f"{path} holds the index {largest}, and classes.txt has names for 0 to {len(names) - 1}: name it "
                    "there, or mend the mask (255 is what does not count)"
                )
    return len(names)


def _split(read: dict[str, _Read], seed: int) -> list[_Read]:
    """Return weights, law and test of what was read."""
    images, masks = read["train"]
    test, law = read.get("test"), read.get("val")
    if test is None:
        test, law = law, None
    if test is None:
        return [(images[part], masks[part]) for part in cut(len(images), seed)]
    if law is not None:
        return [read["train"], law, test]
    order, at = np.random.default_rng(seed).permutation(len(images)), round((1 - _LAW) * len(images))
    return [(images[part], masks[part]) for part in (np.sort(order[:at]), np.sort(order[at:]))] + [test]


def _pairs(folder: Path, skipped: Skipped) -> list[tuple[Path, Path]]:
    """Return the images of a folder with their masks."""
    if not ((folder / "images").is_dir() and (folder / "masks").is_dir()):
        raise InputRefusedError(f"{folder} has no folders images and masks")
    images, masks = (_by_stem(folder / kind, skipped) for kind in ("images", "masks"))
    for which, (own, others) in {"image": (images, masks), "mask": (masks, images)}.items():
        for stem in sorted(own.keys() - others.keys()):
            skipped.add(which, f"without {'a mask' if which == 'image' else 'an image'}", own[stem])
    kept, again = once(images[stem] for stem in images if stem in masks)
    for path in again:
        skipped.add("link", "to an image that is there already", path)
    found = [(path, masks[path.stem]) for path in kept]
    if not found:
        raise InputRefusedError(f"{folder} holds no pairs of an image and a mask of the same name")
    return found


def _by_stem(folder: Path, skipped: Skipped) -> dict[str, Path]:
    """Return the image files of a folder by name without suffix, in their order.

    Raises:
        InputRefusedError: two have one name.
    """
    found = dict[str, Path]()
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            skipped.add("path", "of a hidden name", path)
        elif path.suffix.lower() not in SUFFIXES:
            skipped.add("file", f"of other kinds ({path.suffix.lower() or 'no suffix'})", path)
        elif path.stem in found:
            raise InputRefusedError(
                f"{found[path.stem]} and {path.name} have one name: an image and its mask are found by it; remove or "
                "rename one"
            )
        else:
            found[path.stem] = path
    return found


def _read(pairs: list[tuple[Path, Path]], size: int) -> _Read:
    images, masks = np.empty((len(pairs), 3, size, size), np.uint8), np.empty((len(pairs), size, size), np.uint8)
    for i, (image, mask) in enumerate(pairs):
        content = image.read_bytes()
        width, height, _ = header(content, str(image))
        images[i] = pixels(content, str(image), size, grey=False)
        masks[i] = _mask(mask, (width, height), size)
    return images, masks


def _mask(path: Path, expected: tuple[int, int], size: int) -> NDArray[Any]:
    """Return ``(size, size)`` class indices, no two of them mixed.

    Raises:
        InputRefusedError: the mask is in colours, of another size than its image, or a JPEG, which mixes indices.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(path.read_bytes()))
        if image.format == "JPEG":
            raise InputRefusedError(f"{path} is a JPEG, in which class indices change; save masks as PNG")
        if image.mode not in {"1", "L", "P"}:
            raise InputRefusedError(f"{path} is {image.mode}; expected class indices, grey or with a palette, 8 bits")
        if image.size != expected:
            raise InputRefusedError(f"{path} is {image.size}, its image {expected}; expected one size")
        return np.asarray(ImageOps.fit(image, (size, size), method=Image.Resampling.NEAREST)).astype(np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        told = "its format is unknown" if isinstance(error, UnidentifiedImageError) else error
        raise InputRefusedError(f"{path} is not a readable mask: {told}; repair or remove it") from error


TASK = segmentation
