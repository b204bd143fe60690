"""What the sentinel says of a device over a run: whether it was steady, flipped between states, or ended elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .label import GATE

BINS = 60
ENOUGH = 30  # readings below which nothing is said of a shift


@dataclass(frozen=True)
class Drift:
    """The sentinel over time, in at most 60 bins.

    Attributes:
        minutes: middle of each bin, since the first reading.
        sentinel_ms: median of the bin.
        fast_ms: 5 % quantile of all readings.
        slow_share: readings above 1.10 x of that.
        slow_factor: their median over ``fast_ms``; 1 if there are none.
        shift: ln of the fast end in the last third over that in the first; NaN with too few readings.
    """

    minutes: tuple[float, ...]
    sentinel_ms: tuple[float, ...]
    fast_ms: float
    slow_share: float
    slow_factor: float
    shift: float

    @classmethod
    def of(cls, started_s: Sequence[float], readings_ms: Sequence[float]) -> Drift | None:
        """Summarise readings, in any order; None if there are none."""
        if not readings_ms:
            return None
        order = np.argsort(started_s, kind="stable")
        at, ms = np.asarray(started_s, float)[order], np.asarray(readings_ms, float)[order]
        minutes = (at - at[0]) / 60
        parts = [part for part in np.array_split(np.arange(len(ms)), BINS) if len(part)]
        fast = float(np.quantile(ms, 0.05))
        slow = ms[ms > GATE * fast]
        third = len(ms) // 3
        ends = [float(np.quantile(part, 0.05)) for part in (ms[:third], ms[-third:])] if third >= ENOUGH else []
        return cls(
            tuple(float(minutes[part].mean()) for part in parts),
            tuple(float(np.median(ms[part])) for part in parts),
            fast,
            len(slow) / len(ms),
            float(np.median(slow)) / fast if len(slow) else 1.0,
            float(np.log(ends[1] / ends[0])) if ends else float("nan"),
        )
