"""A network that ran on an agent's device before: by it the device is tried when it is suspected."""

from __future__ import annotations

import shutil

from ...devices.device import Device, Model
from ...errors import DeviceError
from ..messages import Job
from .files import Files
from .spool import Spool

PROBE_BURST_MS = 10.0


class KnownGood:
    """The first network that an agent timed well; it is kept beside its spool, and outlives a restart.

    Args:
        spool: where it is noted.
        files: Files of the jobs.
    """

    def __init__(self, spool: Spool, files: Files) -> None:
        self._spool, self._files = spool, files
        self._folder = spool.folder / "known-good"

    def remember(self, job: Job) -> None:
        """Keep a copy of this job's network, unless there is one already."""
        if self._folder.exists():
            return
        partial = self._folder.with_suffix(".part")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        path = self._files.lay_out(job, partial)
        partial.rename(self._folder)
        self._spool.note("known_good", {"key": job.key, "file": path.name, "digest": job.model.sha256})

    def probe(self, device: Device) -> str | None:
        """Time it and return what went wrong; without one, a measuring process whose sentinels run is enough."""
        known = self._spool.noted("known_good", None)
        try:
            with device.open() as session:
                if known is None or not self._folder.exists():
                    return None
                model = Model(known["key"], self._folder / known["file"], known["digest"])
                failure = session.load([model])[0].failure
                if failure is None:
                    session.start_timing()
                    failure = session.run_pass([model.key], burst_ms=PROBE_BURST_MS).failures.get(model.key)
        except DeviceError as error:
            return str(error)
        return failure and f"a network that ran before failed: {failure.cause} ({failure.detail})"
