"""Images in Parquet files, as the Hugging Face hub lays data sets out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...arguments import Count, Seed, Size
from ...errors import InputRefusedError
from ...shown import counted
from ..images import Classification, class_count
from ..links import refuse_twice
from ..pictures import Examples, HeldBytes, picture_task

HELD_BYTES = 4 * 2**30  # of compressed images: more have to be unpacked into files
_SPLITS = {"train": "train", "validation": "val", "valid": "val", "val": "val", "test": "test"}
_IMAGES, _LABELS = ("image", "img"), ("label", "labels", "fine_label")


def parquet(
    path: Path,
    *,
    image: str | None = None,
    label: str | None = None,
    size: Size | None = None,
    limit: Count | None = None,
    seed: Seed = 0,
) -> Classification:
    """Read images and labels from Parquet files, as the Hugging Face hub lays them out.

    Files belong to the part that their name, or their folder, says: ``train-00000-of-00002.parquet``, ``train.parquet``
    or ``train/0000.parquet``, and so for ``validation`` and ``test``. All others are left out and named. Labels are
    whole numbers from 0, or texts; names that the hub's ``ClassLabel`` gives are kept.

    Args:
        path: a folder of such files, or one file, which is split.
        image: the column of images, of bytes or of ``{bytes, path}``; by default ``image`` or ``img``.
        label: the column of labels; by default ``label``, ``labels`` or ``fine_label``.
        size: height and width that images are brought to, as ``imagefolder`` does.
        limit: images that are kept, classes with their shares, and as many of the test set.
        seed: decides the split into parts.
    """
    files, remarks = _files(Path(path))
    refuse_twice(files)
    rows = {part: _Rows.of(paths, image, label) for part, paths in files.items()}
    unlabelled = [part for part, read in rows.items() if part != "train" and read.unlabelled]
    remarks += [f"{part} has no labels, and is not used" for part in unlabelled]
    names = rows["train"].names or sorted({str(value) for value in rows["train"].labels}) if rows["train"].texts else []
    names = list(rows["train"].names or names)
    parts = {part: read.examples(names) for part, read in rows.items() if part not in unlabelled}
    classes = len(names) or class_count(parts["train"].labels, path)
    for part, examples in parts.items():
        if int(examples.labels.max()) >= classes:
            raise InputRefusedError(
                f"{path}: {part} has the label {int(examples.labels.max())}, train has {classes} classes, 0 to "
                f"{classes - 1}"
            )
    test, law = parts.get("test"), parts.get("val")
    if test is None:
        test, law = law, None
    return picture_task(
        f"parquet:{path}", parts["train"], test, law, class_names=names or [str(k) for k in range(classes)], size=size,
        seed=seed, limit=limit, remarks=remarks,
    )  # fmt: skip


def _files(root: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """Return the files of every part, and what is said of those that are of none."""
    if root.is_file():
        return {"train": [root]}, []
    if not root.is_dir():
        raise InputRefusedError(f"{root} is neither a folder nor a Parquet file")
    parts, others = dict[str, list[Path]](), list[Path]()
    found = sorted(path for path in root.rglob("*.parquet") if not path.name.startswith("."))
    for path in found:
        named = re.fullmatch(r"([A-Za-z]+)([-.]\S*)?", path.stem)
        split = named[1].lower() if named else ""
        split = split if split in _SPLITS else path.parent.name.lower()
        own = split in _SPLITS and (path.parent.name.lower() == split or (named and named[1].lower() == split))
        if own:
            parts.setdefault(_SPLITS[split], []).append(path)
        else:
            others.append(path)
    if "train" not in parts:
        seen = ", ".join(path.name for path in found[:5]) or "none"
        raise InputRefusedError(
            f"{root} has no Parquet files of a part train (found: {seen}); name them train-00000.parquet and so on, or "
            "give one file"
        )
    shown = ", ".join(path.name for path in others[:5])
    skipped = f"skipped {counted(len(others), 'Parquet file')} of no part that is known: {shown}"
    return parts, [skipped] if others else []


@dataclass(frozen=True)
class _Rows:
    """What the files of one part hold."""

    contents: list[bytes]
    places: list[str]
    labels: list[Any]
    names: Sequence[str]

    @property
    def texts(self) -> bool:
        return bool(self.labels) and isinstance(self.labels[0], str)

    @property
    def unlabelled(self) -> bool:
        return all(value is None or value == -1 for value in self.labels)

    @classmethod
    def of(cls, paths: Sequence[Path], image: str | None, label: str | None) -> _Rows:
        """Read the two columns of some files.

        Raises:
            InputRefusedError: a file is malformed, lacks a column, or holds something else than images and labels.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        made, held = cls([], [], [], []), 0
        for path in paths:
            try:
                file = pq.ParquetFile(path)
                columns = file.schema_arrow.names
                chosen = [_column(path, columns, *pair) for pair in ((image, _IMAGES), (label, _LABELS))]
                names = _class_names(file.schema_arrow.metadata or {}, chosen[1])
                for batch in file.iter_batches(batch_size=256, columns=chosen):
                    start = len(made.contents)
                    for row, (value, kind) in enumerate(
                        zip(*(batch[name].to_pylist() for name in chosen), strict=True)
                    ):
                        place = f"{path}, row {start + row}"
                        made.contents.append(_bytes_of(value, place))
                        made.places.append(place)
                        made.labels.append(_label_of(kind, place))
                        held += len(made.contents[-1])
                    if held > HELD_BYTES:
                        raise InputRefusedError(
                            f"{path.parent} holds more than {HELD_BYTES / 2**30:.0f} GiB of images, which are kept in "
                            "memory: unpack them into folders, and use imagefolder, or into tar files for webdataset"
                        )
            except (pa.ArrowException, OSError) as error:
                raise InputRefusedError(f"{path} is not a readable Parquet file: {error}") from error
            made = cls(made.contents, made.places, made.labels, made.names or names)
        if not made.labels:
            raise InputRefusedError(f"{paths[0].parent} holds Parquet files without rows")
        return made

    def examples(self, names: Sequence[str]) -> Examples:
        """Return the rows with their labels as numbers.

        Raises:
            InputRefusedError: a label is missing, below 0, or not among the names.
        """
        number = {name: index for index, name in enumerate(names)}
        labels = np.empty(len(self.labels), np.int64)
        for row, value in enumerate(self.labels):
            if value is None or (isinstance(value, int) and not 0 <= value < 2**63):
                raise InputRefusedError(
                    f"{self.places[row]}: {'no label' if value is None else f'label {value}'}; expected 0 and above"
                )
            if isinstance(value, str) and value not in number:
                raise InputRefusedError(
                    f"{self.places[row]}: label {value!r} is not in train, which has "
                    f"{', '.join(names[:10]) or 'numbers'}"
                )
            labels[row] = number[value] if isinstance(value, str) else value
        return Examples(HeldBytes(self.contents, self.places), labels)


def _column(path: Path, columns: Sequence[str], asked: str | None, usual: Sequence[str]) -> str:
    found = [name for name in ((asked,) if asked else usual) if name in columns]
    if not found:
        wanted = asked or " or ".join(usual)
        which = "image" if usual is _IMAGES else "label"
        raise InputRefusedError(
            f"{path} has columns {', '.join(columns)}; expected {wanted}: name yours, {which}=COLUMN"
        )
    return found[0]


def _class_names(metadata: Mapping[bytes, bytes], label: str) -> list[str]:
    """Return the names of the hub's ``ClassLabel``, which are kept in the file's metadata."""
    try:
        feature = json.loads(metadata[b"huggingface"])["info"]["features"][label]
        return [str(name) for name in feature["names"]]
    except (KeyError, TypeError, ValueError):
        return []


def _bytes_of(value: Any, place: str) -> bytes:
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise InputRefusedError(f"{place}: expected the bytes of an image, found {type(content).__name__}")
    return content


def _label_of(value: Any, place: str) -> Any:
    if value is None or isinstance(value, int | str):
        return value
    raise InputRefusedError(f"{place}: expected a whole number or a text as label, found {type(value).__name__}")


TASK = parquet
