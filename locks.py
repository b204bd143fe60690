"""Who has something for itself: one process at a time holds a lock, and who it is can be read.

The system lets a lock go when its holder dies, however that happens. Two files beside each other make one:
``NAME.lock``, which is empty, and ``NAME.holder``, which tells of the holder and is trusted in nothing else.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from contextlib import suppress
from pathlib import Path

import filelock

from . import outputs
from .errors import StoreError

_SHOWN = 120  # characters of a holder's command


class Lock:
    """A lock by the name of its files; it is free again when this process ends.

    Args:
        stem: path of both files without ``.lock`` and ``.holder``.

    Example:
        >>> import tempfile
        >>> lock = Lock(Path(tempfile.mkdtemp()) / "device")
        >>> lock.take(), Lock(lock.stem).take()
        (True, False)
        >>> lock.release()
    """

    def __init__(self, stem: Path) -> None:
        self.stem = stem
        self._lock = filelock.FileLock(self.path, thread_local=False)
        self._new = False

    @property
    def path(self) -> Path:
        """The file that is locked."""
        return self.stem.with_name(f"{self.stem.name}.lock")

    @property
    def holder_path(self) -> Path:
        """The file that tells of the holder."""
        return self.stem.with_name(f"{self.stem.name}.holder")

    def take(self) -> bool:
        """Take it and return True, or return False at once if another has it.

        Raises:
            UsageError: something that is no lock has the name of one of the files.
            StoreError: the disk refuses.
        """
        outputs.check([self.path], lambda path: path.stat().st_size == 0)
        self._new = not self.path.exists()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            self._check_place()
            return False
        except OSError as error:
            raise self._refused(error) from error
        told = {
            "pid": os.getpid(), "host": os.uname().nodename, "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            "command": _command(),
        }  # fmt: skip
        try:
            outputs.write({self.holder_path: json.dumps(told).encode()}, _is_holder)
        except BaseException:
            self._lock.release()
            raise
        return True

    def _check_place(self) -> None:
        """Refuse a place in which no file can be made: filelock waits there as if another had the lock."""
        if not self.path.exists():
            try:
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644))
            except OSError as error:
                raise self._refused(error) from error

    def _refused(self, error: OSError) -> StoreError:
        return StoreError(
            f"cannot lock {self.stem}: {error}; nothing lost. Free or mount the disk, or choose another place"
        )

    def holder(self) -> str:
        """Return who has it, in words: process, host, since when, by which command."""
        try:
            found = json.loads(self.holder_path.read_text())
            command = f" ({found['command']})" if found.get("command") else ""
            return f"process {found['pid']} on {found['host']} since {found['since']}{command}"
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return "another process"

    def release(self, *, forget: bool = False) -> None:
        """Let it go, if it was taken.

        Args:
            forget: nothing came of it: remove the file that was made for it, too.
        """
        if not self._lock.is_locked:
            return
        with suppress(OSError):
            self.holder_path.unlink(missing_ok=True)
            if forget and self._new:
                self.path.unlink(missing_ok=True)
        self._lock.release()


def _command() -> str:
    """Return what this process was started as, as somebody would type it."""
    first, *rest = sys.argv or [""]
    words = [Path(first).name, *rest]
    if words[0] == "__main__.py":  # python -m tempograd
        words[0] = Path(first).parent.name
    text = shlex.join(words)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _is_holder(path: Path) -> bool:
    """Return whether a file says who holds, whole or as far as a killed process came."""
    content, start = path.read_bytes(), b'{"pid": '
    return content.startswith(start) or start.startswith(content)
