"""Tables that others published: architectures with a column of latencies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..errors import InputRefusedError, InvalidArchitectureError, UnknownNameError
from ..spaces.architecture import Architecture
from ..spaces.space import SearchSpace


@dataclass(frozen=True)
class Table:
    """Architectures and their latencies.

    Attributes:
        architectures: those with a latency, in the file's order.
        y_ms: ``(n,)``.
        not_measured: rows of the file without a latency.
    """

    architectures: tuple[Architecture, ...]
    y_ms: NDArray[np.float64]
    not_measured: int


def read_table(path: Path | str, space: SearchSpace, column: str) -> Table:
    """Read a Parquet or CSV table.

    Args:
        path: the file; CSV if it ends so, else Parquet.
        space: what its architectures are of. They stand in the columns ``e0``, ``e1``, ...: one a site, in the space's
            order, each the index of the option taken; or in ``arch_str``, as ``space.parse`` reads it.
        column: the latencies, in ms; empty or NaN is not measured.

    Raises:
        InputRefusedError: the file cannot be read, an architecture is not of this space, or a latency is not above 0.
        UnknownNameError: no such column.
    """
    path = Path(path)
    try:
        table = pyarrow.csv.read_csv(path) if path.suffix == ".csv" else pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise InputRefusedError(
            f"cannot read {path}: {error}. It must be Parquet, or CSV with the ending .csv"
        ) from error
    y_ms = _numbers(table, column, path)
    measured = np.isfinite(y_ms)
    wrong = np.flatnonzero(measured & (y_ms <= 0) | np.isinf(y_ms))
    if wrong.size:
        raise InputRefusedError(f"{path}, row {wrong[0]}: {column}={y_ms[wrong[0]]}; allowed: above 0, or NaN")
    architectures = _architectures(table.filter(pa.array(measured)), space, path)
    return Table(architectures, y_ms[measured], int(len(y_ms) - measured.sum()))


def _numbers(table: pa.Table, column: str, path: Path) -> NDArray[np.float64]:
    if column not in table.column_names:
        raise UnknownNameError(f"column of {path.name}", column, table.column_names)
    try:
        values = table.column(column).cast(pa.float64()).to_pylist()
    except pa.ArrowException as error:
        raise InputRefusedError(f"{path}: column {column!r} holds no numbers: {error}") from error
    return np.array([np.nan if value is None else value for value in values], float)


def _architectures(table: pa.Table, space: SearchSpace, path: Path) -> tuple[Architecture, ...]:
    names = [name for name, _ in space.columns.values()]
    try:
        if "arch_str" in table.column_names:
            return tuple(space.parse(str(text)) for text in table.column("arch_str").to_pylist())
        missing = [name for name in names if name not in table.column_names]
        if missing:
            raise UnknownNameError(f"column of {path.name}", missing[0], table.column_names)
        columns: list[list[Any]] = [table.column(name).cast(pa.int64()).to_pylist() for name in names]
        return tuple(space.from_row(dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True))
    except (InvalidArchitectureError, pa.ArrowException, TypeError) as error:
        raise InputRefusedError(f"{path}: an architecture is not of {space.spec}: {error}") from error
