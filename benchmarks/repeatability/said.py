"""From raw data to labels: what each tool said, what follows from our own rounds, the long reference, predictions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tempograd import registry
from tempograd.data.store import Store
from tempograd.measurement.calibration import calibrate
from tempograd.measurement.label import Reference, estimate, levels_ms
from tempograd.measurement.measurement import Measurement
from tempograd.measurement.reference import SentinelHistory, in_hindsight
from tempograd.measurement.repeatability import pair_up, representative, spread
from tempograd.measurement.rounds import Round
from tempograd.predictor.models.mlp import LatencyMLP

from .figures import Array, middle


@dataclass(frozen=True)
class Labels:
    """What one variant of a tool said in one condition: arrays ``(r, n)``."""

    name: str
    ms: Array
    low_ms: Array
    high_ms: Array
    wall_s: Array
    paths: NDArray[np.str_]

    def on(self, path: str) -> Array:
        """Return the labels that came about on this path, NaN elsewhere."""
        return np.where(self.paths == path, self.ms, np.nan)


def read_runs(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file of runs; a last line cut short by a kill is left out, and the file put right."""
    if not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    return [json.loads(line) for line in whole.splitlines()]


def collect(runs: Iterable[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, Labels]:
    """Return variant -> labels of these runs, a row a process, a column a key."""
    column = {key: n for n, key in enumerate(keys)}
    rows: dict[str, list[tuple[Array, NDArray[np.str_]]]] = {}
    for run in sorted(runs, key=lambda run: run["replicate"]):
        mine: dict[str, tuple[Array, NDArray[np.str_]]] = {}
        for label in run["labels"]:
            if label["key"] not in column:
                continue
            empty = np.full((4, len(keys)), np.nan), np.full(len(keys), "", dtype="<U8")
            values, paths = mine.setdefault(label["variant"], empty)
            fields = (label["label_ms"], label["low_ms"], label["high_ms"], label["wall_s"])
            n = column[label["key"]]
            values[:, n] = [np.nan if value is None else value for value in fields]
            paths[n] = label["path"]
        for variant, row in mine.items():
            rows.setdefault(variant, []).append(row)
    found: dict[str, Labels] = {}
    for variant, series in rows.items():
        ms, low, high, wall = np.stack([values for values, _ in series], axis=1)
        found[variant] = Labels(variant, ms, low, high, wall, np.stack([paths for _, paths in series]))
    return found


def derived(store: Path, runs: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, Labels]:
    """Return our other two labels of the same rounds.

    ``tempograd_hindsight`` is the label that a data set gives: the reference state is that of the time around, and the
    interval is widened by the repeatability that pairs in this store show. ``tempograd_alone`` knows no history: its
    reference state is that of its own process.
    """
    with Store(store) as opened:
        measurements = list(opened.measurements())
    between = spread(representative(pair_up(in_hindsight(measurements))))
    by_seed: dict[int, list[Measurement]] = {}
    for m in in_hindsight(measurements):
        by_seed.setdefault(int(m.plan["seed"]), []).append(m)
    result: dict[str, Labels] = {}
    for name, widen in (("tempograd_hindsight", between), ("tempograd_alone", 0.0)):
        answered: list[dict[str, Any]] = []
        for run in runs:
            wall_s = run["timed_s"] / run["networks"]
            mine = by_seed.get(run["seed"], [])
            mine = mine if name == "tempograd_hindsight" else _alone(mine)
            labels = [_label(m, name, wall_s, 0.0 if np.isnan(widen) else widen) for m in mine]
            answered.append({**run, "labels": [label for label in labels if label]})
        result |= collect(answered, keys)
    return result


def _alone(measurements: Sequence[Measurement]) -> list[Measurement]:
    history = SentinelHistory(sorted((r for m in measurements for r in m.rounds), key=lambda r: r.started_s))
    if not len(history):
        return []
    own = history.reference(calibrate({}, "cpu"))
    names = ("sentinel_ms", "gate_ms", "process_sd", "trust")
    seen = {name: getattr(own, name) for name in names}
    return [replace(m, reference=replace(m.reference, **seen)) for m in measurements if m.reference is not None]


def _label(m: Measurement, variant: str, wall_s: float, between: float) -> dict[str, Any] | None:
    e = m.estimate
    if e is None:
        return None
    extra = 1.96 * between * e.latency_ms
    low, high = np.hypot(e.latency_ms - e.low_ms, extra), np.hypot(e.high_ms - e.latency_ms, extra)
    return {
        "key": m.key, "variant": variant, "label_ms": e.latency_ms, "low_ms": max(e.latency_ms - low, 0.0),
        "high_ms": e.latency_ms + high, "wall_s": wall_s, "path": e.path,
    }  # fmt: skip


def reference(stores: Iterable[Path], keys: Sequence[str]) -> tuple[Array, Array]:
    """Return the long reference in ms and the gated rounds that it rests on, ``(n,)`` each.

    The rounds of all passes in all these stores are pooled; the reference state is that of all their sentinel readings.
    A network with fewer than three gated rounds has no reference.
    """
    rounds: dict[str, list[Round]] = {}
    noise: list[float] = []
    for path in stores:
        with Store(path) as store:
            for m in store.measurements():
                rounds.setdefault(m.key, []).extend(m.rounds)
                noise += [m.reference.noise] if m.reference is not None else []
    truth, gated = np.full(len(keys), np.nan), np.zeros(len(keys))
    if not noise:
        return truth, gated
    readings = sorted((r.started_s, r.sentinel_ms) for series in rounds.values() for r in series)
    state = Reference.of([ms for _, ms in readings], noise=float(np.median(noise)))
    for n, key in enumerate(keys):
        mine = rounds.get(key, [])
        found = estimate(mine, replace(state, levels_ms=levels_ms(readings, mine)), "cpu")
        if found is not None and found.path == "gated":
            truth[n], gated[n] = found.latency_ms, found.gated
    return truth, gated


def predictions(
    spec: str, train: Sequence[str], y_ms: Array, test: Sequence[str], models: Sequence[str] = ("ridge", "mlp")
) -> dict[str, Array]:
    """Return what predictors trained on labels say of other networks, in ms.

    ``ridge`` is ridge regression of the log latency on operation counts and one-hots, ``mlp`` our default model.
    """
    space = registry.create("space", spec)
    encoding = space.pruned.name

    def encode(keys: Sequence[str]) -> Array:
        return space.encode([space.from_key(key) for key in keys], encoding).astype(float)

    def counted(encoded: Array) -> Array:
        return np.hstack([encoded, encoded.reshape(len(encoded), len(space.sites), -1).sum(1)])

    used = np.isfinite(y_ms)
    x, y, asked = encode(train)[used], y_ms[used], encode(test)
    said: dict[str, Array] = {}
    if "ridge" in models:
        ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-4, 3, 15))).fit(counted(x), np.log(y))
        said["ridge"] = np.exp(ridge.predict(counted(asked)))
    if "mlp" in models:
        said["mlp"] = LatencyMLP(random_state=0).fit(x, y).predict(asked)
    return said


def consensus(tools: Iterable[Labels]) -> Array:
    """Return ``(n,)`` the median over tools and processes of labels, each divided by its process's median network."""
    rows = [row / middle(row) for labels in tools for row in labels.ms]
    return np.array([middle(column) for column in np.array(rows).T])
