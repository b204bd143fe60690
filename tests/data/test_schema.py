"""The tables of a new store are those of every store since the first; later ones are made when they are needed."""

import sqlite3

from tempograd.data.schema import APPLICATION_ID, DELIVERIES, MODELS, SCHEMA, TABLES


def test_the_tables_of_a_file_are_those_that_released_files_have():
    connection = sqlite3.connect(":memory:")
    connection.executescript(TABLES)
    for statement in (DELIVERIES, MODELS) * 2:  # twice: the second finds them
        connection.execute(statement)
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert found == {"fingerprints", "campaigns", "calibrations", "measurements", "deliveries", "models"}
    assert (APPLICATION_ID.to_bytes(4), SCHEMA) == (b"tgrd", 1)
    connection.close()
