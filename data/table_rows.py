"""One column of a table, with the architectures of its rows: each network once, or refused with what tells it apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputRefusedError, InvalidArchitectureError, MismatchError, UnknownNameError, UsageError
from ..shown import counted
from ..spaces.architecture import Architecture
from ..spaces.space import SearchSpace
from .meaning import condition, meaning_of, repetition
from .table_file import Numbers, TableFile, header_of, open_table

CONFLICT = 0.05  # relative difference above which two labels of one network contradict each other
CONTRADICTORY = 0.1  # share of networks with a conflict, from which on the column holds more than one thing
SHOWN = 5  # rows that a remark names
_NAMES = ("arch_str", "architecture", "arch", "genotype", "config")  # columns of architectures as text


@dataclass(frozen=True)
class Source:
    """One column of a file, and the rows of it that are asked for."""

    file: TableFile
    space: SearchSpace
    name: str
    unit: str
    kept: NDArray[np.bool_]
    where: tuple[str, ...]
    remarks: tuple[str, ...]

    @staticmethod
    def of(path: Path | str, space: SearchSpace, column: str, where: Sequence[str]) -> Source:
        file = open_table(path)
        name, unit = column, ""
        if column not in file.names and (found := re.fullmatch(r"(.+)\[([^\]]+)\]", column)):
            name, unit = found[1], found[2].strip().lower().replace("µ", "u").replace("μ", "u")
        if name not in file.names:
            raise UnknownNameError(f"column of {file.path.name}", name, file.names)
        kept = np.ones(file.table.num_rows, bool)
        for text in where:
            kept &= _meets(file, text)
        remarks = [*file.remarks, *_exported(file, space)]
        if where and file.table.num_rows:
            remarks.append(f"{int(kept.sum())} of {counted(len(kept), 'row')} where {' and '.join(where)}")
            if not kept.any():
                raise UsageError(f"{file.path}: no row where {' and '.join(where)}; drop a condition")
        return Source(file, space, name, unit, kept, tuple(where), tuple(remarks))

    def numbers(self) -> Numbers:
        """Return the column as numbers, NaN in rows that are not asked for."""
        found = self.file.numbers(self.name)
        return Numbers(
            np.where(self.kept, found.values, np.nan),
            tuple(row for row in found.empty if self.kept[row]),
            {row: word for row, word in found.words.items() if self.kept[row]},
            found.remarks,
        )

    def others(self, kinds: Collection[str]) -> str:
        """Return the columns that may be named instead."""
        names = [n for n in self.file.names if n != self.name and meaning_of(n).kind in ("", *kinds)]
        names = [n for n in names if n not in self.of_networks()]
        named = [n for n in names if meaning_of(n).kind] or names
        return ", ".join(named[:10]) + (", ..." if len(named) > 10 else "") or "another table"

    def check_conditions(self, decides: Callable[[str], bool]) -> None:
        """Refuse a column of conditions, such as ``device`` or ``batch``, that has more than one value.

        Raises:
            InputRefusedError: there is one, or a column that says of the network what the space cannot.
        """
        used = self.of_networks()
        for name in self.file.names:
            if name in used or name == self.name:
                continue
            arguments = self.space.unread(name)
            if arguments is None and not (condition(name) and decides(name)):
                continue
            values = self._distinct(name)
            if len(values) < 2 or (arguments is None and self._measured(name)):
                continue
            if arguments is None:
                raise InputRefusedError(
                    f"{self.file.path}: column {name!r} has {few(values)}, and {self.name} holds rows of all of them; "
                    f"choose one with --where {name}={values[0]}"
                )
            other = f"take a space that chooses it: {arguments}, or " if arguments else ""
            raise InputRefusedError(
                f"{self.file.path}: column {name!r} has {few(values)} and decides the network, but {self.space.spec} "
                f"has no choice there; {other}choose one with --where {name}={values[0]}"
            )

    def architectures(self, wanted: NDArray[np.bool_]) -> dict[int, Architecture]:
        """Return the architectures of the rows that are wanted and asked for, by row.

        Raises:
            InputRefusedError: one is not of this space.
            UnknownNameError: a column of them is missing.
        """
        rows = np.flatnonzero(wanted & self.kept).tolist()
        row = 0
        try:
            text = next((name for name in _NAMES if name in self.file.names), None)
            if text is not None:
                cells = self.file.cells(text)
                found: dict[int, Architecture] = {}
                for row in rows:
                    found[row] = self.space.parse(str(cells[row]).strip())
                return found
            prefix = "site." if any(name.startswith("site.") for name in self.file.names) else ""
            columns = {name: f"site.{site}" if prefix else name for site, (name, _) in self.space.columns.items()}
            missing = [name for name in columns.values() if name not in self.file.names]
            if missing:
                raise UnknownNameError(f"column of {self.file.path.name}", missing[0], self.file.names)
            values = {name: self.file.numbers(column).values for name, column in columns.items()}
            found = {}
            for row in rows:
                found[row] = self._from_row({name: _whole(v[row], columns[name]) for name, v in values.items()}, prefix)
            return found
        except InvalidArchitectureError as error:
            raise InputRefusedError(
                f"{self.file.path}: row {row}: an architecture is not of {self.space.spec}: {error}"
            ) from error

    def merged(
        self,
        found: Mapping[int, Architecture],
        values: NDArray[np.float64],
        middle: Callable[[NDArray[np.float64]], Any] = np.median,
    ) -> tuple[tuple[Architecture, ...], NDArray[np.float64], tuple[str, ...], list[str]]:
        """Return every architecture once, with the middle of its values, those that disagree, and what to tell.

        Raises:
            InputRefusedError: a column tells the rows of one network apart, or many disagree.
        """
        rows: dict[Architecture, list[int]] = {}
        for row, architecture in found.items():
            rows.setdefault(architecture, []).append(row)
        several = {a: r for a, r in rows.items() if len(r) > 1}
        differing = {a: r for a, r in several.items() if len({float(values[i]) for i in r}) > 1}
        conflicting = [a.key for a, r in differing.items() if max(values[r]) > (1 + CONFLICT) * min(values[r])]
        if differing:
            self._check_apart(differing, values)
        if len(conflicting) >= max(2, CONTRADICTORY * len(rows)):
            raise InputRefusedError(
                f"{self.file.path}: {len(conflicting)} of {len(rows)} networks stand there again with another "
                f"{self.name}, more than {CONFLICT:.0%} apart ({self._example(differing, values)}), and no column "
                "tells the rows apart; keep the rows of one device, batch and data set"
            )
        told: list[str] = []
        same = sum(len(r) - 1 for a, r in several.items() if a not in differing)
        if same:
            told.append(f"{counted(same, 'row')} repeat a network with the same {self.name}: counted once")
        if differing:
            told.append(
                f"another {self.name} of {counted(len(differing), 'network')} stands there too "
                f"({self._example(differing, values)}): the {'mean' if middle is np.mean else 'median'} is taken"
                + (f"; {len(conflicting)} of {len(differing)} by more than {CONFLICT:.0%}" if conflicting else "")
            )
        return tuple(rows), np.array([middle(values[r]) for r in rows.values()], float), tuple(conflicting), told

    def _check_apart(self, differing: Mapping[Architecture, list[int]], values: NDArray[np.float64]) -> None:
        used = self.of_networks()
        n = int(self.kept.sum())
        for name in self.file.names:
            if name in used or name == self.name or repetition(name):
                continue
            if self.file.table.column_names.count(name) > 1 or self._measured(name):
                continue
            cells, distinct = self.file.cells(name), self._distinct(name)
            apart = sum(len({str(cells[i]) for i in rows}) > 1 for rows in differing.values())
            if apart * 2 > len(differing) and 1 < len(distinct) <= n / 2:
                raise InputRefusedError(
                    f"{self.file.path}: {counted(len(differing), 'network')} stand there several times with another "
                    f"{self.name} ({self._example(differing, values)}), told apart by the column {name!r}: "
                    f"{few(distinct)}; choose with --where {name}={distinct[0]}"
                )

    def _example(self, differing: Mapping[Architecture, list[int]], values: NDArray[np.float64]) -> str:
        rows = next(iter(differing.values()))
        return " and ".join(f"row {row}: {values[row]:.6g}" for row in rows[:2])

    def _distinct(self, name: str) -> list[str]:
        cells = self.file.cells(name)
        return list(dict.fromkeys(str(cells[row]) for row in np.flatnonzero(self.kept)))

    def _measured(self, name: str) -> bool:
        """Return whether a column holds fractions: it is another measurement and no condition."""
        return any(re.fullmatch(r"[+-]?\d*[.,]\d*[1-9]\d*(e[+-]?\d+)?", cell) for cell in self._distinct(name))

    def of_networks(self) -> set[str]:
        """Return the columns by which architectures are read, or that say the same as these."""
        return (
            {name for name, _ in self.space.columns.values()} | {f"site.{s.name}" for s in self.space.sites} | {*_NAMES}
        )

    def _from_row(self, row: Mapping[str, int], prefix: str) -> Architecture:
        return self.space.architecture(row.values()) if prefix else self.space.from_row(row)


def _exported(file: TableFile, space: SearchSpace) -> list[str]:
    """Return what to tell of a file that ``export`` wrote; refuse one of another space.

    Raises:
        MismatchError: its networks are of another space.
    """
    header = header_of(file)
    if not header:
        return []
    if header.get("space") != space.spec:
        raise MismatchError(
            f"{file.path} holds networks of {header.get('space')}, not of {space.spec}; name that space"
        )
    counts = Counter(file.cells("verdict"))
    odd = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if verdict != "ok")
    return (
        [f"rows whose verdict is not ok are used where they have a latency ({odd}); --where verdict=ok"] if odd else []
    )


def _meets(file: TableFile, text: str) -> NDArray[np.bool_]:
    """Return the rows that meet a condition ``COLUMN=VALUE``."""
    name = column_of(text, file.names)
    if not name:
        raise UnknownNameError(
            f"column of {file.path.name} in --where COLUMN=VALUE", text.partition("=")[0], file.names
        )
    value = text[len(name) + 1 :].strip()
    cells = [str(cell).strip() for cell in file.cells(name)]
    found = np.array([cell == value or _as_number(cell, value) for cell in cells], bool)
    if not found.any():
        raise UsageError(
            f"--where {text}: no row of {file.path} has it; {name!r} has {few(list(dict.fromkeys(cells)))}"
        )
    return found


def column_of(text: str, names: Sequence[str]) -> str:
    """Return the column of a condition ``COLUMN=VALUE``, empty if it is none of these; names may hold ``=``."""
    return max((name for name in names if text.startswith(f"{name}=")), key=len, default="")


def _as_number(cell: str, value: str) -> bool:
    try:
        return float(cell) == float(value)
    except ValueError:
        return False


def _whole(value: float, column: str) -> int:
    """Return a number of an option."""
    if value != value or value != int(value):
        raise InvalidArchitectureError(f"{column}={value}; allowed: a whole number")
    return int(value)


def shown(value: float) -> str:
    """Return a number as the file has it."""
    return str(float(value))


def rows_text(rows: Sequence[int]) -> str:
    """Return the numbers of the first rows."""
    shown = ", ".join(map(str, sorted(rows)[:SHOWN]))
    return f"{'row' if len(rows) == 1 else 'rows'} {shown}{', ...' if len(rows) > SHOWN else ''}"


def named_rows(failed: Mapping[int, str]) -> str:
    """Return the first rows with what stands there."""
    shown = "; ".join(f"row {row}: {value}" for row, value in sorted(failed.items())[:SHOWN])
    return shown + ("; ..." if len(failed) > SHOWN else "")


def few(values: Sequence[str]) -> str:
    """Return the first values, and how many there are."""
    return f"{', '.join(values[:6])}{', ...' if len(values) > 6 else ''} ({counted(len(values), 'value')})"
