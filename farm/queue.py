"""The queue between a campaign and the agents that time its networks.

The campaign's store is the truth and the queue may be lost: it can give a job twice, and it can forget one. What makes
that harmless are four rules. A result is *delivered* before its lease is *finished*. An agent past its own deadline
neither renews nor finishes. A campaign *confirms* a result after its store has it. A job that is neither stored nor in
the queue is offered again, with the next ``issue``.

Every call may raise `QueueAwayError` when the queue cannot be reached within its patience; then nothing is known of
what was asked for, and the same call may be made again: all of them are repeatable.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, Self

from ..errors import DeviceError, InputRefusedError, UsageError
from .messages import AgentState, Blob, Environment, Job, Result
from .subjects import Command
from .wire import decode

Standing = Literal["queued", "leased", "exhausted", "absent"]


class QueueAwayError(DeviceError):
    """The queue cannot be reached now; try again."""


class QueueFullError(DeviceError):
    """The queue takes no more before some of what it holds is done."""


@dataclass(frozen=True)
class Terms:
    """Of leases.

    Attributes:
        ack_wait_s: a lease not renewed for so long is given to someone else.
        max_deliver: how often a job is given out before it is ``exhausted``.
    """

    ack_wait_s: float = 60.0
    max_deliver: int = 10

    def __post_init__(self) -> None:
        if not 0.1 <= self.ack_wait_s <= 3600 or not 1 <= self.max_deliver <= 1000:
            raise UsageError(
                f"ack_wait_s={self.ack_wait_s}, max_deliver={self.max_deliver}; allowed: a wait of 0.1 to 3600 s and "
                "1 to 1000 deliveries"
            )

    @property
    def hold_s(self) -> float:
        """Return how long an agent trusts a lease: 45 s of 60."""
        return 0.75 * self.ack_wait_s

    @property
    def renew_s(self) -> float:
        """Return how often an agent renews: every 15 s of 60."""
        return 0.25 * self.ack_wait_s


@dataclass(frozen=True)
class Access:
    """How a queue's server is known and how one logs in; nothing of it is needed on loopback.

    Attributes:
        ca: certificates that the server's must be signed by, PEM; those of the system if None.
        nkey: file with the seed of an nkey.
        user, password: where there is no nkey.
        agent: the agent that logs in; None for a campaign.
    """

    ca: Path | None = None
    nkey: Path | None = None
    user: str = ""
    password: str = field(default="", repr=False)
    agent: str | None = None


@dataclass(frozen=True)
class Lease:
    """A job that this agent may work on until ``deadline_s``.

    Attributes:
        job: what to do.
        delivery: how often this issue was given out, from 1; after a loss of the queue it may begin again.
        attempt: 16 random hexadecimal digits.
        deadline_s: on the clock of `now_s`; past it the lease is lost: someone else may have the job.
        handle: what the queue knows it by.
    """

    job: Job
    delivery: int
    attempt: str
    deadline_s: float
    handle: str

    @property
    def lost(self) -> bool:
        """Return whether its deadline has passed."""
        return now_s() >= self.deadline_s


@dataclass(frozen=True)
class Delivery:
    """A result as it came, to be stored and then confirmed.

    Attributes:
        agent: who sent it, as the queue vouches for.
        raw: the bytes.
        result: what they say; None if they were refused.
        refusal: why; if it is a `NewerSchemaError`, the bytes are worth keeping.
        handle: what the queue knows it by.
    """

    agent: str
    raw: bytes
    result: Result | None
    refusal: InputRefusedError | None
    handle: str

    @classmethod
    def of(cls, campaign: str, agent: str, raw: bytes, handle: str) -> Delivery:
        """Read what came for a campaign from an agent; whoever signs as somebody else is refused."""
        try:
            result = decode(raw, Result)
            if (result.campaign, result.agent) != (campaign, agent):
                raise InputRefusedError(
                    f"a result of {result.agent!r} for {result.campaign!r}, sent by {agent!r} to {campaign!r}"
                )
        except InputRefusedError as error:
            return cls(agent, raw, None, error, handle)
        return cls(agent, raw, result, None, handle)


@dataclass(frozen=True)
class Seen:
    """An agent's state and how long ago it came, by the queue's clock."""

    state: AgentState
    age_s: float

    @classmethod
    def readable(cls, found: Iterable[tuple[str, bytes, float]]) -> list[Seen]:
        """Return those of these (agent, state, age in s) that can be read and are of who sent them, sorted by agent."""
        seen: list[Seen] = []
        for agent, body, age_s in found:
            with suppress(InputRefusedError):
                state = decode(body, AgentState)
                if state.agent == agent:
                    seen.append(cls(state, max(0.0, age_s)))
        return sorted(seen, key=lambda s: s.state.agent)


class CampaignSide(Protocol):
    """What a campaign does with a queue."""

    def declare(self, campaign: str, device_classes: Sequence[str]) -> None:
        """Make sure that everything a campaign needs exists; to be called again whenever it may have been lost."""
        ...

    def put_models(self, contents: Sequence[bytes]) -> list[str]:
        """Keep bytes under their SHA-256; return these."""
        ...

    def drop_models(self, digests: Sequence[str]) -> None:
        """Forget bytes that no open job needs."""
        ...

    def offer(self, jobs: Sequence[Job]) -> None:
        """Put jobs into the queue; durable on return.

        The same job and issue twice within two minutes is one offer, even if it was done in between; and a job that is
        in the queue is not put into it again, whatever its issue.

        Raises:
            QueueFullError: some of them did not fit; those before may have.
        """
        ...

    def withdraw(self, jobs: Sequence[Job]) -> None:
        """Take jobs out of the queue, leased or not; their results may still come."""
        ...

    def standing(self, jobs: Sequence[Job]) -> list[Standing]:
        """Return where each job is.

        ``queued``: it was never given out; ``leased``: it was, and may wait to be given out again; ``exhausted``: that
        was as often as allowed, which shows once somebody wants it again; ``absent``: done, withdrawn or forgotten.
        """
        ...

    def results(self, campaign: str, n: int, wait_ms: float) -> list[Delivery]:
        """Return up to ``n`` results, waiting for the first; one that is not confirmed comes again, later."""
        ...

    def confirm(self, deliveries: Sequence[Delivery]) -> None:
        """Forget results, which the store has committed."""
        ...

    def agents(self) -> list[Seen]:
        """Return every agent's latest state, sorted by agent; a state that cannot be read is left out."""
        ...

    def environment(self, agent: str, sha256: str) -> Environment | None:
        """Return an environment, None if it has not come or is not what its name says."""
        ...

    def command(self, agent: str, word: Command) -> None:
        """Tell an agent, or ``all``, something; an agent that is not there never gets it."""
        ...


class AgentSide(Protocol):
    """What an agent does with a queue. All of its calls may be made from any one thread."""

    def take(self, device_class: str, n: int, wait_ms: float) -> list[Lease]:
        """Lease up to ``n`` jobs, waiting for the first; malformed ones are thrown away.

        Raises:
            NewerSchemaError: a job of a newer version was among them; all of them were given back.
        """
        ...

    def renew(self, leases: Sequence[Lease]) -> list[Lease]:
        """Prolong those leases that are not lost; return them with their new deadlines.

        A renewal that could not be sent leaves a lease as it was; this never raises `QueueAwayError`.
        """
        ...

    def get_models(self, blobs: Sequence[Blob]) -> dict[str, bytes]:
        """Return SHA-256 -> bytes of those that are there, each checked against its size and its SHA-256."""
        ...

    def deliver(self, results: Sequence[Result]) -> None:
        """Hand results over; durable on return. A result of the same key twice within two minutes is one.

        Raises:
            QueueFullError: nothing more is taken before the campaign has stored some; try later.
        """
        ...

    def finish(self, leases: Sequence[Lease]) -> None:
        """Take jobs out of the queue, after their results were delivered; does nothing for a lost lease."""
        ...

    def give_back(self, leases: Sequence[Lease], delay_ms: float = 0) -> None:
        """Let others have jobs, after a delay; uses up a delivery, and does nothing for a lost lease."""
        ...

    def announce(self, state: AgentState) -> None:
        """Tell how this agent is, in place of what it told before."""
        ...

    def put_environment(self, environment: Environment) -> str:
        """Keep an environment; return its SHA-256."""
        ...

    def commands(self, agent: str) -> list[Command]:
        """Return what this agent was told since it last asked; the first call begins to listen."""
        ...


class Queue(CampaignSide, AgentSide, Protocol):
    """Both sides, and the connection."""

    @property
    def terms(self) -> Terms:
        """Return the terms of its leases."""
        ...

    @property
    def away_since_s(self) -> float | None:
        """Return since when it cannot be reached, on the clock of `now_s`; None if it can, as far as is known."""
        ...

    def close(self) -> None:
        """Let the connection go; closing twice is allowed."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def environment_of(body: bytes, agent: str, sha256: str) -> Environment | None:
    """Read an agent's environment, None if it cannot be read, or is another one's or another one."""
    with suppress(InputRefusedError):
        found = decode(body, Environment)
        return found if (found.agent, found.sha256) == (agent, sha256) else None
    return None


def now_s() -> float:
    """Return seconds on a clock that counts while the machine is suspended, where the system has one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
