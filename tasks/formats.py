"""Readers of the published image formats. Every size is checked before it is believed; nothing is unpickled.

References:
    Xiao et al., *Fashion-MNIST*, arXiv:1708.07747 (idx files of LeCun's MNIST); Krizhevsky, *Learning multiple layers
    of features*, 2009 (CIFAR-10, binary version).
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputRefusedError
from ..shown import counted

_MOST_IMAGES = 1_000_000
_LARGEST_SIDE = 1024
_CLASSES = 10
_CIFAR_SIDE = 32
_CIFAR100_CLASSES = 100


@dataclass(frozen=True)
class Labelled:
    """Images ``(n, C, H, W)`` uint8 and labels ``(n,)`` int64."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def take(self, index: NDArray[Any]) -> Labelled:
        """Return the images of these indices ``(n,)``, with their labels."""
        return Labelled(self.images[index], self.labels[index])


def read_fashion_mnist(folder: Path) -> tuple[Labelled, Labelled]:
    """Read ``train-*`` and ``t10k-*`` idx files, gzipped or not, from a folder.

    Raises:
        InputRefusedError: a file is missing, malformed, truncated or too large.
    """
    parts: list[Labelled] = []
    for prefix in ("train", "t10k"):
        images = _read_idx(_one_of(folder, f"{prefix}-images-idx3-ubyte"), dimensions=3)
        labels = _read_idx(_one_of(folder, f"{prefix}-labels-idx1-ubyte"), dimensions=1)
        if len(images) != len(labels):
            both = f"{counted(len(images), 'image')} of {prefix}, but {counted(len(labels), 'label')}"
            raise InputRefusedError(f"{folder}: {both}")
        parts.append(_checked(images[:, None], labels.astype(np.int64), folder))
    return parts[0], parts[1]


def read_cifar10(folder: Path) -> tuple[Labelled, Labelled]:
    """Read CIFAR-10 from a folder: binary batches, or Parquet files.

    Raises:
        InputRefusedError: none of these is there, or a file is malformed.
    """
    if not folder.is_dir():
        raise InputRefusedError(f"{folder} is not a folder; give the folder that holds the CIFAR-10 files")
    for root in (folder, folder / "cifar-10-batches-bin"):
        if (root / "test_batch.bin").exists():
            batches = sorted(root.glob("data_batch_*.bin"))
            return _read_cifar_batches(batches, root), _read_cifar_batches([root / "test_batch.bin"], root)
    tables = sorted(folder.rglob("*.parquet"))
    parts = {part: [path for path in tables if re.match(rf"{part}[-.]", path.name)] for part in ("train", "test")}
    if all(parts.values()):
        return _read_parquet(parts["train"]), _read_parquet(parts["test"])
    raise InputRefusedError(
        f"{folder} holds no CIFAR-10: expected data_batch_1.bin ... and test_batch.bin (the binary version; the Python "
        "version consists of pickles and is not read), folders train/CLASS and test/CLASS, or train*.parquet and "
        "test*.parquet"
    )


def _one_of(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise InputRefusedError(f"{folder} has neither {name} nor {name}.gz")


def _read_idx(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    """Read an idx file of bytes: 0, 0, 8, dimensions, their sizes as big-endian 32 bits, the values."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4 + 4 * dimensions)
            if len(head) < 4 + 4 * dimensions or head[:4] != bytes((0, 0, 8, dimensions)):
                raise InputRefusedError(f"{path} is not an idx file of bytes with {dimensions} dimensions")
            shape = tuple(int(n) for n in np.frombuffer(head, ">u4", offset=4))
            if not 0 < shape[0] <= _MOST_IMAGES or any(not 0 < side <= _LARGEST_SIDE for side in shape[1:]):
                raise InputRefusedError(f"{path} says that its shape is {shape}; that is not a set of images")
            size = int(np.prod(shape))
            content = file.read(size + 1)  # one more than it should hold, so that a bomb stops here
    except (EOFError, OSError, zlib.error) as error:
        raise InputRefusedError(f"{path} cannot be read: {error}") from error
    if len(content) != size:
        more = "more" if len(content) > size else f"{len(content)}"
        raise InputRefusedError(f"{path} announces {size} bytes of data and holds {more}; fetch it again")
    return np.frombuffer(content, np.uint8).reshape(shape)


def read_cifar100(folder: Path) -> tuple[Labelled, Labelled, list[str]]:
    """Read ``train.bin`` and ``test.bin`` of CIFAR-100's binary version, and the names of its fine classes.

    Raises:
        InputRefusedError: they are not there, or a file is malformed.
    """
    for root in (folder, folder / "cifar-100-binary"):
        if (root / "train.bin").is_file() and (root / "test.bin").is_file():
            names = root / "fine_label_names.txt"
            told = names.read_text(encoding="utf-8").split() if names.is_file() else []
            train, test = (_read_cifar_batches([root / name], root, labels=2) for name in ("train.bin", "test.bin"))
            return train, test, told if len(told) == _CIFAR100_CLASSES else []
    raise InputRefusedError(f"{folder} holds no CIFAR-100: expected train.bin and test.bin of the binary version")


def _read_cifar_batches(paths: Sequence[Path], root: Path, *, labels: int = 1) -> Labelled:
    """Read records of some labels, the last of which counts, and an image."""
    if not paths:
        raise InputRefusedError(f"{root} has test_batch.bin, but no data_batch_*.bin")
    record, blocks = labels + 3 * _CIFAR_SIDE**2, list[NDArray[np.uint8]]()
    for path in paths:
        size = path.stat().st_size
        if size == 0 or size % record or size > _MOST_IMAGES * record:
            raise InputRefusedError(f"{path} has {size} bytes; expected a multiple of {record}")
        blocks.append(np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, record))
    rows = np.concatenate(blocks)
    images = rows[:, labels:].reshape(-1, 3, _CIFAR_SIDE, _CIFAR_SIDE)
    classes = _CLASSES if labels == 1 else _CIFAR100_CLASSES
    return _checked(images, rows[:, labels - 1].astype(np.int64), root, classes)


def _read_parquet(paths: Sequence[Path]) -> Labelled:
    """Read columns ``img`` or ``image`` (``{bytes, path}`` or bytes) and ``label`` or ``labels``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    contents: list[tuple[bytes, str]] = []
    labels: list[int] = []
    for path in paths:
        try:
            names = pq.read_schema(path).names
            image = next((n for n in ("img", "image") if n in names), None)
            label = next((n for n in ("label", "labels") if n in names), None)
            if image is None or label is None:
                raise InputRefusedError(f"{path} has columns {', '.join(names)}; expected img or image, and label")
            table = pq.read_table(path, columns=[image, label])
        except (pa.ArrowException, OSError) as error:
            raise InputRefusedError(f"{path} is not a readable Parquet file: {error}") from error
        for number, (value, kind) in enumerate(zip(table[image].to_pylist(), table[label].to_pylist(), strict=True)):
            content = value.get("bytes") if isinstance(value, dict) else value
            if not isinstance(content, bytes) or not isinstance(kind, int):
                raise InputRefusedError(f"{path}, row {number}: expected image bytes and a whole number as label")
            contents.append((content, f"{path}, row {number}"))
            labels.append(kind)
    if not labels:
        raise InputRefusedError(f"{paths[0].parent} holds Parquet files without rows")
    return _checked(_decoded(contents), np.array(labels, np.int64), paths[0].parent)


def _decoded(contents: Iterable[tuple[bytes, str]]) -> NDArray[np.uint8]:
    """Decode compressed images of one size into ``(n, 3, H, W)``."""
    try:
        from PIL import Image
    except ImportError as error:
        raise InputRefusedError("image files need the package pillow: pip install pillow") from error
    found: list[NDArray[np.uint8]] = []
    for content, place in contents:
        try:
            with Image.open(io.BytesIO(content)) as image:
                if max(image.size) > _LARGEST_SIDE:
                    raise InputRefusedError(f"{place}: {image.size} pixels; allowed: up to {_LARGEST_SIDE} a side")
                pixels = np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InputRefusedError(f"{place} is not a readable image: {error}") from error
        if found and pixels.shape[:2] != found[0].shape[1:]:
            raise InputRefusedError(
                f"{place} is {pixels.shape[1]}x{pixels.shape[0]}; the images before are "
                f"{found[0].shape[2]}x{found[0].shape[1]}"
            )
        found.append(pixels.transpose(2, 0, 1))
    return np.stack(found)


def _checked(images: NDArray[np.uint8], labels: NDArray[np.int64], place: Path, classes: int = _CLASSES) -> Labelled:
    if labels.min() < 0 or labels.max() >= classes:
        raise InputRefusedError(f"{place}: labels from {labels.min()} to {labels.max()}; expected 0 to {classes - 1}")
    return Labelled(np.require(images, requirements=["C", "W"]), labels)
