"""Where output goes: files appear whole, and never in place of one that tempograd did not write.

What is there already is told by its content, by a recogniser of the room that writes it: a name tells nothing. Whatever
else a folder holds stays as it is. A symbolic link is followed, so that it is kept as well.

A file is written beside its place first, as ``.NAME.xxxxxxxx.part``, locked while its writer lives. The next write to
that place removes the parts of writers that were killed, so that they do not gather.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from .errors import StoreError, UsageError
from .shown import counted

Ours = Callable[[Path], bool]
"""Whether tempograd wrote a file that is there; what it raises means no."""

MAX_JSON_BYTES = 256 * 2**20
PAGES = (".html", ".htm")
_HEAD_BYTES = 8192  # in which every format has its mark

PREDICTOR, RESULT = "predictor.json", "result.json"
_KINDS = {PREDICTOR: "a predictor", RESULT: "the result of a search"}
"""What a folder is, by the file that says so: one thing each, so that opening a folder never has to choose."""


def check(paths: Iterable[Path], ours: Ours) -> None:
    """Refuse, before any work, places that output may not go to.

    Args:
        paths: files that would be written; their folders need not exist.
        ours: tells our own earlier output, which may be replaced.

    Raises:
        UsageError: something else is there.
        StoreError: the folder may not be written, or is none; or a folder stands where a file is wanted.
    """
    for path in paths:
        real = Path(os.path.realpath(path))
        try:
            mode = real.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            _check_folder(real)
            continue
        except OSError as error:
            raise StoreError(f"cannot look at {path}: {error.strerror}; choose another place") from error
        if stat.S_ISDIR(mode):
            raise StoreError(f"cannot write {path}: it is a folder; choose another place")
        if not (stat.S_ISREG(mode) and _is(ours, path)):
            raise UsageError(
                f"{path} is there already, and is not what tempograd writes there: it is kept. Move it away, or choose "
                "another place"
            )
        _check_folder(real)


def check_pages(paths: Iterable[Path], ours: Ours) -> None:
    """Refuse, before any work, places that an HTML page may not go to, a name of another format among them.

    Raises:
        UsageError: something else is there, or the name ends in what is no HTML.
        StoreError: as for `check`.
    """
    paths = list(paths)
    for path in paths:
        if path.suffix.lower() not in ("", *PAGES):
            raise UsageError(f"--out {path}; allowed: a file that ends in {' or '.join(PAGES)}, as the page is HTML")
    check(paths, ours)


def check_kind(folder: Path, mark: str) -> None:
    """Refuse, before any work, a folder that holds something else of ours.

    Args:
        folder: that will be written into.
        mark: the file in it that will say what it is, `PREDICTOR` or `RESULT`.

    Raises:
        UsageError: it is another thing already.
    """
    for other, what in _KINDS.items():
        if other != mark and (folder / other).is_file():
            raise UsageError(f"{folder} holds {what}; {_KINDS[mark]} needs a folder of its own: give another --out")


def foreign(folder: Path, marks: Iterable[str]) -> str:
    """Return what to tell before writing into a folder that somebody else has filled; empty where there is nothing.

    Args:
        folder: that will be written into.
        marks: patterns of names, of which tempograd leaves one there, or in a folder in it.
    """
    if not folder.is_dir() or any(next(folder.glob(each), None) for mark in marks for each in (mark, f"*/{mark}")):
        return ""
    there = sorted(path.name for path in folder.iterdir() if path.name != ".DS_Store")
    if not there:
        return ""
    files = counted(len(there), "file or folder", "files or folders")
    return (
        f"{folder} is not empty: {files} that tempograd did not write, kept as they are ({', '.join(there[:3])}"
        f"{', ...' * (len(there) > 3)}); the output is written beside them"
    )


def write(contents: Mapping[Path, bytes], ours: Ours, *, together: bool = False) -> None:
    """Write files whole or not at all, each readable under its name only when all of them are on the disk.

    They appear in the order given: a reader goes by the last. Folders are made.

    Args:
        contents: file -> what it will hold.
        ours: tells our own earlier output, which is replaced.
        together: no reader may find files of two writes: whoever is killed between two of them leaves none that is
            named like the last, so that there is nothing to go by.

    Raises:
        UsageError: something else is there.
        StoreError: the disk refuses; what was there stays.
    """
    check(contents, ours)
    parts: dict[Path, Path] = {}
    try:
        with ExitStack() as locks:  # each part is locked until all have their names
            for path, content in contents.items():
                target = Path(os.path.realpath(path))
                target.parent.mkdir(parents=True, exist_ok=True)
                _clear(target)
                part, descriptor = _part(target)
                file = locks.enter_context(os.fdopen(descriptor, "wb"))
                parts[part] = target
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if together and len(parts) > 1:
                [*parts.values()][-1].unlink(missing_ok=True)
            for part, target in parts.items():
                part.replace(target)
    except OSError as error:
        names = ", ".join(map(str, contents))
        raise StoreError(f"cannot write {names}: {error.strerror}; free the disk or choose another place") from error
    finally:
        for part in parts:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def _part(target: Path) -> tuple[Path, int]:
    """Make the part of a file, locked by this process; return it with its descriptor."""
    while True:
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with suppress(OSError):  # a file system without locks: there parts are never cleared either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if part.exists():
            return part, descriptor
        os.close(descriptor)  # whoever cleared parts came before the lock


def _clear(target: Path) -> None:
    """Remove the parts of a file that writers left behind when they were killed: nobody has them locked."""
    ours = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.part")
    with suppress(OSError):
        for part in [path for path in target.parent.iterdir() if ours.fullmatch(path.name)]:
            with suppress(OSError):
                descriptor = os.open(part, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                with os.fdopen(descriptor, "wb"):
                    if stat.S_ISREG(os.fstat(descriptor).st_mode):
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        part.unlink()


def never(path: Path) -> bool:
    """Recognise nothing: what is there is never replaced."""
    return False


def json_with(*keys: str) -> Ours:
    """Return the recogniser of a JSON object with these keys."""

    def ours(path: Path) -> bool:
        if path.stat().st_size > MAX_JSON_BYTES:
            return False
        found = json.loads(path.read_bytes())
        return isinstance(found, dict) and all(key in found for key in keys)

    return ours


def tensors_with(key: str) -> Ours:
    """Return the recogniser of a safetensors file with this key in its metadata."""

    def ours(path: Path) -> bool:
        from safetensors import safe_open

        with safe_open(path, framework="np") as file:
            return key in (file.metadata() or {})

    return ours


def marked(start: bytes, mark: bytes) -> Ours:
    """Return the recogniser of a file that begins with its format's bytes and has a mark near them."""

    def ours(path: Path) -> bool:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        return head.startswith(start) and mark in head

    return ours


def _is(ours: Ours, path: Path) -> bool:
    try:
        return ours(path)
    except Exception:  # whatever a reader makes of foreign content
        return False


def _check_folder(path: Path) -> None:
    """Check that a file's folder can be written, or made."""
    folder = path.parent
    while not (folder.exists() or folder.is_symlink()) and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise StoreError(f"cannot write {path}: {folder} is no folder; choose another place")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(f"cannot write {path}: {folder} is read-only; choose another place, or change its mode")
