"""What passes between a session and its worker: JSON frames on pipes, and a board that outlives a crash.

A frame is four bytes of length, big-endian, and JSON in UTF-8. The board is a small file that both map: the worker
notes there what it is doing *before* it does it, so that after a crash, or during a hang, the parent knows who ran.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from base64 import b64decode, b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputRefusedError

FRAME_LIMIT = 16 * 2**20  # bytes
PHASES = ("idle", "load", "warm_up", "run")

_LENGTH = struct.Struct(">I")
_NOTE = struct.Struct("<iiQQ")
_COUNT = struct.Struct("<Q")
_BOARD_BYTES = 64


def pack(message: dict[str, Any]) -> bytes:
    """Return the frame of a message.

    Raises:
        InputRefusedError: larger than 16 MiB, or it holds NaN or an infinity.
    """
    try:
        body = json.dumps(message, allow_nan=False).encode()
    except ValueError as error:
        raise InputRefusedError(f"a message between session and worker cannot be written: {error}") from error
    if len(body) > FRAME_LIMIT:
        raise InputRefusedError(
            f"a message of {len(body)} bytes; the limit is {FRAME_LIMIT}: time fewer networks a pass"
        )
    return _LENGTH.pack(len(body)) + body


def unpack(buffer: bytearray) -> dict[str, Any] | None:
    """Take the first whole frame off ``buffer`` and return its message, or None if there is none yet.

    Raises:
        InputRefusedError: a frame longer than 16 MiB, or not a JSON object.
    """
    if len(buffer) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(buffer)
    if length > FRAME_LIMIT:
        raise InputRefusedError(f"a frame of {length} bytes from the worker; the limit is {FRAME_LIMIT}")
    end = _LENGTH.size + length
    if len(buffer) < end:
        return None
    try:
        message = json.loads(bytes(buffer[_LENGTH.size : end]))
    except (ValueError, RecursionError) as error:
        raise InputRefusedError(f"the worker sent what is no JSON: {error}") from error
    del buffer[:end]
    if not isinstance(message, dict):
        raise InputRefusedError(f"the worker sent a {type(message).__name__}, not an object")
    return message


def to_text(values: NDArray[np.float32]) -> dict[str, Any]:
    """Return an array of any shape as it stands in a message."""
    return {"shape": list(values.shape), "data": b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()}


def from_text(shape: list[int], data: str) -> NDArray[np.float32]:
    """Read what ``to_text`` wrote; the array has the shape given.

    Raises:
        InputRefusedError: it is no base64, or not as many numbers as the shape says.
    """
    try:
        return np.frombuffer(b64decode(data, validate=True), "<f4").reshape(shape)
    except ValueError as error:
        raise InputRefusedError(f"an array of shape {shape} cannot be read: {error}") from error


@dataclass(frozen=True)
class Note:
    """What the worker was doing.

    Attributes:
        network: number of the network within the session, or -1.
        phase: ``idle``, ``load``, ``warm_up`` or ``run``.
        steps: notes made so far; a change means progress.
        inferences: inferences begun so far.
    """

    network: int
    phase: str
    steps: int
    inferences: int


class Board:
    """A mapped file of 64 bytes; the worker writes, the parent reads."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if create:
            path.write_bytes(bytes(_BOARD_BYTES))
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._map = mmap.mmap(descriptor, _BOARD_BYTES)
        finally:
            os.close(descriptor)
        self._steps = 0
        self._inferences = 0

    def note(self, network: int, phase: str) -> None:
        """Write down whose turn it is, and for what."""
        self._steps += 1
        _NOTE.pack_into(self._map, 0, network, PHASES.index(phase), self._steps, self._inferences)

    def count(self) -> None:
        """Write down that one more inference (or block of them) begins."""
        self._inferences += 1
        _COUNT.pack_into(self._map, _NOTE.size - _COUNT.size, self._inferences)

    def read(self) -> Note:
        """Return the latest note; an unknown phase reads as ``idle``, for the worker is not trusted."""
        network, phase, steps, inferences = _NOTE.unpack_from(self._map)
        return Note(network, PHASES[phase] if 0 <= phase < len(PHASES) else "idle", steps, inferences)

    def close(self) -> None:
        """Unmap."""
        self._map.close()
