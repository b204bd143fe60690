"""The local machine: networks run in a limited process, bound to cores that nothing else of ours uses."""

from __future__ import annotations

import platform
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from inspect import signature
from typing import Annotated, Any

from msgspec import Meta

from ...arguments import Batch, Seconds, Threads, check
from ...errors import InputRefusedError, UnknownNameError, UsageError
from ...graphs.kernels import Profile
from ...measurement.fingerprint import Fingerprint
from ...registry import create, load
from .. import host
from ..device import Model
from ..runtime import nvml
from ..runtime.runtime import GPU_PROVIDERS, Runtime
from ..sentinels import KINDS, digest
from ..turn import turn
from ..worker.session import NetworkEndedError, WorkerSession, WorkerSettings

_WATCHED_S = 0.3  # of many networks each
_LARGEST_GRAPH = 4 * 2**30  # bytes of a graph that a runtime writes


class LocalDevice:
    """The local machine with one runtime; see `Device`.

    Args:
        runtime: name of a runtime in the registry.
        threads: Threads of the engine; as many physical cores are timed.
        batch: inputs per inference.
        cores: logical CPUs to time on, as many as threads, or text such as ``2-3`` or ``2+5``. By default the last
            ones allowed, one a physical core; CPU 0, which serves interrupts, only if there is no other.
        sentinel: the kind in every round: ``mixed``, ``convolution``, ``depthwise`` or ``overhead``. By default
            ``mixed``, on a GPU ``convolution``.
        memory_gib: address space of the measuring process, where the runtime lets it be limited.
        load_timeout_s: time that loading one network may take, then warming it up; by default what the runtime asks.
        options: the runtime's own, such as ``precision``, ``optimisation`` and ``provider`` of ONNX Runtime.

    Raises:
        UsageError: more threads than cores, a core that is not allowed, or an option that the runtime does not have.
    """

    def __init__(
        self,
        runtime: str = "onnxruntime",
        *,
        threads: Threads = 1,
        batch: Batch = 1,
        cores: Sequence[int] | str | int | None = None,
        sentinel: str | None = None,
        memory_gib: Annotated[float, Meta(gt=0, le=2**20)] = 8.0,
        load_timeout_s: Seconds | None = None,
        **options: Any,
    ) -> None:
        own = {"threads": threads, "batch": batch, "memory_gib": memory_gib, "load_timeout_s": load_timeout_s}
        check(LocalDevice, own, what="device local")
        if sentinel not in {None, *KINDS}:
            raise UsageError(f"sentinel={sentinel!r}; allowed: {', '.join(KINDS)}")
        allowed_options = signature(load("runtime", runtime)).parameters
        for name in options.keys() - allowed_options.keys():
            mine = signature(LocalDevice).parameters.keys() - {"options"}
            raise UnknownNameError(
                f"argument of device local with runtime {runtime}", name, mine | allowed_options.keys()
            )
        options["threads"] = threads
        self._runtime: Runtime = create("runtime", runtime, **options)
        self._on_gpu = self._runtime.options["provider"] in GPU_PROVIDERS
        needs = self._runtime.needs
        groups, allowed = host.core_groups(), host.allowed_cores()
        timed = host.choose_cores(threads, groups, allowed) if cores is None else _asked_cores(cores, threads, allowed)
        self._name = runtime
        self._settings = WorkerSettings(
            runtime=runtime,
            options=options,
            threads=threads,
            batch=batch,
            sentinel=sentinel or ("convolution" if self._on_gpu else "mixed"),
            timed_cores=tuple(timed),
            idle_cores=tuple(host.idle_cores(timed, groups, allowed)),
            memory_bytes=int(memory_gib * 2**30) if needs.memory_limited else None,
            start_s=needs.start_s,
            load_s=load_timeout_s or needs.load_s,
        )
        self._isolation: dict[str, Any] | None = None

    def __repr__(self) -> str:
        cores = ", ".join(map(str, self.timed_cores))
        return f"LocalDevice({self._name} on CPU {cores}, batch {self.batch})"

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What must be equal for two measurements to be comparable.

        Raises:
            DeviceError: the runtime is not installed.
        """
        gpu = {"gpus": host.gpus(), "gpu_driver": host.driver()} if self._on_gpu else {}
        return Fingerprint(
            place="local",
            hardware=host.hardware() | gpu,
            runtime={"name": self._name, "python": platform.python_version(), **self._runtime.versions()},
            options={
                **self._runtime.options,
                "batch": self.batch,
                "cores": list(self._settings.timed_cores),
                "sentinel": self._settings.sentinel,
                "sentinel_digest": digest(self._settings.sentinel),
            },
        )

    @property
    def batch(self) -> int:
        """Inputs per inference."""
        return self._settings.batch

    @property
    def timed_cores(self) -> tuple[int, ...]:
        """Return the logical CPUs that are timed: whoever builds models meanwhile should keep off them."""
        return self._settings.timed_cores

    @property
    def occupies(self) -> tuple[str, ...]:
        """Return what is timed, and so is for one process at a time: the GPU, or each physical core."""
        if self._on_gpu:
            return (f"GPU {self._watch.uuid if self._watch else nvml.asked_gpu() or 0}",)
        cores = [group for group in host.core_groups() if set(group) & set(self.timed_cores)]
        return tuple(f"CPU {group[0]}" for group in cores) or tuple(f"CPU {core}" for core in self.timed_cores)

    @property
    def idle_cores(self) -> tuple[int, ...]:
        """Return the logical CPUs where loading and building do not disturb; the timed ones if there are no other."""
        return self._settings.idle_cores

    def environment(self) -> dict[str, Any]:
        """Return governor, clocks, load, boot id, affinity, and the isolation last in force (None before `open`)."""
        return {
            **host.conditions(list(self.timed_cores)),
            "timed_cores": list(self.timed_cores),
            "idle_cores": list(self.idle_cores),
            "isolation": self._isolation,
            **({"gpu_state_from": nvml.described()} if self._on_gpu else {}),
        }

    def open(self) -> WorkerSession:
        """Start one measuring process.

        Raises:
            DeviceError: it cannot be started, or the runtime or its provider is not there.
        """
        self._runtime.versions()
        session = WorkerSession(self._settings, self._wait_until_alone)
        self._isolation = session.isolation
        return session

    def profile(self, model: Model, *, seconds: float = 4.0) -> Profile:
        """Run a network in a measuring process of its own while the runtime watches its kernels.

        Raises:
            InputRefusedError: the runtime refuses it, does not tell its kernels, or nobody can see through it.
            DeviceError: the process cannot be started, or the network ended it.
        """
        with self._watching() as session:
            return session.profile(model, seconds=seconds)

    def profiles(self, models: Iterable[Model]) -> Iterator[Profile | InputRefusedError]:
        """Say of each of many networks what kernels it is made of, in one process, or why nobody can see through it.

        Each is watched for a moment, since the first run of a network is no measure of the others. Where one ends the
        process, the next are watched in another.

        Raises:
            DeviceError: the process cannot be started.
        """
        left, ended = iter(models), True
        while ended:
            ended = False
            with self._watching() as session:
                for model in left:
                    try:
                        yield session.profile(model, seconds=_WATCHED_S)
                    except InputRefusedError as error:
                        yield error
                    except NetworkEndedError as error:
                        yield InputRefusedError(str(error))
                        ended = True
                        break

    @contextmanager
    def _watching(self) -> Generator[WorkerSession]:
        # the graph that runs is written, with weights and all
        settings = replace(self._settings, file_bytes=_LARGEST_GRAPH, watches=True)
        with turn(self), WorkerSession(settings) as session:
            session.start_timing()
            yield session

    def _wait_until_alone(self) -> None:
        if self._watch is not None:
            nvml.wait_until_alone(self._watch)

    @cached_property
    def _watch(self) -> nvml.Watch | None:
        return nvml.watch() if self._on_gpu else None


def _asked_cores(cores: Sequence[int] | str | int, threads: int, allowed: Sequence[int]) -> list[int]:
    try:
        asked = host.parse_cores(str(cores)) if isinstance(cores, str | int) else sorted(set(cores))
    except ValueError as error:
        raise UsageError(f"cores={cores!r}; write them as 2, 2-3 or 2+5") from error
    if len(asked) != threads:
        raise UsageError(f"cores={cores!r} are {len(asked)}, threads={threads}; as many cores as threads are needed")
    if not set(asked) <= set(allowed):
        raise UsageError(f"cores={cores!r}; this process may use {list(allowed)}")
    return asked


DEVICE = LocalDevice
