"""Transactions are whole or nothing, and a foreign file is never made ours."""

import sqlite3

import pytest

from tempograd.data.database import is_ours, transaction, write_ahead

TABLES = "CREATE TABLE a (x);\nCREATE TABLE b (y)"


@pytest.fixture
def connection(tmp_path):
    opened = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    yield opened
    opened.close()


def ours(connection, schema=1):
    with transaction(connection):
        return is_ours(connection, TABLES, application_id=7, schema=schema)


def test_an_empty_file_becomes_ours_once(connection):
    assert ours(connection)
    assert ours(connection)
    assert not ours(connection, schema=2)
    assert {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")} == {"a", "b"}


def test_a_file_with_tables_of_others_is_left_alone(connection):
    connection.execute("CREATE TABLE theirs (x)")
    assert not ours(connection)
    assert [name for (name,) in connection.execute("SELECT name FROM sqlite_schema")] == ["theirs"]


def test_what_fails_inside_leaves_nothing(connection):
    ours(connection)

    def stopped():
        with transaction(connection):
            connection.execute("INSERT INTO a VALUES (1)")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert connection.execute("SELECT count(*) FROM a").fetchone() == (0,)
    with transaction(connection):
        connection.execute("INSERT INTO a VALUES (1)")
    assert connection.execute("SELECT count(*) FROM a").fetchone() == (1,)


def test_every_commit_is_on_the_disk(connection):
    write_ahead(connection)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
