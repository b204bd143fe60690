"""A table as other tools write it: Parquet, or text whose encoding, separator and decimal sign are found out and said.

What can be read in two ways is refused with both readings.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..errors import InputRefusedError, UnknownNameError

DATA = "data.parquet"  # in a folder that ``export`` wrote
LARGEST = 2**31  # bytes of an unpacked table
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_LINES = 100  # looked at to find the separator
_EMPTY = {"", "nan", "na", "n/a", "#n/a", "null", "none", "-", "--"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)
_COMMA = re.compile(r"[+-]?[\d.]*\d,[\d.,]*\d(e[+-]?\d+)?", re.IGNORECASE)
_DECIMAL = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+(e[+-]?\d+)?)?", re.IGNORECASE)  # of 1.234,5
_GROUPED = re.compile(r"[+-]?([1-9]\d{0,2}(,\d{3})*|\d+)(\.\d+)?")  # of 1,234.5


@dataclass(frozen=True)
class Numbers:
    """A column as numbers.

    Attributes:
        values: ``(n,)``, NaN where there is none.
        empty: rows that say that there is none.
        words: rows that hold something else, with what.
        remarks: how it was read, where that was not plain.
    """

    values: NDArray[np.float64]
    empty: tuple[int, ...]
    words: dict[int, str]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class TableFile:
    """A table in memory.

    Attributes:
        path: where it came from.
        table: its columns, those of text perhaps all of text.
        separator: between the cells of a text; empty for Parquet.
        remarks: how it was read, where that was not plain.
    """

    path: Path
    table: pa.Table
    separator: str = ""
    remarks: tuple[str, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Return the columns, each once."""
        return tuple(dict.fromkeys(self.table.column_names))

    def cells(self, name: str) -> list[Any]:
        """Return a column as Python's values.

        Raises:
            UnknownNameError: no such column.
            InputRefusedError: it is there twice, and not the same.
        """
        if name not in self.names:
            raise UnknownNameError(f"column of {self.path.name}", name, self.names)
        found = [c.to_pylist() for n, c in zip(self.table.column_names, self.table.columns, strict=True) if n == name]
        if any(repr(other) != repr(found[0]) for other in found[1:]):
            raise InputRefusedError(
                f"{self.path}: {len(found)} columns are called {name!r} and differ; rename one of them"
            )
        return found[0]

    def numbers(self, name: str) -> Numbers:
        """Return a column as numbers, commas read as what they are.

        Raises:
            UnknownNameError: no such column.
            InputRefusedError: it holds no numbers, or commas that can be read in two ways.
        """
        cells = self.cells(name)
        texts = {i: cell.strip() for i, cell in enumerate(cells) if isinstance(cell, str)}
        convert, remark = self._decimal_sign(name, [t for t in texts.values() if _COMMA.fullmatch(t)], texts)
        values, words, empty = np.full(len(cells), np.nan), dict[int, str](), list[int]()
        for i, cell in enumerate(cells):
            text = texts.get(i)
            if cell is None or cell != cell or (text is not None and text.lower() in _EMPTY):
                empty.append(i)
            elif text is not None:
                plain = convert(text)
                if _NUMBER.fullmatch(plain):
                    values[i] = float(plain)
                else:
                    words[i] = text
            elif isinstance(cell, bool) or not hasattr(cell, "__float__"):
                words[i] = str(cell)
            else:
                values[i] = float(cell)
        if words and len(words) + len(empty) == len(cells):
            row, word = next(iter(words.items()))
            raise InputRefusedError(f"{self.path}: column {name!r} holds no numbers: row {row} has {word[:40]!r}")
        twice = self.table.column_names.count(name)
        remarks = [remark] if remark else []
        if twice > 1:
            remarks.append(f"{twice} columns are called {name!r}, with the same values: read once")
        return Numbers(values, tuple(empty), words, tuple(remarks))

    def _decimal_sign(
        self, name: str, commas: Sequence[str], texts: dict[int, str]
    ) -> tuple[Callable[[str], str], str]:
        """Return what turns a cell into a number as Python writes it, and how it was read."""
        if not commas:
            return str, ""
        decimal, grouped = all(map(_DECIMAL.fullmatch, commas)), all(map(_GROUPED.fullmatch, commas))
        first = commas[0]
        as_decimal, as_grouped = _with_points(first), _ungrouped(first)
        if decimal and (not grouped or self.separator == ";"):
            points = next((text for text in texts.values() if _NUMBER.fullmatch(text) and "." in text), None)
            if points is not None:
                raise InputRefusedError(
                    f"{self.path}: column {name!r} holds numbers with commas ({first}) and with points ({points}); "
                    "write a point as decimal sign throughout"
                )
            return _with_points, f"{name}: commas read as decimal signs, {first} as {as_decimal}"
        if grouped and not decimal:
            return _ungrouped, f"{name}: commas read as between thousands, {first} as {as_grouped}"
        if decimal and grouped:
            raise InputRefusedError(
                f"{self.path}: {first} in column {name!r} can be read as {as_decimal} or as {as_grouped}; write it "
                "with a point as decimal sign and nothing between thousands"
            )
        raise InputRefusedError(
            f"{self.path}: column {name!r} holds numbers with commas that no rule fits, such as {first}; write a point "
            "as decimal sign and nothing between thousands"
        )


def _with_points(text: str) -> str:
    return text.replace(".", "").replace(",", ".")


def _ungrouped(text: str) -> str:
    return text.replace(",", "")


def open_table(path: Path | str) -> TableFile:
    """Read a Parquet file, a folder that ``export`` wrote, or text with the ending .csv or .tsv; gzip around it too.

    Raises:
        InputRefusedError: it cannot be read, or in two ways.
    """
    path = Path(path)
    path = path / DATA if path.is_dir() else path
    try:
        if path.suffix == ".parquet":
            return TableFile(path, pq.ParquetFile(path).read())
        content, packed = _unpacked(path)
        is_text = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
        if is_text.lower() in (".csv", ".tsv") and not content.startswith(b"PAR1"):
            return _text_table(path, content, ("unpacked by gzip",) if packed else ())
        return TableFile(path, pq.ParquetFile(io.BytesIO(content)).read())
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        raise InputRefusedError(
            f"cannot read {path}: {error}. It must be Parquet, or CSV with the ending .csv or .tsv, gzipped or not"
        ) from error


def header_of(file: TableFile) -> dict[str, Any]:
    """Return what ``export`` wrote of a file of its own: space, fingerprint, versions; nothing of another file."""
    return json.loads((file.table.schema.metadata or {}).get(b"tempograd", b"{}"))


def _unpacked(path: Path) -> tuple[bytes, bool]:
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return path.read_bytes(), False
    with gzip.open(path) as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise InputRefusedError(f"{path} holds more than {LARGEST} bytes when unpacked; cut it into smaller tables")
    return content, True


def _text_table(path: Path, content: bytes, remarks: tuple[str, ...]) -> TableFile:
    text, encoding = _decoded(path, content)
    separator = _separator(path, text)
    header = next(filter(None, csv.reader(io.StringIO(text), delimiter=separator)), [])
    names = [name.strip() for name in header]
    table = pyarrow.csv.read_csv(
        io.BytesIO(text.encode()),
        read_options=pyarrow.csv.ReadOptions(
            column_names=[str(i) for i in range(len(names))], skip_rows=_header_lines(text)
        ),
        parse_options=pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={str(i): pa.string() for i in range(len(names))}, strings_can_be_null=False
        ),
    )
    if encoding:
        remarks += (f"text read as {encoding}",)
    if separator != "," and len(names) > 1:
        remarks += (f"cells read as separated by {SEPARATORS[separator]}",)
    return TableFile(path, table.rename_columns(names), separator, remarks)


def _header_lines(text: str) -> int:
    """Return how many lines the first row takes, blank ones before it with it."""
    reader = csv.reader(io.StringIO(text))
    for row in reader:
        if row:
            break
    return reader.line_num


def _decoded(path: Path, content: bytes) -> tuple[str, str]:
    """Return a text and its encoding, which is empty for UTF-8.

    Raises:
        InputRefusedError: it begins as UTF-16 does, and is none.
    """
    start = content[:200]
    try:
        if start.startswith((b"\xff\xfe", b"\xfe\xff")):
            return content.decode("utf-16"), "UTF-16"
        if b"\x00" in start:
            little = start[1::2].count(0) >= start[::2].count(0)
            return content.decode("utf-16-le" if little else "utf-16-be"), "UTF-16"
    except UnicodeDecodeError as error:
        raise InputRefusedError(f"{path} is no text; name a table as Parquet, CSV or TSV") from error
    try:
        return content.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace"), "Windows-1252"


def _separator(path: Path, text: str) -> str:
    """Return the separator by which every one of the first rows has as many cells as the header."""

    def widths(separator: str) -> Iterator[int]:
        rows = (row for row in csv.reader(io.StringIO(text), delimiter=separator) if row)
        return (len(row) for row in islice(rows, _LINES))

    counts = {separator: list(widths(separator)) for separator in SEPARATORS}
    headers = {separator: found[0] for separator, found in counts.items() if found and found[0] > 1}
    fitting = [separator for separator in headers if len(set(counts[separator])) == 1]
    if len(fitting) > 1:
        readings = " or ".join(f"{headers[s]} columns separated by {SEPARATORS[s]}" for s in fitting)
        raise InputRefusedError(f"{path} can be read as {readings}; write cells that hold a separator in quotes")
    return fitting[0] if fitting else max(headers, key=lambda s: headers[s], default=",")
