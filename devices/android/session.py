"""A `Session` whose measuring process is a loop on a phone.

A batch travels once. Then one command, with a number, is one pass over the batch: the loop works it off whether or not
anybody is connected, and its replies are lines of a file, of which the session reads on where it stopped. After a
pulled cable the same number is asked again, and the loop does nothing twice.
"""

from __future__ import annotations

import json
import math
import secrets
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ...errors import DeviceError, InputRefusedError, UnknownNameError, UsageError
from .. import sentinels
from ..device import Loaded, Model, PassResult
from ..measurement import Cause, Failure
from ..replies import FailureReply, LoadReply, Ms, PassReply, Reply, first_fault
from .admit import admit
from .build import Tools
from .link import CommandError, Phone

ROOT = "/data/local/tmp/tempograd"
OPTIMISATION = {"none": 0, "basic": 1, "extended": 2, "all": 99}
_WAIT_MS = 20_000  # that the phone lets one question wait: a link that died in silence is noticed after it
_AT_A_TIME = 100  # networks in one command: adb takes 64 KB
_OWNER = f"{ROOT}/owners/{secrets.token_hex(8)}"  # names this process on every phone
_BUSY_S = 90.0  # that another process which measures there, or was killed while it did, is waited for


@dataclass(frozen=True)
class PhoneSettings:
    """What the loop is told first.

    Attributes:
        threads: of the engine.
        batch: first dimension of every network's first input.
        optimisation: ``none``, ``basic``, ``extended`` or ``all``.
        sentinel: kind of sentinel in every round.
        timed_cores, idle_cores: where it is while timing, and before.
        state_files: of the kernel, ``frequency``, ``temperature`` and ``battery``: what each round notes.
        emulated: no round counts: it is no phone.
        duty_ms, rest_ms: work at a stretch, and rest after it.
        cool_within: a stretch begins when the sentinel is within this share of its cool time.
        max_pause_s: that the phone is given to cool down; then its rounds bear the event ``thermal``.
        load_s: time that loading, and then warming up, one network may take.
    """

    threads: int
    batch: int
    optimisation: str
    sentinel: str
    timed_cores: tuple[int, ...]
    idle_cores: tuple[int, ...]
    state_files: dict[str, str]
    emulated: bool
    duty_ms: float
    rest_ms: float
    cool_within: float
    max_pause_s: float
    load_s: float

    def words(self, folder: str) -> list[str]:
        """Return them as the loop's first command."""
        told: dict[str, object] = {
            "threads": self.threads,
            "optimisation": OPTIMISATION[self.optimisation],
            "sentinel": self.sentinel,
            "cores": ",".join(map(str, self.timed_cores)),
            "idle": ",".join(map(str, self.idle_cores)),
            "emulated": int(self.emulated),
            "duty_ms": self.duty_ms,
            "rest_ms": self.rest_ms,
            "cool_within": self.cool_within,
            "pause_ms": 1000 * self.max_pause_s,
            "start_ms": 1000 * self.load_s,
            "load_ms": 1000 * self.load_s,
            **self.state_files,
            **{kind: f"{folder}/models/{kind}.onnx" for kind in sentinels.KINDS},
        }
        return ["init", *(f"{name}={value}" for name, value in told.items())]


class EndedError(DeviceError):
    """The loop ended by itself; ``last`` tells what it did."""

    def __init__(self, last: _Ended) -> None:
        super().__init__(f"the loop on the phone ended in {last.phase}: {last.value().detail}")
        self.last = last


class AndroidSession:
    """One loop on a phone with its resident networks; see `Session`.

    Args:
        phone: where.
        tools: the runner and ONNX Runtime for it.
        settings: what the loop is told first.

    Raises:
        DeviceError: the phone cannot be reached, its storage is full, or the loop does not start.
    """

    def __init__(self, phone: Phone, tools: Tools, settings: PhoneSettings) -> None:
        self._phone, self._settings = phone, settings
        self._runner, self._library = install(phone, tools)
        self._models: dict[str, Model] = {}
        self._numbers: dict[str, int] = {}
        self._places: dict[str, str] = {}
        self._folders: dict[Path, str] = {}
        self._typical_ms: dict[str, float] = {}  # of the networks resident in the present loop
        self._timing = False
        self._folder = ""
        self._open = True
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def load(self, models: Sequence[Model]) -> list[Loaded]:
        """Check, send, load and warm up; a network that fails is reported, the others stay.

        Raises:
            UsageError: a key that is already there.
            DeviceError: the session is closed, or the phone is gone for good.
        """
        self._living()
        for model in models:
            if model.key in self._numbers:
                raise UsageError(f"network {model.key!r} was already given to this session; keys must be unique")
            self._numbers[model.key] = len(self._numbers)
        found: dict[str, Loaded] = {}
        admitted = admit(models, self._settings.batch)
        for model in models:
            refused = admitted[model.key]
            if isinstance(refused, Failure):
                found[model.key] = Loaded(model.key, failure=refused)
            else:
                self._models[model.key] = model
        self._send({model: files for model in models if isinstance(files := admitted[model.key], list)})
        while missing := [key for key in self._models if key not in self._typical_ms]:
            for loaded in self._load(missing[:_AT_A_TIME]):
                found[loaded.key] = loaded
                if loaded.failure:
                    del self._models[loaded.key]
        lost = [key for key, loaded in found.items() if loaded.failure and key not in {m.key for m in models}]
        if lost:
            self.close()
            raise DeviceError(f"networks {lost} were loaded before and failed when loaded again; open a new session")
        return [found[model.key] for model in models]

    def start_timing(self) -> None:
        """Move to the cores that are timed, and take the sentinel's cool time there.

        Raises:
            DeviceError: the session is closed, or the cores are not allowed.
        """
        self._ask(["start_timing"], limit_s=60.0)
        self._timing = True

    def run_pass(self, keys: Sequence[str], *, burst_ms: float) -> PassResult:
        """Time one round of each network, in the order given, resting in between.

        Raises:
            UsageError: a key that is not loaded, or a burst that is no positive number.
            DeviceError: the session is closed, the phone is gone for good, or the loop died with no network running.
        """
        self._check_loaded(keys)
        if not (math.isfinite(burst_ms) and burst_ms > 0):
            raise UsageError(f"burst_ms={burst_ms}; a positive number of milliseconds is needed, such as 10")
        numbers = [str(self._numbers[key]) for key in keys]
        try:
            lines = self._ask(["run_pass", str(burst_ms), *numbers], limit_s=self._patience_s(keys, burst_ms))
        except EndedError as ended:
            for key in keys:
                if self._numbers[key] == ended.last.network:
                    return PassResult((), {key: ended.last.value()})
            raise
        return self._read(lines, keys)

    def outputs(self, key: str, inputs: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Return what a network computes for each of these inputs.

        Raises:
            UsageError: a key that is not loaded.
            InputRefusedError: what came back is no array.
            DeviceError: the session is closed, the phone is gone, or the network does not take this input.
        """
        self._check_loaded([key])
        found: list[NDArray[np.float32]] = []
        for values in inputs:
            there, back = f"{self._folder}/input", f"{self._folder}/output"
            content = np.ascontiguousarray(values, "<f4").tobytes()
            self._phone.persist(partial(self._phone.push, [(content, there, 0o600)]))
            reply = self._ask(["outputs", str(self._numbers[key]), there, back], limit_s=self._settings.load_s)[-1]
            raw = self._phone.persist(partial(self._phone.pull, back))
            if sha256(raw).hexdigest() != reply.get("digest"):
                raise InputRefusedError(f"the outputs of {key!r} arrived with another SHA-256 than the phone gave")
            try:
                found.append(np.frombuffer(raw, "<f4").reshape(reply["shape"]))
            except (ValueError, KeyError, TypeError) as error:
                raise InputRefusedError(f"the phone sent no outputs of {key!r}: {error}") from error
        return found

    def hold_inputs(self, held: bool) -> None:
        """Time every network on one and the same input from now on, or on several in turn as at first.

        Raises:
            DeviceError: the session is closed, or the loop died.
        """
        self._ask(["hold", str(int(held))], limit_s=60.0)

    def close(self) -> None:
        """End the loop and remove its files, if the phone can be reached; else it ends by itself later."""
        self._open = False
        if self._folder:
            with suppress(DeviceError):
                self._phone.run([self._runner, "stop", self._folder])
            self._folder = ""

    def __enter__(self) -> Self:
        """Return the session itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    # -- the loop --------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Start a loop in a folder of its own; files sent before move along."""
        previous, self._folder = self._folder, f"{ROOT}/sessions/{secrets.token_hex(8)}"
        self._number, self._offset = 0, 0
        self._typical_ms.clear()
        if previous:
            self._phone.persist(lambda: self._phone.run(["mkdir", "-p", self._folder]))
            self._phone.run(["mv", f"{previous}/models", f"{self._folder}/models"])
            self._phone.persist(lambda: self._phone.run([self._runner, "stop", previous]))
        else:
            files = [(sentinels.read(k), f"{self._folder}/models/{k}.onnx", 0o600) for k in sentinels.KINDS]
            self._phone.persist(lambda: self._phone.push(files))
        self._phone.persist(self._serve)
        try:
            reply = self._ask(self._settings.words(self._folder), limit_s=2 * self._settings.load_s)[-1]
            self._sentinel_ms = _Greeting.model_validate(reply).sentinel_ms
        except ValidationError as error:
            raise DeviceError(f"the loop on the phone did not introduce itself: {first_fault(error)}") from error
        if self._timing:
            self.start_timing()

    def _serve(self) -> None:
        try:
            self._phone.run([self._runner, "serve", self._folder, self._library, _OWNER])
        except CommandError as error:
            if "lives in" not in error.text:  # asked again after the link broke: the first one arrived
                raise

    def _ask(self, words: Sequence[str], *, limit_s: float) -> list[dict[str, Any]]:
        """Hand over a command and return the lines that answer it; the last one says that it is done.

        Raises:
            EndedError: the loop ended; the session is closed.
            DeviceError: the phone is gone for good, or the loop cannot do this, or hangs.
        """
        self._living()
        self._number += 1
        end = time.monotonic() + limit_s
        lines: list[dict[str, Any]] = []
        while True:
            status, part = self._phone.persist(lambda: self._asked(words))
            lines += part
            match status:
                case "done":
                    if "error" in lines[-1]:
                        raise DeviceError(f"phone {self._phone.serial}: {str(lines[-1]['error'])[:1000]}")
                    return lines
                case "ended":
                    self._open = False
                    raise EndedError(_Ended.model_validate(lines[-1].get("ended")))
                case "gone":
                    self._open = False
                    raise DeviceError(
                        f"the loop on phone {self._phone.serial} is gone: it rebooted, or killed it for want of memory."
                        " Nothing is lost: what was finished is stored, the rest is measured again"
                    )
                case _ if time.monotonic() > end:
                    self.close()
                    raise DeviceError(f"phone {self._phone.serial} gave no answer to {words[0]} within {limit_s:.0f} s")
                case _:
                    continue

    def _asked(self, words: Sequence[str]) -> tuple[str, list[dict[str, Any]]]:
        """Ask once: return how the loop is, and the lines that are new."""
        question = [self._runner, "ask", self._folder, str(self._number), str(self._offset), str(_WAIT_MS), *words]
        told = self._phone.run(question, answer_s=_WAIT_MS / 1000 + 15)
        *lines, status = told.splitlines(keepends=True) or [b""]
        try:
            parsed = [dict[str, Any](json.loads(line)) for line in (*lines, status)]
            found = str(parsed.pop()["status"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            self.close()
            raise DeviceError(f"the loop on phone {self._phone.serial} wrote what is no reply: {error}") from error
        self._offset += sum(map(len, lines))
        return found, parsed

    # -- networks --------------------------------------------------------------------------------------------------

    def _send(self, models: dict[Model, list[str]]) -> None:
        """Send what is to be loaded, all over one connection; weights that several share travel once."""
        files: dict[str, Path] = {}
        for model, locations in models.items():
            parent = model.path.absolute().parent
            place = self._folders.setdefault(parent, f"models/{len(self._folders)}")
            self._places[model.key] = f"{place}/{self._numbers[model.key]}.onnx"
            files[self._places[model.key]] = model.path
            files |= {f"{place}/{location}": parent / location for location in locations}
        pushed = [(source, f"{self._folder}/{target}", 0o600) for target, source in files.items()]
        if pushed:
            self._phone.persist(lambda: self._phone.push(pushed))

    def _load(self, keys: Sequence[str]) -> list[Loaded]:
        """Load networks; one that ends the loop is its last, and another loop begins, with nothing in it."""
        words = ["load"]
        for key in keys:
            words += [str(self._numbers[key]), self._models[key].digest, f"{self._folder}/{self._places[key]}"]
        names = {self._numbers[key]: key for key in keys}
        try:
            lines = self._ask(words, limit_s=2 * self._settings.load_s * len(keys))[:-1]
        except EndedError as ended:
            if ended.last.network not in names:
                raise
            key = names[ended.last.network]
            self._open = True
            self._start()
            return [Loaded(key, failure=ended.last.value())]
        if len(lines) != len(keys):
            raise DeviceError(f"phone {self._phone.serial} loaded {len(lines)} of {len(keys)} networks")
        return [self._loaded(line, key) for line, key in zip(lines, keys, strict=True)]

    def _loaded(self, line: dict[str, Any], key: str) -> Loaded:
        try:
            raw = dict[str, Any](line["loaded"])
            if raw.pop("network") != self._numbers[key]:
                raise DeviceError("the loop on the phone loaded other networks than it was asked for")
            reply = LoadReply.model_validate(raw)
        except ValidationError as error:
            return Loaded(key, failure=Failure("crashed", "load", detail=f"reply refused: {first_fault(error)}"))
        except (KeyError, TypeError, ValueError) as error:
            raise DeviceError(f"the loop on the phone wrote what is no reply: {error}") from error
        if reply.failure:
            return Loaded(key, failure=reply.failure.value())
        self._typical_ms[key] = reply.typical_ms
        return Loaded(key, **reply.model_dump(exclude={"failure", "typical_ms"}))

    def _read(self, lines: list[dict[str, Any]], keys: Sequence[str]) -> PassResult:
        last = lines.pop()
        if "failure" in last:
            self.close()
            try:
                failure = FailureReply.model_validate(last["failure"]).value()
                return PassResult((), {key: failure for key in keys if self._numbers[key] == last["network"]})
            except (ValidationError, KeyError) as error:
                raise DeviceError(f"the loop on the phone wrote what is no failure: {error}") from error
        try:
            reply = PassReply.model_validate({"rounds": [line.get("round") for line in lines]})
        except ValidationError as error:
            self.close()
            match error.errors()[0]["loc"]:
                case ("rounds", int(index), *_) if index < len(keys):
                    wrong = Failure("invalid_output", "run", detail=f"row refused: {first_fault(error)}")
                    return PassResult((), {keys[index]: wrong})
                case _:
                    raise DeviceError(f"the loop on the phone sent no rounds: {first_fault(error)}") from error
        if [round_.network for round_ in reply.rounds] != [self._numbers[key] for key in keys]:
            self.close()
            raise DeviceError("the loop on the phone timed other networks than it was asked for")
        return PassResult(tuple(row.value(key) for row, key in zip(reply.rounds, keys, strict=True)))

    def _patience_s(self, keys: Sequence[str], burst_ms: float) -> float:
        """Return what a pass may take at the most, rests and pauses included; its own watch stops a hanging network."""
        settings = self._settings
        busy_s = sum(2 + 20 * (burst_ms + 4 * self._typical_ms[key] + 6 * self._sentinel_ms) / 1000 for key in keys)
        rests = 1 + busy_s * 1000 / settings.duty_ms
        return 60 + busy_s + rests * (settings.rest_ms / 1000 + 5) + 2 * settings.max_pause_s

    def _check_loaded(self, keys: Sequence[str]) -> None:
        self._living()
        for key in keys:
            if key not in self._typical_ms:
                raise UnknownNameError("network", key, self._typical_ms)

    def _living(self) -> None:
        if not self._open:
            raise DeviceError("this session is closed; open another")


def install(phone: Phone, tools: Tools) -> tuple[str, str]:
    """Bring the runner and ONNX Runtime to a phone, unless they are there, and return where they are.

    Raises:
        DeviceError: the phone does not take them, or they do not run there.
    """
    digests = [sha256(path.read_bytes()).hexdigest() for path in (tools.runner, tools.library)]
    runner, library = (f"{ROOT}/bin/{digest[:16]}-{path.name}" for digest, path in zip(
        digests, (tools.runner, tools.library), strict=True
    ))  # fmt: skip

    def there() -> bool:
        try:
            return phone.run([runner, "digest", runner, library]).decode().split() == digests
        except CommandError:
            return False

    if not phone.persist(there):
        phone.persist(lambda: phone.push([(tools.runner, runner, 0o755), (tools.library, library, 0o644)]))
        said = phone.persist(lambda: phone.run([runner, "digest", runner, library])).decode().split()
        if said != digests:
            raise DeviceError(f"the runner arrived damaged on phone {phone.serial}; run again, or try another cable")
    end = time.monotonic() + _BUSY_S
    while phone.persist(lambda: phone.run([runner, "sweep", f"{ROOT}/sessions", _OWNER])):
        if time.monotonic() > end:
            raise DeviceError(f"another process measures on phone {phone.serial}; run again when it is done")
        time.sleep(2.0)
    return runner, library


class _Greeting(Reply):
    done: int
    version: str
    sentinel_ms: Ms


class _Ended(Reply):
    signal: int | None
    code: int | None
    network: int
    phase: Literal["idle", "load", "warm_up", "run", "rest"]
    elapsed_ms: float
    detail: str

    def value(self) -> Failure:
        """Return it as the failure of the network that ran."""
        cause: Cause = "timeout" if self.signal == signal.SIGALRM else "crashed"
        if "bad_alloc" in self.detail:
            cause = "oom"
        how = f"exit status {self.code}" if self.signal is None else signal.strsignal(self.signal) or str(self.signal)
        if self.code == 3:
            how = "nobody asked for long"
        if self.signal == signal.SIGKILL:
            how += ": on a phone mostly for want of memory"
        # while loading nothing has run yet: the time says nothing about the latency
        elapsed_ms = self.elapsed_ms if cause == "timeout" and self.phase in ("warm_up", "run") else None
        tail = "".join(filter(str.isprintable, self.detail))
        return Failure(cause, self.phase, self.signal, "; ".join(filter(None, (how, tail)))[:1000], elapsed_ms)
