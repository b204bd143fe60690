import csv
import io
from base64 import b64decode

import pytest

from tempograd.report.table import Table, guarded


@pytest.mark.parametrize(
    "cell", ["=1+1", "+cmd|' /C calc'!A0", "-x", "@SUM(A1)", " =1", "\t=1", "＝1+1", '=HYPERLINK("http://a.b")', "--1"]
)
def test_what_a_spreadsheet_would_run_is_quoted(cell):
    assert guarded(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["-0.5", "+3", "-1e-9", -2.5, "1.2", "none", "a=b", ""])
def test_numbers_and_plain_words_are_left_alone(cell):
    assert guarded(cell) == str(cell)


def test_round_trip():
    table = Table("t", {"=name": ["a,b", 'quo"te', "line\nbreak"], "x_ms": [0.1 + 0.2, None, -1.0]})
    rows = list(csv.reader(io.StringIO(table.csv(), newline="")))
    assert rows[0] == ["'=name", "x_ms"]
    assert [row[0] for row in rows[1:]] == ["a,b", 'quo"te', "line\nbreak"]
    assert [float(row[1]) if row[1] else None for row in rows[1:]] == [0.1 + 0.2, None, -1.0]


def test_uri_is_the_csv():
    table = Table("t", {"text": ["ä", "日本"]})
    head, _, body = table.uri().partition(",")
    assert head == "data:text/csv;charset=utf-8;base64"
    assert b64decode(body).decode() == table.csv()


def test_columns_of_different_lengths_are_an_error():
    with pytest.raises(ValueError, match="shorter"):
        Table("t", {"a": [1, 2], "b": [1]}).csv()
