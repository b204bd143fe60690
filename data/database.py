"""What our SQLite files share: how one is opened and admitted, read and written, and told of when it does not obey.

A store, an agent's spool and the queue in a file differ in their tables, and in what their errors say.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ..errors import InputRefusedError, TempogradError

_WAIT_MS = 10_000  # for another process to end its transaction


def _unmerged(path: Path) -> bool:
    """Return whether there are transactions beside a file, which is then not the whole of it."""
    log = path.with_name(f"{path.name}-wal")
    return log.exists() and log.stat().st_size > 0


class Run(Protocol):
    """Runs one statement within a transaction."""

    def __call__(self, query: str, *values: object) -> sqlite3.Cursor: ...


class Database:
    """A SQLite file, open; threads take turns.

    Args:
        path: the file; created if absent, but where it is only read.
        told: what an error of SQLite, of the disk or of a text that is no UTF-8 is to be raised as; None to leave it.
        write: whether it may be written.

    Raises:
        TempogradError: what ``told`` makes of an error.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from ..errors import StoreError
        >>> with TemporaryDirectory() as folder:
        ...     database = Database(Path(folder) / "x.db", told=lambda error: StoreError(str(error)))
        ...     database.admit("CREATE TABLE a (x)", application_id=7, schema=1, refusal=lambda *found: "not ours")
        ...     with database.transaction() as run:
        ...         _ = run("INSERT INTO a VALUES (?)", 5)
        ...     print(database.read("SELECT x FROM a"))
        ...     database.close()
        [(5,)]
    """

    def __init__(self, path: Path, *, told: Callable[[Exception], TempogradError | None], write: bool = True) -> None:
        self._told, self._write = told, write
        self._turn = threading.RLock()
        how = "rwc" if write else "ro" if os.access(path.parent, os.W_OK) or _unmerged(path) else "ro&immutable=1"
        where = f"{path.absolute().as_uri()}?mode={how}"
        with _raised_as(told):
            # commits are ours to make: autocommit here, BEGIN IMMEDIATE in transaction
            self._connection = sqlite3.connect(where, uri=True, isolation_level=None, check_same_thread=False)
        try:
            for pragma in (f"busy_timeout = {_WAIT_MS}", "foreign_keys = ON", "trusted_schema = OFF"):
                self.read(f"PRAGMA {pragma}")
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Let it go; closing twice is allowed."""
        with self._turn:
            self._connection.close()

    def admit(self, tables: str, *, application_id: int, schema: int, refusal: Callable[[int, int], str]) -> None:
        """Make an empty file ours; a file of others is not touched.

        Args:
            tables: statements, each ended by ``;`` and a new line.
            application_id: Application id of our kind of file, in its header.
            schema: Schema of the tables.
            refusal: what to say of a file with another application id and schema.

        Raises:
            InputRefusedError: it is not ours, or of another schema, or empty and only read.
        """
        ours, found = (application_id, schema), self._stamp()
        empty = found == (0, 0) and not self.read("SELECT 1 FROM sqlite_schema LIMIT 1")
        if found != ours and not (empty and self._write):
            raise InputRefusedError(refusal(*found))
        if self._write:
            self.read("PRAGMA journal_mode = WAL")
            self.read("PRAGMA synchronous = FULL")
        if empty:
            with self.transaction() as run:
                if self._stamp() == ours:  # another process was faster
                    return
                for statement in tables.split(";\n"):
                    run(statement)
                run(f"PRAGMA application_id = {application_id}")
                run(f"PRAGMA user_version = {schema}")

    @contextmanager
    def transaction(self) -> Generator[Run]:
        """Give what runs statements; commit what is written inside, synced, or nothing of it."""
        with self._turn, self._named():
            self._run("BEGIN IMMEDIATE")
            try:
                yield self._run
                self._run("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._run("ROLLBACK")
                raise

    def read(self, query: str, *values: object) -> list[Any]:
        """Return all rows of a query."""
        with self._turn, self._named():
            return self._run(query, *values).fetchall()

    def _run(self, query: str, *values: object) -> sqlite3.Cursor:
        return self._connection.execute(query, values)

    def _stamp(self) -> tuple[int, int]:
        """Return application id and schema."""
        return self.read("PRAGMA application_id")[0][0], self.read("PRAGMA user_version")[0][0]

    @contextmanager
    def _named(self) -> Generator[None]:
        """Raise errors as they are to be told; after one of the disk nothing more is read or written here."""
        with _raised_as(self._told):
            try:
                yield
            except sqlite3.Error as error:
                if code_of(error) == sqlite3.SQLITE_IOERR:
                    # after a failed sync the kernel may have dropped the pages: this descriptor is not to be trusted
                    self._connection.close()
                raise


def code_of(error: Exception) -> int:
    """Return the primary result code of SQLite, such as ``sqlite3.SQLITE_FULL``; 0 of what is none of its errors."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


@contextmanager
def _raised_as(told: Callable[[Exception], TempogradError | None]) -> Generator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
        meant = told(error)
        if meant is None:
            raise
        raise meant from error
