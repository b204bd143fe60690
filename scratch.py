"""Folders for files that nobody needs once the work is done, gone with it however it ends.

A folder is locked while its owner lives: the system lets the lock go when that is killed. The next process of this user
that makes one removes those that nobody has locked. Its name has the boot of the machine that made it, since a lock may
not be seen from another that shares the folder; folders of those stay.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import tempfile
import weakref
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

_PREFIX = "tempograd-"


class Scratch(TemporaryDirectory[str]):
    """A folder of this process; it is removed with what is in it.

    Args:
        place: the folder that it is made in; None: the system's temporary one.

    Example:
        >>> with Scratch() as folder:
        ...     _ = Path(folder, "network.onnx").write_bytes(b"")
        >>> Path(folder).exists()
        False
    """

    def __init__(self, place: Path | None = None) -> None:
        within = str(place or tempfile.gettempdir())
        _clear(within)
        while True:
            super().__init__(prefix=f"{_PREFIX}{_boot()}-", dir=within, ignore_cleanup_errors=True)
            lock = os.open(self.name, os.O_RDONLY | os.O_DIRECTORY)
            self._unlock = weakref.finalize(self, os.close, lock)
            with suppress(OSError):  # a file system without locks: there nothing is ever cleared either
                fcntl.flock(lock, fcntl.LOCK_EX)
            if Path(self.name).exists():
                return
            self.cleanup()  # whoever clears came before the lock

    def cleanup(self) -> None:
        """Remove it. May be called again."""
        super().cleanup()
        self._unlock()


@cache
def _boot() -> str:
    """Return what tells this run of this machine's kernel from others; of no other where that is not known."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    return secrets.token_hex(4)


@cache
def _clear(place: str) -> None:
    """Remove the folders of ours that processes left behind when they were killed, once in a process."""
    left = re.compile(rf"{_PREFIX}{_boot()}-\w{{8}}")
    with suppress(OSError):
        for path in [path for path in Path(place).iterdir() if left.fullmatch(path.name)]:
            with suppress(OSError):
                lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                try:
                    if os.fstat(lock).st_uid == os.geteuid():
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        shutil.rmtree(path, ignore_errors=True)
                finally:
                    os.close(lock)
