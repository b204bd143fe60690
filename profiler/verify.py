"""Time a few given networks now: how a promised latency is put to the test on the device."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from ..data.store import Receipt, Store
from ..devices.device import Place
from ..measurement.calibration import Calibration
from ..measurement.measurement import Measurement
from ..measurement.reference import SentinelHistory
from .campaign import recall
from .engine import Job, engine_of
from .plan import PRECISE, Items, Plan


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
    if store is None:
        sink, history, calibration = _ListSink(), SentinelHistory(), None
        jobs = [Job(key) for key in items.keys]
    else:
        campaign = store.begin(items.space, device.fingerprint, plan.record(seed), seed, purpose="verify")
        sink = _ListSink(store, campaign)
        history, calibration = recall(store, device)
        next_of: dict[str, int] = {}
        for key, replicate in store.done(campaign):
            next_of[key] = max(next_of.get(key, 0), replicate + 1)
        jobs = [Job(key, replicate=next_of.get(key, 0)) for key in items.keys]
    engine = engine_of(
        device, items, plan, seed=seed, sink=sink, history=history, calibration=calibration,
        batch_size=batch_size, stop=stop,
    )  # fmt: skip
    engine.run(jobs)
    found = {m.key: m for m in sink.measurements}
    return [found[key] for key in items.keys if key in found]


@dataclass
class _ListSink:
    store: Store | None = None
    campaign: str = ""
    measurements: list[Measurement] = field(default_factory=list[Measurement])

    def keep(self, measurements: Sequence[Measurement], receipts: Sequence[Receipt] = ()) -> None:
        if self.store is not None:
            self.store.append(self.campaign, *measurements, receipts=receipts)
        self.measurements.extend(measurements)

    def calibrated(self, calibration: Calibration) -> None:
        if self.store is not None:
            self.store.add_calibration(self.campaign, asdict(calibration))
