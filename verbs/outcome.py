"""What a verb returns, and what the verbs share."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from math import isfinite
from pathlib import Path
from shlex import quote
from shutil import get_terminal_size
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from .. import registry
from ..errors import TempogradError, UsageError

if TYPE_CHECKING:
    from ..data.store import Store
    from ..devices.device import Place
    from ..measurement.fingerprint import Fingerprint
    from ..spaces.space import SearchSpace

Progress = Callable[[str, int, int], None]
"""Called with a stage, how much of it is done, and of how much: `OPEN` where nobody knows, `REMARK` for a stage that is
none, but a sentence to be told once."""

OPEN, REMARK = -1, 0

UNRELIABLE, PARTIAL, MISSED, INTERRUPTED = 3, 6, 8, 130
VERDICT_CODES = {"pass": 0, "measured": 0, "unreliable": UNRELIABLE, "fail": MISSED}


@dataclass(frozen=True)
class Outcome:
    """What a verb returns.

    Attributes:
        document: what ``--json`` prints.
        text: the same for people.
        exit_code: that the outcome deserves.
        following: the command that comes next.
        folders: that hold results, one for each target.
    """

    document: dict[str, Any]
    text: str
    exit_code: int = 0
    following: str | None = None
    folders: tuple[Path, ...] = ()


def silent(what: str, done: int, total: int) -> None:
    """Say nothing."""


def go_on(stop: threading.Event | None) -> None:
    """End here if it was asked to stop: everything so far is in the store and the checkpoint."""
    if stop is not None and stop.is_set():
        raise KeyboardInterrupt


def space_of(asked: str | SearchSpace) -> SearchSpace:
    """Return the space that the user names, in a file of his own too, ``FILE.py:NAME``, or gives.

    Raises:
        UsageError: among much else, no machine like this one holds it: told before any work.
    """
    from ..spaces.own import given

    space = given(asked)
    _ = space.graph
    return space


def stored_space(spec: str) -> SearchSpace:
    """Return the space that a file of ours names: this never runs code of the user's.

    Raises:
        UsageError: it is one of the user's own, and was not given in this process.
        MismatchError: it was given, and has changed.
    """
    space: SearchSpace = registry.create("space", spec)
    _ = space.graph
    return space


def device_of(spec: str | Place, threads: int | None = None) -> Place:
    """Return the device that a spec names, with ``threads`` where they are given apart, or the device given."""
    from ..devices.device import Place

    if isinstance(spec, Place):
        return spec
    if not isinstance(spec, str):  # pyright: ignore[reportUnnecessaryIsInstance] - whatever came from Python
        raise UsageError(f"device {spec!r}; allowed: a name with arguments, such as local:threads=2, or a device")
    extra = {} if threads is None else {"threads": threads}
    return registry.create("device", spec, **extra)


def device_spec_of(fingerprint: Fingerprint) -> str | None:
    """Return a spec that makes a device of this fingerprint here, None where none is found."""
    told = {"runtime": fingerprint.runtime.get("name"), **fingerprint.options}
    try:
        allowed = signature(registry.load("device", fingerprint.place)).parameters
        given = [
            f"{name}={str(value).lower() if isinstance(value, bool) else value}"
            for name, value in told.items()
            if isinstance(value, str | int | float) and name in allowed and value != allowed[name].default
        ]
        for candidate in dict.fromkeys((fingerprint.place, ":".join((fingerprint.place, ",".join(given))))):
            if registry.create("device", candidate.rstrip(":")).fingerprint.id == fingerprint.id:
                return candidate.rstrip(":")
    except TempogradError:
        return None  # it is not here now, or not made of these alone
    return None


def held_spaces(store: Store) -> list[str]:
    """Return the spaces of whose networks a store holds rows; single operations and networks of no space are none."""
    from ..graphs.network import is_space
    from ..profiler.plan import OPERATIONS

    return sorted({space for space, _ in store.sets() if is_space(space) and not space.endswith(OPERATIONS)})


def only_space(store: Store) -> str | None:
    """Return the store's space if it holds networks of one only."""
    spaces = held_spaces(store)
    return spaces[0] if len(spaces) == 1 else None


def among(store: Store, space: str, fingerprint_id: str) -> str:
    """Return the options that name these networks on this device among others in a store, none where none are."""
    typed = registry.typed("space", space)
    named = f" --space {quote(typed)}" if typed != space or held_spaces(store) != [space] else ""
    devices = {device for held, device in store.sets() if held == space}
    return named + (f" --device {fingerprint_id}" if len(devices) > 1 else "")


def exact(number: float) -> str:
    """Return the shortest text of a number that is this number again: different targets never share a folder.

    >>> exact(12.0), exact(0.1), exact(0.1000001)
    ('12', '0.1', '0.1000001')
    """
    short = f"{number:g}"
    return short if float(short) == number else repr(float(number))


def target_folder(out: Path, target_ms: float) -> Path:
    """Return where the result of one of several targets lies."""
    return out / f"{exact(target_ms)}-ms"


def plain(value: Any) -> Any:
    """Return a value that JSON can hold: NaN and infinity become null."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Return aligned columns; where they have no room, one record a row instead, each cell behind its column's name.

    Args:
        head: names of the columns.
        rows: cells.
        width: room in characters; by default that of the terminal, or of ``COLUMNS``, and without limit elsewhere.
    """
    room = _room() if width is None else width
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    if max(map(len, (line.rstrip() for line in lines))) > room:
        return "\n\n".join(listed(list(zip(head, row, strict=True)), room) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def listed(rows: Sequence[tuple[str, str]], width: int | None = None) -> str:
    """Return heads with what is said of each, wrapped behind them; a head of which nothing is said is left out.

    Args:
        rows: a head and a text each.
        width: room in characters; by default as in `table`, and 120 at most.

    >>> print(listed([("layers=8", "cells"), ("size", "of the images")]))
    layers=8  cells
    size      of the images
    """
    room = min(_room(), 120) if width is None else width
    indent = max((len(head) for head, _ in rows), default=0) + 2
    lines: list[str] = []
    for head, text in rows:
        wrapped = wrap(text, max(room - indent, 20), break_long_words=False, break_on_hyphens=False)
        lines += [f"{head if n == 0 else '':{indent}}{part}" for n, part in enumerate(wrapped)]
    return "\n".join(lines)


def is_table(paragraph: str) -> bool:
    """Return whether a paragraph of a docstring is a table: its columns are told by lines of ``=``."""
    return paragraph.startswith("==")


def filled(text: str, width: int | None = None) -> str:
    """Return the paragraphs of a docstring wrapped; below a heading such as ``References:`` they stay indented.

    Tables stay as they stand.

    Args:
        text: its paragraphs.
        width: room in characters; as in `table` by default.
    """
    room, indent = min(_room() if width is None else width, 120), " " * 4
    paragraphs: list[str] = []
    for paragraph in text.split("\n\n"):
        head, _, rest = paragraph.partition("\n")
        if is_table(paragraph):
            paragraphs.append(paragraph)
        elif rest.startswith(indent):
            below = wrap(
                " ".join(rest.split()), room, initial_indent=indent, subsequent_indent=indent, break_long_words=False
            )
            paragraphs.append("\n".join([head, *below]))
        else:
            paragraphs.append("\n".join(wrap(paragraph, room, break_long_words=False)))
    return "\n\n".join(paragraphs)


def _room() -> int:
    """Return how wide what is printed may be: files and pipes take any width."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS"):
        return get_terminal_size().columns
    return sys.maxsize
