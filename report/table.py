"""The data behind a figure, as CSV that a spreadsheet cannot run."""

from __future__ import annotations

import csv
import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_FORMULA_PREFIXES = tuple("=+-@＝＋－＠")


@dataclass(frozen=True)
class Table:
    """Columns of one length.

    Attributes:
        name: Name of the file, without its ending.
        columns: name -> values; units are in the names.
    """

    name: str
    columns: Mapping[str, Sequence[Any]]

    def csv(self) -> str:
        """Return the table as CSV (RFC 4180); None is an empty cell, a number keeps all its digits."""
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow([guarded(name) for name in self.columns])
        for row in zip(*self.columns.values(), strict=True):
            writer.writerow(["" if cell is None else guarded(cell) for cell in row])
        return out.getvalue()

    def uri(self) -> str:
        """Return the CSV as a ``data:`` address, so that a page needs no file beside it."""
        return "data:text/csv;charset=utf-8;base64," + b64encode(self.csv().encode()).decode()


def guarded(cell: Any) -> str:
    """Return a cell's text, with an apostrophe before what a spreadsheet would take for a formula.

    >>> guarded("=1+1"), guarded("-0.5"), guarded("-x")
    ("'=1+1", '-0.5', "'-x")
    """
    text = str(cell)
    if not text.lstrip().startswith(_FORMULA_PREFIXES):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
