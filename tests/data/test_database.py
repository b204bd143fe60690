"""Transactions are whole or nothing, a foreign file is never made ours, and errors are raised as their owner says."""

import sqlite3

import pytest

from tempograd.data.database import Database, code_of
from tempograd.errors import InputRefusedError, StoreError

TABLES = "CREATE TABLE a (x);\nCREATE TABLE b (y);\n"


def told(error):
    return StoreError(f"told: {error}")


def opened(path, schema=1, **options):
    database = Database(path, told=told, **options)
    database.admit(TABLES, application_id=7, schema=schema, refusal=lambda *found: f"found {found}")
    return database


@pytest.fixture
def database(tmp_path):
    made = opened(tmp_path / "x.db")
    yield made
    made.close()


def names(path):
    with sqlite3.connect(path) as connection:
        found = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    connection.close()
    return found


def test_an_empty_file_becomes_ours_once(database, tmp_path):
    opened(tmp_path / "x.db").close()
    with pytest.raises(InputRefusedError, match=r"found \(7, 1\)"):
        opened(tmp_path / "x.db", schema=2)
    assert names(tmp_path / "x.db") == {"a", "b"}


def test_a_file_of_others_is_left_alone_to_the_byte(tmp_path):
    path = tmp_path / "theirs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(InputRefusedError, match=r"found \(0, 0\)"):
        opened(path)
    assert path.read_bytes() == before


def test_what_is_only_read_is_neither_made_nor_written(database, tmp_path):
    with pytest.raises(StoreError, match="unable to open"):
        opened(tmp_path / "absent.db", write=False)
    reader = opened(tmp_path / "x.db", write=False)
    with pytest.raises(StoreError, match="readonly"), reader.transaction() as run:
        run("INSERT INTO a VALUES (1)")
    reader.close()


def test_what_fails_inside_leaves_nothing(database):
    def stopped():
        with database.transaction() as run:
            run("INSERT INTO a VALUES (1)")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert database.read("SELECT count(*) FROM a") == [(0,)]
    with database.transaction() as run:
        run("INSERT INTO a VALUES (?)", 1)
    assert database.read("SELECT x FROM a WHERE x = ?", 1) == [(1,)]


def test_every_commit_is_on_the_disk(database):
    assert database.read("PRAGMA journal_mode") == [("wal",)]
    assert database.read("PRAGMA synchronous") == [(2,)]


def test_errors_are_raised_as_told_and_after_one_of_the_disk_it_is_closed(database):
    with pytest.raises(StoreError, match="told: no such table: c") as caught:
        database.read("SELECT * FROM c")
    assert code_of(caught.value.__cause__) == sqlite3.SQLITE_ERROR

    def failing():
        with database.transaction():
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = 1034  # SQLITE_IOERR_FSYNC
            raise error

    with pytest.raises(StoreError, match="disk I/O"):
        failing()
    with pytest.raises(StoreError, match="closed"):
        database.read("SELECT 1")
