"""``evaluate``: judge a predictor on any latency table, one device or many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import Count
from ..arguments import check as check_arguments
from ..data.table import Table, columns_named, read_table
from ..errors import UsageError
from ..predictor.design import d_optimal
from ..predictor.evaluate import METRICS, covered, split_rows
from ..predictor.interval import TooFewResidualsError
from ..predictor.learn import check_taken, default_model, learn, source_line
from ..predictor.linear import Linear
from ..predictor.metrics import Scores
from ..spaces.space import SearchSpace
from .choices import SAMPLINGS
from .fit import blocks_of, encodings_of
from .outcome import Outcome, Progress, plain, silent, space_of
from .outcome import table as aligned

COVERAGE = 0.9
COVERED = ("coverage_pct", "coverage_fast_pct", "coverage_middle_pct", "coverage_slow_pct", "width_pct")
KEYS = (*METRICS, *COVERED, "source_share", "fit_seconds", "networks_per_second")
KINDS = ("time", "energy", "memory")  # quantities that add up over a network, as a predictor takes it
SOURCE_ROWS = 900
CANDIDATES = 2000  # rows that a design chooses from


def evaluate(
    table: Path,
    *,
    space: str,
    columns: Sequence[str],
    source_columns: Sequence[str] = (),
    train: int = 900,
    valid: int = 100,
    seeds: Count = 3,
    model: str | None = None,
    sampling: str = "random",
    where: Sequence[str] = (),
    by_name: bool = False,
    progress: Progress = silent,
) -> Outcome:
    """Judge a predictor on columns of a table: learn from ``train`` rows, test on all that are not ``valid``.

    One network may stand in a table under several names. What is learnt under one of them is neither tested, nor held
    out, under another; how large a part of the table that is, and the scores with them, are told too. With ``by_name``
    every name counts as a network of its own, as in most papers: then some of what is tested was learnt.

    The encoding is chosen by leave-one-out on the rows of ``train`` and ``valid``, the model as ``fit`` chooses it.
    Intervals of 90 % are judged too, in every third of the latencies. With ``source_columns``, a line is learnt on 900
    rows of each of these devices first, and the new one's may be made of them. ``sampling="d_optimal"`` chooses the
    rows to learn from by design. Names of columns may be joined by commas; ``where`` holds conditions ``COLUMN=VALUE``
    that rows must meet, such as one device.

    Raises:
        UsageError: no column, an unknown sampling, or sources for a model that takes none.
    """
    check_arguments(evaluate, locals())
    chosen = space_of(space)
    if not columns or sampling not in SAMPLINGS:
        raise UsageError(f"columns={list(columns)}, sampling={sampling!r}; give a column, and one of {SAMPLINGS}")
    columns, source_columns = columns_named(table, columns), columns_named(table, source_columns)
    model = model or default_model(train, source_columns)
    check_taken(model, sources=source_columns)
    devices: list[dict[str, Any]] = []
    sources = [_source(chosen, table, name, where) for name in source_columns]
    done, todo = 0, len(columns) * seeds
    for column in columns:
        found = _Device(chosen, read_table(table, chosen, column, where=where, kinds=KINDS))
        rows: list[dict[str, Any]] = []
        for seed in range(seeds):
            progress("judging", done, todo)
            rows.append(_one(found, sources, train, valid, seed, model, sampling, by_name=by_name))
            done += 1
        devices.append(_summary(column, found, rows, train, valid))
    progress("judging", todo, todo)
    head = {
        "table": str(table), "space": chosen.spec, "model": model, "train": train, "valid": valid, "seeds": seeds,
        "sampling": sampling, "split": "name" if by_name else "network", "source_columns": list(source_columns),
        "coverage": COVERAGE,
    }  # fmt: skip
    document = plain(head | devices[0] if len(devices) == 1 else head | {"devices": devices})
    return Outcome(document, "\n\n".join(_text(document | d) for d in plain(devices)))


@dataclass(frozen=True)
class _Device:
    """One column of a table, with its encodings made once."""

    space: SearchSpace
    table: Table

    def encode(self, name: str) -> NDArray[Any]:
        known = self.__dict__.setdefault("_known", {})
        if name not in known:
            known[name] = self.space.encode(self.table.architectures, name)
        return known[name]

    @cached_property
    def networks(self) -> NDArray[np.int64]:
        """Return ``(n,)`` numbers that rows of one network share."""
        return self.space.groups(self.table.architectures)

    @cached_property
    def disconnected(self) -> NDArray[np.bool_]:
        """Return flags ``(n,)`` of networks in which nothing leads from input to output."""
        return np.array([not self.space.is_connected(a) for a in self.table.architectures])


def _source(space: SearchSpace, table: Path, column: str, where: Sequence[str]) -> Linear:
    """Return the latency on one device as a line, learnt from 900 of its rows."""
    found = _Device(space, read_table(table, space, column, where=where, kinds=KINDS))
    rows = np.random.default_rng(1).permutation(len(found.table.y_ms))[:SOURCE_ROWS]
    sparing = space.sparing_encoding
    return source_line(found.encode(sparing.name)[rows], found.table.y_ms[rows], blocks=sparing.blocks(space))


def _design(
    device: _Device, candidates: NDArray[np.int64], count: int, seed: int, sources: Sequence[Linear]
) -> list[int]:
    """Return positions of the candidates that tell the most, in counts and in what other devices say."""
    sparing = device.space.sparing_encoding
    X = device.encode(sparing.name)[candidates]
    counts, lines = X[:, -sparing.blocks(device.space)[-1] :], [source(X)[:, None] for source in sources]
    blocks = (counts.shape[1], len(lines)) if lines else ()
    return d_optimal(np.hstack([counts, *lines]), count, np.random.default_rng(seed), blocks=blocks)


def _one(
    device: _Device,
    sources: Sequence[Linear],
    train: int,
    valid: int,
    seed: int,
    model: str,
    sampling: str,
    *,
    by_name: bool,
) -> dict[str, Any]:
    """Return what one split gives."""
    y, networks = device.table.y_ms, device.networks
    labels = np.arange(len(y)) if by_name else networks
    taught, choose, test = split_rows(labels, train, valid, seed)
    if sampling == "d_optimal":
        candidates = np.concatenate([taught, test])[:CANDIDATES]
        candidates = candidates[np.sort(np.unique(labels[candidates], return_index=True)[1])]
        taught = candidates[_design(device, candidates, train, seed, sources)]
    seen = np.concatenate([taught, choose])
    rest = np.setdiff1d(np.arange(len(y)), seen)
    twins = np.isin(networks[rest], networks[seen])
    test = rest if by_name else rest[~twins]
    start = perf_counter()
    learnt = learn(
        {name: device.encode(name)[seen] for name in encodings_of(device.space, model)}, y[seen], groups=labels[seen],
        model=model, blocks=blocks_of(device.space), stages=device.space.schedule,
        sources=tuple(sources), choosing=np.arange(len(seen)) >= len(taught), seed=seed,
    )  # fmt: skip
    estimator, features = learnt.predictor, device.encode(learnt.encoding)
    fitted = perf_counter() - start
    start = perf_counter()
    predicted = estimator.predict(features[test])
    rate = len(test) / (perf_counter() - start)
    connected = ~device.disconnected[test]
    row = asdict(Scores.of(y[test], predicted)) | {"encoding": learnt.encoding, "fit_seconds": fitted}
    flowing = Scores.of(y[test][connected], predicted[connected]) if connected.any() else Scores.of_none()
    row |= {"networks_per_second": rate, "connected": asdict(flowing)}
    row |= {"twins_pct": 100 * float(twins.mean())}
    row |= {"by_name": asdict(Scores.of(y[rest], estimator.predict(features[rest])))}
    try:
        low, high = learnt.conformal.interval(predicted, COVERAGE)
        row |= covered(y[test], predicted, low, high)
    except TooFewResidualsError:
        pass  # so few rows promise no such coverage
    if hasattr(estimator, "source_share_"):
        row["source_share"] = estimator.source_share_
    return row


def _summary(column: str, device: _Device, rows: Sequence[dict[str, Any]], train: int, valid: int) -> dict[str, Any]:
    def spread(key: str, found: Sequence[dict[str, Any]]) -> dict[str, float]:
        values = np.array([row[key] for row in found], float)
        return {"mean": float(values.mean()), "sd": float(values.std(ddof=1)) if len(values) > 1 else float("nan")}

    table = device.table
    document: dict[str, Any] = {
        "column": column, "test": rows[0]["n"], "not_measured": table.not_measured, "rejected": list(table.rejected),
        "conflicting": list(table.conflicting), "remarks": list(table.remarks),
        "disconnected": int(device.disconnected.sum()), "encodings": [row["encoding"] for row in rows],
    }  # fmt: skip
    document |= {key: spread(key, rows) for key in KEYS if key in rows[0]}
    for part in ("connected", "by_name"):
        document[part] = {key: spread(key, [row[part] for row in rows]) for key in METRICS}
    document["twins_pct"] = spread("twins_pct", rows)
    return document


def _text(d: dict[str, Any]) -> str:
    head = (
        f"{d['model']} on {d['column']}: {d['train']} + {d['valid']} rows, {d['test']} tested, "
        f"encoding {', '.join(dict.fromkeys(d['encodings']))}"
    )
    remarks = [*d["remarks"], _split_remark(d)] if d["twins_pct"]["mean"] else d["remarks"]
    rows = [(key, _number(d[key]["mean"]), _number(d[key]["sd"])) for key in KEYS if key in d]
    if d["disconnected"]:
        rows += [
            (f"{key}, connected", *(_number(d["connected"][key][part]) for part in ("mean", "sd"))) for key in METRICS
        ]
    return "\n".join([head, *remarks, aligned(("metric", "mean", "s.d."), rows)])


def _split_remark(d: dict[str, Any]) -> str:
    """Return what a split by name does to the scores: in those shown, or besides those shown."""
    twins, by_name = f"{d['twins_pct']['mean']:.1f} %", d["by_name"]
    if d["split"] == "name":
        return (
            f"BY NAME: {twins} of the rows tested are networks learnt from under another name; without --by-name the "
            "scores are of networks never seen"
        )
    within = "/".join(_number(by_name[f"within_{n}_pct"]["mean"]) for n in (1, 5, 10))
    return (
        f"{twins} of the other rows are networks learnt from under another name, and not tested; with them, as papers "
        f"split (--by-name): within 1/5/10 %: {within}, MAPE {_number(by_name['mape_pct']['mean'])} %"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
