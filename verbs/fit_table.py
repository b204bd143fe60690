"""A table of latencies as what ``fit`` learns from: the column and the space that are meant, and a label a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from .. import registry
from ..data.dataset import LatencyDataset, Row
from ..data.meaning import meaning_of, repetition
from ..data.table import conditions_for, read_table
from ..data.table_file import DATA, TableFile, header_of, open_table
from ..data.table_rows import Source
from ..errors import InputRefusedError, TempogradError, UnknownNameError, UsageError
from ..measurement.fingerprint import Fingerprint
from ..spaces.space import SearchSpace
from .outcome import space_of

PLACE = "table"  # of the fingerprint: no device's
_ENDINGS = (".csv", ".tsv", ".parquet", ".csv.gz", ".tsv.gz", ".parquet.gz")
_TRIED = 3  # rows that a space must read to be the one that is meant


@dataclass(frozen=True)
class Labelled:
    """A table as networks with labels.

    Attributes:
        dataset: a row a network, its interval the label itself: a table does not tell how far off it is.
        space: Space of the networks.
        file: that was read, of a folder the one in it.
        column: Column of the latencies.
        remarks: how the file was read, and what was taken where nothing was said, for people.
    """

    dataset: LatencyDataset
    space: SearchSpace
    file: Path
    column: str
    remarks: tuple[str, ...]


def is_table(path: Path) -> bool:
    """Return whether a path is that of a table, and of no store.

    >>> is_table(Path("latencies.csv.gz")), is_table(Path("run.db"))
    (True, False)
    """
    return (path / DATA).is_file() if path.is_dir() else path.name.lower().endswith(_ENDINGS)


def labelled(path: Path, *, space: str | None, column: str | None, where: Sequence[str]) -> Labelled:
    """Read a table of latencies; what is not said is taken where only one thing can be meant.

    Args:
        path: a file as :func:`tempograd.data.table_file.open_table` takes it.
        space: Space of its architectures; None for the one whose file this is, or the only one that reads them.
        column: Column of the latencies; None for the only one that says so by its name.
        where: conditions ``COLUMN=VALUE`` that rows must meet.

    Raises:
        UsageError: several spaces or columns, or none, can be meant; the message has them.
        InputRefusedError: the table cannot be read or believed, or has no row.
        UnknownNameError: no such column.
    """
    file = open_table(path)
    if file.table.num_rows == 0:
        raise InputRefusedError(f"{file.path} has a header and no row; a row a network is needed")
    conditions_for([path], where)  # what is not there is told before any space is tried
    if column is not None and column not in file.names and column.partition("[")[0] not in file.names:
        raise UnknownNameError(f"column of {file.path.name}", column, file.names)
    chosen, told = _space(file, space)
    if column is None:
        column = _column(file, chosen)
        told.append(f"latencies from the column {column}")
    table = read_table(path, chosen, column, where=where)
    rows = tuple(
        Row(a.key, "ok", latency_ms=ms, low_ms=ms, high_ms=ms)
        for a, ms in zip(table.architectures, table.y_ms.tolist(), strict=True)
    )
    digest = sha256("\n".join(f"{row.key} {row.latency_ms!r}" for row in rows).encode()).hexdigest()[:12]
    about = {"column": column, "where": sorted(where), "rows": digest}
    dataset = LatencyDataset(chosen.spec, Fingerprint(PLACE, options=about), rows)
    return Labelled(dataset, chosen, file.path, column, (*told, *table.remarks))


def _space(file: TableFile, asked: str | None) -> tuple[SearchSpace, list[str]]:
    """Return the space of a table's architectures, and how it was known."""
    if asked is not None:
        return space_of(asked), []
    if of := header_of(file).get("space"):
        return space_of(str(of)), [f"networks of {of}, by what export wrote in the file"]
    found = [space for name in registry.names("space") if (space := _reading(file, name)) is not None]
    if len(found) == 1:
        return found[0], [f"networks of {found[0].spec}, the only space that reads them; --space takes another"]
    what = ", ".join(space.spec for space in found) if found else f"one of {', '.join(registry.names('space'))}"
    reads = "several read its architectures" if found else "none reads its architectures with its default arguments"
    raise UsageError(f"{file.path}: of which space are these networks? {reads}; choose with --space: {what}")


def _reading(file: TableFile, name: str) -> SearchSpace | None:
    """Return a space that reads the first architectures of a table; None if it does not."""
    first = np.arange(file.table.num_rows) < _TRIED
    try:
        space: SearchSpace = registry.create("space", name)
        found = Source(file, space, "", "", np.ones(file.table.num_rows, bool), (), ()).architectures(first)
    except TempogradError:
        return None
    return space if found else None


def _column(file: TableFile, space: SearchSpace) -> str:
    """Return the only column that holds latencies by its name."""
    if header_of(file):
        return "latency_ms"
    source = Source(file, space, "", "", np.ones(file.table.num_rows, bool), (), ())
    numeric = [name for name in file.names if name not in source.of_networks() and _holds_numbers(file, name)]
    meanings = {name: meaning_of(name) for name in numeric}
    named = [n for n, said in meanings.items() if said.kind == "time" and (said.unit or not repetition(n))]
    if len(named) == 1:
        return named[0]
    others = named or [n for n, said in meanings.items() if not said.kind and not repetition(n)]
    if not others and (twice := [name for name, count in Counter(file.names).items() if count > 1]):
        raise UsageError(f"{file.path}: the column {twice[0]} is there more than once; keep one")
    if not others:
        raise UsageError(
            f"{file.path}: no column of numbers holds latencies by its name; it has {', '.join(file.names)}; name one "
            "with --column, its unit in brackets: --column 'COLUMN[ms]'"
        )
    why = "several do" if named else "none says so by its name"
    raise UsageError(
        f"{file.path}: which column holds the latencies? {why}; choose with --column, its unit in brackets where the "
        f"name does not say it, as 'COLUMN[us]': {', '.join(others)}"
    )


def _holds_numbers(file: TableFile, name: str) -> bool:
    try:
        return bool(np.isfinite(file.numbers(name).values).any())
    except InputRefusedError:
        return False
