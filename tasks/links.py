"""One file under several names, by links of either kind: it counts once in a class; parts that share it are told."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import InputRefusedError
from ..shown import counted
from .decode import legible

_SHOWN = 3
Identity = tuple[int, ...]


def identity(path: Path) -> Identity | None:
    """Return what two names of one file share, links followed; None where the file system does not tell.

    Size and time stand beside the number of the file, since some file systems of networks give one number twice.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns) if found.st_ino else None


def once(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Return paths without those of files that are there under an earlier name, and these."""
    seen, kept, again = set[Identity](), list[Path](), list[Path]()
    for path in paths:
        known = identity(path)
        (again if known in seen else kept).append(path)
        if known is not None:
            seen.add(known)
    return kept, again


def around(folder: str) -> bool:
    """Return whether a folder is a link to one that it lies in, or to the one that it stands in."""
    real, outer = os.path.realpath(folder), os.path.realpath(Path(folder).parent)
    return os.path.commonpath([real, outer]) == real


def shared(parts: Mapping[str, Mapping[str, Sequence[Path]]]) -> tuple[str, ...]:
    """Return a sentence for what parts have in common, and for what one part has in several classes.

    Args:
        parts: paths by part and class; a class holds no file twice.
    """
    first = dict[Identity, tuple[str, str]]()
    found = dict[tuple[str, str], list[Path]]()
    for part, classes in parts.items():
        for name, paths in classes.items():
            for path in paths:
                known = identity(path)
                if known is None:
                    continue
                other, label = first.setdefault(known, (part, name))
                if (other, label) != (part, name):
                    found.setdefault((part, other), []).append(path)
    return tuple(_told(part, other, paths) for (part, other), paths in found.items())


def refuse_twice(parts: Mapping[str, Iterable[Path]]) -> None:
    """Refuse a file that is there under two names, where each file holds many examples.

    Args:
        parts: paths by part.

    Raises:
        InputRefusedError: the message names both, and their parts.
    """
    first = dict[Identity, tuple[str, Path]]()
    for part, path in ((part, path) for part, paths in parts.items() for path in paths):
        known = identity(path)
        if known is None:
            continue
        if known in first:
            other, before = first[known]
            raise InputRefusedError(
                f"{legible(path)} of the part {part} is {legible(before)} of the part {other}, by a link or a pattern: "
                "what networks learn would be what they are scored on; give each file once"
            )
        first[known] = part, path


def _told(part: str, other: str, paths: Sequence[Path]) -> str:
    names = f"{', '.join(map(legible, paths[:_SHOWN]))}{', ...' if len(paths) > _SHOWN else ''}"
    if part == other:
        return f"{part} has {counted(len(paths), 'image')} in a second class too, by links: {names}"
    return f"{part} shares {counted(len(paths), 'image')} with {other}, by links: its score is too good: {names}"
