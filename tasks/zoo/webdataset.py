"""Images in shards of tar files, in the layout of WebDataset.

Members are found once and read where they lie: nothing is unpacked, and any order can be drawn.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...arguments import Count, Seed, Size
from ...errors import InputRefusedError
from ...shown import counted
from ..folder import SUFFIXES, Skipped, names_of
from ..images import Classification, class_count
from ..links import refuse_twice
from ..pictures import Examples, FileBytes, picture_task

_LARGEST_IMAGE, _LARGEST_LABEL = 2**28, 2**16  # bytes of a member
_MOST_SHARDS = 100_000


def webdataset(
    path: str,
    *,
    test: str | None = None,
    size: Size | None = None,
    limit: Count | None = None,
    seed: Seed = 0,
) -> Classification:
    """Read images from tar files whose members are named ``KEY.jpg`` and ``KEY.cls``, one pair for each image.

    A label is a whole number from 0 in ``.cls``, or under ``label`` in ``.json``. Images without one and labels without
    an image are counted and named; a second image or another label of one key is refused. Names of classes are taken
    from a file ``classnames.txt`` beside the first shard, one a line.

    Args:
        path: a pattern of files, ``shards/train-{000000..000013}.tar`` or ``shards/train-*.tar``.
        test: the pattern of the test part; by default a fifth of the images.
        size: height and width that images are brought to, as ``imagefolder`` does.
        limit: images that are kept, classes with their shares, and as many of the test set.
        seed: decides the split into parts.
    """
    skipped, shards = Skipped(), {"train": _shards(path)} | ({} if test is None else {"test": _shards(test)})
    refuse_twice({part: map(Path, files) for part, files in shards.items()})
    train = _read(path, shards["train"], skipped)
    held = None if test is None else _read(test, shards["test"], skipped)
    classes = class_count(train.labels, path)
    if held is not None and int(held.labels.max()) >= classes:
        raise InputRefusedError(f"{test} has the label {int(held.labels.max())}, {path} has {classes} classes")
    beside = Path(shards["train"][0]).with_name("classnames.txt")
    names = names_of(beside, classes, skipped)
    return picture_task(
        f"webdataset:{path}", train, held, None, size=size, seed=seed, limit=limit, remarks=skipped.remarks(),
        class_names=names or [str(k) for k in range(classes)],
    )  # fmt: skip


def _shards(pattern: str) -> list[str]:
    """Return the files of a pattern: ``{000..013}`` counts, the rest are the shell's wildcards.

    Raises:
        InputRefusedError: there is none, or one that was counted is missing.
    """
    every = [(each, _matching(each)) for each in _counted(pattern)]
    found = sorted({path for _, paths in every for path in paths})
    missing = [each for each, paths in every if not paths]
    if found and missing:
        raise InputRefusedError(
            f"{len(missing)} of the {len(every)} shards of {pattern} are missing: {', '.join(missing[:3])}"
            f"{', ...' if len(missing) > 3 else ''}; count those that are there"
        )
    if not found:
        raise InputRefusedError(
            f"no file is named {pattern}; write shards/train-{{000000..000013}}.tar or shards/*.tar"
        )
    return found


def _counted(pattern: str) -> Iterator[str]:
    braces = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if braces is None:
        yield pattern
        return
    first, last, width = int(braces[1]), int(braces[2]), len(braces[1])
    if not 0 <= last - first < _MOST_SHARDS:
        raise InputRefusedError(f"{braces[0]} counts {last - first + 1} shards; allowed: 1 to {_MOST_SHARDS:,}")
    for number in range(first, last + 1):
        yield from _counted(f"{pattern[: braces.start()]}{number:0{width}}{pattern[braces.end() :]}")


def _matching(pattern: str) -> list[str]:
    path = Path(pattern)
    found = [path] if path.is_file() or not path.name else path.parent.glob(path.name)
    return [str(each) for each in found if each.is_file()]


@dataclass
class _Found:
    """Images so far: which shard, where in it, and their label by key."""

    place: dict[str, tuple[int, int, int]] = field(default_factory=dict[str, tuple[int, int, int]])
    label: dict[str, int] = field(default_factory=dict[str, int])


def _read(pattern: str, shards: Sequence[str], skipped: Skipped) -> Examples:
    found = _Found()
    for number, shard in enumerate(shards):
        try:
            with tarfile.open(shard, "r:") as tar:
                for member in tar:
                    _take(tar, member, number, shard, found, skipped)
                _check_end(tar, shard)
        except (tarfile.TarError, OSError, EOFError) as error:
            packed = "; unpack it first: gunzip" if shard.endswith("gz") else ""
            raise InputRefusedError(f"{shard} is not a readable tar file ({error}){packed}") from error
    keys = [key for key in found.place if key in found.label]
    for key in sorted(found.place.keys() ^ found.label.keys()):
        skipped.add("example", "without an image or a label", _called(key, shards))
    if not keys:
        raise InputRefusedError(f"{pattern} holds no pairs of an image and a label, KEY.jpg and KEY.cls")
    labels = np.array([found.label[key] for key in keys], np.int64)
    if labels.min() < 0:
        raise InputRefusedError(
            f"{pattern}: label {labels.min()} of {_called(keys[int(labels.argmin())], shards)}; expected 0 and above"
        )
    return _examples(shards, keys, found, labels)


def _called(key: str, shards: Sequence[str]) -> str:
    """Return how a key is told: with its shard."""
    number, _, own = key.partition("/")
    return f"{shards[int(number)]}, {own.removeprefix('/')}"


def _check_end(tar: tarfile.TarFile, shard: str) -> None:
    """Refuse a shard that was cut between two members, or whose next header is damaged: tarfile takes both for its end.

    Raises:
        InputRefusedError: there are no zeros where it ends.
    """
    with Path(shard).open("rb") as file:
        file.seek(tar.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise InputRefusedError(
                f"{shard} does not end as a tar file does after {counted(len(tar.getmembers()), 'member')}: it is cut "
                "or damaged there; fetch it again, or pack it again"
            )


def _examples(shards: Sequence[str], keys: Sequence[str], found: _Found, labels: np.ndarray) -> Examples:
    rows = np.array([found.place[key] for key in keys], np.int64)
    called = np.array([os.fsencode(key.partition("/")[2]) for key in keys], bytes)
    names = np.array([os.fsencode(shard) for shard in shards], bytes)
    return Examples(FileBytes(names, rows[:, 0], rows[:, 1], rows[:, 2], called), labels)


def _take(
    tar: tarfile.TarFile, member: tarfile.TarInfo, number: int, shard: str, found: _Found, skipped: Skipped
) -> None:
    folder, _, name = member.name.rpartition("/")
    stem, _, ending = name.partition(".")
    key, suffix = f"{number}/{folder}/{stem}", f".{ending.lower()}"
    if not member.isfile() or not stem:
        if not member.isdir():
            skipped.add("member", "of a hidden name, or other than a file", f"{shard}: {member.name}")
    elif suffix in {".cls", ".json"}:
        if member.size > _LARGEST_LABEL:
            raise InputRefusedError(f"{shard}: {member.name} is a label of {member.size} bytes")
        content = tar.extractfile(member)
        assert content is not None
        _label(content.read(), suffix, key, f"{shard}: {member.name}", found)
    elif suffix not in SUFFIXES:
        skipped.add("member", f"of other kinds ({suffix})", f"{shard}: {member.name}")
    elif member.size > _LARGEST_IMAGE:
        raise InputRefusedError(f"{shard}: {member.name} is an image of {member.size} bytes; allowed: {_LARGEST_IMAGE}")
    elif key in found.place:
        raise InputRefusedError(f"{shard}: {member.name} is a second image of its key; keep one, or rename the other")
    else:
        found.place[key] = (number, member.offset_data, member.size)


def _label(content: bytes, suffix: str, key: str, place: str, found: _Found) -> None:
    try:
        value = int(content) if suffix == ".cls" else json.loads(content).get("label")
    except (ValueError, AttributeError) as error:
        raise InputRefusedError(f"{place}: {content[:40]!r} is no label; expected a whole number from 0") from error
    if not isinstance(value, int) or isinstance(value, bool):
        return
    if found.label.setdefault(key, value) != value:
        raise InputRefusedError(f"{place}: label {value} of a key that has the label {found.label[key]} too; keep one")


TASK = webdataset
