"""Every error that tempograd raises on purpose.

    TempogradError                 exit
    ├── UsageError                    2   a flag, name or value that is not allowed
    │   ├── UnknownNameError              no space, device, model, method, column of that name
    │   └── InvalidArchitectureError      choices that the space does not allow
    ├── UnreliableError               3   a result exists but must not be trusted
    │   └── DivergedError                 a loss, a gradient or an output is no number any more
    ├── DeviceError                   4   the device or its runtime cannot be reached
    ├── InputRefusedError             5   a file is malformed, hostile, or of another schema
    │   └── MismatchError                 a predictor or data set of another space or device
    │       └── OtherSearchError              a file of a search that is not this one
    ├── ProcessesError                9   another of the processes that train together ended
    ├── PartialError                  6   some networks failed; they are kept as rows
    ├── StoreError                    7   full disk, I/O error, or held by another process
    └── TargetError                   8   no network of the space meets the target, or the one found misses it

A message names the value, what is allowed, and the next step.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar


class TempogradError(Exception):
    """Base of every error raised on purpose; ``exit_code`` is what the CLI ends with."""

    exit_code: ClassVar[int] = 1
    silent: bool | None = None  # whether another of several processes tells it; None: not settled

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how it is sent to another process, whatever its ``__init__`` takes."""
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[TempogradError], arguments: tuple[Any, ...], state: dict[str, Any]) -> TempogradError:
    made = kind.__new__(kind, *arguments)
    made.__dict__.update(state)
    return made


class UsageError(TempogradError):
    """A flag, name or value that is not allowed."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that is not in its registry, table or file."""

    def __init__(self, kind: str, name: str, allowed: Iterable[str]) -> None:
        known = sorted(allowed)
        near = get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        shown = ", ".join(known[:40]) + (f", ... ({len(known)} in all)" if len(known) > 40 else "")
        super().__init__(f"unknown {kind} {name!r}; allowed: {shown or 'none'}.{hint}")


class InvalidArchitectureError(UsageError):
    """Choices that the space does not allow."""


class UnreliableError(TempogradError):
    """A result exists, but its verdict says that it must not be trusted."""

    exit_code = 3


class DivergedError(UnreliableError):
    """Training left the numbers: a loss, a gradient or an output is NaN or infinite."""


class DeviceError(TempogradError):
    """The device, its runtime or its worker cannot be reached."""

    exit_code = 4


class InputRefusedError(TempogradError):
    """A file is malformed, hostile, truncated, or of another schema; or a user's own code fails or gives no number."""

    exit_code = 5


class MismatchError(InputRefusedError):
    """A predictor, data set or store that belongs to another space or device."""


class OtherSearchError(MismatchError):
    """A file of a search that is not this one, so that it cannot be gone on from.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


class ProcessesError(TempogradError):
    """Another of the processes that train together ended."""

    exit_code = 9


class PartialError(TempogradError):
    """Some networks failed; they are kept as rows."""

    exit_code = 6


class StoreError(TempogradError):
    """The store cannot be used: full disk, I/O error, or held by another process."""

    exit_code = 7


class TargetError(TempogradError):
    """No network meets the target, the one found misses it as measured, or one is slower than its baseline allows."""

    exit_code = 8
