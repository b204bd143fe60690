"""What the SQLite files share: a transaction, and how an empty file becomes one of ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None]:
    """Commit what is written inside, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def write_ahead(connection: sqlite3.Connection) -> None:
    """Write ahead, and sync at every commit."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def is_ours(connection: sqlite3.Connection, tables: str, *, application_id: int, schema: int) -> bool:
    """Within a transaction, make an empty file ours; return whether it is."""
    run = connection.execute
    found = (run("PRAGMA application_id").fetchone()[0], run("PRAGMA user_version").fetchone()[0])
    if found == (0, 0) and not run("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        for statement in tables.split(";\n"):
            run(statement)
        run(f"PRAGMA application_id = {application_id}")
        run(f"PRAGMA user_version = {schema}")
        return True
    return found == (application_id, schema)
