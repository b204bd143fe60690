"""``pick``: the most accurate network that is trained already within a latency target: predicted, measured, proven."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from ..arguments import Count, Seed
from ..arguments import check as check_arguments
from ..data.meaning import MS, condition, meaning_of
from ..data.table import left_out, placeholders
from ..data.table_file import TableFile, open_table
from ..data.table_rows import few, shown
from ..errors import InputRefusedError, UnknownNameError, UsageError
from ..search.pretrained import Pick, held_out_ms
from ..shown import counted
from .measure import measure
from .networks import Shape
from .outcome import MISSED, UNRELIABLE, Outcome, Progress, go_on, plain, silent, table

if TYPE_CHECKING:
    from ..devices.device import Place

Latency = Annotated[float, Meta(gt=0)]
NAMES = ("model", "name", "network", "arch")
PERCENT = 100.0
ALIKE, STEEP = 0.8, 0.5  # correlation with the latencies, and power of them, of what is no accuracy
SIZES = re.compile(r"(^|_|\b)(res|img|image|input)", re.IGNORECASE)  # of an input: timm's img_size
MORE_LIKELY = 0.5  # chance of a network to be within the target, where none is measured
LEAST = 20  # networks with a latency, below which nothing is learnt
OFTEN = 3  # times that a word must stand in a column to be one of its kinds


@dataclass(frozen=True)
class Pretrained:
    """Networks of a table.

    Attributes:
        names: ``(n,)``.
        accuracy: ``(n,)``, NaN where there is none.
        given_ms: ``(n,)`` latencies of some device, NaN where there is none.
        features: ``(n, d)``: logarithms of numbers, and kinds as one-hots.
        used: columns that the features are of.
        remarks: rows that were left out, and how columns were read.
    """

    names: list[str]
    accuracy: NDArray[np.float64]
    given_ms: NDArray[np.float64]
    features: NDArray[np.float64]
    used: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def groups(self) -> NDArray[np.int64]:
        """Return ``(n,)`` numbers, equal for rows of one name: such as one network at several sizes."""
        return np.unique(self.names, return_inverse=True)[1]


def pick(
    path: Path,
    *,
    accuracy: str,
    latency: str,
    target_ms: Latency,
    name: str | None = None,
    models: Path | None = None,
    device: str | Place = "local",
    shape: Shape = None,
    store: Path | None = None,
    plan: str = "quick",
    lookup: str | None = None,
    most: Count = 8,
    seed: Seed = 0,
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Outcome:
    """Find the most accurate network of a table within a target; the first measured within it is the answer.

    Latencies are learnt from the table's numbers and kinds, such as multiply-accumulates, size and family. A network
    whose own latency the table has, of another device, is predicted by that.

    Args:
        path: Path of the table: one row a network, Parquet, CSV or TSV.
        accuracy: its column of accuracies.
        latency: its column of latencies of some device, for networks to learn from; others may be empty.
        target_ms: latency that the network must not exceed.
        name: the column of names; by default ``model``, ``name``, ``network`` or ``arch``, whichever is there.
        models: folder with ``NAME.onnx``, which are measured; a network without a file is no answer.
        device: where they are measured.
        shape: Shape of inputs that are open.
        store: keeps what was measured.
        plan: how long each is measured.
        lookup: in place of a device: the column that says what would have been measured, to judge by. What the same
            column taught of a network is not used for that network.
        most: networks measured at most.
        seed: Seed of the model.
        progress: told what is done.
        stop: set to end after the network in flight.

    Raises:
        UsageError: models beside a column to look up, too few latencies, or an argument that is not allowed.
        UnknownNameError: no such column.
        InputRefusedError: the table cannot be read, or a column holds something else.
    """
    check_arguments(pick, locals())
    if models is not None and lookup is not None:
        raise UsageError(f"--models {models} and --lookup {lookup}; give one: latencies are measured or looked up")
    if models is not None and not Path(models).is_dir():
        raise UsageError(f"--models {models} is no folder; name the one that holds NAME.onnx")
    read = read_pretrained(path, accuracy=accuracy, latency=latency, name=name, leave_out=lookup)
    known = np.isfinite(read.given_ms)
    if known.sum() < LEAST:
        raise UsageError(
            f"{counted(int(known.sum()), 'network')} with a latency in {latency}; allowed: from {LEAST}, to learn from"
        )
    progress("fitting", 0, 1)
    predicted_ms, residuals = held_out_ms(read.features, read.given_ms, read.groups, seed=seed)
    progress("fitting", 1, 1)
    elsewhere = lookup != latency
    if elsewhere:
        predicted_ms = np.where(known, read.given_ms, predicted_ms)
    truth_ms, told = (
        _milliseconds(open_table(path), lookup) if lookup is not None else (np.full(len(read.names), nan), [])
    )
    rows, remarks = _candidates(read, models, truth_ms if lookup is not None else None)
    remarks = list(dict.fromkeys([*read.remarks, *told, *remarks]))
    state = Pick(read.accuracy[rows], predicted_ms[rows], residuals, target_ms, elsewhere=elsewhere)
    bench = _Bench(
        [read.names[i] for i in rows], truth_ms[rows], models, device, shape, store, plan, seed, progress, stop
    )
    asked = bool(models) or lookup is not None
    found = state.run(bench, most) if asked else state.next(least=MORE_LIKELY)
    best = _best(state.accuracy, truth_ms[rows], target_ms)
    likely = found is not None and bool(state.chances()[found] >= MORE_LIKELY)
    verdict = _verdict(bench, found, asked=asked, likely=likely)
    document = plain({
        "table": str(path), "target_ms": target_ms, "networks": len(rows), "learnt_from": int(known.sum()),
        "features": list(read.used), "verdict": verdict, "remarks": remarks,
        "spread_pct": 100 * float(np.std(residuals)),
        "found": None if found is None else _told(state, bench, found),
        "measured": [_told(state, bench, row) for row in state.measured_ms],
        "regret": float(best - state.accuracy[found]) if found is not None and best is not None else None,
    })  # fmt: skip
    code = {"pass": 0, "predicted": 0, "fail": MISSED, "unreliable": UNRELIABLE}[verdict]
    return Outcome(document, _text(document, judged=lookup is not None), code)


def read_pretrained(
    path: Path, *, accuracy: str, latency: str, name: str | None = None, leave_out: str | None = None
) -> Pretrained:
    """Return the networks of a table; columns of times and accuracies are no features.

    Raises:
        UsageError: there is no column of names, or none of features.
        UnknownNameError: no such column.
        InputRefusedError: the table cannot be read, or a column holds something else.
    """
    file = open_table(path)
    called = name or next((each for each in NAMES if each in file.names), None)
    if called is None:
        raise UsageError(f"{path} has no column {' or '.join(NAMES)}; say which holds the names: --name COLUMN")
    names = [str(cell) for cell in file.cells(called)]
    _check_one_place(file, names, latency)
    given_ms, told = _milliseconds(file, latency)
    percent, told_of_accuracy = _accuracies(file, accuracy, given_ms)
    columns: dict[str, NDArray[np.float64]] = {}
    for each in file.names:
        if each in (called, accuracy, latency, leave_out) or meaning_of(each).kind in ("time", "accuracy", "error"):
            continue
        columns |= _features(file, each)
    if not columns:
        raise UsageError(f"{path} says nothing of its networks but their names; add columns, such as gmacs and family")
    used = tuple(dict.fromkeys(key.partition("=")[0] for key in columns))
    features = np.stack([*columns.values()], axis=1)
    return Pretrained(names, percent, given_ms, features, used, (*file.remarks, *told, *told_of_accuracy))


def _features(file: TableFile, name: str) -> dict[str, NDArray[np.float64]]:
    """Return a column of numbers as logarithms, one of words as a one-hot for each that stands there often."""
    cells = file.cells(name)
    words = Counter(cell for cell in cells if isinstance(cell, str))
    try:
        values = file.numbers(name).values
    except InputRefusedError:
        often = [word for word, count in words.items() if count >= OFTEN]
        return {f"{name}={word}": np.array([float(cell == word) for cell in cells]) for word in often}
    finite = values[np.isfinite(values)]
    if not len(finite) or np.ptp(finite) == 0:
        return {}
    if finite.min() >= 0:
        values = np.log(values + 1e-3 * (float(np.median(finite)) or 1.0))
    return {name: np.where(np.isfinite(values), values, np.nanmedian(values))}


def _accuracies(file: TableFile, name: str, given_ms: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[str]]:
    """Return a column of accuracies ``(n,)``, NaN where there is none, and what to tell of it.

    Raises:
        UnknownNameError: no such column.
        InputRefusedError: by its name or its values it holds something else.
    """
    meaning, numbers = meaning_of(name), file.numbers(name)
    if meaning.kind in ("error", "time", "throughput"):
        raise InputRefusedError(f"{file.path}: column {name!r} holds {meaning.kind} by its name; name accuracies")
    failed = {row: shown(numbers.values[row]) for row in np.flatnonzero(_failed(numbers.values)).tolist()}
    values = np.where(_failed(numbers.values), nan, numbers.values)
    if not meaning.kind and (why := _no_accuracy(values, given_ms)):
        raise InputRefusedError(
            f"{file.path}: column {name!r} holds no accuracies, of which more is better: {why}; name another column, "
            "or, if they are, call it acc"
        )
    return values, [*numbers.remarks, *left_out(name, failed | numbers.words, numbers.empty)]


def _no_accuracy(values: NDArray[np.float64], given_ms: NDArray[np.float64]) -> str:
    """Return why values of an unknown kind are no accuracies; empty if they may be.

    An accuracy ends at 100 %, so that it cannot double with the latency: it rises by a tenth or less where a time does.
    """
    if np.nanmax(values, initial=0.0) > PERCENT:
        return f"{np.nanmax(values):g} is above {PERCENT:g} %"
    both = np.isfinite(values) & np.isfinite(given_ms)
    x, y = np.log(given_ms[both]), np.log(values[both])
    if len(x) < LEAST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return ""
    together, slope = float(np.corrcoef(x, y)[0, 1]), float(np.polyfit(x, y, 1)[0])
    if together > ALIKE and slope > STEEP:
        return f"they grow with the latencies as times do (to the power of {slope:.2g}, correlation {together:.2f})"
    if together < -ALIKE:
        return f"slower networks have less of it (correlation {together:.2f}), as of an error or a throughput"
    return ""


def _failed(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which numbers stand for none: those that are not above 0 or do not end, and such as 9999."""
    wrong = (values <= 0) | np.isinf(values)
    wrong[placeholders(values, None)] = True
    return wrong


def _check_one_place(file: TableFile, names: Sequence[str], latency: str) -> None:
    """Refuse rows of several devices, batches and the like under one column of latencies.

    Rows that a column tells apart are so where they hold the same names; a size of the input is the network's own.

    Raises:
        InputRefusedError: there are such rows.
    """
    for column in file.names:
        if not condition(column) or SIZES.search(column) or column == latency:
            continue
        named: dict[str, set[str]] = {}
        for name, cell in zip(names, file.cells(column), strict=True):
            named.setdefault(str(cell).strip(), set()).add(name)
        values = list(named)
        if len(values) > 1 and any(named[one] & named[other] for one, other in pairwise(values)):
            raise InputRefusedError(
                f"{file.path}: column {column!r} has {few(values)}, and {latency} holds rows of all of them under the "
                f"same names; keep the rows of one in the table, such as {column}={values[0]}"
            )


def _milliseconds(file: TableFile, name: str) -> tuple[NDArray[np.float64], list[str]]:
    """Return a column of latencies ``(n,)`` in ms, NaN where there is none, and what to tell of it.

    Raises:
        UnknownNameError: no such column.
        InputRefusedError: by its name it holds something else.
    """
    if name not in file.names:
        raise UnknownNameError(f"column of {file.path.name}", name, file.names)
    meaning = meaning_of(name)
    if meaning.kind not in ("", "time"):
        raise InputRefusedError(f"{file.path}: column {name!r} holds {meaning.kind} by its name, and no latency")
    numbers = file.numbers(name)
    wrong, factor = _failed(numbers.values), MS[meaning.unit or "ms"]
    failed = {row: shown(numbers.values[row]) for row in np.flatnonzero(wrong).tolist()}
    told = [f"{name} is in {meaning.unit} by its name: multiplied by {factor:g} to ms"] if factor != 1 else []
    told += [*numbers.remarks, *left_out(name, failed | numbers.words, numbers.empty)]
    return np.where(wrong, nan, numbers.values * factor), told


def _candidates(
    read: Pretrained, models: Path | None, truth_ms: NDArray[np.float64] | None
) -> tuple[NDArray[np.int64], list[str]]:
    """Return the rows that may be the answer, and what to tell of the others.

    Raises:
        UsageError: there is none.
    """
    allowed, remarks = np.isfinite(read.accuracy), list[str]()
    if models is not None:
        there = np.array([(models / f"{name}.onnx").is_file() for name in read.names])
        if not (allowed & there).all():
            gone = counted(int((allowed & ~there).sum()), "network")
            remarks.append(f"left out: {gone} without NAME.onnx in {models}")
        allowed &= there
    if truth_ms is not None:
        allowed &= np.isfinite(truth_ms)
    rows = np.flatnonzero(allowed)
    if not len(rows):
        where = f" and a file NAME.onnx in {models}" if models is not None else ""
        raise UsageError(f"no network of the table has an accuracy{where}; look at its columns")
    twice = [name for name, count in Counter(read.names[i] for i in rows).items() if count > 1]
    if twice:
        remarks.append(
            f"{', '.join(twice[:3])}{', ...' * (len(twice) > 3)}: a name of several rows, each one a network"
        )
    return rows, remarks


@dataclass
class _Bench:
    """Measures networks by their place among the candidates, or looks them up."""

    names: Sequence[str]
    truth_ms: NDArray[np.float64]
    models: Path | None
    device: str | Place
    shape: Shape
    store: Path | None
    plan: str
    seed: int
    progress: Progress
    stop: threading.Event | None
    verdicts: dict[int, str] = field(default_factory=dict[int, str])

    def __call__(self, row: int) -> float:
        if self.models is None:
            self.verdicts[row] = "looked_up"
            return float(self.truth_ms[row])
        done = measure(
            [self.models / f"{self.names[row]}.onnx"], device=self.device, shape=self.shape, store=self.store,
            plan=self.plan, seed=self.seed, progress=self.progress, stop=self.stop,
        ).document["networks"][0]  # fmt: skip
        go_on(self.stop)
        self.verdicts[row] = done["verdict"]
        return nan if done["latency_ms"] is None else float(done["latency_ms"])


def _verdict(bench: _Bench, found: int | None, *, asked: bool, likely: bool) -> str:
    if not asked:
        return "predicted" if likely else "fail"
    return "fail" if found is None else "pass" if bench.verdicts[found] in ("ok", "looked_up") else "unreliable"


def _best(accuracy: NDArray[np.float64], truth_ms: NDArray[np.float64], target_ms: float) -> float | None:
    """Return the highest accuracy of a network whose true latency is within the target, if that is known."""
    within = accuracy[truth_ms <= target_ms]
    return float(within.max()) if len(within) else None


def _told(state: Pick, bench: _Bench, row: int) -> dict[str, Any]:
    measured_ms = state.measured_ms.get(row, nan)
    return {
        "name": bench.names[row], "accuracy": float(state.accuracy[row]),
        "predicted_ms": float(state.predicted_ms[row]), "measured_ms": measured_ms if isfinite(measured_ms) else None,
        "verdict": bench.verdicts.get(row, "predicted"),
    }  # fmt: skip


def _text(d: dict[str, Any], *, judged: bool) -> str:
    found, target = d["found"], f"a target of {d['target_ms']:.4g} ms"
    lines = [
        f"{counted(d['networks'], 'network')}, latency learnt from {d['learnt_from']} by {', '.join(d['features'])}: "
        f"held out, a prediction is off by {d['spread_pct']:.0f} % (standard deviation)",
        *d["remarks"],
    ]
    if d["measured"]:
        rows = [
            (m["name"], f"{m['accuracy']:.4g}", _ms(m["predicted_ms"]), _ms(m["measured_ms"]), m["verdict"])
            for m in d["measured"]
        ]
        lines.append(table(("network", "accuracy", "predicted", "measured", "verdict"), rows))
    if found is None:
        fastest_ms = min((m["measured_ms"] for m in d["measured"] if m["measured_ms"] is not None), default=None)
        lines.append(
            f"FAIL: none of {counted(len(d['measured']), 'network')} measured is within {target}, the fastest takes "
            f"{_ms(fastest_ms)}; ask for that, or allow more with --most"
        )
    elif not d["measured"] and d["verdict"] == "fail":
        lines.append(
            f"FAIL: no network is likely to be within {target}; the likeliest, {found['name']}, is predicted to take "
            f"{_ms(found['predicted_ms'])}; ask for that"
        )
    elif d["verdict"] == "predicted":
        lines.append(
            f"PREDICTED: {found['name']}, accuracy {found['accuracy']:.4g}, {_ms(found['predicted_ms'])} against "
            f"{target}; nothing was measured: give --models FOLDER"
        )
    else:
        lines.append(
            f"{d['verdict'].upper()}: {found['name']}, accuracy {found['accuracy']:.4g}, measured "
            f"{_ms(found['measured_ms'])} against {target}, after {counted(len(d['measured']), 'measurement')}"
        )
    if judged and d["regret"] is not None:
        lines.append(f"regret against the best of the table within the target: {d['regret']:.3g}")
    return "\n".join(lines)


def _ms(ms: float | None) -> str:
    return "-" if ms is None else f"{ms:.4g} ms"
