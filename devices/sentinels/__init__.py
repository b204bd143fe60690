"""Sentinels: small fixed networks that tell the state of a device.

One is run by the same runtime, in the same process, milliseconds before and after a network is timed; what it takes
longer than usual, the network does too. Each kind is bound by another resource, ``mixed`` by all of them, and takes
0.5-1 ms on one typical core. They are files, the same bytes everywhere, so that a measuring process needs nothing to
build them.

A neighbour on the other hyperthread of a core may slow a convolution by 3 % and a network of many small layers by
70 %: what is bound by one resource only tells whether that one is scarce (``benchmarks/sentinels.py``). So ``mixed``
is in every round on a CPU. A GPU runs its 330 nodes in the time that it takes to launch them; there it is
``convolution``.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from ...errors import UnknownNameError

KINDS = ("mixed", "convolution", "depthwise", "overhead")
HERE = Path(__file__).parent


def read(kind: str, *, small: bool = False) -> bytes:
    """Return the ONNX bytes of a sentinel.

    Args:
        kind: ``convolution`` (arithmetic-bound), ``depthwise`` (bandwidth-bound), ``overhead`` (many tiny nodes) or
            ``mixed``, a chain of all three in nearly equal parts.
        small: with smaller images, for a runtime that makes convolutions some ten times slower.

    Raises:
        UnknownNameError: no such kind.
    """
    if kind not in KINDS:
        raise UnknownNameError("sentinel", kind, KINDS)
    return path(kind, small=small).read_bytes()


def path(kind: str, *, small: bool = False) -> Path:
    """Return where a sentinel lies; that of many tiny nodes is small already."""
    return HERE / f"{kind}{'-small' if small and kind != 'overhead' else ''}.onnx"


def digest(kind: str) -> str:
    """Return twelve hexadecimal digits that name the content of a sentinel."""
    return sha256(read(kind)).hexdigest()[:12]
