"""The protocol that every device fulfils, and what crosses it.

A device is a place and a runtime. ``open()`` starts one *measuring process*; networks are loaded into it, and each
``run_pass`` times one round of each network asked for. A session is dumb: when to stop is decided by
``profiler.stopping`` between passes, when nothing is timed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeGuard, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..errors import InputRefusedError
from ..measurement.fingerprint import Fingerprint
from ..measurement.rounds import Failure, Round

if TYPE_CHECKING:
    from ..graphs.kernels import Profile


@dataclass(frozen=True)
class Model:
    """A network to be timed: an ONNX file and the name under which its measurement is kept.

    Attributes:
        key: what the numbers are of, e.g. an architecture's key; unique within a session.
        path: the ``.onnx`` file; external weights, if any, lie beside it.
        digest: SHA-256 of the ONNX bytes, hexadecimal.
        own_batch: its first input need not have the device's batch: it was not built for this device.
    """

    key: str
    path: Path
    digest: str
    own_batch: bool = False


@dataclass(frozen=True)
class Loaded:
    """What loading and warming up one network told.

    Attributes:
        key: the model's key.
        load_ms: building the runtime's session.
        build_ms: the part of it that went into building an engine, where the runtime has such a thing.
        first_run_ms: the very first inference, kept apart from every statistic.
        warm_up_runs: inferences until times settled.
        warm_up_capped: the cap was reached before times settled.
        providers: execution provider -> number of nodes that it executed.
        kernels: kernel -> number of nodes, after all optimisations; empty where that is not known.
        peak_memory_bytes: resident set of the measuring process while this network was loaded, at its highest.
        memory_bytes: by how much that is above the resident set before; None where that is not known.
        failure: set if this network cannot be timed; then the numbers above are 0.
    """

    key: str
    load_ms: float = 0.0
    build_ms: float = 0.0
    first_run_ms: float = 0.0
    warm_up_runs: int = 0
    warm_up_capped: bool = False
    providers: dict[str, int] = field(default_factory=dict[str, int])
    kernels: dict[str, int] = field(default_factory=dict[str, int])
    peak_memory_bytes: int = 0
    memory_bytes: int | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class PassResult:
    """One round of every network that lived, and the failure of the one that did not.

    If ``failures`` is not empty the measuring process is gone: rounds of this pass are lost, the session is closed.
    """

    rounds: tuple[Round, ...]
    failures: dict[str, Failure] = field(default_factory=dict[str, Failure])


class Session(Protocol):
    """One measuring process with its resident networks and sentinels."""

    def load(self, models: Sequence[Model]) -> list[Loaded]:
        """Load and warm up; a network that fails is reported, the others stay."""
        ...

    def start_timing(self) -> None:
        """Move to the cores that are timed; until then the process keeps off them."""
        ...

    def run_pass(self, keys: Sequence[str], *, burst_ms: float) -> PassResult:
        """Time one round of each network, in the order given."""
        ...

    def outputs(self, key: str, inputs: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]] | None:
        """Return what a network computes for each of these inputs, None from a device that computes nothing.

        Args:
            key: Key of a loaded network.
            inputs: Arrays ``(batch, channels, height, width)``.

        Returns:
            Its first output for each input, ``(batch, ...)``.
        """
        ...

    def hold_inputs(self, held: bool) -> None:
        """Time every network on one and the same input from now on, or on several in turn as at first."""
        ...

    def close(self) -> None:
        """End the measuring process and everything it started."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


@runtime_checkable
class ReadsOthers(Protocol):
    """A session that can leave out the readings of the other sentinels, which a calibration alone needs.

    Attributes:
        reads_others: whether they are read in every fourth round; true at first.
    """

    reads_others: bool


@runtime_checkable
class Place(Protocol):
    """Where networks run, with a runtime: a device of this machine, or somewhere that has them timed.

    A place that times networks itself, like a farm, brings an ``engine`` (see `profiler.timer.BringsEngine`); one
    without is a `Device`, timed by `profiler.engine.Engine`.

    Its class, which the registry finds, may say more of it: ``bare``, the argument that is written without its name;
    ``specs()``, what ``--device`` takes for each device that it knows of; ``elsewhere``, a line for people, where what
    there is cannot be listed from this machine.
    """

    @property
    def fingerprint(self) -> Fingerprint:
        """What must be equal for two measurements to be comparable."""
        ...

    @property
    def batch(self) -> int:
        """Inputs per inference: the batch size that models for this place are built with."""
        ...

    def environment(self) -> dict[str, Any]:
        """Return what may differ from day to day: governor, clocks, load, boot id, affinity.

        Three keys are read by the profiler; each may be left out:

        - ``timed_cores``, ``idle_cores``: numbers of this machine's CPUs that are timed, and of those that are not.
        - ``virtual_clock``: true where the times of rounds are not of this machine's wall clock, so that they cannot be
          compared with how long a campaign took.
        """
        ...


@runtime_checkable
class TellsKernels(Protocol):
    """A device whose runtime tells what kernels it makes of a network."""

    def profile(self, model: Model, *, seconds: float = 4.0) -> Profile:
        """Run a network in a measuring process of its own while the runtime watches its kernels.

        Raises:
            InputRefusedError: it cannot run, or nobody can see through it.
            DeviceError: the device cannot be reached, or the network ended the process.
        """
        ...

    def profiles(self, models: Iterable[Model]) -> Iterator[Profile | InputRefusedError]:
        """Say of each of many networks what kernels it is made of, in one process, or why nobody can see through it.

        Each is run once only: what is told of its kernels' times is rough.

        Raises:
            DeviceError: the device cannot be reached, or a network ended the process.
        """
        ...


@runtime_checkable
class Device(Place, Protocol):
    """A place that opens measuring processes.

    It may say in ``occupies``, a sequence of names such as ``CPU 3``, what it takes for itself while it is timed:
    whoever else of this user would time on one of them waits (`devices.turn`).
    """

    def open(self) -> Session:
        """Start one measuring process.

        Raises:
            DeviceError: the device or its runtime cannot be reached.
        """
        ...


def opens(place: Place) -> TypeGuard[Device]:
    """Return whether a place opens measuring processes; what else it tells is not asked for, since that may wait."""
    return callable(getattr(place, "open", None))
