"""The state of a device that labels refer to, from its sentinel readings: as known at the time, and in hindsight."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import accumulate, groupby
from math import hypot, inf, sqrt
from statistics import median

import numpy as np

from .calibration import HOUR_S, Calibration
from .label import FLOOR, Reference, gated, levels_ms
from .measurement import Measurement
from .rounds import FASTEST, Round

HALF_WINDOW_S = 1800.0
MIN_READINGS = 2000  # sentinel readings that a label's reference state rests on, however old or far apart
BLOCK_S = 30.0  # a shared machine's speed wanders from half a minute to the next; within one, readings tell the same
USUAL_WANDER = 0.02  # its relative standard deviation
PLACED = 0.004  # that of sentinels between processes, by how they lie in memory: networks do not follow it
MIN_IN_BLOCK = 4  # readings that tell its level


class SentinelHistory:
    """Recent sentinel readings of a device: what its reference state is taken from.

    They are those of the last hour, and never fewer than the last 2000: a few rounds taken while the device happens to
    be slow must not become a reference of their own.

    Args:
        rounds: earlier ones, the oldest first.
        readings: (seconds since the epoch, ms) before them.
        process_sd: what labels of this device differ by between processes, beyond what their rounds tell; see
            `repeatability.process_sd`. What is not known of the reference state is added.
    """

    def __init__(
        self,
        rounds: Iterable[Round] = (),
        readings: Iterable[tuple[float, float]] = (),
        process_sd: float = FLOOR,
    ) -> None:
        self._readings = deque[tuple[float, float]]()
        self._by_time = list[tuple[float, float]]()
        self._ordered_ms = list[float]()
        self._blocks = dict[int, list[float]]()  # half a minute -> its readings, the smallest first
        self._process_sd = process_sd
        for reading in readings:
            self._add(*reading)
        self.extend(rounds)

    def __len__(self) -> int:
        return len(self._readings)

    @property
    def readings(self) -> list[tuple[float, float]]:
        """Return (seconds since the epoch, ms) of every reading in force, the oldest first."""
        return list(self._readings)

    def extend(self, rounds: Iterable[Round]) -> None:
        """Add the readings of rounds, in the order in which they were taken."""
        for r in rounds:
            self._add(r.started_s, r.sentinel_ms)
        while len(self._readings) > MIN_READINGS and abs(self._readings[-1][0] - self._readings[0][0]) > HOUR_S:
            at_s, ms = oldest = self._readings.popleft()
            del self._by_time[bisect_left(self._by_time, oldest)]
            block = self._blocks[int(at_s // BLOCK_S)]
            for ordered in (self._ordered_ms, block):
                del ordered[bisect_left(ordered, ms)]
            if not block:
                del self._blocks[int(at_s // BLOCK_S)]

    def around(self, rounds: Iterable[Round], reference: Reference) -> Reference:
        """Return a reference state that also tells the sentinel's level around each of these rounds."""
        return replace(reference, levels_ms=levels_ms(self._by_time, rounds))

    def reference(self, calibration: Calibration) -> Reference:
        """Return the reference state in force now, without any round's level; there must be a reading."""
        sentinel_ms, gate_ms = gated(self._ordered_ms)
        variance, doubt = _wander(map(_level_ms, self._blocks.values()), gate_ms)
        return Reference(
            sentinel_ms,
            gate_ms,
            beta=calibration.beta,
            noise=calibration.noise,
            common_share=calibration.common_share,
            calibration=calibration.id,
            beta_spread=calibration.beta_spread,
            process_sd=hypot(self._process_sd, doubt),
            burst_quantile=FASTEST,
            trust=_trust(variance),
        )

    def _add(self, at_s: float, ms: float) -> None:
        self._readings.append((at_s, ms))
        insort(self._by_time, (at_s, ms))
        insort(self._ordered_ms, ms)
        insort(self._blocks.setdefault(int(at_s // BLOCK_S), []), ms)


def _level_ms(block: Sequence[float]) -> float:
    """Return the level of half a minute from its readings, the smallest first; infinite where they are too few."""
    return gated(block)[0] if len(block) >= MIN_IN_BLOCK else inf


def _wander(levels_ms: Iterable[float], gate_ms: float) -> tuple[float, float]:
    """Return the relative variance of a device's speed from block to block, and the standard error of its middle.

    One block is taken to wander as shared machines do; what more of them show outweighs it.

    Args:
        levels_ms: the level of each half minute.
        gate_ms: levels above it are of another state.
    """
    logs = np.log([ms for ms in levels_ms if ms <= gate_ms] or [gate_ms])
    variance = (USUAL_WANDER**2 + float(np.sum((logs - logs.mean()) ** 2))) / len(logs)
    return variance, sqrt(variance / len(logs))


def _trust(variance: float) -> float:
    return variance / (variance + PLACED**2)


def in_hindsight(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Return the measurements, all of one device, under the reference state of the time around them.

    A round's value is its fastest sample, whenever it was measured. What differs between processes is not in their
    intervals: whoever has them all knows it better.
    """
    measurements = list(measurements)
    readings = sorted((r.started_s, r.sentinel_ms) for m in measurements for r in m.rounds)
    times_s, values_ms = [at_s for at_s, _ in readings], [ms for _, ms in readings]
    middle_s = {n: median(r.started_s for r in m.rounds) for n, m in enumerate(measurements) if m.rounds}
    window, start, end = list[float](), 0, 0  # of the readings, from start to end, the smallest first
    blocks = [sorted(ms for _, ms in block) for _, block in groupby(readings, lambda reading: reading[0] // BLOCK_S)]
    ends, block_ms = list(accumulate(map(len, blocks))), list(map(_level_ms, blocks))
    for n in sorted(middle_s, key=middle_s.__getitem__):  # so neither end ever goes back
        here, low, high = (bisect_left(times_s, middle_s[n] + apart) for apart in (0, -HALF_WINDOW_S, HALF_WINDOW_S))
        low = max(min(low, here - MIN_READINGS // 2), 0)
        for ms in values_ms[end : (end := max(high, low + MIN_READINGS))]:
            insort(window, ms)
        for ms in values_ms[start : (start := low)]:
            del window[bisect_left(window, ms)]
        m, (sentinel_ms, gate_ms) = measurements[n], gated(window)
        if m.reference is not None:
            near_ms = block_ms[bisect_right(ends, start) : bisect_left(ends, end) + 1]
            seen = {"sentinel_ms": sentinel_ms, "gate_ms": gate_ms, "trust": _trust(_wander(near_ms, gate_ms)[0])}
            around = levels_ms(readings, m.rounds)
            known = replace(m.reference, **seen, process_sd=0.0, burst_quantile=FASTEST, levels_ms=around)
            measurements[n] = replace(m, reference=known)
    return measurements
