"""What times jobs, and what it is given: jobs, a sink for what is closed, a tally of what was done.

`engine.Engine` is one that opens measuring processes here; a place may bring another, as a farm does.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..devices.device import Loaded, Model, Place
from ..devices.runtime.runtime import GPU_PROVIDERS
from ..errors import DeviceError
from ..measurement.calibration import Calibration
from ..measurement.fingerprint import Fingerprint
from ..measurement.label import Reference
from ..measurement.measurement import Measurement
from ..measurement.rounds import Failure, Round
from .plan import Items, Plan

if TYPE_CHECKING:  # a farm's agents time with the engine and keep no store
    from ..data.schema import Receipt
    from ..data.store import Store

MAX_CLOCK_RATIO = 1.1  # of what samples say that they took to what their pass took: a phone's clock is its own


class Sink(Protocol):
    """Where results go, between passes; what it raises ends the loop."""

    def keep(self, measurements: Sequence[Measurement]) -> None:
        """Take networks that are closed."""
        ...

    def calibrated(self, calibration: Calibration) -> None:
        """Take a new calibration of the device."""
        ...


class CampaignSink(Sink, Protocol):
    """A sink with a store behind it, which also keeps what became of results that came from elsewhere."""

    @property
    def campaign(self) -> str:
        """Id in the store, empty without one."""
        ...

    @property
    def store(self) -> Store | None:
        """Where they end, None if they are only handed over."""
        ...

    def keep(self, measurements: Sequence[Measurement], receipts: Sequence[Receipt] = ()) -> None:
        """Take networks that are closed, and receipts of results; both are on the disk when this returns."""
        ...


@dataclass
class Job:
    """One network to be timed, and what is known of it so far."""

    key: str
    replicate: int = 0
    rounds: list[Round] = field(default_factory=list[Round])
    failures: list[Failure] = field(default_factory=list[Failure])
    waited: bool = False
    model: Model | None = None
    loaded: Loaded | None = None

    @property
    def alone(self) -> bool:
        """Return whether it failed before, and so is tried again in a process of its own."""
        return bool(self.failures)


@dataclass
class Tally:
    """What the loop did.

    Attributes:
        rounds, gated: rounds of closed networks, and those of them that were taken in the reference state.
        burst_ms, sentinel_ms: wall time inside recorded samples, of networks and of sentinels.
        rejected: reason -> rounds of closed networks left out of their level.
        readings: (seconds since the epoch, sentinel reading in ms) of every round.
        alarms: what a person must know before trusting any of it.
    """

    rounds: int = 0
    gated: int = 0
    burst_ms: float = 0.0
    sentinel_ms: float = 0.0
    rejected: Counter[str] = field(default_factory=Counter[str])
    readings: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    alarms: list[str] = field(default_factory=list[str])

    def time(self, rounds: Iterable[Round]) -> None:
        """Add what rounds took."""
        for r in rounds:
            self.burst_ms += sum(r.wall_ms) * r.block
            self.sentinel_ms += sum(r.sentinel_before_ms) + sum(r.sentinel_after_ms)
            self.readings.append((r.started_s, r.sentinel_ms))

    def count(self, rounds: Iterable[Round], reference: Reference, clock: str) -> None:
        """Count rounds as they stand under a reference."""
        for r in rounds:
            reason = r.invalid(clock, reference.noise)
            self.rounds += 1
            self.rejected.update([reason] if reason else [])
            self.gated += reason is None and r.sentinel_ms <= reference.gate_ms


class Timer(Protocol):
    """What times jobs; it hands measurements to its sink as soon as they are closed."""

    @property
    def tally(self) -> Tally:
        """What it did so far."""
        ...

    def run(self, jobs: Iterable[Job]) -> None:
        """Time all jobs.

        Raises:
            DeviceError: whatever times them cannot be reached, or fails network after network.
            StoreError: the store cannot be written.
        """
        ...


@runtime_checkable
class BringsEngine(Place, Protocol):
    """A place that has networks timed in a way of its own."""

    def engine(self, items: Items, plan: Plan, *, seed: int, sink: CampaignSink, stop: threading.Event | None) -> Timer:
        """Return what times the jobs of one campaign.

        Args:
            items: what; the keys of the jobs are among them.
            plan: how long.
            seed: Seed of the orders of rounds; it stands in every measurement.
            sink: where measurements and calibrations go.
            stop: when it is set, what is done is handed over, and ``run`` returns.
        """
        ...


def clock_of(fingerprint: Fingerprint) -> str:
    """Return the clock that labels are taken from: ``gpu`` on a GPU, ``cpu`` for one thread on a CPU, else ``wall``."""
    options = fingerprint.options
    provider = str(options.get("provider", "cpu"))
    if provider in GPU_PROVIDERS:
        return "gpu"
    on_cpu = provider.lower() in ("cpu", "cpuexecutionprovider")
    return "cpu" if on_cpu and options.get("threads", 1) == 1 else "wall"


def check_clock(rounds: Iterable[Round], *, took_ms: float) -> None:
    """Refuse rounds that say that they took longer than the pass in which they were taken.

    Args:
        rounds: Rounds of one pass.
        took_ms: wall time of that pass on this machine.

    Raises:
        DeviceError: they do, by more than two clocks differ.
    """
    tally = Tally()
    tally.time(rounds)
    said_ms = tally.burst_ms + tally.sentinel_ms
    if said_ms > MAX_CLOCK_RATIO * took_ms:
        raise DeviceError(
            f"the device says that its samples took {said_ms:.4g} ms, but the whole pass took {took_ms:.4g} ms: its "
            "times are not milliseconds of wall time, or of another clock. Give milliseconds; where the clock is "
            "virtual, say so: environment() returns virtual_clock=True"
        )
