"""A `Session` on a phone: what is loaded there, in a `Loop`, and how its replies become rounds and failures.

A batch travels once, and one question is one pass over it, however many networks are timed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
from msgspec import ValidationError, convert
from numpy.typing import NDArray

from ...errors import DeviceError, InputRefusedError, UnknownNameError, UsageError
from ...measurement.rounds import Failure
from ..device import Loaded, Model, PassResult
from ..worker.replies import FailureReply, LoadReply, PassReply
from .adb import Phone
from .admit import admit
from .loop import TRIES, Cool, EndedError, GoneError, Loop, PhoneSettings, Program

_AT_A_TIME = 100  # networks in one command: adb takes 64 KB


class AndroidSession:
    """One loop on a phone with its resident networks; see `Session`.

    Args:
        phone: where.
        program: the runner and ONNX Runtime on it.
        settings: what the loop is told first.
        cool: what earlier loops on this phone learnt.

    Raises:
        DeviceError: the phone cannot be reached, its storage is full, or the loop does not start.
    """

    def __init__(self, phone: Phone, program: Program, settings: PhoneSettings, cool: Cool) -> None:
        self._settings = settings
        self._models: dict[str, Model] = {}
        self._numbers: dict[str, int] = {}
        self._places: dict[str, str] = {}
        self._folders: dict[Path, str] = {}
        self._typical_ms: dict[str, float] = {}  # of the networks resident in the present loop
        self._timing = False
        self._phone = phone
        self._loop = Loop(phone, program, settings, cool)

    def load(self, models: Sequence[Model]) -> list[Loaded]:
        """Check, send, load and warm up; a network that fails is reported, the others stay.

        Raises:
            UsageError: a key that is already there.
            DeviceError: the session is closed, or the phone is gone for good.
        """
        self._loop.check()
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
        reboots = 0
        while missing := [key for key in self._models if key not in self._typical_ms]:
            try:
                batch = self._load(missing[:_AT_A_TIME])
            except GoneError:
                reboots += 1
                if reboots == TRIES:
                    raise
                self._start_anew()
                continue
            for loaded in batch:
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
        self._loop.start_timing()
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
            lines = self._loop.ask(["run_pass", str(burst_ms), *numbers], limit_s=self._patience_s(keys, burst_ms))
        except EndedError as ended:
            for key in keys:
                if self._numbers[key] == ended.last.network:
                    return PassResult((), {key: ended.last.value()})
            raise
        return self._read(lines, keys)

    def outputs(self, key: str, inputs: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Return what a network computes, ``(batch, ...)``, for inputs ``(batch, channels, height, width)``.

        Raises:
            UsageError: a key that is not loaded.
            InputRefusedError: what came back is no array.
            DeviceError: the session is closed, the phone is gone, or the network does not take this input.
        """
        self._check_loaded([key])
        found: list[NDArray[np.float32]] = []
        for values in inputs:
            there, back = f"{self._loop.folder}/input", f"{self._loop.folder}/output"
            content = np.ascontiguousarray(values, "<f4").tobytes()
            self._phone.persist(partial(self._phone.push, [(content, there, 0o600)]))
            reply = self._loop.ask(["outputs", str(self._numbers[key]), there, back], limit_s=self._settings.load_s)[-1]
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
        self._loop.ask(["hold", str(int(held))], limit_s=60.0)

    def close(self) -> None:
        """End the loop and remove its files, if the phone can be reached; else it ends by itself later."""
        self._loop.close()

    def __enter__(self) -> Self:
        """Return the session itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _send(self, models: dict[Model, list[str]]) -> None:
        """Send what is to be loaded, all over one connection; weights that several share travel once."""
        files: dict[str, Path] = {}
        for model, locations in models.items():
            parent = model.path.absolute().parent
            place = self._folders.setdefault(parent, f"models/{len(self._folders)}")
            self._places[model.key] = f"{place}/{self._numbers[model.key]}.onnx"
            files[self._places[model.key]] = model.path
            files |= {f"{place}/{location}": parent / location for location in locations}
        pushed = [(source, f"{self._loop.folder}/{target}", 0o600) for target, source in files.items()]
        if pushed:
            self._phone.persist(lambda: self._phone.push(pushed))

    def _load(self, keys: Sequence[str]) -> list[Loaded]:
        """Load networks; one that ends the loop is its last, and another loop begins, with nothing in it."""
        words = ["load"]
        for key in keys:
            words += [str(self._numbers[key]), self._models[key].digest, f"{self._loop.folder}/{self._places[key]}"]
        names = {self._numbers[key]: key for key in keys}
        try:
            lines = self._loop.ask(words, limit_s=2 * self._settings.load_s * len(keys))[:-1]
        except EndedError as ended:
            if ended.last.network not in names:
                raise
            key = names[ended.last.network]
            self._start_anew()
            return [Loaded(key, failure=ended.last.value())]
        if len(lines) != len(keys):
            raise DeviceError(f"phone {self._phone.serial} loaded {len(lines)} of {len(keys)} networks")
        return [self._loaded(line, key) for line, key in zip(lines, keys, strict=True)]

    def _start_anew(self) -> None:
        self._typical_ms.clear()
        self._loop.start()
        if self._timing:
            self.start_timing()

    def _loaded(self, line: dict[str, Any], key: str) -> Loaded:
        try:
            raw = dict[str, Any](line["loaded"])
            if raw.pop("network") != self._numbers[key]:
                raise DeviceError("the loop on the phone loaded other networks than it was asked for")
            reply = convert(raw, LoadReply)
        except ValidationError as error:
            return Loaded(key, failure=Failure("crashed", "load", detail=f"reply refused: {error}"))
        except (KeyError, TypeError, ValueError) as error:
            raise DeviceError(f"the loop on the phone wrote what is no reply: {error}") from error
        if reply.failure:
            return Loaded(key, failure=reply.failure.value())
        self._typical_ms[key] = reply.typical_ms
        return reply.value(key)

    def _read(self, lines: list[dict[str, Any]], keys: Sequence[str]) -> PassResult:
        last = lines.pop()
        if "failure" in last:
            self.close()
            try:
                failure = convert(last["failure"], FailureReply).value()
                return PassResult((), {key: failure for key in keys if self._numbers[key] == last["network"]})
            except (ValidationError, KeyError) as error:
                raise DeviceError(f"the loop on the phone wrote what is no failure: {error}") from error
        try:
            reply = convert({"rounds": [line.get("round") for line in lines]}, PassReply)
        except ValidationError as error:
            self.close()
            raise DeviceError(f"the loop on the phone sent no rounds: {error}") from error
        if [row.get("network") for row in reply.rounds] != [self._numbers[key] for key in keys]:
            self.close()
            raise DeviceError("the loop on the phone timed other networks than it was asked for")
        result = reply.result(keys)
        if result.failures:
            self.close()
        return result

    def _patience_s(self, keys: Sequence[str], burst_ms: float) -> float:
        """Return what a pass may take at the most, rests and pauses included; its own watch stops a hanging network."""
        settings = self._settings
        busy_s = sum(
            2 + 20 * (burst_ms + 4 * self._typical_ms[key] + 6 * self._loop.sentinel_ms) / 1000 for key in keys
        )
        rests = 1 + busy_s * 1000 / settings.duty_ms
        return 60 + busy_s + rests * (settings.rest_ms / 1000 + 5) + 2 * settings.max_pause_s

    def _check_loaded(self, keys: Sequence[str]) -> None:
        self._loop.check()
        for key in keys:
            if key not in self._typical_ms:
                raise UnknownNameError("network", key, self._typical_ms)
