"""Memory of a process that trains: what one step frees, the next one needs again.

The GNU C library hands freed memory back to the system; the next step then has every page of it mapped and cleared
anew, for up to a third of its time.

Reference:
    mallopt(3), M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_KEPT = 2**31 - 1  # bytes; it is an int
_LARGEST = 2**25  # bytes; a larger block is given back whatever we say: malloc takes no higher threshold


@cache
def keep_freed_memory() -> bool:
    """Have this process keep up to 2 GB of the memory it frees; return whether its C library can be told so."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, _KEPT))
