"""A measurement as bytes: compressed JSON, checked field by field when it is read."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict
from functools import cache

from pydantic import TypeAdapter

from ..errors import InputRefusedError, UsageError
from ..measurement.measurement import Measurement

LIMIT = 64 * 2**20  # bytes of one decompressed measurement
RESTORE = "Restore it from a copy, or save what can be read with: sqlite3 FILE .recover"


@cache
def _adapter() -> TypeAdapter[Measurement]:
    return TypeAdapter(Measurement)


def pack(measurement: Measurement) -> bytes:
    """Return a measurement as compressed JSON.

    Raises:
        UsageError: it holds NaN or an infinity.
    """
    try:
        return zlib.compress(json.dumps(asdict(measurement), allow_nan=False, separators=(",", ":")).encode())
    except ValueError as error:
        raise UsageError(f"the measurement of {measurement.key!r} holds a number that is none: {error}") from error


def unpack(payload: bytes, where: str = "payload") -> Measurement:
    """Read what ``pack`` wrote.

    Raises:
        InputRefusedError: it is damaged; ``where`` says what was being read.
    """
    try:
        reader = zlib.decompressobj()
        text = reader.decompress(payload, LIMIT)
        if not reader.eof:
            raise InputRefusedError(f"{where} is cut off, or larger than {LIMIT} bytes. {RESTORE}")
        found = _adapter().validate_json(text)
        for round_ in found.rounds:
            if flaw := round_.flaw(found.clock):
                raise ValueError("{}={}; allowed: {}".format(*flaw))
        return found
    except (zlib.error, ValueError) as error:  # pydantic's are ValueErrors
        raise InputRefusedError(f"{where} is damaged ({str(error).splitlines()[0]}). {RESTORE}") from error
