"""What the measuring side of an agent is given: jobs of one order, their files, and where measurements go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ...devices.device import Device
from ...measurement.measurement import Measurement
from ..messages import Job, PlanSpec


@dataclass(frozen=True)
class Order:
    """What jobs that are timed together have in common."""

    campaign: str
    space: str
    plan: PlanSpec

    @classmethod
    def of(cls, job: Job) -> Order:
        """Return the order that a job belongs to."""
        return cls(job.campaign, job.space, job.plan)


class Supply(Protocol):
    """Jobs of one order, as they come."""

    @property
    def order(self) -> Order:
        """What they have in common."""
        ...

    @property
    def stop(self) -> threading.Event:
        """When it is set, the pass under way is finished, what is closed is kept, and the rest is left."""
        ...

    def more(self, n: int) -> list[Job]:
        """Return up to ``n`` further jobs, at once; none if none are at hand."""
        ...

    def lay_out(self, job: Job, folder: Path) -> Path:
        """Put a job's files into a folder; return the path of its model."""
        ...

    def keep(self, closed: Sequence[tuple[Job, Measurement]], calibration: Mapping[str, Any]) -> None:
        """Take jobs that are done, and the calibration in force; they are on the disk when this returns."""
        ...


Measure = Callable[[Device, Supply], None]
"""Times what a supply gives until it is dry or stopped; raises DeviceError where the device is suspected."""
