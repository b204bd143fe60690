"""The measuring side of an agent: what a farm asks for, timed by the same engine as a local campaign's networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...devices.device import Device
from ...measurement.calibration import Calibration
from ...measurement.measurement import Measurement
from ...measurement.reference import SentinelHistory
from ...profiler.engine import Engine, Job
from ...profiler.plan import Items, Plan
from .. import messages
from .supply import Supply


class Service:
    """Times supplies on one device, and remembers its state from one to the next.

    Args:
        batch_size: networks resident in one measuring process.
        remembered: what ``record`` gave in an earlier life.
    """

    def __init__(self, *, batch_size: int = 32, remembered: Mapping[str, Any] | None = None) -> None:
        known = remembered or {}
        self._batch_size = batch_size
        self._history = SentinelHistory(readings=[(at_s, ms) for at_s, ms in known.get("readings", ())])
        calibration = known.get("calibration")
        self.calibration = Calibration(**calibration) if calibration else None

    def record(self) -> dict[str, Any]:
        """Return what is worth remembering, as JSON can hold it."""
        return {"readings": self._history.readings, "calibration": self.calibration and asdict(self.calibration)}

    def __call__(self, device: Device, supply: Supply) -> None:
        """Time what a supply gives until it is dry or stopped.

        Raises:
            DeviceError: the device cannot be reached, or fails network after network.
        """
        order = _Order(self, supply)
        plan = asdict(supply.order.plan)
        seed = plan.pop("seed")
        engine = Engine(
            device, Items(supply.order.space, (), order.build), Plan(**plan), seed=seed, sink=order,
            history=self._history, calibration=self.calibration, batch_size=self._batch_size, stop=supply.stop,
        )  # fmt: skip
        engine.run((), order.more)


class _Order:
    """One supply as the engine sees it: where jobs come from, how they are built, and where they go."""

    def __init__(self, service: Service, supply: Supply) -> None:
        self._service, self._supply = service, supply
        self._jobs: dict[tuple[str, int], messages.Job] = {}
        self._of_key: dict[str, messages.Job] = {}

    def more(self, n: int) -> list[Job]:
        jobs = self._supply.more(n)
        self._jobs |= {(job.key, job.replicate): job for job in jobs}
        self._of_key |= {job.key: job for job in jobs}
        return [Job(job.key, job.replicate) for job in jobs]

    def build(self, key: str, folder: Path) -> tuple[Path, str]:
        job = self._of_key[key]  # replicates of a network are one file
        return self._supply.lay_out(job, folder), job.model.sha256

    def keep(self, measurements: Sequence[Measurement]) -> None:
        closed = [(self._jobs.pop((m.key, m.replicate)), m) for m in measurements]
        calibration = self._service.calibration
        self._supply.keep(closed, asdict(calibration) if calibration else {})

    def calibrated(self, calibration: Calibration) -> None:
        self._service.calibration = calibration
