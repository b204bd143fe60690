"""The queue on a NATS server with JetStream.

Names are in `subjects`. Reading is by direct get, which leaves no consumer behind on the server and needs the fewest
permissions. Whatever is published carries a message id, so that sending it again is harmless.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Self

from ...errors import DeviceError, InputRefusedError
from .. import subjects
from ..messages import AgentState, Blob, Environment, Job, Result
from ..queue import (
    Access,
    Delivery,
    Lease,
    QueueAwayError,
    QueueFullError,
    Seen,
    Standing,
    Terms,
    environment_of,
    now_s,
)
from ..subjects import COMMANDS, EVERY_AGENT, Command
from ..wire import NewerSchemaError, decode, digest, encode
from . import streams
from .models import Models
from .nats import NOBODY, Link, Reply, Request, request
from .streams import Room

NEWER_DELAY_S = 60.0  # before a job of a newer version is given to the next agent
RETRY_S = (0.1, 2.0)
SILENCE_S = 3.0  # after which whoever pulls is taken not to exist: servers of 2.9 do not say so

_FULL = (10047, 10077)  # no room for a stream; a stream's limit
_EXISTS = 10058
_GONE = (10014, 10037, 10057, 10059)  # consumer, message, message to delete, stream not found


class JetStreamQueue:
    """The queue on a server; see `Queue`.

    Args:
        url: ``tls://host:port``, or ``nats://host:port`` on loopback.
        access: certificates and login.
        terms: Terms of leases, where this one declares a class first.
        patience_s: how long a call tries before it raises `QueueAwayError`.
        room: Limits of the streams that this one makes.

    Raises:
        UsageError: plain text to another machine, or a file that cannot be read.
    """

    def __init__(
        self, url: str, *, access: Access, terms: Terms, patience_s: float = 30.0, room: Room | None = None
    ) -> None:
        self.terms = terms
        self._url, self._room, self._patience_s = url, room or Room(), patience_s
        self._declared: set[tuple[str, str]] = set()
        self._exhausted: set[tuple[str, int]] = set()
        self._exhausted_read, self._exhausted_of = 0, ""
        self._link = Link(url, access)
        self._models = Models(self._publish, self._get)

    @property
    def away_since_s(self) -> float | None:
        return self._link.away_since_s

    def close(self) -> None:
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the campaign's side -------------------------------------------------------------------------------------

    def declare(self, campaign: str, device_classes: Sequence[str]) -> None:
        self._declared |= {(subjects.RESULTS, campaign), *((subjects.JOBS, name) for name in device_classes)}
        self._link.run(self._retry(self._declare))

    def put_models(self, contents: Sequence[bytes]) -> list[str]:
        names = [digest(content) for content in contents]

        self._link.run(self._models.put(dict(zip(names, contents, strict=True))))
        return names

    def drop_models(self, digests: Sequence[str]) -> None:
        async def drop() -> None:
            for subject in await self._models.subjects_of(digests):
                await self._api(f"STREAM.PURGE.{subjects.MODELS_STREAM}", {"filter": subject})

        self._link.run(drop())

    def offer(self, jobs: Sequence[Job]) -> None:
        self._link.run(self._publish([
            (subjects.job(job.device_class, job.job_id), encode(job), {"Nats-Msg-Id": job.message_id}) for job in jobs
        ]))  # fmt: skip

    def withdraw(self, jobs: Sequence[Job]) -> None:
        async def withdraw() -> None:
            found = await self._last(subjects.JOBS, [subjects.job(job.device_class, job.job_id) for job in jobs])
            for reply in found:
                if reply is not None:  # one by one: a purge leaves servers of 2.9 with a wrong count of what is left
                    place = int(reply.headers["Nats-Sequence"])
                    await self._api(f"STREAM.MSG.DELETE.{subjects.JOBS}", {"seq": place, "no_erase": True})

        self._link.run(withdraw())

    def standing(self, jobs: Sequence[Job]) -> list[Standing]:
        async def look() -> list[Standing]:
            found = await self._last(subjects.JOBS, [subjects.job(j.device_class, j.job_id) for j in jobs])
            given: dict[str, int] = {}
            for name in {job.device_class for job in jobs}:
                info = await self._api(f"CONSUMER.INFO.{subjects.JOBS}.{name}")
                given[name] = int(info.get("delivered", {}).get("stream_seq", 0))
            await self._read_exhausted()
            return [self._standing(job, given[job.device_class], reply) for job, reply in zip(jobs, found, strict=True)]

        return self._link.run(look())

    def results(self, campaign: str, n: int, wait_ms: float) -> list[Delivery]:
        found = self._link.run(self._pull(subjects.RESULTS, campaign, n, wait_ms / 1e3))
        return [Delivery.of(campaign, m.subject.rpartition(".")[2], m.body, m.reply) for m in found]

    def confirm(self, deliveries: Sequence[Delivery]) -> None:
        self._tell([(delivery.handle, b"+ACK") for delivery in deliveries])

    def agents(self) -> list[Seen]:
        async def look() -> list[Seen]:
            info = await self._api(f"STREAM.INFO.{subjects.AGENTS_STREAM}", {"subjects_filter": subjects.agent("*")})
            now = _time(info["ts"]) if "ts" in info else datetime.now(UTC).timestamp()  # 2.9 does not say its time
            names = list((info.get("state", {}).get("subjects") or {}).keys())
            replies = await self._last(subjects.AGENTS_STREAM, names)
            return Seen.readable(
                (name.rpartition(".")[2], reply.body, now - _time(reply.headers["Nats-Time-Stamp"]))
                for name, reply in zip(names, replies, strict=True)
                if reply is not None
            )

        return self._link.run(look())

    def environment(self, agent: str, sha256: str) -> Environment | None:
        subject = subjects.environment(agent, sha256)
        reply = self._link.run(self._last(subjects.ENVIRONMENTS_STREAM, [subject]))[0]
        return environment_of(reply.body, agent, sha256) if reply else None

    def command(self, agent: str, word: Command) -> None:
        self._tell([(subjects.control(agent), word.encode())])

    # -- the agent's side ----------------------------------------------------------------------------------------

    def take(self, device_class: str, n: int, wait_ms: float) -> list[Lease]:
        found = self._link.run(self._pull(subjects.JOBS, device_class, n, wait_ms / 1e3))
        leases: list[Lease] = []
        newer: NewerSchemaError | None = None
        for message in found:
            try:
                job = decode(message.body, Job)
                if message.subject != subjects.job(job.device_class, job.job_id):
                    raise InputRefusedError(f"a job under a strange subject, {message.subject!r}")
            except NewerSchemaError as error:
                newer = error
            except InputRefusedError:
                with suppress(QueueAwayError):
                    self._tell([(message.reply, b"+TERM")])
            else:
                delivery = _delivery(message.reply)
                deadline_s = message.at_s + self.terms.hold_s
                leases.append(Lease(job, delivery, secrets.token_hex(8), deadline_s, message.reply))
        if newer is not None:
            self._tell([(message.reply, _nak(NEWER_DELAY_S)) for message in found])
            raise newer
        return [lease for lease in leases if not lease.lost]

    def renew(self, leases: Sequence[Lease]) -> list[Lease]:
        held = [lease for lease in leases if not lease.lost]
        now = now_s()
        if not self._link.run(self._link.tell([(lease.handle, b"+WPI") for lease in held])):
            return held
        return [replace(lease, deadline_s=now + self.terms.hold_s) for lease in held]

    def get_models(self, blobs: Sequence[Blob]) -> dict[str, bytes]:
        return self._link.run(self._models.get(blobs))

    def deliver(self, results: Sequence[Result]) -> None:
        self._link.run(self._publish([
            (subjects.result(r.campaign, r.agent), encode(r), {"Nats-Msg-Id": r.key}) for r in results
        ]))  # fmt: skip

    def finish(self, leases: Sequence[Lease]) -> None:
        self._settle(leases, b"+ACK")

    def give_back(self, leases: Sequence[Lease], delay_ms: float = 0) -> None:
        self._settle(leases, _nak(delay_ms / 1e3))

    def announce(self, state: AgentState) -> None:
        self._link.run(self._publish([(subjects.agent(state.agent), encode(state), {})]))

    def put_environment(self, environment: Environment) -> str:
        name = environment.sha256
        self._link.run(self._publish([(subjects.environment(environment.agent, name), encode(environment), {})]))
        return name

    def commands(self, agent: str) -> list[Command]:
        said = self._link.run(self._link.listen(subjects.control(agent), subjects.control(EVERY_AGENT)))
        known: dict[bytes, Command] = {word.encode(): word for word in COMMANDS}
        return [known[word] for word in said if word in known]

    # -- asking, in the link's loop, with patience ---------------------------------------------------------------

    async def _retry(self, attempt: Callable[[], Awaitable[bool]]) -> None:
        """Make an attempt again and again until it says that it is done."""
        until_s, pause_s = now_s() + self._patience_s, RETRY_S[0]
        while not await attempt():
            left_s = until_s - now_s()
            if left_s <= 0:
                raise QueueAwayError(
                    f"the queue at {self._url} does not answer ({self._link.problem}); it is tried again with the next "
                    "call. See that nats-server runs there with JetStream, and what this login may do"
                )
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, RETRY_S[1])
            await self._link.up(max(0.0, until_s - now_s()))

    async def _publish(self, messages: Sequence[tuple[str, bytes, dict[str, str]]]) -> None:
        """Publish messages and wait until the server has stored them all."""
        left = list(messages)

        async def attempt() -> bool:
            nonlocal left
            replies = await self._link.ask([Request(*message) for message in left])
            stored = [_stored(reply) for reply in replies]
            if any(reply is not None and reply.status == NOBODY for reply in replies):
                await self._declare()
            left = [message for message, done in zip(left, stored, strict=True) if not done]
            return not left

        await self._retry(attempt)

    async def _api(self, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the server's interface; return {} where the stream or consumer does not exist."""
        found: dict[str, Any] = {}

        async def attempt() -> bool:
            nonlocal found
            reply = (await self._link.ask([request(subject, body)]))[0]
            if reply is None or reply.status == NOBODY:
                return False
            found = reply.tree
            return not _is_passing(found)

        await self._retry(attempt)
        if _error(found) in _GONE:
            return {}
        if "error" in found:
            raise _refusal(found)
        return found

    async def _last(self, stream: str, names: Sequence[str]) -> list[Reply | None]:
        """Return the last message under each subject, None where there is none."""
        return await self._get([request(f"DIRECT.GET.{stream}.{name}") for name in names])

    async def _get(self, requests: Sequence[Request]) -> list[Reply | None]:
        found: list[Reply | None] = [None] * len(requests)
        left = list(range(len(requests)))

        async def attempt() -> bool:
            nonlocal left
            replies = await self._link.ask([requests[n] for n in left])
            for n, reply in zip(left, replies, strict=True):
                found[n] = reply
            left = [n for n in left if found[n] is None]
            return not left

        await self._retry(attempt)
        return [None if reply is None or reply.status else reply for reply in found]

    async def _pull(self, stream: str, consumer: str, n: int, wait_s: float) -> list[Reply]:
        """Return up to n messages, waiting for the first."""
        until_s = now_s() + wait_s
        if not await self._link.up(max(wait_s, 0.001)):
            raise QueueAwayError(f"the queue at {self._url} does not answer ({self._link.problem})")
        subject = f"CONSUMER.MSG.NEXT.{stream}.{consumer}"
        at_once = request(subject, {"batch": n, "no_wait": True})
        found = await self._link.pull(at_once, n, SILENCE_S)
        left_s = until_s - now_s()
        if not found or found[-1].status == NOBODY:
            if (stream, consumer) in self._declared:
                await self._declare()
            await asyncio.sleep(max(0.0, min(left_s, RETRY_S[1])))
        elif not _messages(found) and left_s > 0.002:
            waiting = request(subject, {"batch": 1, "expires": int(left_s * 1e9)})
            found = await self._link.pull(waiting, 1, left_s + SILENCE_S)
            if n > 1 and _messages(found):
                found += await self._link.pull(request(subject, {"batch": n - 1, "no_wait": True}), n - 1, SILENCE_S)
        return _messages(found)

    def _settle(self, leases: Sequence[Lease], body: bytes) -> None:
        """Say something about leases that the server acknowledges; of those that are lost, nothing."""
        left = list(leases)

        async def attempt() -> bool:
            nonlocal left
            left = [lease for lease in left if not lease.lost]
            replies = await self._link.ask([Request(lease.handle, body) for lease in left])
            left = [lease for lease, reply in zip(left, replies, strict=True) if reply is None]
            return not left

        self._link.run(self._retry(attempt))

    def _tell(self, messages: Sequence[tuple[str, bytes]]) -> None:
        self._link.run(self._retry(lambda: self._link.tell(messages)))

    # -- what must exist -----------------------------------------------------------------------------------------

    async def _declare(self) -> bool:
        """Make what this campaign declared, where it is not there; return whether the server obeyed."""
        if not self._declared:
            return True
        made: dict[str, bool] = {}
        for config in streams.streams(self._room):
            reply = (await self._link.ask([request(f"STREAM.CREATE.{config['name']}", config)]))[0]
            if reply is None or reply.status == NOBODY or _is_passing(reply.tree):
                return False
            if "error" in reply.tree and _error(reply.tree) != _EXISTS:
                raise _refusal(reply.tree)
            made[config["name"]] = bool(reply.tree.get("did_create"))
        if made[subjects.JOBS] and not made[subjects.EXHAUSTED]:  # it speaks of jobs that are no more
            await self._link.ask([request(f"STREAM.PURGE.{subjects.EXHAUSTED}")])
        for stream, name in sorted(self._declared):
            consumer = streams.job_consumer if stream == subjects.JOBS else streams.result_consumer
            body = {"stream_name": stream, "config": consumer(name, self.terms)}
            reply = (await self._link.ask([request(f"CONSUMER.DURABLE.CREATE.{stream}.{name}", body)]))[0]
            if reply is None or reply.status == NOBODY or _is_passing(reply.tree):
                return False
            if "error" in reply.tree:
                raise _refusal(reply.tree)
        return True

    async def _read_exhausted(self) -> None:
        """Read on in what the server said of jobs that were delivered too often."""
        info = await self._api(f"STREAM.INFO.{subjects.EXHAUSTED}")
        if not info.get("state", {}).get("messages") or info.get("created") != self._exhausted_of:
            self._exhausted.clear()
            self._exhausted_read, self._exhausted_of = 0, str(info.get("created"))
        while True:
            place = {"seq": self._exhausted_read + 1, "next_by_subj": subjects.exhausted("*")}
            reply = (await self._get([request(f"DIRECT.GET.{subjects.EXHAUSTED}", place)]))[0]
            if reply is None:
                return
            self._exhausted_read = int(reply.headers["Nats-Sequence"])
            self._exhausted.add((str(reply.tree.get("consumer")), int(reply.tree.get("stream_seq", 0))))

    def _standing(self, job: Job, given: int, reply: Reply | None) -> Standing:
        if reply is None:
            return "absent"
        place = int(reply.headers["Nats-Sequence"])
        if (job.device_class, place) in self._exhausted:
            return "exhausted"
        return "queued" if place > given else "leased"


def _messages(replies: Sequence[Reply]) -> list[Reply]:
    return [reply for reply in replies if not reply.status]


def _error(tree: dict[str, Any]) -> int:
    return int(tree.get("error", {}).get("err_code", 0))


def _is_passing(tree: dict[str, Any]) -> bool:
    """Return whether an error is the server's own state, such as starting, and not about what was asked."""
    return tree.get("error", {}).get("code") == 503 and _error(tree) not in _FULL


def _refusal(tree: dict[str, Any]) -> DeviceError:
    text = tree["error"].get("description", "no reason given")
    if _error(tree) in _FULL:
        return QueueFullError(
            f"the queue's server takes no more ({text}); let the campaign store results, or give it room"
        )
    return DeviceError(f"the queue's server refused ({text}); see its log, and what this login may do")


def _stored(reply: Reply | None) -> bool:
    """Return whether a publication is stored, by its answer; a job that is in the queue already counts as stored."""
    if reply is None or reply.status:
        return False
    tree = reply.tree
    if "error" not in tree:
        return "stream" in tree
    if _is_passing(tree):
        return False
    if "per subject" in tree["error"].get("description", ""):
        return True
    raise _refusal(tree)


def _nak(delay_s: float) -> bytes:
    return b"-NAK" + (json.dumps({"delay": int(delay_s * 1e9)}).encode() if delay_s > 0 else b"")


def _delivery(handle: str) -> int:
    """Return how often a message was delivered, from where it is acknowledged.

    That is ``$JS.ACK.<stream>.<consumer>.<delivered>...``, or with the domain and the account's hash after ``$JS.ACK``.
    """
    parts = handle.split(".")
    return int(parts[4] if len(parts) == 9 else parts[6])


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
