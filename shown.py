"""Objects that show themselves: their text at a prompt, a table in a notebook, rows for pandas; counts in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from .errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

MOST = 20  # rows of a table in a notebook


class Rows:
    """Something that is a list of rows to whoever looks at it."""

    def listed(self) -> list[dict[str, Any]]:
        """Return the rows of `to_frame`."""
        raise NotImplementedError

    def to_frame(self) -> pd.DataFrame:
        """Return the rows as a pandas DataFrame.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise UsageError("to_frame needs pandas: pip install pandas") from error
        return pandas.DataFrame(self.listed())

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>{table(self.listed())}"


def counted(number: int, noun: str, nouns: str = "") -> str:
    """Return a number and its noun.

    Args:
        number: how many.
        noun: for one.
        nouns: for others, where that is more than an s.

    >>> counted(1, "network"), counted(1200, "network"), counted(0, "query", "queries")
    ('1 network', '1,200 networks', '0 queries')
    """
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"


def table(rows: Sequence[Mapping[str, Any]], most: int = MOST) -> str:
    """Return rows as an HTML table, the first ``most`` of them; a row may lack some columns, in any order.

    >>> table([{"a": 1}, {"b": 0.25, "a": 2}])
    '<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td></td></tr><tr><td>2</td><td>0.25</td></tr></tbody></table>'
    """
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{escape(str(name))}</th>" for name in names)
    lines = ("".join(f"<td>{_cell(row.get(name, ''))}</td>" for name in names) for row in rows[:most])
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    more = f"<p>{counted(len(rows) - most, 'more row')}: to_frame()</p>" if len(rows) > most else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))
