"""What crosses the network: jobs, results, agents' states and environments. Data only, checked field by field.

How they are written and read is in ``wire``. Importing this is light: a small board does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from ..measurement.measurement import Measurement
from ..measurement.rounds import LONGEST_MS, SHORTEST_MS, Failure
from ..profiler.plan import Plan
from .subjects import EVERY_AGENT, ID
from .wire import digest_of, inside, match, refused, within

MAX_BLOB_BYTES = 2**30  # of a model or a file of weights

_HEX64 = re.compile(r"[0-9a-f]{64}")
_HEX16 = re.compile(r"[0-9a-f]{16}")
_HEX12 = re.compile(r"[0-9a-f]{12}")
_ID = re.compile(ID)
_DRIVER = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_FILE = re.compile(r"weights-[0-9a-f]{12}\.bin|model\.onnx")

State = Literal["ready", "measuring", "cooling", "device_gone", "breaker_open", "paused", "draining", "quarantined"]


@dataclass(frozen=True)
class Blob:
    """Bytes that are fetched apart, named by what they are.

    Attributes:
        name: Name of the file beside the others: ``model.onnx``, or what the model calls its weights.
        sha256: Digest of the bytes; the name under which the queue keeps them.
        size_bytes: how many, known before they are fetched.
    """

    name: str
    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        match("name", self.name, _FILE)
        match("sha256", self.sha256, _HEX64)
        within("size_bytes", self.size_bytes, 1, MAX_BLOB_BYTES)


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
        within("memory_bytes", self.memory_bytes, 2**20, 2**50)
        within("load_ms", self.load_ms, 1, LONGEST_MS)
        within("wall_ms", self.wall_ms, 1, LONGEST_MS)


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
        plan: how long it is timed.
        seed: Seed of the orders of rounds; on the wire it stands among the plan's fields.
        limits: how much it may use at most.
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
    plan: Plan
    seed: int = field(metadata=inside("plan"))
    limits: Limits

    def __post_init__(self) -> None:
        match("job_id", self.job_id, _HEX64)
        within("issue", self.issue, 1, 10**6)
        match("campaign", self.campaign, _ID)
        match("device_class", self.device_class, _ID)
        match("fingerprint_id", self.fingerprint_id, _HEX12)
        within("replicate", self.replicate, 0, 10**6)
        within("length of key", len(self.key), 1, 2**16)
        within("length of space", len(self.space), 1, 2**12)
        _check_plan(self.plan)
        if len(self.weights) > 8 or len({blob.name for blob in (self.model, *self.weights)}) <= len(self.weights):
            raise refused("weights", [blob.name for blob in self.weights], "at most 8 files, all names different")

    @property
    def message_id(self) -> str:
        """Return what makes an offer of it one offer, however often it is sent."""
        return f"{self.job_id}:{self.issue}"

    def goes_with(self, other: Job) -> bool:
        """Return whether both may be timed in one run of an engine: same campaign, space, plan and seed."""
        return (self.campaign, self.space, self.plan, self.seed) == (
            other.campaign, other.space, other.plan, other.seed,
        )  # fmt: skip

    def failed(self, failure: Failure, *, clock: str = "wall", attempts: int = 1) -> Measurement:
        """Return the measurement of a network that was not timed, and why."""
        return Measurement(
            key=self.key, space=self.space, fingerprint_id=self.fingerprint_id, plan=self.plan.record(self.seed),
            onnx_digest=self.model.sha256, clock=clock, failure=failure, replicate=self.replicate, attempts=attempts,
        )  # fmt: skip


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
        match("job_id", self.job_id, _HEX64)
        within("issue", self.issue, 1, 10**6)
        within("delivery", self.delivery, 1, 10**6)
        match("attempt", self.attempt, _HEX16)
        match("campaign", self.campaign, _ID)
        _agent("agent", self.agent)
        match("device_class", self.device_class, _ID)
        match("model_sha256", self.model_sha256, _HEX64)
        match("environment_sha256", self.environment_sha256, _HEX64)
        within("started_unix_ms", self.started_unix_ms, 0, 2**53)
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
            "plan": (m.plan, job.plan.record(job.seed)),
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
        device_class: Class of the jobs that it takes.
        driver: Name of the place that it is, such as ``local``.
        fingerprint_id: what its measurements are kept under.
        environment_sha256: names its `Environment`.
    """

    device_class: str
    driver: str
    fingerprint_id: str
    environment_sha256: str

    def __post_init__(self) -> None:
        match("device_class", self.device_class, _ID)
        match("driver", self.driver, _DRIVER)
        match("fingerprint_id", self.fingerprint_id, _HEX12)
        match("environment_sha256", self.environment_sha256, _HEX64)


@dataclass(frozen=True)
class AgentState:
    """What an agent says of itself every 15 seconds; when it was seen is the queue's time, not the agent's.

    Attributes:
        agent: id.
        version: Version of tempograd.
        schemas: Schemas of jobs that it understands.
        devices: Devices that it drives.
        memory_bytes, disk_free_bytes: Memory and free disk of its machine.
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
            within(name, getattr(self, name), 0, 2**60)


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
        return digest_of(self)


def job_id(
    *, model: Blob, weights: tuple[Blob, ...], plan: Plan, seed: int, campaign: str, device_class: str,
    fingerprint_id: str, key: str, space: str, replicate: int,
) -> str:  # fmt: skip
    """Return the id of a job: the same network, plan, class, campaign and replicate give the same one."""
    blobs = [[blob.name, blob.sha256] for blob in (model, *weights)]
    return digest_of([blobs, plan.record(seed), campaign, device_class, fingerprint_id, key, space, replicate])


def _agent(name: str, text: str) -> None:
    match(name, text, _ID)
    if text == EVERY_AGENT:
        raise refused(name, text, "any other id: this one means every agent")


def _check_plan(plan: Plan) -> None:
    """Refuse a plan that keeps an agent for longer than any that is meant."""
    within("number of checks", len(plan.checks), 1, 32)
    within("checks[-1]", plan.checks[-1], 1, 10**4)
    within("burst_ms", plan.burst_ms, 1e-3, 1e6)
    within("target", plan.target, 1e-6, 1)
    within("coverage", plan.coverage, 1e-6, 1)


# -- measurements ----------------------------------------------------------------------------------------------------


def _check_measurement(m: Measurement) -> None:
    """Refuse what no device can have measured and what a label could not be derived from."""
    match("measurement.fingerprint_id", m.fingerprint_id, _HEX12)
    if m.onnx_digest:
        match("measurement.onnx_digest", m.onnx_digest, _HEX64)
    within("measurement.replicate", m.replicate, 0, 10**6)
    within("measurement.attempts", m.attempts, 1, 10**3)
    if m.clock not in ("cpu", "wall", "gpu"):
        raise refused("measurement.clock", m.clock, "cpu, wall or gpu")
    if m.failure is None and not (m.rounds and m.reference):
        raise refused("measurement", "no rounds, reference or failure", "rounds with their reference, or a failure")
    for round_ in m.rounds:
        if round_.key != m.key:
            raise refused("round.key", round_.key, "the measurement's key")
        if flaw := round_.flaw(m.clock):
            raise refused("round." + flaw[0], *flaw[1:])
    if m.reference is not None:
        within("reference.sentinel_ms", m.reference.sentinel_ms, SHORTEST_MS, LONGEST_MS)
        within("reference.gate_ms", m.reference.gate_ms, SHORTEST_MS, LONGEST_MS)
        within("reference.beta", m.reference.beta, -10, 10)
        within("reference.noise", m.reference.noise, 0, 100)
        within("reference.beta_spread", m.reference.beta_spread, 0, 1)
        within("reference.process_sd", m.reference.process_sd, 0, 1)
        within("reference.burst_quantile", m.reference.burst_quantile, 0, 1)
        within("reference.trust", m.reference.trust, 0, 1)
        for level_ms in m.reference.levels_ms:
            within("reference.levels_ms", level_ms, SHORTEST_MS, LONGEST_MS)
