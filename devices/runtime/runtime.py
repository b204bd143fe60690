"""The protocol that every inference engine fulfils, as the worker sees it.

A file in ``devices/runtimes`` exports ``RUNTIME``: a callable that takes ``threads`` and options of its own by keyword
and returns a `Runtime`. It is created twice: in the campaign, for its versions and options, and in the worker, to run.
So creating one imports no engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ...errors import DeviceError
from ...graphs.kernels import Profile
from .packages import Package

GPU_PROVIDERS = frozenset({
    "CUDA", "CUDAExecutionProvider", "TensorRT", "TensorRT-RTX", "TensorrtExecutionProvider",
})  # fmt: skip
"""Providers whose programs have a `Program.gpu_time`; their labels are taken from it."""

GpuTime = Callable[[int], tuple[float, float]]
"""Launch so many inferences, wait, and return (GPU ms from the first to the last, host ms until all were launched)."""


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

    @property
    def build_ms(self) -> float:
        """Time that building it took, 0 where engines do not build, or an earlier build was taken."""
        ...

    @property
    def gpu_time(self) -> GpuTime | None:
        """The GPU's own clock, None on a CPU."""
        ...

    def run(self) -> None:
        """Run one inference, on the next of several inputs, to its end; nothing is copied to or from Python."""
        ...

    def compute(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the first output, ``(batch, ...)``, for values ``(batch, ...)`` of the only input.

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


@dataclass(frozen=True)
class Needs:
    """What a runtime asks of the measuring process.

    Attributes:
        start_s: time that importing the engine and loading the sentinels may take.
        load_s: time that loading one network may take, and then warming it up.
        memory_limited: whether its address space can be limited; engines on GPUs reserve far more than they use.
    """

    start_s: float = 30.0
    load_s: float = 30.0
    memory_limited: bool = True


class Runtime(Protocol):
    """An inference engine with its options fixed."""

    @property
    def package(self) -> Package:
        """What brings the engine."""
        ...

    @property
    def needs(self) -> Needs:
        """What it asks of the measuring process."""
        ...

    @property
    def ways(self) -> tuple[str, ...]:
        """Arguments, as in a spec, of what is looked for when devices are listed; empty for the defaults."""
        ...

    @property
    def options(self) -> dict[str, Any]:
        """Everything set that changes a latency, ``threads``, ``precision`` and ``provider`` among them.

        It is part of the device's fingerprint. ``provider`` is the name under which `Program.providers` counts nodes.
        """
        ...

    def versions(self) -> dict[str, str]:
        """Return the versions of the engine and of what prepares models for it, without importing them.

        Raises:
            NotInstalledError: the engine is not installed.
        """
        ...

    def start(self) -> str:
        """Import the engine and check that it can do what the options ask for; called once, in the worker.

        Returns:
            What of this machine it can compute on, in a few words.

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


@runtime_checkable
class TellsKernels(Protocol):
    """A runtime that tells what kernels it makes of a network."""

    def profile(self, model: bytes, folder: Path, *, seconds: float) -> Profile:
        """Run a network while the engine watches its kernels; whole inferences take longer meanwhile.

        Args:
            model: serialised ONNX.
            folder: where its external weights lie.
            seconds: how long, at the least three inferences; 0 for one.

        Raises:
            InputRefusedError: the engine cannot run this network, or nobody can see through it.
        """
        ...


class FallbackError(DeviceError):
    """What was asked to run is not what would have run; the worker turns it into a ``fallback`` failure."""
