"""Time a few given networks now: how a promised latency is put to the test on the device."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

from ..data.schema import Receipt
from ..data.store import Store
from ..devices.device import Place
from ..errors import UsageError
from ..measurement.calibration import Calibration
from ..measurement.measurement import Measurement
from ..measurement.reference import SentinelHistory
from ..measurement.repeatability import PROCESSES, agree, counted
from .campaign import recall
from .engine import engine_of
from .plan import PRECISE, Items, Plan
from .timer import Job

TRIES = 6  # processes before a noisy measurement is taken for an answer


def measure(
    device: Place,
    items: Items,
    plan: Plan = PRECISE,
    store: Store | None = None,
    *,
    seed: int = 0,
    batch_size: int = 32,
    stop: threading.Event | None = None,
) -> list[Measurement]:
    """Time every item in fresh measuring processes and return the measurements in the items' order.

    Args:
        device: where.
        items: what.
        plan: how long each; precise by default.
        store: open to write. Its sentinel readings of this device say which state a label refers to, so that the
            numbers can be compared with its other rows; the new rows are kept in it. Without it the device's state
            during this very call is the reference: too short a time where a machine's speed changes.
        seed: Seed of the order of rounds.
        batch_size: networks resident in one measuring process.
        stop: set it to end after the pass under way; then some items are missing from the result.

    Raises:
        DeviceError: the device cannot be reached, or fails network after network. A network that fails is no
            error: it is a measurement with a failure.
        StoreError: the store cannot be written.
    """
    begun = begin(device, items, plan, store, seed)
    jobs = [Job(key, replicate=begun.replicates.get(key, 0)) for key in items.keys]
    sink = begun.sink
    engine = engine_of(
        device, items, plan, seed=seed, sink=sink, history=begun.history, calibration=begun.calibration,
        batch_size=batch_size, stop=stop,
    )  # fmt: skip
    engine.run(jobs)
    found = {m.key: m for m in sink.measurements}
    return [found[key] for key in items.keys if key in found]


def confirm(
    device: Place, item: Items, plan: Plan, store: Store, *, seed: int = 0, stop: threading.Event | None = None
) -> list[Measurement]:
    """Put one network to the final test: time it in several processes, and return the one that is told first.

    Three processes whose verdict is ``ok`` and that agree are asked for, and the middle one is told. While the device
    does not hold still, or one disagrees, more are started, up to six; the middle one of those that count is told
    then (`measurement.repeatability.counted`), or, where none is ``ok``, the one with the narrowest interval.

    Args:
        device: where.
        item: exactly one network.
        plan: how long it is timed in each process.
        store: open to write, as for `measure`; every process is kept in it.
        seed: Seed of the order of rounds.
        stop: set it to end after the pass under way; then nothing is returned, as fewer processes are no verdict.

    Returns:
        The measurement to be told, then those of the other processes in the order in which they ran.

    Raises:
        UsageError: not exactly one network.
        DeviceError, StoreError: as for `measure`.
    """
    if len(item.keys) != 1:
        raise UsageError(f"{len(item.keys)} networks; allowed: one, which is confirmed by itself")
    found: list[Measurement] = []
    ok: list[Measurement] = []
    while len(found) < TRIES and (len(ok) < PROCESSES or not agree(found)):
        found += measure(device, item, plan, store, seed=seed, stop=stop)
        if stop is not None and stop.is_set():
            return []
        ok = counted(found)
    told = ok[len(ok) // 2] if ok else min(found, key=lambda m: m.estimate.half_width if m.estimate else inf)
    return [told, *(m for m in found if m is not told)]


@dataclass
class ListSink:
    """Keeps what an engine closes in a list, and in a store where there is one; ``closed`` is called after each."""

    store: Store | None = None
    campaign: str = ""
    measurements: list[Measurement] = field(default_factory=list[Measurement])
    closed: Callable[[Sequence[Measurement]], None] = lambda measurements: None

    def keep(self, measurements: Sequence[Measurement], receipts: Sequence[Receipt] = ()) -> None:
        """Take networks that are closed."""
        if self.store is not None:
            self.store.append(self.campaign, *measurements, receipts=receipts)
        self.measurements.extend(measurements)
        self.closed(measurements)

    def calibrated(self, calibration: Calibration) -> None:
        """Take a new calibration of the device."""
        if self.store is not None:
            self.store.add_calibration(self.campaign, calibration)


@dataclass(frozen=True)
class Begun:
    """Where results of items go, what is known of the device, and the next replicate of each key."""

    sink: ListSink
    history: SentinelHistory
    calibration: Calibration | None
    replicates: dict[str, int]


def begin(device: Place, items: Items, plan: Plan, store: Store | None, seed: int) -> Begun:
    """Begin to time items outside a campaign; without a store nothing is known of the device.

    Raises:
        StoreError: the store cannot be written.
    """
    if store is None:
        return Begun(ListSink(), SentinelHistory(), None, {})
    campaign = store.begin(items.space, device.fingerprint, plan.record(seed), seed, purpose="verify")
    history, calibration = recall(store, device)
    following: dict[str, int] = {}
    for key, replicate in store.done(campaign):
        following[key] = max(following.get(key, 0), replicate + 1)
    return Begun(ListSink(store, campaign), history, calibration, following)
