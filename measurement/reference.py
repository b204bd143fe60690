"""The state of a device that labels refer to, from its sentinel readings: as known at the time, and in hindsight."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from .calibration import HOUR_S, Calibration
from .label import FLOOR, Reference
from .measurement import Measurement
from .rounds import FASTEST, Round

HALF_WINDOW_S = 1800.0
MIN_READINGS = 2000  # sentinel readings that a label's reference state rests on, however old or far apart


class SentinelHistory:
    """Recent sentinel readings of a device: what its reference state is taken from.

    They are those of the last hour, and never fewer than the last 2000: a few rounds taken while the device happens to
    be slow must not become a reference of their own.

    Args:
        rounds: earlier ones, the oldest first.
        readings: (seconds since the epoch, ms) before them.
        process_sd: what labels of this device differ by between processes, beyond what their rounds tell; see
            `repeatability.process_sd`.
    """

    def __init__(
        self,
        rounds: Iterable[Round] = (),
        readings: Iterable[tuple[float, float]] = (),
        process_sd: float = FLOOR,
    ) -> None:
        self._readings = deque(readings)
        self._process_sd = process_sd
        self.extend(rounds)

    def __len__(self) -> int:
        return len(self._readings)

    @property
    def readings(self) -> list[tuple[float, float]]:
        """Return (seconds since the epoch, ms) of every reading in force, the oldest first."""
        return list(self._readings)

    def extend(self, rounds: Iterable[Round]) -> None:
        """Add the readings of rounds, in the order in which they were taken."""
        self._readings.extend((r.started_s, r.sentinel_ms) for r in rounds)
        while len(self._readings) > MIN_READINGS and abs(self._readings[-1][0] - self._readings[0][0]) > HOUR_S:
            self._readings.popleft()

    def reference(self, calibration: Calibration) -> Reference:
        """Return the reference state in force now; there must be a reading."""
        return Reference.of(
            [ms for _, ms in self._readings],
            beta=calibration.beta,
            noise=calibration.noise,
            common_share=calibration.common_share,
            calibration=calibration.id,
            beta_spread=calibration.beta_spread,
            process_sd=self._process_sd,
        )


def in_hindsight(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Return the measurements, all of one device, under the reference state of the time around them.

    A round's value is its fastest sample, whenever it was measured. What differs between processes is not in their
    intervals: whoever has them all knows it better.
    """
    measurements = list(measurements)
    readings = sorted((r.started_s, r.sentinel_ms) for m in measurements for r in m.rounds)
    times_s, values_ms = np.array(readings).reshape(-1, 2).T
    result: list[Measurement] = []
    for m in measurements:
        if m.reference is not None and m.rounds:
            at_s = float(np.median([r.started_s for r in m.rounds]))
            here, low, high = np.searchsorted(times_s, [at_s, at_s - HALF_WINDOW_S, at_s + HALF_WINDOW_S])
            low = max(min(low, here - MIN_READINGS // 2), 0)
            window = values_ms[low : max(high, low + MIN_READINGS)]
            seen = Reference.of(window.tolist())
            known = replace(
                m.reference,
                sentinel_ms=seen.sentinel_ms,
                gate_ms=seen.gate_ms,
                process_sd=0.0,
                burst_quantile=FASTEST,
            )
            m = replace(m, reference=known)
        result.append(m)
    return result
