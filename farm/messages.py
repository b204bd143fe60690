"""What crosses the network: jobs, results, agents' states and environments. Data only, checked field by field.

A message is a JSON object in UTF-8 with the fields of one dataclass and its ``schema``; above 1 KiB it is compressed.
Fields that are missing, unknown or given twice, numbers that are none, and whatever is larger than 1 MiB once
decompressed are refused, all with `InputRefusedError` and nothing else. Importing this is light: a small board does.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from hashlib import sha256
from math import isfinite
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import InputRefusedError
from ..measurement.measurement import Measurement
from ..measurement.rounds import Round
from .subjects import EVERY_AGENT, ID

LIMIT_BYTES = 2**20  # of a message, on the wire and decompressed
PLAIN_BYTES = 2**10  # above, a message is compressed
MAX_DEPTH = 8  # of objects within objects whose fields are free
MAX_BLOB_BYTES = 2**30  # of a model or a file of weights

_HEX64 = re.compile(r"[0-9a-f]{64}")
_HEX16 = re.compile(r"[0-9a-f]{16}")
_HEX12 = re.compile(r"[0-9a-f]{12}")
_ID = re.compile(ID)
_FILE = re.compile(r"weights-[0-9a-f]{12}\.bin|model\.onnx")
_LONGEST_MS = 1e9  # of any time in a round: eleven days
_SHORTEST_MS = 1e-7

State = Literal["ready", "measuring", "cooling", "device_gone", "breaker_open", "paused", "draining", "quarantined"]


class NewerSchemaError(InputRefusedError):
    """A message of a version that this one does not know."""


@dataclass(frozen=True)
class Blob:
    """Bytes that are fetched apart, named by what they are.

    Attributes:
        name: of the file beside the others: ``model.onnx``, or what the model calls its weights.
        sha256: of the bytes; the name under which the queue keeps them.
        size_bytes: how many, known before they are fetched.
    """

    name: str
    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        _match("name", self.name, _FILE)
        _match("sha256", self.sha256, _HEX64)
        _within("size_bytes", self.size_bytes, 1, MAX_BLOB_BYTES)


@dataclass(frozen=True)
class PlanSpec:
    """How a network is timed; the fields of the profiler's plan, and the seed of the order."""

    name: str
    burst_ms: float
    checks: tuple[int, ...]
    target: float
    coverage: float
    requeue: bool
    seed: int

    def __post_init__(self) -> None:
        if not 0 < len(self.checks) <= 32 or list(self.checks) != sorted(set(self.checks)):
            raise _refused("checks", self.checks, "1 to 32 rising numbers of rounds")
        _within("checks[0]", self.checks[0], 1, 10**4)
        _within("checks[-1]", self.checks[-1], 1, 10**4)
        _within("burst_ms", self.burst_ms, 1e-3, 1e6)
        _within("target", self.target, 1e-6, 1)
        _within("coverage", self.coverage, 1e-6, 1)


@dataclass(frozen=True)
class Limits:
    """What a network may use; an agent takes the smaller of this and its own.

    Attributes:
        memory_bytes: address space of the measuring process.
        load_ms: loading, building an engine included.
        wall_ms: everything, from loading to the last round.
    """

    memory_bytes: int
    load_ms: float
    wall_ms: float

    def __post_init__(self) -> None:
        _within("memory_bytes", self.memory_bytes, 2**20, 2**50)
        _within("load_ms", self.load_ms, 1, _LONGEST_MS)
        _within("wall_ms", self.wall_ms, 1, _LONGEST_MS)


@dataclass(frozen=True)
class Job:
    """One network to be timed, whole, on one agent.

    Attributes:
        job_id: 64 hexadecimal digits; hash of what is measured, how, and for which class and replicate (`job_id`).
        issue: how often the campaign has offered it, from 1.
        campaign, device_class: ids.
        fingerprint_id: the device that the campaign keeps rows of; an agent with another one gives the job back.
        key, space, replicate: what the measurement is kept under. Names only: an agent builds nothing from them.
        model: the ONNX file.
        weights: files beside it, which many networks share; an agent keeps them.
        plan, limits: how long, and how much at most.
    """

    SCHEMA: ClassVar[str] = "tempograd.job/1"

    job_id: str
    issue: int
    campaign: str
    device_class: str
    fingerprint_id: str
    key: str
    space: str
    replicate: int
    model: Blob
    weights: tuple[Blob, ...]
    plan: PlanSpec
    limits: Limits

    def __post_init__(self) -> None:
        _match("job_id", self.job_id, _HEX64)
        _within("issue", self.issue, 1, 10**6)
        _match("campaign", self.campaign, _ID)
        _match("device_class", self.device_class, _ID)
        _match("fingerprint_id", self.fingerprint_id, _HEX12)
        _within("replicate", self.replicate, 0, 10**6)
        _within("length of key", len(self.key), 1, 2**16)
        _within("length of space", len(self.space), 1, 2**12)
        if len(self.weights) > 8 or len({blob.name for blob in (self.model, *self.weights)}) <= len(self.weights):
            raise _refused("weights", [blob.name for blob in self.weights], "at most 8 files, all names different")

    @property
    def message_id(self) -> str:
        """Return what makes an offer of it one offer, however often it is sent."""
        return f"{self.job_id}:{self.issue}"


@dataclass(frozen=True)
class Result:
    """What became of one attempt at a job: a measurement, or the failure that stands in it.

    Attributes:
        job_id, issue, delivery, attempt: the key. ``attempt``: 16 random hexadecimal digits, for generations
            (``issue``, ``delivery``) may come twice.
        campaign, agent, device_class: ids.
        model_sha256: echo of the job's model.
        environment_sha256: names the agent's `Environment`.
        isolation: limits that really were in force.
        started_unix_ms: wall clock, for people only.
        measurement: raw rounds, or a failure.
        calibration: the fields of the calibration in force; empty if there was none.
    """

    SCHEMA: ClassVar[str] = "tempograd.result/1"

    job_id: str
    issue: int
    delivery: int
    attempt: str
    campaign: str
    agent: str
    device_class: str
    model_sha256: str
    environment_sha256: str
    isolation: tuple[str, ...]
    started_unix_ms: int
    measurement: Measurement
    calibration: dict[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        _match("job_id", self.job_id, _HEX64)
        _within("issue", self.issue, 1, 10**6)
        _within("delivery", self.delivery, 1, 10**6)
        _match("attempt", self.attempt, _HEX16)
        _match("campaign", self.campaign, _ID)
        _agent("agent", self.agent)
        _match("device_class", self.device_class, _ID)
        _match("model_sha256", self.model_sha256, _HEX64)
        _match("environment_sha256", self.environment_sha256, _HEX64)
        _within("started_unix_ms", self.started_unix_ms, 0, 2**53)
        _check_measurement(self.measurement)

    @property
    def key(self) -> str:
        """Return what makes this result one result, however often it is sent."""
        return f"{self.job_id}:{self.issue}:{self.delivery}:{self.attempt}"

    def misfit(self, job: Job) -> str | None:
        """Return in what this does not answer ``job``, or None."""
        m = self.measurement
        pairs: dict[str, tuple[object, object]] = {
            "job_id": (self.job_id, job.job_id),
            "campaign": (self.campaign, job.campaign),
            "device_class": (self.device_class, job.device_class),
            "model_sha256": (self.model_sha256, job.model.sha256),
            "key": (m.key, job.key),
            "space": (m.space, job.space),
            "replicate": (m.replicate, job.replicate),
            "fingerprint_id": (m.fingerprint_id, job.fingerprint_id),
            "plan": (m.plan, _plain(job.plan) | {"checks": list(job.plan.checks)}),
            "onnx_digest": (m.onnx_digest, job.model.sha256 if m.onnx_digest else ""),
        }
        for name, (mine, asked) in pairs.items():
            if mine != asked:
                return f"{name} is {str(mine)[:80]!r}, the job's is {str(asked)[:80]!r}"
        return None


@dataclass(frozen=True)
class AgentDevice:
    """One device that an agent drives.

    Attributes:
        device_class: of the jobs that it takes.
        driver: ``local`` or ``android``.
        fingerprint_id: what its measurements are kept under.
        environment_sha256: names its `Environment`.
    """

    device_class: str
    driver: Literal["local", "android", "simulated"]
    fingerprint_id: str
    environment_sha256: str

    def __post_init__(self) -> None:
        _match("device_class", self.device_class, _ID)
        _match("fingerprint_id", self.fingerprint_id, _HEX12)
        _match("environment_sha256", self.environment_sha256, _HEX64)


@dataclass(frozen=True)
class AgentState:
    """What an agent says of itself every 15 seconds; when it was seen is the queue's time, not the agent's.

    Attributes:
        agent: id.
        version: of tempograd.
        schemas: of jobs that it understands.
        devices: that it drives.
        memory_bytes, disk_free_bytes: of its machine.
        state, reason: what it does, and why not something else.
        in_hand: jobs taken and not yet delivered.
        spooled: results that wait for the network.
        delivered, failed: results since it started, and those of them without a latency.
        started_unix_ms: when it started, by its own clock.
    """

    SCHEMA: ClassVar[str] = "tempograd.agent/1"

    agent: str
    version: str
    schemas: tuple[str, ...]
    devices: tuple[AgentDevice, ...]
    memory_bytes: int
    disk_free_bytes: int
    state: State
    reason: str
    in_hand: int
    spooled: int
    delivered: int
    failed: int
    started_unix_ms: int

    def __post_init__(self) -> None:
        _agent("agent", self.agent)
        for name in ("memory_bytes", "disk_free_bytes", "in_hand", "spooled", "delivered", "failed", "started_unix_ms"):
            _within(name, getattr(self, name), 0, 2**60)


@dataclass(frozen=True)
class Environment:
    """A device and what runs on it, in full; results name it by its hash.

    Attributes:
        agent: id.
        fingerprint: ``place``, ``hardware``, ``runtime`` and ``options`` of the device's fingerprint.
        facts: everything else worth knowing: versions of libraries, kernel, governor, isolation.
    """

    SCHEMA: ClassVar[str] = "tempograd.environment/1"

    agent: str
    fingerprint: dict[str, Any]
    facts: dict[str, Any]

    def __post_init__(self) -> None:
        _agent("agent", self.agent)

    @property
    def sha256(self) -> str:
        """Return its name: the SHA-256 of its canonical JSON."""
        return _digest(_plain(self))


Message = Job | Result | AgentState | Environment
_M = TypeVar("_M", Job, Result, AgentState, Environment)


def job_id(
    *, model: Blob, weights: tuple[Blob, ...], plan: PlanSpec, campaign: str, device_class: str, fingerprint_id: str,
    key: str, space: str, replicate: int,
) -> str:  # fmt: skip
    """Return the id of a job: the same network, plan, class, campaign and replicate give the same one."""
    blobs = [[blob.name, blob.sha256] for blob in (model, *weights)]
    return _digest([blobs, _plain(plan), campaign, device_class, fingerprint_id, key, space, replicate])


def encode(message: Message) -> bytes:
    """Return a message as it stands on the wire.

    Raises:
        InputRefusedError: it holds a number that is none, or is too large.
    """
    try:
        tree = {"schema": message.SCHEMA} | _plain(message)
        text = json.dumps(tree, default=_plain, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputRefusedError(f"a {message.SCHEMA} cannot be written: {error}") from error
    if len(text) > LIMIT_BYTES:
        raise InputRefusedError(f"a {message.SCHEMA} of {len(text)} bytes; allowed: up to {LIMIT_BYTES}")
    return text if len(text) <= PLAIN_BYTES else zlib.compress(text, 1)


def decode(data: bytes, kind: type[_M]) -> _M:
    """Read what ``encode`` wrote.

    Raises:
        NewerSchemaError: a version that this one does not know.
        InputRefusedError: anything else that is not exactly such a message.
    """
    try:
        text = _inflate(data).decode()
        tree = json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
        if not isinstance(tree, dict):
            raise _refused("message", tree, "an object")
        _check_schema(tree.pop("schema", None), kind.SCHEMA)
        if "\\u" in text:
            json.dumps(tree, ensure_ascii=False).encode()  # half a surrogate pair could not be written again
        return _reader(kind)(tree, "message")
    except InputRefusedError as error:
        raise type(error)(f"{kind.SCHEMA} refused: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InputRefusedError(f"{kind.SCHEMA} refused: {error}") from error


def digest(data: bytes) -> str:
    """Return the SHA-256 of bytes, hexadecimal."""
    return sha256(data).hexdigest()


# -- bytes -----------------------------------------------------------------------------------------------------------


def _inflate(data: bytes) -> bytes:
    if len(data) > LIMIT_BYTES:
        raise _refused("message", f"{len(data)} bytes", f"up to {LIMIT_BYTES}")
    if data[:1] == b"{":
        return data
    reader = zlib.decompressobj()
    try:
        text = reader.decompress(data, LIMIT_BYTES)
    except zlib.error as error:
        raise InputRefusedError(f"neither JSON nor compressed JSON ({error})") from error
    if not reader.eof or reader.unused_data:
        raise _refused("compressed message", f"{len(data)} bytes", f"whole, alone, and up to {LIMIT_BYTES} inflated")
    return text


def _digest(tree: Any) -> str:
    text = json.dumps(tree, default=_plain, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()


def _plain(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in _names(type(value))}


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InputRefusedError("a field is given twice")
    return found


def _no_number(text: str) -> float:
    raise InputRefusedError(f"{text} is no number")


def _check_schema(found: object, mine: str) -> None:
    if found == mine:
        return
    name = mine.partition("/")[0]
    if isinstance(found, str) and re.fullmatch(rf"{re.escape(name)}/[1-9][0-9]{{0,5}}", found):
        raise NewerSchemaError(
            f"schema {found!r}; this version reads {mine!r}. Upgrade with: pip install --upgrade tempograd"
        )
    raise _refused("schema", found, repr(mine))


# -- fields ----------------------------------------------------------------------------------------------------------

_Reader = Callable[[Any, str], Any]


def _refused(name: str, found: object, allowed: str) -> InputRefusedError:
    return InputRefusedError(f"{name}={str(found)[:80]!r}; allowed: {allowed}")


def _match(name: str, text: str, pattern: re.Pattern[str]) -> None:
    if not pattern.fullmatch(text):
        raise _refused(name, text, f"text that matches {pattern.pattern}")


def _agent(name: str, text: str) -> None:
    _match(name, text, _ID)
    if text == EVERY_AGENT:
        raise _refused(name, text, "any other id: this one means every agent")


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise _refused(name, value, f"from {low:g} to {high:g}")


@cache
def _reader(kind: Any) -> _Reader:
    """Return a function that takes a value as JSON gives it and returns it as ``kind``, or refuses it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _dataclass_reader(kind)  # pyright: ignore[reportArgumentType]
    if origin in (Union, UnionType):
        (other,) = (a for a in arguments if a is not NoneType)
        inner = _reader(other)
        return lambda value, where: None if value is None else inner(value, where)
    if origin is Literal:
        return lambda value, where: value if value in arguments else _refuse(where, value, f"one of {arguments}")
    if origin is tuple:
        return _sequence_reader(arguments[0])
    if origin is dict:
        return _free_reader if arguments[1] is Any else _mapping_reader(arguments[1])
    return {int: _integer, float: _number, bool: _boolean, str: _text}[kind]


def _dataclass_reader(kind: type) -> _Reader:
    hints = get_type_hints(kind)
    readers = {name: _reader(hints[name]) for name in _names(kind)}

    def read(value: Any, where: str) -> Any:
        if not isinstance(value, dict) or value.keys() != readers.keys():
            given: set[str] = set(value) if isinstance(value, dict) else set()
            raise _refused(where, sorted(given ^ readers.keys()) or value, "exactly its fields; these differ")
        return kind(**{name: reader(value[name], name) for name, reader in readers.items()})

    return read


def _sequence_reader(item: Any) -> _Reader:
    inner = _reader(item)

    def read(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _refused(where, value, "a list")
        if item is float and set(map(type, value)) == {float} and all(map(isfinite, value)):
            return tuple(value)
        return tuple([inner(v, where) for v in value])

    return read


def _mapping_reader(item: Any) -> _Reader:
    inner = _reader(item)

    def read(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _refused(where, value, "an object")
        return {name: inner(v, where) for name, v in value.items()}

    return read


def _free_reader(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _refused(where, value, "an object")
    _check_free(value, where, MAX_DEPTH)
    return value


def _check_free(value: Any, where: str, depth: int) -> None:
    if depth == 0:
        raise _refused(where, value, f"objects within objects, {MAX_DEPTH} deep")
    if isinstance(value, int) and not isinstance(value, bool):
        _integer(value, where)
    elif isinstance(value, float):
        _number(value, where)
    elif isinstance(value, Mapping):
        for inner in value.values():
            _check_free(inner, where, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            _check_free(inner, where, depth - 1)


def _refuse(where: str, value: object, allowed: str) -> Any:
    raise _refused(where, value, allowed)


def _integer(value: Any, where: str) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise _refused(where, value, "a whole number of 64 bits")
    return value


def _number(value: Any, where: str) -> float:
    if type(value) is int:
        return float(_integer(value, where))
    if type(value) is not float or not isfinite(value):
        raise _refused(where, value, "a finite number")
    return value


def _boolean(value: Any, where: str) -> bool:
    return value if isinstance(value, bool) else _refuse(where, value, "true or false")


def _text(value: Any, where: str) -> str:
    return value if isinstance(value, str) else _refuse(where, value, "text")


# -- measurements ----------------------------------------------------------------------------------------------------


def _check_measurement(m: Measurement) -> None:
    """Refuse what no device can have measured and what a label could not be derived from."""
    _match("measurement.fingerprint_id", m.fingerprint_id, _HEX12)
    if m.onnx_digest:
        _match("measurement.onnx_digest", m.onnx_digest, _HEX64)
    _within("measurement.replicate", m.replicate, 0, 10**6)
    _within("measurement.attempts", m.attempts, 1, 10**3)
    if m.clock not in ("cpu", "wall", "gpu"):
        raise _refused("measurement.clock", m.clock, "cpu, wall or gpu")
    if m.failure is None and not (m.rounds and m.reference):
        raise _refused("measurement", "no rounds, reference or failure", "rounds with their reference, or a failure")
    for round_ in m.rounds:
        _check_round(round_, m)
    if m.reference is not None:
        _within("reference.sentinel_ms", m.reference.sentinel_ms, _SHORTEST_MS, _LONGEST_MS)
        _within("reference.gate_ms", m.reference.gate_ms, _SHORTEST_MS, _LONGEST_MS)
        _within("reference.beta", m.reference.beta, -10, 10)
        _within("reference.noise", m.reference.noise, 0, 100)
        _within("reference.beta_spread", m.reference.beta_spread, 0, 1)


def _check_round(r: Round, m: Measurement) -> None:
    if r.key != m.key:
        raise _refused("round.key", r.key, "the measurement's key")
    _within("round.block", r.block, 1, 10**9)
    for name in ("sentinel_before_ms", "sentinel_after_ms", "wall_ms", "cpu_ms", "gpu_ms"):
        times: tuple[float, ...] = getattr(r, name)
        if not times and (name != "gpu_ms" or m.clock == "gpu"):
            raise _refused(f"round.{name}", times, "at least one time")
        if times:
            _within(f"round.{name}", min(times), 0.0 if name == "cpu_ms" else _SHORTEST_MS, _LONGEST_MS)
            _within(f"round.{name}", max(times), 0.0, _LONGEST_MS)
