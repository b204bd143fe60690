"""What an agent must not forget when it is killed: leases in hand, results not delivered, notes about its device."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from ...data.database import Database
from ...devices.host import text_of
from ...errors import StoreError, UsageError
from ...locks import Lock
from ..messages import Job, Result
from ..queue import Lease
from ..wire import decode, encode

APPLICATION_ID = 0x74677370  # "tgsp", in the file's header
SCHEMA = 1
WARNED = 0.8  # share of the cap from which the agent says so

_TABLES = """
CREATE TABLE leases (
    attempt TEXT PRIMARY KEY,
    job BLOB NOT NULL,
    delivery INTEGER NOT NULL,
    deadline_s REAL NOT NULL,
    handle TEXT NOT NULL,
    boot TEXT NOT NULL
) STRICT;
CREATE TABLE results (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE notes (
    name TEXT PRIMARY KEY,
    json TEXT NOT NULL
) STRICT;
"""


class Spool:
    """A SQLite file, written ahead and synced at every commit; one process at a time.

    Args:
        folder: where it lies, beside models and weights; created if absent.
        cap_bytes: Largest size of undelivered results; at it an agent takes nothing more.

    Raises:
        UsageError: the folder holds something, and no spool.
        StoreError: another agent has it, or it cannot be written.
        InputRefusedError: it is something else.
    """

    def __init__(self, folder: Path, *, cap_bytes: int = 10**9) -> None:
        self.folder, self.cap_bytes = folder, cap_bytes
        self._boot = text_of(Path("/proc/sys/kernel/random/boot_id")) or ""
        self._lock = Lock(folder / "spool")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(not file.name.startswith("spool.") for file in folder.iterdir()) and not self._file.exists():
                raise UsageError(f"{folder} holds files and no spool: they are kept; give a folder of its own")
            if not self._lock.take():
                raise StoreError(f"{folder} is held by {self._lock.holder()}; give each agent its own --spool")
        except OSError as error:
            raise self._told(error) from error
        try:
            self._database = Database(self._file, told=self._told)
        except BaseException:
            self._lock.release()
            raise
        try:
            self._database.admit(_TABLES, application_id=APPLICATION_ID, schema=SCHEMA, refusal=self._refusal)
            self._bytes = int(self._database.read("SELECT coalesce(sum(length(body)), 0) FROM results")[0][0])
            self.waiting = int(self._database.read("SELECT count(*) FROM results")[0][0])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let it go; closing twice is allowed."""
        self._database.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _file(self) -> Path:
        return self.folder / "spool.db"

    @property
    def fullness(self) -> float:
        """Return the share of the cap that undelivered results take."""
        return self._bytes / self.cap_bytes

    # -- leases --------------------------------------------------------------------------------------------------

    def hold(self, leases: Iterable[Lease]) -> None:
        """Note leases, or their new deadlines."""
        rows = [(x.attempt, encode(x.job), x.delivery, x.deadline_s, x.handle, self._boot) for x in leases]
        with self._database.transaction() as run:
            for row in rows:
                run("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?)", *row)

    def forget(self, leases: Iterable[Lease]) -> None:
        """Drop leases that were finished, given back or lost."""
        with self._database.transaction() as run:
            for lease in leases:
                run("DELETE FROM leases WHERE attempt = ?", lease.attempt)

    def leases(self) -> list[Lease]:
        """Return the leases of this boot of the machine; deadlines of another mean nothing."""
        rows = self._database.read(
            "SELECT job, delivery, attempt, deadline_s, handle FROM leases WHERE boot = ?", self._boot
        )
        return [Lease(decode(job, Job), *rest) for job, *rest in rows]

    # -- results -------------------------------------------------------------------------------------------------

    def keep(self, results: Sequence[Result]) -> None:
        """Keep results until they are delivered; they are on the disk when this returns."""
        rows = [(result.key, encode(result)) for result in results]
        with self._database.transaction() as run:
            for row in rows:
                kept = run("INSERT OR IGNORE INTO results (key, body) VALUES (?, ?)", *row).rowcount
                self._bytes += kept * len(row[1])
                self.waiting += kept

    def undelivered(self, most: int) -> list[Result]:
        """Return the oldest results."""
        rows = self._database.read("SELECT body FROM results ORDER BY number LIMIT ?", most)
        return [decode(body, Result) for (body,) in rows]

    def waiting_keys(self) -> list[str]:
        """Return the keys of all results that are not delivered."""
        return [key for (key,) in self._database.read("SELECT key FROM results ORDER BY number")]

    def delivered(self, results: Sequence[Result]) -> None:
        """Drop results that the queue has."""
        with self._database.transaction() as run:
            for result in results:
                rows = run("DELETE FROM results WHERE key = ? RETURNING length(body)", result.key)
                for (length,) in rows.fetchall():
                    self._bytes -= length
                    self.waiting -= 1

    # -- notes ---------------------------------------------------------------------------------------------------

    def note(self, name: str, value: Any) -> None:
        """Keep a value under a name."""
        text = json.dumps(value, allow_nan=False)
        with self._database.transaction() as run:
            run("INSERT OR REPLACE INTO notes VALUES (?, ?)", name, text)

    def noted(self, name: str, otherwise: Any) -> Any:
        """Return what was kept under a name."""
        rows = self._database.read("SELECT json FROM notes WHERE name = ?", name)
        return json.loads(rows[0][0]) if rows else otherwise

    # -- the file ------------------------------------------------------------------------------------------------

    def _refusal(self, *_: int) -> str:
        return (
            f"{self._file} is no spool of this version of tempograd; name another folder, or delete it: then what it "
            "had not delivered is timed again"
        )

    def _told(self, error: Exception) -> StoreError:
        return StoreError(
            f"cannot write {self.folder} ({error}); nothing lost: what was not kept is timed again. Free or mount "
            "the disk, then start again"
        )
