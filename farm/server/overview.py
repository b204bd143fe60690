"""How a farm is: its agents, the jobs by class, and the server; read without changing anything."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any, Self

from ...errors import DeviceError
from .. import subjects
from ..connection import open_queue
from ..queue import Access, QueueAwayError, Seen
from ..queues.nats import Link, Request
from . import server

PATIENCE_S = 5.0


@dataclass(frozen=True)
class ClassJobs:
    """Jobs of a class: ``queued`` for the next agent, ``leased`` to one (or given back, to be given out again)."""

    device_class: str
    queued: int
    leased: int


@dataclass(frozen=True)
class Overview:
    """A farm at one moment.

    Attributes:
        server: its version.
        encrypted: whether it speaks TLS.
        agents: their latest states, by name.
        jobs: by class.
        exhausted: times that a job was given out as often as allowed without a result.
        results: that wait for a campaign to store them.
        stored_bytes: on the server's disk.
    """

    server: str
    encrypted: bool
    agents: list[Seen]
    jobs: list[ClassJobs]
    exhausted: int
    results: int
    stored_bytes: int


class Overlook:
    """A connection through which a farm is looked at, again and again.

    Raises:
        UsageError: the address is not allowed.
    """

    def __init__(self, url: str, access: Access) -> None:
        self._url = url
        self._queue = open_queue(url, access=access, patience_s=PATIENCE_S)
        self._link = Link(url, access)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._link.close()
        self._queue.close()

    def look(self) -> Overview:
        """Return how the farm is now.

        Raises:
            QueueAwayError: the server does not answer within 5 s.
        """
        greeting = greet(self._url)
        if not self._link.run(self._link.up(PATIENCE_S)):
            raise QueueAwayError(f"the server at {self._url} does not let the campaign in ({self._link.problem})")
        account, consumers, exhausted, results = self._ask(
            "INFO", f"CONSUMER.LIST.{subjects.JOBS}", f"STREAM.INFO.{subjects.EXHAUSTED}",
            f"STREAM.INFO.{subjects.RESULTS}",
        )  # fmt: skip
        jobs = [ClassJobs(c["name"], c["num_pending"], c["num_ack_pending"]) for c in consumers.get("consumers") or ()]
        return Overview(
            str(greeting.get("version", "")), bool(greeting.get("tls_required")), self._queue.agents(),
            sorted(jobs, key=lambda j: j.device_class), _messages(exhausted), _messages(results),
            int(account.get("storage", 0)),
        )  # fmt: skip

    def _ask(self, *subjects_: str) -> list[dict[str, Any]]:
        replies = self._link.run(self._link.ask([Request(f"$JS.API.{subject}") for subject in subjects_], PATIENCE_S))
        if any(reply is None for reply in replies):
            raise QueueAwayError(f"the server at {self._url} does not answer; see its log")
        return [reply.tree for reply in replies if reply is not None]


def greet(url: str) -> dict[str, Any]:
    """Return what the server says of itself to anybody: version, whether it encrypts, what it demands.

    Raises:
        QueueAwayError: nothing answers there.
        DeviceError: what answers is no server of NATS.
    """
    host, port = server.address_of(url)
    try:
        with socket.create_connection((host, port), PATIENCE_S) as connection, connection.makefile("rb") as lines:
            line = lines.readline(2**16)
    except OSError as error:
        raise QueueAwayError(f"no server at {url} ({error}); start it with: tempograd farm up") from error
    word, _, rest = line.partition(b" ")
    try:
        said = json.loads(rest) if word == b"INFO" else None
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise DeviceError(f"what answers at {url} is no nats-server; see the address in farm.toml")
    return said


def _messages(stream: dict[str, Any]) -> int:
    return int(stream.get("state", {}).get("messages", 0))
