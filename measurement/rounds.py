"""What a measuring process tells of a network: raw rounds, or why there are none.

One *round* of a network, in one measuring process::

    [ 1 discarded + 2 sentinel runs ] [ 1 discarded run + burst of 10-30 ms ] [ 1 discarded + 2 sentinel runs ]
            sentinel_before_ms                wall_ms, cpu_ms                        sentinel_after_ms

A *sentinel* is a small fixed network run by the same runtime in the same process; in every fourth round of a
calibration those of the other kinds are run too, outside what counts for the round. The first run is discarded where
another network ran before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite, log
from statistics import median
from typing import Literal

from ..errors import UsageError

Cause = Literal["crashed", "timeout", "oom", "refused", "invalid_output", "fallback"]
FASTEST = 0.0  # the quantile of a burst that is a round's value
SHORTEST_MS, LONGEST_MS = 1e-7, 1e9  # of any time that a device can have measured; the longest is eleven days
MOST_IN_BLOCK = 10**9  # inferences in one sample
BRACKET_TOLERANCE = 0.08  # |ln(before / after)| that a round may show whatever the sentinel's own noise


@dataclass(frozen=True)
class Failure:
    """Why a network has no latency: a fact about that network on that device.

    Attributes:
        cause: what happened.
        phase: ``load``, ``warm_up`` or ``run``.
        signal: the signal that ended the process, if one did.
        detail: one line for a person; the last lines of stderr where a process died.
        elapsed_ms: for a time-out, the time after which it was stopped: the latency is above it.
    """

    cause: Cause
    phase: str
    signal: int | None = None
    detail: str = ""
    elapsed_ms: float | None = None


@dataclass(frozen=True)
class Round:
    """One round of one network. Times in ms; ``started_s`` is seconds since the epoch.

    Attributes:
        sentinel_before_ms, sentinel_after_ms: by the label's clock: CPU time for one thread, else wall time; on a GPU
            its own.
        wall_ms, cpu_ms: per inference, one for each sample of the burst, the discarded first run left out.
        gpu_ms: Times by the GPU's own events; empty on a CPU.
        block: inferences in one sample: more than one where they are too short for the clock.
        other_sentinels_ms: kind -> reading of the other sentinels, in every fourth round of a calibration.
        state: what the device said of itself, by name with unit, such as ``frequency_mhz`` and ``temperature_c``.
        involuntary_switches, run_queue_wait_ms: interference during the burst.
        events: clock or thermal events that fell into the round, by name.
    """

    key: str
    started_s: float
    sentinel_before_ms: tuple[float, ...]
    sentinel_after_ms: tuple[float, ...]
    wall_ms: tuple[float, ...]
    cpu_ms: tuple[float, ...]
    involuntary_switches: int = 0
    run_queue_wait_ms: float = 0.0
    events: tuple[str, ...] = ()
    block: int = 1
    other_sentinels_ms: dict[str, float] = field(default_factory=dict[str, float])
    state: dict[str, float] = field(default_factory=dict[str, float])
    gpu_ms: tuple[float, ...] = ()

    @property
    def sentinel_ms(self) -> float:
        """Return the round's sentinel reading: the fastest of its runs."""
        return min(*self.sentinel_before_ms, *self.sentinel_after_ms)

    def value_ms(self, clock: str, quantile: float = FASTEST) -> float:
        """Return a quantile of thread CPU time (``cpu``) or wall time (``wall``), or the median (``gpu``).

        Args:
            clock: ``cpu``, ``wall`` or ``gpu``.
            quantile: Which of the burst's samples it is; the fastest by default, as of the sentinel's runs: what
                disturbs a core only adds time.

        Raises:
            UsageError: ``gpu``, of a round that was taken on a CPU.
        """
        if clock == "gpu":
            if not self.gpu_ms:
                raise UsageError(f"the round of {self.key!r} holds no GPU times; its clock is cpu or wall")
            return float(median(self.gpu_ms))
        samples = self.cpu_ms if clock == "cpu" else self.wall_ms
        if quantile == FASTEST:
            return min(samples)
        ordered = sorted(samples)  # a data set asks this of a million short bursts: numpy takes 30 x longer
        place = quantile * (len(ordered) - 1)
        below = int(place)
        above = ordered[min(below + 1, len(ordered) - 1)]
        return ordered[below] + (above - ordered[below]) * (place - below)

    def flaw(self, clock: str) -> tuple[str, object, str] | None:
        """Return what no device can have measured: an attribute, its value and what is allowed; None if all can be."""
        if not 1 <= self.block <= MOST_IN_BLOCK:
            return "block", self.block, f"1 to {MOST_IN_BLOCK}"
        for name in ("sentinel_before_ms", "sentinel_after_ms", "wall_ms", "cpu_ms", "gpu_ms"):
            times_ms: tuple[float, ...] = getattr(self, name)
            if not times_ms and name == "gpu_ms" and clock != "gpu":
                continue
            least_ms = 0.0 if name == "cpu_ms" else SHORTEST_MS  # a clock of CPU time can stand still
            if times_ms and isfinite(sum(times_ms)) and min(times_ms) >= least_ms and max(times_ms) <= LONGEST_MS:
                continue
            wrong = next((ms for ms in times_ms if not least_ms <= ms <= LONGEST_MS), ())
            return name, wrong, f"one time or more, each {least_ms:g} to {LONGEST_MS:g}"
        return None

    def invalid(self, clock: str, sentinel_noise: float) -> str | None:
        """Return why this round is left out of the level, or None."""
        drift = abs(log(min(self.sentinel_before_ms) / min(self.sentinel_after_ms)))
        if drift > max(BRACKET_TOLERANCE, 3 * sentinel_noise):
            return "sentinel_bracket"
        if clock == "wall" and self.run_queue_wait_ms > 0.1 * self.block * sum(self.wall_ms):
            return "interference"
        return self.events[0] if self.events else None
