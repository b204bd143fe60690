"""A `Session` whose networks run in a worker: replies are checked, deaths become failures of the network concerned."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from msgspec import ValidationError, convert
from numpy.typing import NDArray

from ...errors import DeviceError, InputRefusedError, UnknownNameError, UsageError
from ...graphs.kernels import Profile
from ...measurement.rounds import Failure
from ..device import Loaded, Model, PassResult
from .isolation import CPU_SECONDS, FILE_BYTES
from .process import WorkerEndedError, WorkerProcess
from .replies import LoadReply, Ms, OutputReply, PassReply, Reply
from .timing import MIN_SAMPLES, SENTINEL_RUNS
from .wire import Note, to_text

_MIN_PATIENCE_S = 2.0
_PATIENCE = 20  # times what a round is expected to take


class NetworkEndedError(DeviceError):
    """A network ended the process that watched it: another process can watch others."""


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker is told first.

    Attributes:
        runtime: name in the registry, and ``options`` the arguments it is created with.
        threads: that it computes with.
        batch: first dimension of every network's first input.
        sentinel: kind of sentinel.
        timed_cores, idle_cores: where it is while timing, and before.
        memory_bytes: limit of its address space, or None.
        start_s: time that importing the engine and loading the sentinels may take.
        load_s: time that loading, and then warming up, one network may take.
        file_bytes: limit of a file that it writes.
        watches: it only tells kernels, and times nothing: the other sentinels are left out.
    """

    runtime: str
    options: dict[str, Any]
    threads: int
    batch: int
    sentinel: str
    timed_cores: tuple[int, ...]
    idle_cores: tuple[int, ...]
    memory_bytes: int | None
    start_s: float = 30.0
    load_s: float = 30.0
    file_bytes: int = FILE_BYTES
    watches: bool = False

    def message(self) -> dict[str, Any]:
        """Return the worker's first message."""
        names = ("runtime", "options", "threads", "batch", "sentinel", "timed_cores", "idle_cores", "memory_bytes")
        seconds = max(CPU_SECONDS, int(2 * self.load_s))
        return {name: getattr(self, name) for name in (*names, "file_bytes", "watches")} | {"cpu_seconds": seconds}


class WorkerSession:
    """One measuring process with its resident networks; see `Session`.

    A network that kills the process while it is loaded is reported, and the others are loaded again into a new one.

    Attributes:
        reads_others: see `ReadsOthers`.

    Args:
        settings: what the worker is told first.
        before_pass: called before each pass; it may wait until the device is quiet.

    Raises:
        DeviceError: the process cannot be started, or its runtime is not there.
    """

    def __init__(self, settings: WorkerSettings, before_pass: Callable[[], None] = lambda: None) -> None:
        self.reads_others = True
        self._settings = settings
        self._before_pass = before_pass
        self._models: dict[str, Model] = {}
        self._numbers: dict[str, int] = {}
        self._typical_ms: dict[str, float] = {}  # of the networks resident in the present process
        self._timing = False
        self._process: WorkerProcess | None = None
        self._start()

    @property
    def isolation(self) -> dict[str, Any]:
        """Return which limits the process reported to be in force."""
        return self._isolation

    @property
    def pid(self) -> int | None:
        """Return the process id of the measuring process, None if it is gone."""
        return self._process.pid if self._process else None

    def load(self, models: Sequence[Model]) -> list[Loaded]:
        """Load and warm up; a network that fails is reported, the others stay.

        Raises:
            UsageError: a key that is already there.
            DeviceError: the session is closed, or no new process can be started.
        """
        self._living()
        for model in models:
            if model.key in self._numbers:
                raise UsageError(f"network {model.key!r} was already given to this session; keys must be unique")
            self._numbers[model.key] = len(self._numbers)
            self._models[model.key] = model
        results: dict[str, Loaded] = {}
        while missing := [key for key in self._models if key not in self._typical_ms]:
            loaded = self._load(self._models[missing[0]])
            results[loaded.key] = loaded
            if loaded.failure:
                del self._models[loaded.key]
        lost = [key for key, loaded in results.items() if loaded.failure and key not in {m.key for m in models}]
        if lost:
            self.close()
            raise DeviceError(f"networks {lost} were loaded before and failed when loaded again; open a new session")
        return [results[model.key] for model in models]

    def start_timing(self) -> None:
        """Move to the cores that are timed.

        Raises:
            DeviceError: the session is closed, or the cores are not allowed.
        """
        try:
            self._living().ask(
                {"verb": "start_timing", "arguments": [list(self._settings.timed_cores)]}, patience_s=lambda _: 30.0
            )
        except WorkerEndedError as ended:
            self.close()
            raise DeviceError(f"the measuring process ended while it changed cores: {ended.failure.detail}") from ended
        self._timing = True

    def run_pass(self, keys: Sequence[str], *, burst_ms: float) -> PassResult:
        """Time one round of each network, in the order given.

        Raises:
            UsageError: a key that is not loaded, or a burst that is no positive number.
            DeviceError: the session is closed, or its process died with no network running.
        """
        process = self._living()
        self._check_loaded(keys)
        if not (math.isfinite(burst_ms) and burst_ms > 0):
            raise UsageError(f"burst_ms={burst_ms}; a positive number of milliseconds is needed, such as 10")
        self._before_pass()
        numbers = [self._numbers[key] for key in keys]
        patience_s = {self._numbers[key]: self._patience_s(key, burst_ms) for key in keys}
        try:
            reply = process.ask(
                {"verb": "run_pass", "arguments": [numbers, burst_ms, self.reads_others]},
                patience_s=lambda note: patience_s.get(note.network, _MIN_PATIENCE_S),
                total_s=_MIN_PATIENCE_S + sum(self._patience_s(key, burst_ms) for key in keys),
            )
        except WorkerEndedError as ended:
            return self._failed(keys, ended.note, ended.failure)
        return self._read(reply, keys)

    def outputs(self, key: str, inputs: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Return what a network computes, ``(batch, ...)``, for inputs ``(batch, channels, height, width)``.

        Raises:
            UsageError: a key that is not loaded.
            InputRefusedError: an input of more than 16 MiB as a message, or a reply that is no array.
            DeviceError: the session is closed, its process died, or the network does not take this input.
        """
        self._check_loaded([key])
        found: list[NDArray[np.float32]] = []
        for values in inputs:
            text = to_text(values)
            reply = self._ask({"verb": "outputs", "arguments": [self._numbers[key], text["shape"], text["data"]]})
            try:
                found.append(convert(reply, OutputReply).value())
            except ValidationError as error:
                raise InputRefusedError(f"the measuring process sent no outputs: {error}") from error
        return found

    def profile(self, model: Model, *, seconds: float) -> Profile:
        """Run a network that is not kept while the runtime watches its kernels.

        Raises:
            InputRefusedError: the runtime refuses it, does not tell its kernels, or sent what is no profile.
            NetworkEndedError: its process died.
            DeviceError: the session is closed.
        """
        request = {"verb": "profile", "arguments": [str(model.path.absolute()), model.digest, seconds]}
        patience_s = 2 * self._settings.load_s + _PATIENCE * seconds
        try:
            reply = self._living().ask(request, patience_s=lambda _: patience_s, total_s=patience_s)
        except WorkerEndedError as ended:
            self.close()
            raise NetworkEndedError(f"the network ended the process that watched it: {ended.failure.detail}") from ended
        if "refused" in reply:
            raise InputRefusedError(str(reply["refused"])[:1000])
        try:
            return convert(reply, Profile)
        except ValidationError as error:
            raise InputRefusedError(f"the measuring process sent no profile: {error}") from error

    def hold_inputs(self, held: bool) -> None:
        """Time every network on one and the same input from now on, or on several in turn as at first.

        Raises:
            DeviceError: the session is closed, or its process died.
        """
        self._ask({"verb": "hold_inputs", "arguments": [held]})

    def close(self) -> None:
        """End the measuring process and everything it started. May be called again."""
        if self._process is not None:
            self._process.end()
            self._process = None

    def __enter__(self) -> Self:
        """Return the session itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _start(self) -> None:
        self.close()
        try:
            self._process = WorkerProcess(self._settings.message(), start_s=self._settings.start_s)
        except DeviceError as error:
            ended = error.__cause__
            if not (isinstance(ended, WorkerEndedError) and ended.failure.signal == signal.SIGKILL):
                raise
            # somebody killed it before it had a network: that says nothing about the device
            self._process = WorkerProcess(self._settings.message(), start_s=self._settings.start_s)
        try:
            greeting = convert(self._process.greeting, _Greeting)
        except ValidationError as error:
            self.close()
            raise DeviceError(f"the measuring process did not introduce itself: {error}") from error
        self._isolation = greeting.isolation
        self._sentinel_ms = greeting.sentinel_ms
        self._typical_ms.clear()
        if self._timing:
            self.start_timing()

    def _load(self, model: Model) -> Loaded:
        """Load one network; if it kills the process, start another, with nothing in it."""
        request = {
            "verb": "load",
            "arguments": [self._numbers[model.key], str(model.path.absolute()), model.digest, model.own_batch],
        }
        limit_s = self._settings.load_s
        try:
            raw = self._living().ask(request, patience_s=lambda _: limit_s, total_s=2 * limit_s + 1)
            reply = convert(raw, LoadReply)
        except WorkerEndedError as ended:
            self._start()
            return Loaded(model.key, failure=ended.failure)
        except ValidationError as error:
            self._start()
            return Loaded(model.key, failure=Failure("crashed", "load", detail=f"reply refused: {error}"))
        if reply.failure:
            return Loaded(model.key, failure=reply.failure.value())
        self._typical_ms[model.key] = reply.typical_ms
        return reply.value(model.key)

    def _patience_s(self, key: str, burst_ms: float) -> float:
        run_ms = self._typical_ms[key]
        round_ms = run_ms + max(burst_ms, MIN_SAMPLES * run_ms) + 2 * (1 + SENTINEL_RUNS) * self._sentinel_ms
        return max(_MIN_PATIENCE_S, _PATIENCE * round_ms / 1000)

    def _read(self, raw: dict[str, Any], keys: Sequence[str]) -> PassResult:
        try:
            reply = convert(raw, PassReply)
        except ValidationError as error:
            self.close()
            raise DeviceError(f"the measuring process sent no rounds: {error}") from error
        if reply.failure:
            note = Note(-1 if reply.network is None else reply.network, "run", 0, 0)
            return self._failed(keys, note, reply.failure.value())
        if [row.get("network") for row in reply.rounds] != [self._numbers[key] for key in keys]:
            self.close()
            raise DeviceError("the measuring process timed other networks than it was asked for")
        result = reply.result(keys)
        if result.failures:
            self.close()
        return result

    def _failed(self, keys: Sequence[str], note: Note, failure: Failure) -> PassResult:
        self.close()
        for key in keys:
            if self._numbers[key] == note.network:
                return PassResult((), {key: failure})
        raise DeviceError(f"the measuring process ended while no network ran: {failure.detail}; run again")

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask what concerns no timing; a death closes the session."""
        try:
            return self._living().ask(request, patience_s=lambda _: self._settings.load_s)
        except WorkerEndedError as ended:
            self.close()
            raise DeviceError(f"the measuring process ended: {ended.failure.detail}; run again") from ended

    def _check_loaded(self, keys: Sequence[str]) -> None:
        self._living()
        for key in keys:
            if key not in self._typical_ms:
                raise UnknownNameError("network", key, self._typical_ms)

    def _living(self) -> WorkerProcess:
        if self._process is None:
            raise DeviceError("this session is closed; open another")
        return self._process


class _Greeting(Reply):
    isolation: dict[str, Any]
    sentinel_ms: Ms
