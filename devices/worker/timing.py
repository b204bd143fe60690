"""The loops in which time is taken: warm-up by detection, sentinel runs, bursts, and the counters beside them.

Reading the clocks costs 0.1-0.5 us and is done per sample; the counters cost 20 us and are read once a round.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Protocol

from ..runtime.runtime import GpuTime

BLOCK_MS = 0.2  # shorter inferences are timed as blocks of this length
GPU_BLOCK_MS = 1.0  # on a GPU, whose events have a coarser clock
MIN_SAMPLES = 3
SENTINEL_RUNS = 2  # on each side, after one that is discarded
OTHERS_EVERY = 4  # rounds from one reading of the other sentinels to the next
HEAT_WINDOWS, HEAT_WINDOW_MS, STEADY = 20, 500.0, 0.01
WARM_UP_RUNS = 50
WARM_UP_MS = 100.0
_WINDOW = 5
_SETTLED = 0.03
_SUSPENDED_S = 0.001

Run = Callable[[], None]


class Timed(Protocol):
    """What is timed: see `Program`, which has more."""

    @property
    def gpu_time(self) -> GpuTime | None: ...

    def run(self) -> None: ...


@dataclass(frozen=True)
class WarmUp:
    """How a network came up to speed; times in ms."""

    first_run_ms: float
    runs: int
    capped: bool
    fastest_ms: float
    typical_ms: float


def warm_up(run: Run, count: Run) -> WarmUp:
    """Run until the median of the last five is within 3 % of that of the five before.

    Capped at 50 runs or 100 ms, whichever comes first, but at least six runs of a large network.

    Args:
        run: one inference.
        count: called before each, for the board.
    """
    count()
    first_ms = _timed_ms(run, time.perf_counter_ns)
    times_ms: list[float] = []
    settled = False
    while not settled and len(times_ms) < WARM_UP_RUNS and (len(times_ms) < 6 or sum(times_ms) < WARM_UP_MS):
        count()
        times_ms.append(_timed_ms(run, time.perf_counter_ns))
        if len(times_ms) >= 2 * _WINDOW:
            last, before = median(times_ms[-_WINDOW:]), median(times_ms[-2 * _WINDOW : -_WINDOW])
            settled = abs(last - before) <= _SETTLED * before
    return WarmUp(first_ms, 1 + len(times_ms), not settled, min(times_ms), median(times_ms[-_WINDOW:]))


def sentinel_ms(program: Timed, *, threads: int, block: int = 1, warm: bool = False) -> list[float]:
    """Return the times of two sentinel runs after a discarded one, which refills the caches.

    By the clock that labels are taken by: the GPU's own; on a CPU the thread's CPU time if there is one thread, so that
    a pre-emption is not read as a slow device, and wall time otherwise.

    Args:
        program: the sentinel.
        threads: that it computes with.
        block: on a GPU, inferences in one reading.
        warm: the sentinel was the last to run, so that the caches are full and no run is discarded.
    """
    if not warm:
        program.run()
    if program.gpu_time is not None:
        return [program.gpu_time(block)[0] / block for _ in range(SENTINEL_RUNS)]
    clock = time.thread_time_ns if threads == 1 else time.perf_counter_ns
    return [_timed_ms(program.run, clock) for _ in range(SENTINEL_RUNS)]


def heat(read_ms: Callable[[], float]) -> bool:
    """Keep a GPU at work until its speed is steady: its clocks rise within milliseconds and sink with heat in seconds.

    Until the median reading of half a second is within 1 % of that of the half before, or for ten seconds. It is never
    left to cool down: an idle GPU sleeps, and is slow when it wakes.

    Args:
        read_ms: one reading of the sentinel.

    Returns:
        Whether it became steady.
    """
    windows: list[float] = []
    while len(windows) < HEAT_WINDOWS:
        end, readings = time.perf_counter_ns() + HEAT_WINDOW_MS * 1e6, list[float]()
        while time.perf_counter_ns() < end or not readings:
            readings.append(read_ms())
        windows.append(median(readings))
        if len(windows) > 1 and abs(windows[-1] - windows[-2]) <= STEADY * windows[-2]:
            return True
    return False


def block_of(fastest_ms: float, *, gpu: bool = False) -> int:
    """Return how many inferences one sample holds, so that it lasts 0.2 ms, or 1 ms on a GPU."""
    return max(1, -int(-(GPU_BLOCK_MS if gpu else BLOCK_MS) // fastest_ms))


@dataclass(frozen=True)
class Burst:
    """Times per inference of each sample of a burst, in ms; those of the GPU are empty where there is none.

    Attributes:
        wall_ms, cpu_ms: Wall time until the results are there, and CPU time of the host's thread.
        gpu_ms: from the GPU's own events.
        enqueue_ms: until the host had launched everything: where it is as long as ``gpu_ms``, the host is timed.
    """

    wall_ms: list[float] = field(default_factory=list[float])
    cpu_ms: list[float] = field(default_factory=list[float])
    gpu_ms: list[float] = field(default_factory=list[float])
    enqueue_ms: list[float] = field(default_factory=list[float])


def burst(program: Timed, count: Run, *, burst_ms: float, block: int) -> Burst:
    """Run back to back, the first run discarded, and return the times of each sample.

    Args:
        program: what is timed.
        count: called before each sample, for the board.
        burst_ms: lasts at least this long, and at least three samples.
        block: inferences in one sample; see `block_of`.
    """
    found = Burst()
    run, gpu_time, scale = program.run, program.gpu_time, 1e6 * block
    count()
    run()
    begin = time.perf_counter_ns()
    now = begin
    while now - begin < burst_ms * 1e6 or len(found.wall_ms) < MIN_SAMPLES:
        count()
        cpu_start = time.thread_time_ns()
        start = time.perf_counter_ns()
        if gpu_time is None:
            for _ in range(block):
                run()
        else:
            gpu_ms, enqueue_ms = gpu_time(block)
            found.gpu_ms.append(gpu_ms / block)
            found.enqueue_ms.append(enqueue_ms / block)
        now = time.perf_counter_ns()
        found.cpu_ms.append((time.thread_time_ns() - cpu_start) / scale)
        found.wall_ms.append((now - start) / scale)
    return found


@dataclass(frozen=True)
class Reading:
    """Counters at one moment."""

    switches: int
    wait_ns: int
    throttles: int
    suspended_s: float

    def since(self, before: Reading) -> tuple[int, float, list[str]]:
        """Return (involuntary switches, run-queue wait in ms, events) since an earlier reading."""
        events = ["thermal"] if self.throttles > before.throttles else []
        if self.suspended_s - before.suspended_s > _SUSPENDED_S:
            events.append("suspended")
        return self.switches - before.switches, (self.wait_ns - before.wait_ns) / 1e6, events


class Counters:
    """Open files of the kernel's counters for every thread of this process; what the kernel lacks counts as 0."""

    def __init__(self, cores: list[int]) -> None:
        self._waits: list[int] = []
        self._throttles: list[int] = []
        self._states: dict[str, tuple[int, float]] = {}
        if sys.platform == "linux":
            self._waits = _opened([thread / "schedstat" for thread in Path("/proc/self/task").iterdir()])
            system = Path("/sys/devices/system/cpu")
            self._throttles = _opened([system / f"cpu{core}/thermal_throttle/core_throttle_count" for core in cores])
            clock = _opened([system / f"cpu{core}/cpufreq/scaling_cur_freq" for core in cores[:1]])
            heat = _opened([Path("/sys/class/thermal/thermal_zone0/temp")])
            self._states = {
                name: (files[0], scale)
                for name, files, scale in (("frequency_mhz", clock, 1e3), ("temperature_c", heat, 1e3))
                if files
            }

    def read(self) -> Reading:
        """Read all counters."""
        suspended = 0.0
        if sys.platform == "linux":
            suspended = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
        return Reading(
            switches=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
            wait_ns=sum(_number(file, 1) for file in self._waits),
            throttles=sum(_number(file, 0) for file in self._throttles),
            suspended_s=suspended,
        )

    def state(self) -> dict[str, float]:
        """Return clock and temperature, as far as the kernel tells."""
        return {name: _number(file, 0) / scale for name, (file, scale) in self._states.items()}

    def close(self) -> None:
        """Close the files."""
        for file in (*self._waits, *self._throttles, *(file for file, _ in self._states.values())):
            os.close(file)
        self._waits, self._throttles, self._states = [], [], {}


def _timed_ms(run: Run, clock: Callable[[], int]) -> float:
    start = clock()
    run()
    return (clock() - start) / 1e6


def _opened(paths: list[Path]) -> list[int]:
    files: list[int] = []
    for path in paths:
        with suppress(OSError):
            files.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    return files


def _number(file: int, column: int) -> int:
    try:
        return int(os.pread(file, 128, 0).split()[column])
    except (OSError, ValueError, IndexError):  # the thread has ended
        return 0
