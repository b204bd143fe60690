"""Jobs that are timed together, as the profiler's engine sees them: where they come from, their files, their ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ...graphs.network import is_space
from ...measurement.calibration import Calibration
from ...measurement.measurement import Measurement
from ...profiler import engine
from ...profiler.plan import Items
from ..messages import Job

Closed = Sequence[tuple[Job, Measurement]]


class Lot:
    """Jobs of one campaign, space, plan and seed, as they come; a sink of the engine.

    Args:
        like: any job of it.
        pop: gives up to so many further jobs of the lot, at once; none if none are at hand.
        lay_out: puts a job's files into a folder and returns the path of its model.
        keep: takes jobs that are done, with the calibration in force; they are on the disk when it returns.
    """

    def __init__(
        self,
        like: Job,
        *,
        pop: Callable[[int], list[Job]],
        lay_out: Callable[[Job, Path], Path],
        keep: Callable[[Closed, Calibration | None], None],
    ) -> None:
        self.items = Items(like.space, (), self._build, own_batch=not is_space(like.space))
        self.plan, self.seed = like.plan, like.seed
        self.calibration: Calibration | None = None  # the one in force
        self._pop, self._lay_out, self._keep = pop, lay_out, keep
        self._open: dict[tuple[str, int], Job] = {}
        self._of_key: dict[str, Job] = {}

    @property
    def open(self) -> list[Job]:
        """Return the jobs that were given to the engine and are not done."""
        return [*self._open.values()]

    def more(self, n: int) -> list[engine.Job]:
        """Return up to ``n`` further jobs."""
        jobs = self._pop(n)
        self._open |= {(job.key, job.replicate): job for job in jobs}
        self._of_key |= {job.key: job for job in jobs}
        return [engine.Job(job.key, job.replicate) for job in jobs]

    def keep(self, measurements: Sequence[Measurement]) -> None:
        """Take networks that are closed."""
        self._keep([(self._open[m.key, m.replicate], m) for m in measurements], self.calibration)
        for m in measurements:
            del self._open[m.key, m.replicate]

    def calibrated(self, calibration: Calibration) -> None:
        """Take a new calibration of the device."""
        self.calibration = calibration

    def _build(self, key: str, folder: Path) -> tuple[Path, str]:
        job = self._of_key[key]  # replicates of a network are one file
        return self._lay_out(job, folder), job.model.sha256
