"""Time networks in fresh process after process until enough is known; the next process loads while one is timed.

A process's networks are parsed, optimised and warmed up for seconds before the first of them is timed. That happens on
a core that is not timed, as in a campaign, so that nobody waits for it.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from ..data.store import Store
from ..devices.device import Place
from ..measurement.calibration import CALIBRATION_ROUNDS
from ..measurement.measurement import Measurement
from .engine import Engine, engine_of
from .plan import Items, Plan
from .timer import Job
from .verify import begin

Found = Mapping[str, Sequence[Measurement]]
Wants = Callable[[Found, Mapping[str, int]], Sequence[str]]
"""Given the measurements of each key, and in how many processes it was begun: which keys go into another; none yet."""


def repeat(
    device: Place,
    items: Items,
    plan: Plan,
    store: Store,
    wants: Wants,
    *,
    ended: Callable[[Found], bool] = lambda found: False,
    seed: int = 0,
    batch_size: int = 32,
    calibration_rounds: int = CALIBRATION_ROUNDS,
    stop: threading.Event | None = None,
) -> dict[str, list[Measurement]]:
    """Time items in as many processes as are wanted, and return each one's measurements in the order of processes.

    Args:
        device: where.
        items: what; those that are wanted together share a process, and their rounds alternate in it.
        plan: how long in each process.
        store: open to write; every process is kept in it.
        wants: asked whenever another process could be prepared, and again after each that was timed; see `Wants`.
        ended: asked whenever a network of a process is done; True drops the process that is being prepared.
        seed: Seed of the orders of rounds.
        batch_size: networks resident in one process.
        calibration_rounds: Calibration rounds of each network, where the device was not calibrated before.
        stop: set it to end after the pass under way.

    Raises:
        DeviceError, StoreError: as for `verify.measure`.
    """
    found: defaultdict[str, list[Measurement]] = defaultdict(list)
    entered = dict.fromkeys(items.keys, 0)
    begun = begin(device, items, plan, store, seed)
    over = _Either(stop)

    def closed(measurements: Sequence[Measurement]) -> None:
        for m in measurements:
            found[m.key].append(m)
        if ended(found):
            over.set()

    def jobs(_: int = 0) -> list[Job]:
        made = [] if over.is_set() else [_job(key, begun.replicates) for key in wants(found, entered)]
        for job in made:
            entered[job.key] += 1
        return made

    begun.sink.closed = closed
    timer = engine_of(
        device, items, plan, seed=seed, sink=begun.sink, history=begun.history, calibration=begun.calibration,
        batch_size=batch_size, stop=over, calibration_rounds=calibration_rounds,
    )  # fmt: skip
    if isinstance(timer, Engine):
        timer.run(jobs(), jobs)
    else:  # timed elsewhere, where one process after the other is offered
        while offered := jobs():
            timer.run(offered)
    return {key: sorted(rows, key=lambda m: m.replicate) for key, rows in found.items()}


def _job(key: str, replicates: dict[str, int]) -> Job:
    replicate = replicates.get(key, 0)
    replicates[key] = replicate + 1
    return Job(key, replicate=replicate)


class _Either(threading.Event):
    """An event that is also set while another one is."""

    def __init__(self, other: threading.Event | None) -> None:
        super().__init__()
        self._other = other

    def is_set(self) -> bool:
        return super().is_set() or (self._other is not None and self._other.is_set())

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set() or super().wait(timeout) or self.is_set()
