"""Whose turn it is on a device: campaigns of one user that would time on the same cores, or GPU, take turns.

A device says what it takes for itself while it is timed, in ``occupies``; different cores of one machine are no matter
of each other. The locks lie in the user's state folder, under the machine's boot id, as a home may serve several.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_state_path

from ..errors import TempogradError
from ..locks import Lock
from . import host

POLL_S = 0.2
_FORGET_S = 30 * 86400.0  # after which locks of another boot are swept away

_log = logging.getLogger("tempograd")  # without a handler of the program's own, warnings go to standard error
_log.setLevel(logging.WARNING)


@contextmanager
def turn(device: object, stop: threading.Event | None = None) -> Generator[bool]:
    """Hold what a device occupies; wait, with a word that says who has it, as long as another process does.

    Args:
        device: whatever ``occupies`` something; what does not is free to all.
        stop: ends the waiting.

    Yields:
        Whether it is this process's turn: False only if ``stop`` was set while it waited.
    """
    names: Sequence[str] = getattr(device, "occupies", ())
    folder = locks_folder()
    locks = {name: Lock(folder / _file_name(name)) for name in sorted(set(names))}
    held, told = list[Lock](), ""
    stop = stop or threading.Event()
    try:
        while (busy := _take(locks, held)) is not None and not stop.wait(POLL_S):
            if busy != told:
                _log.warning("waiting for %s; this goes on when that ends", busy)
                told = busy
        yield busy is None
    finally:
        _release(held)


def locks_folder() -> Path:
    """Return where this user's locks of this machine lie."""
    boot = host.text_of(Path("/proc/sys/kernel/random/boot_id")) or "boot"
    return user_state_path("tempograd") / "devices" / boot[:8]


def _take(locks: dict[str, Lock], held: list[Lock]) -> str | None:
    """Take all locks, or none: then return which one another has, and who that is."""
    for name, lock in locks.items():
        try:
            mine = lock.take()
        except TempogradError as error:
            _log.warning("%s: another campaign on %s would go unnoticed (%s)", lock.path, name, error)
            continue
        if not mine:
            _release(held)
            return f"{name}: {lock.holder()} times on it"
        held.append(lock)
    if held:
        _sweep()
    return None


def _release(held: list[Lock]) -> None:
    while held:
        held.pop().release()


def _sweep() -> None:
    """Remove locks of boots long ago."""
    now = locks_folder()
    for folder in now.parent.glob("*"):
        try:
            if folder != now and time.time() - folder.stat().st_mtime > _FORGET_S:
                for file in (*folder.glob("*.lock"), *folder.glob("*.holder")):
                    file.unlink()
                folder.rmdir()
        except OSError:
            continue


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)
