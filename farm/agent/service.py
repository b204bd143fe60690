"""The measuring side of an agent: what a farm asks for, timed by the same engine as a local campaign's networks."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ...devices.device import Device
from ...measurement.calibration import Calibration
from ...measurement.reference import SentinelHistory
from ...profiler.engine import Engine
from .lot import Lot


class Service:
    """Times lots on one device, and remembers its state from one to the next.

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

    def __call__(self, device: Device, lot: Lot, stop: threading.Event) -> None:
        """Time a lot until it is dry or ``stop`` is set.

        Raises:
            DeviceError: the device cannot be reached, or fails network after network.
        """
        lot.calibration = self.calibration
        engine = Engine(
            device, lot.items, lot.plan, seed=lot.seed, sink=lot, history=self._history, calibration=lot.calibration,
            batch_size=self._batch_size, stop=stop,
        )  # fmt: skip
        try:
            engine.run((), lot.more)
        finally:
            self.calibration = lot.calibration
