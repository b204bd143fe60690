"""The measuring process on a phone: a loop that works off numbered commands, whether or not anybody is connected.

Its replies are lines of a file, of which the host reads on where it stopped. After a pulled cable the same number is
asked again, and the loop does nothing twice.
"""

from __future__ import annotations

import json
import secrets
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

from msgspec import ValidationError, convert

from ...errors import DeviceError
from ...measurement.rounds import Cause, Failure
from .. import sentinels
from ..worker.replies import Ms, Reply
from .adb import CommandError, Phone
from .build import Tools

ROOT = "/data/local/tmp/tempograd"
OPTIMISATION = {"none": 0, "basic": 1, "extended": 2, "all": 99}
TRIES = 3  # in a row to start a loop, or to load into it, on a phone that reboots meanwhile
_WAIT_MS = 20_000  # that the phone lets one question wait: a link that died in silence is noticed after it
_OWNER = f"{ROOT}/owners/{secrets.token_hex(8)}"  # names this process on every phone
_BUSY_S = 90.0  # that another process which measures there, or was killed while it did, is waited for


@dataclass(frozen=True)
class Program:
    """Where the runner and ONNX Runtime are on a phone."""

    runner: str
    library: str

    @classmethod
    def installed(cls, phone: Phone, tools: Tools) -> Program:
        """Bring them to a phone, unless they are there.

        Raises:
            DeviceError: the phone does not take them, or they do not run there.
        """
        paths = tools.runner, tools.library
        digests = [sha256(path.read_bytes()).hexdigest() for path in paths]
        found = cls(*(f"{ROOT}/bin/{d[:16]}-{path.name}" for d, path in zip(digests, paths, strict=True)))

        def there() -> bool:
            try:
                return phone.run([found.runner, "digest", found.runner, found.library]).decode().split() == digests
            except CommandError:
                return False

        if not phone.persist(there):
            files = [(tools.runner, found.runner, 0o755), (tools.library, found.library, 0o644)]
            phone.persist(lambda: phone.push(files))
            said = phone.persist(lambda: phone.run([found.runner, "digest", found.runner, found.library]))
            if said.decode().split() != digests:
                raise DeviceError(f"the runner arrived damaged on phone {phone.serial}; run again, or change the cable")
        return found

    def versions(self, phone: Phone) -> dict[str, str]:
        """Return the version of ONNX Runtime, and what names the two files: what times is part of a device."""
        version = phone.persist(lambda: phone.run([self.runner, "version", self.library])).decode().strip()
        names = {name: path.rpartition("/")[2].partition("-")[0] for name, path in vars(self).items()}
        return {"onnxruntime": version, **names}


@dataclass(frozen=True)
class PhoneSettings:
    """What the loop is told first.

    Attributes:
        threads: Threads of the engine.
        batch: first dimension of every network's first input.
        optimisation: ``none``, ``basic``, ``extended`` or ``all``.
        sentinel: kind of sentinel in every round.
        timed_cores, idle_cores: where it is while timing, and before.
        state_files: Paths of the kernel's files, ``frequency``, ``temperature`` and ``battery``: what each round notes.
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


@dataclass
class Cool:
    """What is known of a phone that is cool, from one loop to the next.

    Attributes:
        sentinel_ms: the shortest cool time of the sentinel that a loop found; 0 before the first.
    """

    sentinel_ms: float = 0.0

    def learn(self, sentinel_ms: float) -> None:
        """Take in what another loop found: it may have begun on a phone that was warm already."""
        self.sentinel_ms = min(self.sentinel_ms or sentinel_ms, sentinel_ms)


class GoneError(DeviceError):
    """The loop is gone without a word, with everything that was loaded."""


class EndedError(DeviceError):
    """The loop ended by itself; ``last`` tells what it did."""

    def __init__(self, last: _Ended) -> None:
        super().__init__(f"the loop on the phone ended in {last.phase}: {last.value().detail}")
        self.last = last


class Loop:
    """One loop on a phone, in a folder of its own.

    Args:
        phone: where.
        program: what it runs.
        settings: what it is told first.
        cool: what earlier loops learnt; ``start_timing`` adds to it.

    Raises:
        DeviceError: the phone cannot be reached, its storage is full, another process measures there, or the loop does
            not start.
    """

    def __init__(self, phone: Phone, program: Program, settings: PhoneSettings, cool: Cool) -> None:
        self.phone, self._program, self._settings, self._cool = phone, program, settings, cool
        self.folder = ""
        self.living = True
        try:
            self._clear_away()
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start, or start anew with nothing in it; files sent before move along.

        Raises:
            DeviceError: see `Loop`.
        """
        for tries in range(TRIES):
            try:
                self._start()
                return
            except GoneError:
                if tries == TRIES - 1:
                    raise

    def ask(self, words: Sequence[str], *, limit_s: float) -> list[dict[str, Any]]:
        """Hand over a command and return the lines that answer it; the last one says that it is done.

        Raises:
            EndedError: the loop ended.
            GoneError: the phone rebooted, or killed it.
            DeviceError: the phone is gone for good, or the loop cannot do this, or hangs.
        """
        self.check()
        self._number += 1
        end = time.monotonic() + limit_s
        lines: list[dict[str, Any]] = []
        while True:
            status, part = self.phone.persist(lambda: self._asked(words))
            lines += part
            match status:
                case "done":
                    if "error" in lines[-1]:
                        raise DeviceError(f"phone {self.phone.serial}: {str(lines[-1]['error'])[:1000]}")
                    return lines
                case "ended":
                    self.living = False
                    raise EndedError(_Ended.of(lines[-1]))
                case "gone":
                    self.living = False
                    raise GoneError(
                        f"the loop on phone {self.phone.serial} is gone: it rebooted, or killed it for want of memory. "
                        "Nothing is lost: what was finished is stored, the rest is measured again"
                    )
                case _ if time.monotonic() > end:
                    self.close()
                    raise DeviceError(f"phone {self.phone.serial} gave no answer to {words[0]} within {limit_s:.0f} s")
                case _:
                    continue

    def start_timing(self) -> None:
        """Move to the cores that are timed, and take the sentinel's cool time there.

        Raises:
            DeviceError: see `ask`.
        """
        reply = self.ask(["start_timing"], limit_s=60.0)[-1]
        try:
            self._cool.learn(convert(reply, _Timing).baseline_ms)
        except ValidationError as error:
            raise DeviceError(f"the loop on the phone did not time its sentinel: {error}") from error

    def check(self) -> None:
        """Refuse to be used any more once it is closed, or ended.

        Raises:
            DeviceError: it is.
        """
        if not self.living:
            raise DeviceError("this session is closed; open another")

    def close(self) -> None:
        """End it and remove its files, if the phone can be reached; else it ends by itself later."""
        self.living = False
        if self.folder:
            with suppress(DeviceError):
                self.phone.run([self._program.runner, "stop", self.folder])
            self.folder = ""

    def _start(self) -> None:
        previous, self.folder = self.folder, f"{ROOT}/sessions/{secrets.token_hex(8)}"
        self._number, self._offset, self.living = 0, 0, True
        if previous:
            self.phone.persist(lambda: self.phone.run(["mkdir", "-p", self.folder]))
            self.phone.run(["mv", f"{previous}/models", f"{self.folder}/models"])
            self.phone.persist(lambda: self.phone.run([self._program.runner, "stop", previous]))
        else:
            files = [(sentinels.read(k), f"{self.folder}/models/{k}.onnx", 0o600) for k in sentinels.KINDS]
            self.phone.persist(lambda: self.phone.push(files))
        self.phone.persist(self._serve)
        try:
            words = [*self._settings.words(self.folder), f"cool_ms={self._cool.sentinel_ms}"]
            reply = self.ask(words, limit_s=2 * self._settings.load_s)[-1]
            self.sentinel_ms = convert(reply, _Greeting).sentinel_ms
        except ValidationError as error:
            raise DeviceError(f"the loop on the phone did not introduce itself: {error}") from error

    def _clear_away(self) -> None:
        """End what dead processes left on the phone."""
        end = time.monotonic() + _BUSY_S
        while self.phone.persist(lambda: self.phone.run([self._program.runner, "sweep", f"{ROOT}/sessions", _OWNER])):
            if time.monotonic() > end:
                raise DeviceError(f"another process measures on phone {self.phone.serial}; run again when it is done")
            time.sleep(2.0)

    def _serve(self) -> None:
        try:
            self.phone.run([self._program.runner, "serve", self.folder, self._program.library, _OWNER])
        except CommandError as error:
            if "lives in" not in error.text:  # asked again after the link broke: the first one arrived
                raise

    def _asked(self, words: Sequence[str]) -> tuple[str, list[dict[str, Any]]]:
        """Ask once: return how the loop is, and the lines that are new."""
        where = [self.folder, str(self._number), str(self._offset), str(_WAIT_MS)]
        told = self.phone.run([self._program.runner, "ask", *where, *words], answer_s=_WAIT_MS / 1000 + 15)
        *lines, status = told.splitlines(keepends=True) or [b""]
        try:
            parsed = [dict[str, Any](json.loads(line)) for line in (*lines, status)]
            found = str(parsed.pop()["status"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            self.close()
            raise DeviceError(f"the loop on phone {self.phone.serial} wrote what is no reply: {error}") from error
        self._offset += sum(map(len, lines))
        return found, parsed


class _Greeting(Reply):
    done: int
    version: str
    sentinel_ms: Ms


class _Timing(Reply):
    done: int
    baseline_ms: Ms


class _Ended(Reply):
    signal: int | None
    code: int | None
    network: int
    phase: Literal["idle", "load", "warm_up", "run", "rest"]
    elapsed_ms: float
    detail: str

    @classmethod
    def of(cls, line: dict[str, Any]) -> _Ended:
        try:
            return convert(line.get("ended"), cls)
        except ValidationError as error:
            raise DeviceError(f"the loop on the phone ended, and did not say how: {error}") from error

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
