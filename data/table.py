"""Tables that others published: architectures with a column of latencies, or of accuracies.

One reader for every verb. It believes no number that it cannot place: a column's name and the size of its values must
agree on what it holds, rows that contradict each other are refused with the column that tells them apart, and whatever
is left out is counted and named by its row. Rows are counted from 0, as pandas and pyarrow do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from ..errors import InputRefusedError, UnknownNameError, UsageError
from ..shown import counted
from ..spaces.architecture import Architecture
from ..spaces.space import SearchSpace
from .meaning import MS, OF_LATENCY, meaning_of
from .table_file import open_table
from .table_rows import Source, column_of, named_rows, rows_text, shown

LEAST = 20  # networks, below which a table can neither teach nor judge
SLOWEST, FASTEST = 3e7, 3e12  # multiply-accumulates a second of a small network on any machine of today
TOY = 1e6  # multiply-accumulates, below which a network's time is mostly overhead
GAP = 10  # times as large as every other latency is a number that stands for a failure, if it looks like one
DECREASING = 0.3  # rank correlation with the network's size, below minus which a number is no cost
ROUNDED = 1e-3  # that a share may be above 1 by
LEAST_PERCENT = 10  # percent that the best network of a table of accuracies has at least
SAMPLED = 100  # networks whose size is compared with their numbers, at least
UNIT_GAP, UNIT_SLACK = 0.9, 0.3  # powers of ten: between two groups of rows, and by which their ranges may differ
WORDS = {"s": "seconds", "us": "microseconds", "ns": "nanoseconds", "ms": "milliseconds"}
_PLACEHOLDER = re.compile(r"9{3,}(\.9*|\.0)?|10{3,}(\.0)?|32767|65535|2147483647|4294967295")


@dataclass(frozen=True)
class Table:
    """Architectures and their latencies.

    Attributes:
        architectures: those with a latency, in the file's order, each once.
        y_ms: ``(n,)``; of another quantity in the unit that the file has.
        not_measured: rows of the file without a latency.
        rejected: rows whose latency is none, such as ``row 3: -1``.
        conflicting: architectures that stand there again with a latency more than 5 % apart; the median is taken.
        remarks: how the file was read, and what was left out, for people.
    """

    architectures: tuple[Architecture, ...]
    y_ms: NDArray[np.float64]
    not_measured: int
    rejected: tuple[str, ...] = ()
    conflicting: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Accuracies:
    """Accuracies of architectures.

    Attributes:
        shares: the accuracy of each as a share.
        remarks: how the file was read, and what was left out, for people.
    """

    shares: Mapping[Architecture, float]
    remarks: tuple[str, ...] = ()


def read_table(
    path: Path | str,
    space: SearchSpace,
    column: str,
    *,
    where: Sequence[str] = (),
    kinds: Collection[str] = ("time",),
) -> Table:
    """Read a table of latencies.

    Args:
        path: a file as :func:`.table_file.open_table` takes it.
        space: what its architectures are of. They stand in the columns ``e0``, ``e1``, ...: one a site, in the space's
            order, each the index of the option taken; in ``site.*``, as ``export`` writes them; or as text in
            ``arch_str``, ``architecture``, ``arch``, ``genotype`` or ``config``, as ``space.parse`` reads it.
        column: the latencies. The unit is the one that the name says (``lat_us``), else ms; ``COLUMN[us]`` says it
            where the name does not: ``s``, ``ms``, ``us`` or ``ns``.
        where: conditions ``COLUMN=VALUE`` that rows must meet.
        kinds: quantities that are taken; other than ``time`` they are left in their unit.

    Raises:
        InputRefusedError: the file cannot be read, an architecture is not of this space, the column holds another
            quantity or unit than its name says, rows of one network differ by a column that ``where`` does not fix,
            fewer than 20 networks have a latency, or all have the same.
        UnknownNameError: no such column.
        UsageError: a condition that no row meets.
    """
    source = Source.of(path, space, column, where)
    kind, factor, told = _unit(source, kinds)
    source.check_conditions(lambda name: name.lower() not in OF_LATENCY)
    numbers = source.numbers()
    values = factor * numbers.values
    found = source.architectures(np.isfinite(values) & (values > 0))
    odd = np.flatnonzero((values <= 0) | np.isinf(values)).tolist()
    odd += placeholders(values, (lambda row: space.network_graph(found[row]).macs()) if kind == "time" else None)
    failed = {row: shown(numbers.values[row]) for row in odd} | numbers.words
    kept = [row for row in found if row not in failed]
    if kind == "time":
        _check_one_unit(source, kept, numbers.values)
    architectures, latencies, conflicting, repeated = source.merged({row: found[row] for row in kept}, values)
    if len(architectures) < LEAST:
        raise InputRefusedError(
            f"{source.file.path}: {counted(len(architectures), 'network')} with a latency above 0 in {column}; the "
            f"smallest useful number is {LEAST}: measure more{_failures(failed, ', ')}"
        )
    if np.ptp(latencies) == 0:
        raise InputRefusedError(
            f"{source.file.path}: all {len(latencies)} networks have {column}={latencies[0]:g}: nothing can be learnt "
            "or judged"
        )
    if kind == "time" and not source.unit:
        few = kept[:: max(1, len(kept) // SAMPLED)]
        told += _check_size(source, _sizes(space, [found[row] for row in few]), values[few])
    remarks = (*source.remarks, *numbers.remarks, *told, *repeated, *left_out(source.name, failed, numbers.empty))
    rejected = tuple(f"row {row}: {value}" for row, value in sorted(failed.items()))
    return Table(architectures, latencies, len(numbers.empty), rejected, conflicting, remarks)


def read_accuracies(path: Path | str, space: SearchSpace, column: str, *, where: Sequence[str] = ()) -> Accuracies:
    """Read a column of accuracies of a table as ``read_table`` takes.

    They are all shares or all percent; ``COLUMN[share]`` or ``COLUMN[%]`` says which where it cannot be told. Rows of
    one network, such as of several seeds, have the mean.

    Raises:
        InputRefusedError: as ``read_table``; or by name or size the values are no accuracies of one scale.
        UnknownNameError: no such column.
        UsageError: a condition that no row meets.
    """
    source = Source.of(path, space, column, where)
    allowed = "an accuracy is a share or percent"
    kind = meaning_of(source.name).kind
    if not source.unit and kind not in ("", "accuracy"):
        what = "an error or a loss, of which less is better" if kind == "error" else kind
        raise InputRefusedError(
            f"{source.file.path}: column {source.name!r} holds {what} by its name; {allowed}: name another column "
            f"of {source.others(('accuracy',))}, or write {source.name}[%] if it is one in percent"
        )
    source.check_conditions(lambda name: name.lower() in OF_LATENCY)
    numbers = source.numbers()
    values = numbers.values
    odd = np.flatnonzero((values <= 0) | np.isinf(values)).tolist()
    failed = {row: shown(values[row]) for row in odd} | numbers.words
    known = np.isfinite(values)
    known[list(failed)] = False
    if not known.any():
        what = "row {} has {}".format(*next(iter(sorted(failed.items())))) if failed else "every row is empty"
        raise InputRefusedError(f"{source.file.path}: {what} in {source.name}; {allowed}: name another column")
    scale, told = _scale(source, values, np.flatnonzero(known))
    found = source.architectures(known)
    if not source.unit and kind == "":
        few = list(found)[:: max(1, len(found) // SAMPLED)]
        rho = _falling(_sizes(space, [found[row] for row in few]), values[few])
        if rho < -0.5:
            raise InputRefusedError(
                f"{source.file.path}: column {source.name!r} looks like a loss or an error: larger networks have less "
                f"of it (rank correlation {rho:.2f}); {allowed}: name another column, or write {source.name}[%] or "
                f"{source.name}[share] if it is one"
            )
    architectures, shares, _, repeated = source.merged(found, np.minimum(values / scale, 1.0), middle=np.mean)
    remarks = (*source.remarks, *numbers.remarks, *told, *repeated, *left_out(source.name, failed, numbers.empty))
    return Accuracies(dict(zip(architectures, shares.tolist(), strict=True)), remarks)


def columns_named(path: Path | str, given: Sequence[str]) -> list[str]:
    """Return the columns that are meant by names given one by one or joined by commas; a column may hold commas itself.

    >>> columns_named("absent.parquet", [])
    []
    """
    there: Collection[str] = open_table(path).names if any("," in name for name in given) else ()
    return [name for joined in given for name in ([joined] if joined in there else joined.split(",")) if name]


def conditions_for(paths: Sequence[Path], where: Sequence[str]) -> list[list[str]]:
    """Return for every file those of the conditions ``COLUMN=VALUE`` whose column it has.

    Raises:
        UnknownNameError: no file has the column of one.
    """
    names = [open_table(path).names if where else () for path in paths]
    for text in where:
        if not any(column_of(text, there) for there in names):
            every = {name for there in names for name in there}
            raise UnknownNameError("column in --where COLUMN=VALUE", text.partition("=")[0], every)
    return [[text for text in where if column_of(text, there)] for there in names]


def _check_one_unit(source: Source, rows: Sequence[int], values: NDArray[np.float64]) -> None:
    """Refuse a column whose rows fall into two groups that are one range of latencies but for a factor of a unit.

    Args:
        source: the column.
        rows: that have a latency.
        values: Values of every row, as the file has them.
    """
    ordered = sorted(rows, key=lambda row: values[row])
    logs = np.log10(values[ordered])
    cut = int(np.argmax(np.diff(logs))) + 1 if len(ordered) > 1 else 0
    groups = logs[:cut], logs[cut:]
    few, many = sorted(groups, key=len)
    if len(few) < 2 or groups[1][0] - groups[0][-1] < UNIT_GAP:
        return
    apart = float(np.median(few) - np.median(many))
    power = 3 * round(apart / 3)
    moved = few - power
    if power == 0 or moved.min() < many.min() - UNIT_SLACK or moved.max() > many.max() + UNIT_SLACK:
        return
    first = ordered[0 if apart < 0 else cut]
    raise InputRefusedError(
        f"{source.file.path}: {len(few)} of {counted(len(ordered), 'row')} of {source.name} look like the others times "
        f"1e{power} (row {first}: {shown(values[first])}; most rows: {10 ** np.median(many):.3g}): two units stand in "
        "one column. Write all rows in one unit, or leave these out"
    )


def _unit(source: Source, kinds: Collection[str]) -> tuple[str, float, list[str]]:
    """Return the kind of a column, what makes ms of it, and what to tell; refuse what its name does not allow."""
    name, said = source.name, meaning_of(source.name)
    if source.unit:
        if source.unit not in MS:
            raise UsageError(f"{name}[{source.unit}]; allowed units of a latency: {', '.join(MS)}")
        return "time", MS[source.unit], [f"{name} read in {source.unit}, as asked"]
    if said.kind not in ("", *kinds):
        better = ", of which more is better" if said.kind in ("throughput", "accuracy") else ""
        raise InputRefusedError(
            f"{source.file.path}: column {name!r} holds {said.kind}{better}, by its name, and no latency; name another "
            f"column of {source.others(('time',))}, or write {name}[ms] if it is a latency in ms"
        )
    if said.kind not in ("", "time"):
        return said.kind, 1.0, [f"{name} holds {said.kind}, not latency: the scores are of that"]
    if said.unit in ("", "ms"):
        return "time", 1.0, []
    return "time", MS[said.unit], [f"{name} is in {said.unit} by its name: multiplied by {MS[said.unit]:g} to ms"]


def _sizes(space: SearchSpace, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
    """Return multiply-accumulates ``(n,)`` of every operation chosen."""
    return np.array([space.raw_graph(a).macs() for a in architectures], float)


def placeholders(values: NDArray[np.float64], macs: Callable[[int], float] | None) -> list[int]:
    """Return rows of extreme values that stand for a failure.

    Such a value is ten times as large as every other one, in at most half of the rows, and stands there again, or is a
    number that people write for none (9999, 2147483647), or is more than the network can take on any machine. Or it is
    ten times as small, and less than the network can take.
    """
    found: list[int] = []
    left = np.isfinite(values) & (values > 0)
    most = int(left.sum()) // 2
    while True:
        there = np.unique(values[left])
        if len(there) < 2:
            return found
        for extreme, near, high in ((there[-1], there[-2], True), (there[0], there[1], False)):
            rows = np.flatnonzero(left & (values == extreme)).tolist()
            far = extreme >= GAP * near if high else extreme * GAP <= near
            if far and len(found) + len(rows) <= most and _no_latency(float(extreme), rows, macs, high=high):
                found += rows
                left[rows] = False
                break
        else:
            return found


def _no_latency(value: float, rows: Sequence[int], macs: Callable[[int], float] | None, *, high: bool) -> bool:
    rate = None if macs is None else macs(rows[0]) / (value / 1e3)
    if high:
        return len(rows) > 1 or bool(_PLACEHOLDER.fullmatch(f"{value:.12g}")) or (rate is not None and rate < SLOWEST)
    return rate is not None and rate > FASTEST


def _falling(macs: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Return the rank correlation of values with the size of their networks, 0 where it may be chance."""
    if len(values) < LEAST or np.ptp(macs) == 0 or np.ptp(values) == 0:
        return 0.0
    rho = float(spearmanr(macs, values).statistic)  # pyright: ignore[reportAttributeAccessIssue]
    return rho if abs(rho) > 3 / np.sqrt(len(values) - 1) else 0.0


def _check_size(source: Source, macs: NDArray[np.float64], y_ms: NDArray[np.float64]) -> list[str]:
    """Refuse latencies of a size that no machine has, if another unit would explain it, and such as fall with size.

    That toys, whose time is mostly overhead, are slow is only told.

    Raises:
        InputRefusedError: they look like another unit, or like a throughput.
    """
    name, said = source.name, meaning_of(source.name).unit
    own, typical = said or "ms", float(np.median(macs))
    rate = typical / (float(np.median(y_ms)) / 1e3)
    for unit, word in WORDS.items():
        factor = MS[unit] / MS[own]
        too = rate > FASTEST if factor > 1 else rate < SLOWEST
        if factor != 1 and too and SLOWEST <= rate / factor <= FASTEST:
            looks = (
                f"read in {WORDS[own]}, the median network of {typical:.2g} multiply-accumulates would do {rate:.1g} "
                f"of them a second: the latencies of {name!r} look like {word}"
            )
            if typical < TOY and factor < 1:
                return [looks]
            raise InputRefusedError(
                f"{source.file.path}: {looks}. Write {name}[{unit}] if they are, {name}[{own}] if they are in {own}, "
                "or name another column"
            )
    rho = _falling(macs, y_ms)
    if rho < -DECREASING:
        raise InputRefusedError(
            f"{source.file.path}: column {name!r} looks like a throughput, of which more is better: larger networks "
            f"have less of it (rank correlation {rho:.2f} with multiply-accumulates). Name a column of latencies, or "
            f"write {name}[ms] if it is one in ms"
        )
    return []


def _scale(source: Source, values: NDArray[np.float64], rows: NDArray[np.int64]) -> tuple[float, list[str]]:
    """Return what makes shares of accuracies, and what to tell.

    Raises:
        InputRefusedError: they are of two scales, or of none.
        UsageError: an unknown scale was asked for.
    """
    known, name = values[rows], source.name
    largest = float(known.max())
    row = int(rows[known.argmax()])
    where = f"{source.file.path}: row {row} has {largest:.10g} in {name}"
    ask = f"write {name}[share] or {name}[%] if all are of one scale, or name another column"
    if source.unit:
        scales = {"share": 1.0, "%": 100.0, "percent": 100.0, "pct": 100.0}
        if source.unit not in scales:
            raise UsageError(f"{name}[{source.unit}]; allowed: {name}[share] and {name}[%]")
        scale = scales[source.unit]
        if largest > scale * (1 + ROUNDED):
            raise InputRefusedError(f"{where}, above {scale:g}: no accuracy as {source.unit}; name another column")
        return scale, [f"{name} read as {source.unit}, as asked"]
    if largest > 100:
        raise InputRefusedError(f"{where}; an accuracy is a share or percent: name another column")
    if largest <= 1:
        return 1.0, []
    small, large = known[known <= 1], known[known > 1]
    inside = small[(100 * small >= large.min()) & (100 * small <= large.max())]
    apart = (
        len(np.unique(small.round(2))) > 2 and large.min() >= LEAST_PERCENT / 2
    )  # chance is one number, and shares are many
    if len(inside) or apart or 2 * len(small) >= len(known):
        odd = int(
            rows[np.flatnonzero(known <= 1)[0]] if not len(inside) else rows[np.flatnonzero(known == inside[0])[0]]
        )
        raise InputRefusedError(
            f"{where}, row {odd} has {values[odd]:.10g}: shares and percent, or shares rounded to more than 1, or no "
            f"accuracies; {ask}"
        )
    if largest < LEAST_PERCENT:
        raise InputRefusedError(f"{where}, the largest: too much for a share, little for percent, as losses are; {ask}")
    return 100.0, []


def left_out(name: str, failed: Mapping[int, str], empty: Sequence[int]) -> list[str]:
    """Return what to tell of rows of a column that are left out: how many, and the first by number."""
    told: list[str] = []
    if failed:
        told.append(f"{counted(len(failed), 'row')} of {name} left out as failed: {named_rows(failed)}")
    if empty:
        told.append(f"{counted(len(empty), 'row')} without a value in {name}: {rows_text(empty)}")
    return told


def _failures(failed: Mapping[int, str], lead: str) -> str:
    return f"{lead}{len(failed)} failed ({named_rows(failed)})" if failed else ""
