"""Timing and the agent's own work in turn: a burst is never disturbed by the network or the disk."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...devices.device import Device, Loaded, Model, PassResult, ReadsOthers, Session
from ...measurement.fingerprint import Fingerprint


class Quiet:
    """Lets through either one pass or one piece of work; who waits to work goes before the next pass."""

    def __init__(self) -> None:
        self._door, self._inside = threading.Lock(), threading.Lock()

    @contextmanager
    def timing(self) -> Generator[None]:
        """Hold for one pass."""
        with self._door:  # whoever waits to work holds it
            pass
        with self._inside:
            yield

    @contextmanager
    def working(self) -> Generator[None]:
        """Hold for work that must not overlap a pass."""
        with self._door, self._inside:
            yield


class QuietDevice:
    """A device whose passes wait for quiet; otherwise the device itself."""

    def __init__(self, device: Device, quiet: Quiet) -> None:
        self._device, self._quiet = device, quiet

    @property
    def fingerprint(self) -> Fingerprint:
        return self._device.fingerprint

    @property
    def batch(self) -> int:
        return self._device.batch

    @property
    def occupies(self) -> Sequence[str]:
        return getattr(self._device, "occupies", ())

    def environment(self) -> dict[str, Any]:
        return self._device.environment()

    def open(self) -> QuietSession:
        return QuietSession(self._device.open(), self._quiet)


class QuietSession:
    """A session whose passes wait for quiet."""

    def __init__(self, session: Session, quiet: Quiet) -> None:
        self._session, self._quiet = session, quiet

    def load(self, models: Sequence[Model]) -> list[Loaded]:
        return self._session.load(models)

    def start_timing(self) -> None:
        self._session.start_timing()

    @property
    def reads_others(self) -> bool:
        return isinstance(self._session, ReadsOthers) and self._session.reads_others

    @reads_others.setter
    def reads_others(self, wanted: bool) -> None:
        if isinstance(self._session, ReadsOthers):
            self._session.reads_others = wanted

    def run_pass(self, keys: Sequence[str], *, burst_ms: float) -> PassResult:
        with self._quiet.timing():
            return self._session.run_pass(keys, burst_ms=burst_ms)

    def outputs(self, key: str, inputs: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]] | None:
        return self._session.outputs(key, inputs)

    def hold_inputs(self, held: bool) -> None:
        self._session.hold_inputs(held)

    def close(self) -> None:
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
