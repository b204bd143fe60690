"""The queue in a file: for a campaign whose agents are processes of the same machine. No server, no network."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self, TypeVar

from ...data.database import Database, Run, code_of
from ...devices.host import text_of
from ...errors import InputRefusedError, StoreError, TempogradError
from ..messages import AgentState, Blob, Environment, Job, Result
from ..queue import Delivery, Lease, QueueAwayError, QueueFullError, Seen, Standing, Terms, environment_of, now_s
from ..subjects import COMMANDS, EVERY_AGENT, Command
from ..wire import NewerSchemaError, decode, digest, encode

_T = TypeVar("_T")

APPLICATION_ID = 0x74677175  # "tgqu", in the file's header
SCHEMA = 1
REMEMBERED_S = 120.0  # an offer or a result that comes twice within it is one
POLL_S = 0.02

_TABLES = """
CREATE TABLE boot (id TEXT NOT NULL) STRICT;
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL UNIQUE,
    issue INTEGER NOT NULL,
    device_class TEXT NOT NULL,
    body BLOB NOT NULL,
    delivery INTEGER NOT NULL DEFAULT 0,
    free_s REAL NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX jobs_by_class ON jobs (device_class, number);
CREATE TABLE results (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    campaign TEXT NOT NULL,
    agent TEXT NOT NULL,
    body BLOB NOT NULL,
    free_s REAL NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX results_by_campaign ON results (campaign, number);
CREATE TABLE remembered (id TEXT PRIMARY KEY, at_s REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX remembered_by_time ON remembered (at_s);
CREATE TABLE models (sha256 TEXT PRIMARY KEY, content BLOB NOT NULL) STRICT;
CREATE TABLE agents (agent TEXT PRIMARY KEY, body BLOB NOT NULL, at_s REAL NOT NULL) STRICT;
CREATE TABLE environments (agent TEXT, sha256 TEXT, body BLOB NOT NULL, PRIMARY KEY (agent, sha256)) STRICT;
CREATE TABLE commands (number INTEGER PRIMARY KEY AUTOINCREMENT, agent TEXT NOT NULL, word TEXT NOT NULL) STRICT;
"""


class EmbeddedQueue:
    """The queue in one SQLite file; see `Queue`.

    Leases are fenced by the file itself: a finish of an old delivery changes nothing.

    Args:
        path: the file; created if absent.
        terms: Terms of leases.

    Raises:
        InputRefusedError: the file is something else, or of another schema.
        StoreError: it cannot be opened or created.
    """

    def __init__(self, path: Path, *, terms: Terms) -> None:
        self.path = path
        self.terms = terms
        self._heard: int | None = None  # number of the last command that was heard
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = Database(path, told=self._told)
        try:
            self._database.admit(_TABLES, application_id=APPLICATION_ID, schema=SCHEMA, refusal=self._refusal)
            self._forget_other_boots()
        except BaseException:
            self._database.close()
            raise

    @property
    def away_since_s(self) -> float | None:
        return None

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the campaign's side -------------------------------------------------------------------------------------

    def declare(self, campaign: str, device_classes: Sequence[str]) -> None:
        """Do nothing: tables serve every campaign and class."""

    def put_models(self, contents: Sequence[bytes]) -> list[str]:
        rows = [(digest(content), content) for content in contents]
        with self._database.transaction() as run:
            for row in rows:
                run("INSERT OR IGNORE INTO models VALUES (?, ?)", *row)
        return [name for name, _ in rows]

    def drop_models(self, digests: Sequence[str]) -> None:
        with self._database.transaction() as run:
            for name in digests:
                run("DELETE FROM models WHERE sha256 = ?", name)

    def offer(self, jobs: Sequence[Job]) -> None:
        rows = [(job.job_id, job.issue, job.device_class, encode(job)) for job in jobs]
        with self._database.transaction() as run:
            for job, row in zip(jobs, rows, strict=True):
                there = run("SELECT 1 FROM jobs WHERE job_id = ?", job.job_id).fetchone()
                if not there and _is_new(run, job.message_id):
                    run("INSERT INTO jobs (job_id, issue, device_class, body) VALUES (?, ?, ?, ?)", *row)

    def withdraw(self, jobs: Sequence[Job]) -> None:
        with self._database.transaction() as run:
            for job in jobs:
                run("DELETE FROM jobs WHERE job_id = ?", job.job_id)

    def standing(self, jobs: Sequence[Job]) -> list[Standing]:
        return [self._standing(job.job_id) for job in jobs]

    def results(self, campaign: str, n: int, wait_ms: float) -> list[Delivery]:
        query = "SELECT number, agent, body FROM results WHERE campaign = ? AND free_s <= ? ORDER BY number LIMIT ?"

        def once() -> list[Delivery]:
            with self._database.transaction() as run:
                now = now_s()
                rows = run(query, campaign, now, n).fetchall()
                for number, *_ in rows:
                    run("UPDATE results SET free_s = ? WHERE number = ?", now + self.terms.ack_wait_s, number)
            return [Delivery.of(campaign, agent, body, str(number)) for number, agent, body in rows]

        return self._wait(lambda: bool(self._database.read(query, campaign, now_s(), 1)), once, wait_ms)

    def confirm(self, deliveries: Sequence[Delivery]) -> None:
        with self._database.transaction() as run:
            for delivery in deliveries:
                run("DELETE FROM results WHERE number = ?", int(delivery.handle))

    def agents(self) -> list[Seen]:
        rows = self._database.read("SELECT agent, body, at_s FROM agents")
        return Seen.readable((agent, body, now_s() - at_s) for agent, body, at_s in rows)

    def environment(self, agent: str, sha256: str) -> Environment | None:
        rows = self._database.read("SELECT body FROM environments WHERE agent = ? AND sha256 = ?", agent, sha256)
        return environment_of(rows[0][0], agent, sha256) if rows else None

    def command(self, agent: str, word: Command) -> None:
        with self._database.transaction() as run:
            run("INSERT INTO commands (agent, word) VALUES (?, ?)", agent, word)

    # -- the agent's side ----------------------------------------------------------------------------------------

    def take(self, device_class: str, n: int, wait_ms: float) -> list[Lease]:
        query = (
            "SELECT number, delivery + 1, body FROM jobs WHERE device_class = ? AND free_s <= ? AND delivery < ? "
            "ORDER BY number LIMIT ?"
        )
        most = self.terms.max_deliver

        def once() -> list[Lease]:
            with self._database.transaction() as run:
                now = now_s()
                leases: list[Lease] = []
                for number, delivery, body in run(query, device_class, now, most, n).fetchall():
                    try:
                        job = decode(body, Job)
                    except NewerSchemaError:
                        raise
                    except InputRefusedError:
                        run("DELETE FROM jobs WHERE number = ?", number)
                        continue
                    until_s = now + self.terms.ack_wait_s
                    run("UPDATE jobs SET delivery = ?, free_s = ? WHERE number = ?", delivery, until_s, number)
                    handle, deadline_s = f"{number}:{delivery}", now + self.terms.hold_s
                    leases.append(Lease(job, delivery, secrets.token_hex(8), deadline_s, handle))
            return leases

        return self._wait(lambda: bool(self._database.read(query, device_class, now_s(), most, 1)), once, wait_ms)

    def renew(self, leases: Sequence[Lease]) -> list[Lease]:
        now = now_s()
        held = [lease for lease in leases if not lease.lost]
        try:
            with self._database.transaction() as run:
                renewed = [
                    replace(lease, deadline_s=now + self.terms.hold_s)
                    for lease in held
                    if run(_FREE, now + self.terms.ack_wait_s, *_fence(lease)).rowcount
                ]
        except QueueAwayError:
            return held
        return renewed

    def get_models(self, blobs: Sequence[Blob]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for blob in blobs:
            query = "SELECT sha256, content FROM models WHERE sha256 = ? AND length(content) = ?"
            found |= dict(self._database.read(query, blob.sha256, blob.size_bytes))
        return {name: content for name, content in found.items() if digest(content) == name}

    def deliver(self, results: Sequence[Result]) -> None:
        rows = [(result.campaign, result.agent, encode(result)) for result in results]
        with self._database.transaction() as run:
            for result, row in zip(results, rows, strict=True):
                if _is_new(run, result.key):
                    run("INSERT INTO results (campaign, agent, body) VALUES (?, ?, ?)", *row)

    def finish(self, leases: Sequence[Lease]) -> None:
        with self._database.transaction() as run:
            for lease in leases:
                if not lease.lost:
                    run("DELETE FROM jobs WHERE number = ? AND delivery = ?", *_fence(lease))

    def give_back(self, leases: Sequence[Lease], delay_ms: float = 0) -> None:
        with self._database.transaction() as run:
            for lease in leases:
                if not lease.lost:
                    run(_FREE, now_s() + delay_ms / 1e3, *_fence(lease))

    def announce(self, state: AgentState) -> None:
        with self._database.transaction() as run:
            run("INSERT OR REPLACE INTO agents VALUES (?, ?, ?)", state.agent, encode(state), now_s())

    def put_environment(self, environment: Environment) -> str:
        name = environment.sha256
        with self._database.transaction() as run:
            row = (environment.agent, name, encode(environment))
            run("INSERT OR IGNORE INTO environments VALUES (?, ?, ?)", *row)
        return name

    def commands(self, agent: str) -> list[Command]:
        if self._heard is None:
            self._heard = int(self._database.read("SELECT coalesce(max(number), 0) FROM commands")[0][0])
        query = "SELECT number, word FROM commands WHERE agent IN (?, ?) AND number > ? ORDER BY number"
        rows = self._database.read(query, agent, EVERY_AGENT, self._heard)
        self._heard = max([self._heard, *(number for number, _ in rows)])
        return [word for _, word in rows if word in COMMANDS]

    # -- rows ----------------------------------------------------------------------------------------------------

    def _standing(self, job_id: str) -> Standing:
        rows = self._database.read("SELECT delivery, free_s FROM jobs WHERE job_id = ?", job_id)
        if not rows:
            return "absent"
        delivery, free_s = rows[0]
        if delivery >= self.terms.max_deliver and free_s <= now_s():
            return "exhausted"
        return "leased" if delivery else "queued"

    def _wait(self, ready: Callable[[], bool], once: Callable[[], list[_T]], wait_ms: float) -> list[_T]:
        """Look until there is something, without keeping others from writing meanwhile."""
        until_s = now_s() + wait_ms / 1e3
        while True:
            found = once() if ready() else []
            if found or now_s() >= until_s:
                return found
            time.sleep(min(POLL_S, max(0.0, until_s - now_s())))

    # -- the file ------------------------------------------------------------------------------------------------

    def _forget_other_boots(self) -> None:
        """Set free what was leased before this machine's last start: times of another boot mean nothing."""
        boot = text_of(Path("/proc/sys/kernel/random/boot_id")) or ""
        with self._database.transaction() as run:
            if run("SELECT id FROM boot").fetchall() == [(boot,)]:
                return
            run("DELETE FROM boot")
            run("INSERT INTO boot VALUES (?)", boot)
            run("UPDATE jobs SET free_s = 0")
            run("UPDATE results SET free_s = 0")
            run("DELETE FROM remembered")
            run("DELETE FROM agents")

    def _refusal(self, *_: int) -> str:
        return (
            f"{self.path} is no queue of this version of tempograd (schema {SCHEMA}); name another file, or delete it: "
            "the store has all that matters"
        )

    def _told(self, error: Exception) -> TempogradError | None:
        """Return what an error is to be raised as: it says what to do."""
        if not isinstance(error, sqlite3.Error):
            return None
        code = code_of(error)
        if isinstance(error, sqlite3.ProgrammingError):
            return QueueAwayError(f"{self.path} is closed; open it again. ({error})")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return QueueAwayError(f"{self.path} is being written by another process; try again")
        if code == sqlite3.SQLITE_FULL:
            return QueueFullError(f"disk full at {self.path}; free space, then it goes on")
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            return InputRefusedError(
                f"{self.path} is no readable queue ({error}); delete it: the store has all that matters"
            )
        return StoreError(f"cannot use {self.path}: {error}; check path and rights, then run again")


_FREE = "UPDATE jobs SET free_s = ? WHERE number = ? AND delivery = ?"


def _fence(lease: Lease) -> tuple[int, int]:
    number, _, delivery = lease.handle.partition(":")
    return int(number), int(delivery)


def _is_new(run: Run, id_: str) -> bool:
    """Note an id within a transaction; return whether it had not been seen of late."""
    now = now_s()
    run("DELETE FROM remembered WHERE at_s < ?", now - REMEMBERED_S)
    return bool(run("INSERT OR IGNORE INTO remembered VALUES (?, ?)", id_, now).rowcount)
