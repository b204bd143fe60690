"""A table in place of data: its spec is read whatever colons it holds, and it trains nothing."""

from pathlib import Path

import pytest

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.tasks.table import TableTask, table_column


@pytest.mark.parametrize(
    ("spec", "file", "column"),
    [
        ("table:nb201.parquet:help:gold_6226", "nb201.parquet", "help:gold_6226"),
        ("table:a:b.csv:c", "a:b.csv", "c"),
        ("table:x.tsv.gz:latency ms", "x.tsv.gz", "latency ms"),
    ],
)
def test_file_and_column_are_told_apart(spec, file, column):
    assert table_column(spec) == (Path(file), column)


def test_what_is_no_table_is_none_and_half_a_table_is_refused():
    assert table_column("digits,limit=3") is None
    for half in ("table:x.parquet", "table:x.txt:column", "table:"):
        with pytest.raises(UsageError, match="write table:FILE:COLUMN"):
            table_column(half)


def test_a_method_that_trains_is_told_that_there_are_no_images():
    with pytest.raises(UsageError, match="asks for accuracies only"):
        TableTask("t", {}).fitted(registry.create("space", "nasbench201:cells=1,width=4,size=8"))
