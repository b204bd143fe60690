"""The protocol that every inference engine fulfils, as the worker sees it.

A file in ``devices/runtimes`` exports ``RUNTIME``: a callable that takes ``threads``, ``precision``, ``optimisation``
and ``provider`` by keyword and returns a `Runtime`. It is created twice: in the campaign, for its versions and options,
and in the worker, to run. So creating one imports no engine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import DeviceError


class Program(Protocol):
    """One network, ready to run on seeded inputs that live in preallocated memory."""

    @property
    def providers(self) -> dict[str, int]:
        """Execution provider -> number of nodes given to it."""
        ...

    @property
    def kernels(self) -> dict[str, int]:
        """Kernel -> number of nodes, after all optimisations; empty where that is not known."""
        ...

    def run(self) -> None:
        """Run one inference, on the next of several inputs; nothing is copied to or from Python."""
        ...

    def compute(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the first output for these values of the only input.

        Raises:
            InputRefusedError: they do not fit, there are several inputs, or a node cannot run.
        """
        ...

    def hold(self, held: bool) -> None:
        """Run on one and the same input from now on, or on several in turn as at first."""
        ...

    def invalid_output(self) -> str | None:
        """Return why the last outputs are no result (NaN or infinite), or None."""
        ...


class Runtime(Protocol):
    """An inference engine with its options fixed."""

    @property
    def options(self) -> dict[str, Any]:
        """Everything set that changes a latency; part of the device's fingerprint."""
        ...

    def versions(self) -> dict[str, str]:
        """Return the versions of the engine and of what prepares models for it, without importing them.

        Raises:
            DeviceError: the engine is not installed.
        """
        ...

    def start(self) -> None:
        """Import the engine and check that it can do what the options ask for; called once, in the worker.

        Raises:
            DeviceError: the engine or the provider asked for is not there.
        """
        ...

    def load(self, model: bytes, folder: Path) -> Program:
        """Make a network ready to run.

        Args:
            model: serialised ONNX.
            folder: where its external weights lie.

        Raises:
            InputRefusedError: the engine cannot run this network with these options.
            FallbackError: a node was given to another provider than the one asked for.
        """
        ...


class FallbackError(DeviceError):
    """What was asked to run is not what would have run; the worker turns it into a ``fallback`` failure."""
