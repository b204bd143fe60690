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

LEAST = 20  # networks, below which a table can neither teach nor judge
CONFLICT = 0.05  # relative difference above which two labels of one network contradict each other
OTHER_UNITS = ("_j", "_mj", "_bytes", "_kb", "_mb")  # endings of columns that hold no time
SLOWEST, FASTEST = 3e7, 3e12  # multiply-accumulates a second of a small network on any machine of today


@dataclass(frozen=True)
class Table:
    """Architectures and their latencies.

    Attributes:
        architectures: those with a latency, in the file's order.
        y_ms: ``(n,)``.
        not_measured: rows of the file without a latency.
        rejected: rows whose latency is none, such as ``row 3: -1.0``.
        conflicting: architectures that stand there again with a latency more than 5 % apart; the median is taken.
        remark: what is strange about the unit; empty if nothing is.
    """

    architectures: tuple[Architecture, ...]
    y_ms: NDArray[np.float64]
    not_measured: int
    rejected: tuple[str, ...] = ()
    conflicting: tuple[str, ...] = ()
    remark: str = ""


def read_table(path: Path | str, space: SearchSpace, column: str) -> Table:
    """Read a Parquet or CSV table.

    Args:
        path: the file; CSV if it ends so, else Parquet.
        space: what its architectures are of. They stand in the columns ``e0``, ``e1``, ...: one a site, in the space's
            order, each the index of the option taken; or in ``arch_str``, as ``space.parse`` reads it.
        column: the latencies, in ms; empty or NaN is not measured. Where its name ends in a unit of energy or memory,
            such as ``_mj``, it holds that instead, and nothing is said of its unit.

    Raises:
        InputRefusedError: the file cannot be read, an architecture is not of this space, fewer than 20 networks have a
            latency, or all have the same.
        UnknownNameError: no such column.
    """
    path = Path(path)
    table = _file(path)
    y_ms = _numbers(table, column, path)
    wrong = (y_ms <= 0) | np.isinf(y_ms)
    measured = np.isfinite(y_ms) & ~wrong
    found = _architectures(table.filter(pa.array(measured)), space, path)
    architectures, latencies, conflicting = _merged(found, y_ms[measured])
    if len(architectures) < LEAST:
        raise InputRefusedError(
            f"{path}: {len(architectures)} networks with a latency above 0 in {column}; the smallest useful number is "
            f"{LEAST}: measure more"
        )
    if np.ptp(latencies) == 0:
        raise InputRefusedError(
            f"{path}: all {len(latencies)} networks have {column}={latencies[0]:g}: nothing can be learnt or judged"
        )
    rejected = tuple(f"row {row}: {y_ms[row]}" for row in np.flatnonzero(wrong))
    timed = not column.lower().endswith(OTHER_UNITS)
    remark = _unit_remark(space, architectures, latencies) if timed else ""
    return Table(architectures, latencies, int(np.isnan(y_ms).sum()), rejected, conflicting, remark)


def read_accuracies(path: Path | str, space: SearchSpace, column: str) -> dict[Architecture, float]:
    """Read a column of accuracies of a table as ``read_table`` takes; return shares of the networks that have one.

    Percent are told from shares by a value above 1. A network that stands there again has the mean.

    Raises:
        InputRefusedError: the file cannot be read, an architecture is not of this space, a value lies outside 0 to 100,
            or there is none.
        UnknownNameError: no such column.
    """
    path = Path(path)
    table = _file(path)
    values = _numbers(table, column, path)
    known = np.isfinite(values)
    odd = np.flatnonzero(known & ((values < 0) | (values > 100)))
    if len(odd) or not known.any():
        what = f"row {odd[0]} has {values[odd[0]]:g}" if len(odd) else "every row is empty"
        raise InputRefusedError(f"{path}: {what} in {column}; an accuracy is a share or percent: name another column")
    shares = values[known] / (100 if values[known].max() > 1 else 1)
    rows: dict[Architecture, list[float]] = {}
    for architecture, share in zip(
        _architectures(table.filter(pa.array(known)), space, path), shares.tolist(), strict=True
    ):
        rows.setdefault(architecture, []).append(share)
    return {architecture: float(np.mean(found)) for architecture, found in rows.items()}


def _file(path: Path) -> pa.Table:
    try:
        return pyarrow.csv.read_csv(path) if path.suffix == ".csv" else pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise InputRefusedError(
            f"cannot read {path}: {error}. It must be Parquet, or CSV with the ending .csv"
        ) from error


def _merged(
    architectures: tuple[Architecture, ...], y_ms: NDArray[np.float64]
) -> tuple[tuple[Architecture, ...], NDArray[np.float64], tuple[str, ...]]:
    """Return every architecture once, with the median of its latencies, and the keys of those that disagree."""
    rows: dict[Architecture, list[float]] = {}
    for architecture, ms in zip(architectures, y_ms.tolist(), strict=True):
        rows.setdefault(architecture, []).append(ms)
    conflicting = tuple(a.key for a, labels in rows.items() if max(labels) > (1 + CONFLICT) * min(labels))
    return tuple(rows), np.array([np.median(labels) for labels in rows.values()], float), conflicting


def _unit_remark(space: SearchSpace, architectures: tuple[Architecture, ...], y_ms: NDArray[np.float64]) -> str:
    """Return a remark if a factor of 1000 would bring the labels from implausible to plausible machines."""
    few = architectures[:: max(1, len(architectures) // 20)]
    macs = float(np.median([space.raw_graph(a).macs() for a in few]))
    rate = macs / (float(np.median(y_ms)) / 1e3)  # multiply-accumulates a second, if the labels are ms
    for unit, factor in (("seconds", 1e-3), ("microseconds", 1e3)):
        too = rate > FASTEST if factor < 1 else rate < SLOWEST
        if too and SLOWEST <= rate * factor <= FASTEST:
            return (
                f"read as ms, the median network of {macs:.2g} multiply-accumulates would do {rate:.1g} of them a "
                f"second: the latencies look like {unit}"
            )
    return ""


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
