"""From raw data to figures: definitions as plain functions, then a table and plots of what the folder holds.

python -m tempograd.benchmarks.repeatability.analyse runs/repeatability --docs docs

Arrays are ``(r, n)``: processes, networks; NaN where a tool gave no label.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import kendalltau
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tempograd import registry
from tempograd.data.store import Store
from tempograd.measurement.calibration import calibrate
from tempograd.measurement.label import Reference, estimate, level_ms
from tempograd.measurement.measurement import Measurement
from tempograd.measurement.reference import SentinelHistory, in_hindsight
from tempograd.measurement.repeatability import pair_up, representative, spread
from tempograd.measurement.rounds import Round
from tempograd.predictor.models.mlp import LatencyMLP

Array = NDArray[np.float64]
Interval = tuple[float, float, float]  # the figure, and the ends of its 95 % bootstrap interval

NO_LEVEL = ("openvino",)  # another engine: its level is no error
OTHER_TRUTH = "torch_blocked"
GAP = 0.05
RESAMPLES = 400
BEGIN, END = "<!-- results -->", "<!-- end of results -->"


# -- definitions -------------------------------------------------------------------------------------------------


def variation(labels: Array) -> Array:
    """Return every network's coefficient of variation over processes, ``(n,)``; NaN with fewer than two labels."""
    count = np.isfinite(labels).sum(0)
    mean = np.nansum(labels, 0) / np.maximum(count, 1)
    square = np.nansum((labels - mean) ** 2, 0) / np.maximum(count - 1, 1)
    return np.where(count > 1, np.sqrt(square) / np.where(mean > 0, mean, 1), np.nan)


def repeatability(labels: Array) -> float:
    """R1: the median over networks of `variation`."""
    return middle(variation(labels))


def worst_case(labels: Array, truth: Array) -> float:
    """R2: the 95th percentile of abs(label / truth - 1), over networks and processes."""
    errors = np.abs(labels / truth - 1)
    errors = errors[np.isfinite(errors)]
    return float(np.quantile(errors, 0.95)) if errors.size else float("nan")


def bias(labels: Array, truth: Array) -> float:
    """B1: the median of label / truth - 1."""
    return middle(labels / truth - 1)


def coverage(low: Array, high: Array, truth: Array) -> float:
    """C1: the share of intervals that contain the truth, of those that exist."""
    known = np.isfinite(low) & ~np.isnan(high) & np.isfinite(truth)
    inside = (low <= truth) & (truth <= high)
    return float(inside[known].mean()) if known.any() else float("nan")


def rank_agreement(labels: Array) -> float:
    """R3: Kendall's tau between the labels of two processes, averaged over pairs of processes."""
    taus: list[float] = []
    for one, other in combinations(labels, 2):
        both = np.isfinite(one) & np.isfinite(other)
        if both.sum() > 2:
            taus.append(float(kendalltau(one[both], other[both]).statistic))
    return float(np.mean(taus)) if taus else float("nan")


def swapped(labels: Array, truth: Array, gap: float = GAP) -> float:
    """R3: of pairs of networks that truly differ by over ``gap``, the share that two processes order differently."""
    rows, columns = np.triu_indices(len(truth), 1)
    far = np.abs(np.log(truth[rows] / truth[columns])) > np.log1p(gap)
    order = np.sign(labels[:, rows[far]] - labels[:, columns[far]])
    shares = [
        float(np.mean((one != other)[known]))
        for one, other in combinations(order, 2)
        if (known := np.isfinite(one) & np.isfinite(other)).any()
    ]
    return float(np.mean(shares)) if shares else float("nan")


def middle(values: Array) -> float:
    """Return the median of what is finite, NaN if nothing is."""
    found = values[np.isfinite(values)]
    return float(np.median(found)) if found.size else float("nan")


def bootstrap(
    statistic: Callable[..., float], *arrays: Array, per_network: Sequence[Array] = (), seed: int = 0
) -> Interval:
    """Return a figure with its 95 % interval: processes and networks are both drawn anew.

    Args:
        statistic: of the arrays, then of ``per_network``.
        arrays: each ``(r, n)``.
        per_network: each ``(n,)``.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    processes, networks = arrays[0].shape
    found: list[float] = []
    for _ in range(RESAMPLES):
        rows = rng.integers(0, processes, processes)[:, None]
        columns = rng.integers(0, networks, networks)
        found.append(statistic(*(a[rows, columns] for a in arrays), *(a[columns] for a in per_network)))
    kept = np.array(found)[np.isfinite(found)]
    value = statistic(*arrays, *per_network)
    half = 1.96 * float(kept.std()) if kept.size else float("nan")  # quantiles are biased: a draw repeats processes
    return value, max(value - half, 0.0), value + half


# -- raw data ----------------------------------------------------------------------------------------------------


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
    seen = {"sentinel_ms": own.sentinel_ms, "gate_ms": own.gate_ms, "process_sd": own.process_sd}
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
        found = estimate(mine, replace(state, levels_ms=tuple(level_ms(readings, r) for r in mine)), "cpu")
        if found is not None and found.path == "gated":
            truth[n], gated[n] = found.latency_ms, found.gated
    return truth, gated


# -- P1: what the labels are good for ----------------------------------------------------------------------------


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


def prediction_errors(predicted: Array, truth: Array) -> tuple[float, float, float]:
    """P1: return the mean absolute relative error, the same with the common level divided out, and Kendall's tau."""
    known = np.isfinite(truth)
    if known.sum() < 3:
        return float("nan"), float("nan"), float("nan")
    ratio = predicted[known] / truth[known]
    tau = float(kendalltau(predicted[known], truth[known]).statistic)
    return float(np.mean(np.abs(ratio - 1))), float(np.mean(np.abs(ratio / np.median(ratio) - 1))), tau


def consensus(tools: Iterable[Labels]) -> Array:
    """Return ``(n,)`` the median over tools and processes of labels, each divided by its process's median network."""
    rows = [row / middle(row) for labels in tools for row in labels.ms]
    return np.array([middle(column) for column in np.array(rows).T])


# -- the report --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Condition:
    """One condition's labels of its networks, and the long reference that its own passes give."""

    name: str
    labels: dict[str, Labels]
    own_truth: Array


def _condition(folder: Path, keys: Sequence[str]) -> Condition:
    runs = [run for run in read_runs(folder / "runs.jsonl") if run["replicate"] >= 0 and run["tool"] != "reference"]
    own = [run for run in runs if run["tool"] == "tempograd"]
    labels = collect(own, keys)
    if own:
        labels |= derived(folder / "tempograd.db", own, keys)
    labels |= dict(sorted(collect([run for run in runs if run["tool"] != "tempograd"], keys).items()))
    truth, _ = reference([path for path in [folder / "reference.db"] if path.exists()], keys)
    return Condition(folder.name, labels, truth)


def write(out: Path, docs: Path) -> None:
    """Write the table and the plots of a folder of raw data."""
    folders = [out / name for name in ("quiet", "load", "found") if (out / name / "runs.jsonl").exists()]
    if not folders:
        raise SystemExit(f"no runs in {out}; give the folder that the benchmark wrote")
    note = json.loads((folders[0] / "environment.jsonl").read_text().splitlines()[-1])
    first, second = note["first"], note["second"]
    conditions = [_condition(folder, first) for folder in folders]
    stores = [path for folder in folders if (path := folder / "reference.db").exists()]
    truth, gated = reference(stores, first)
    quiet = next((c for c in conditions if c.name == "quiet" and OTHER_TRUTH in c.labels), None)
    other = np.full(len(first), np.nan)
    if quiet is not None:
        other = np.array([middle(column) for column in quiet.labels[OTHER_TRUTH].ms.T])
    images = docs / "images"
    images.mkdir(parents=True, exist_ok=True)
    parts = [_setting(note, truth, other, gated, conditions)]
    for condition in conditions:
        parts += [f"### {condition.name}\n", _table(condition, truth, other), _paths(condition, truth)]
    if (out / "predict" / "runs.jsonl").exists():
        parts += [_second(_condition(out / "predict", second), second, note["space"], first, truth, other)]
    parts += [_throughput(out / "throughput.json")]
    parts += [_plots(conditions, truth, other, images)]
    text = "\n".join(part for part in parts if part)
    page = docs / "results" / "repeatability.md"
    page.parent.mkdir(exist_ok=True)
    before, after = f"# Repeatability beside other tools\n\n{BEGIN}\n", f"\n{END}\n"
    if page.exists() and BEGIN in page.read_text() and END in page.read_text():
        whole = page.read_text()
        before, after = whole[: whole.index(BEGIN) + len(BEGIN)] + "\n", "\n" + whole[whole.index(END) :]
    page.write_text(f"{before}\n{text.strip()}\n{after}")
    print(text, page, sep="\n")


def _setting(note: Mapping[str, Any], truth: Array, other: Array, gated: Array, conditions: Sequence[Condition]) -> str:
    hardware = note["fingerprint"]["hardware"]
    versions = ", ".join(f"{name} {v}" for name, v in note["versions"].items() if v)
    lines = [
        f"{hardware['cpu']}, {hardware['logical_cores']} logical CPUs, {hardware['system']}; {versions}.",
        f"{len(truth)} networks of `{note['space']}`, {_ms(np.nanmin(truth))} to {_ms(np.nanmax(truth))} ms. Truth A "
        f"rests on {gated.min():.0f} to {gated.max():.0f} gated rounds a network.",
    ]
    if np.isfinite(other).any():
        ratio = other / truth - 1
        lines.append(f"B / A - 1: median {_pct(middle(ratio), sign=True)}, largest {_pct(np.nanmax(np.abs(ratio)))}.")
    for c in conditions:
        share = middle(c.own_truth / truth - 1)
        lines.append(f"The {c.name} condition's own passes alone lie {_pct(share, sign=True)} from truth A.")
    return "\n".join(lines) + "\n"


def _table(condition: Condition, truth: Array, other: Array) -> str:
    head = (
        "tool", "processes", "wall ms a network", "R1: CV %", "R2: p95 error % A / B", "B1: bias % A / B",
        "C1: coverage % A / B", "half width %", "R3: tau", "R3: swapped %",
    )  # fmt: skip
    rows: list[Sequence[str]] = []
    for name, labels in condition.labels.items():
        level = name not in NO_LEVEL
        both = [truth, other] if level else []
        half = np.maximum(labels.high_ms - labels.ms, labels.ms - labels.low_ms) / labels.ms
        rows.append((
            name,
            str(len(labels.ms)),
            _ms(1e3 * float(np.nanmean(labels.wall_s))),
            _range(bootstrap(repeatability, labels.ms)),
            " / ".join(_range(bootstrap(worst_case, labels.ms, per_network=[t])) for t in both) or "-",
            " / ".join(_pct(bias(labels.ms, t), sign=True) for t in both) or "-",
            " / ".join(_pct(coverage(labels.low_ms, labels.high_ms, t)) for t in both) or "-",
            _pct(middle(half)),
            f"{rank_agreement(labels.ms):.3f}",
            _pct(swapped(labels.ms, truth)),
        ))  # fmt: skip
    return _markdown(head, rows)


def _paths(condition: Condition, truth: Array) -> str:
    rows: list[Sequence[str]] = []
    for name in ("tempograd", "tempograd_hindsight", "tempograd_alone"):
        if name not in condition.labels:
            continue
        labels = condition.labels[name]
        for path in ("gated", "ratio", "plain"):
            on = labels.on(path)
            if np.isfinite(on).any():
                share = np.isfinite(on).sum() / np.isfinite(labels.ms).sum()
                covered = coverage(np.where(np.isfinite(on), labels.low_ms, np.nan), labels.high_ms, truth)
                rows.append((name, path, _pct(share), _pct(repeatability(on)), _pct(worst_case(on, truth)),
                             _pct(bias(on, truth), sign=True), _pct(covered)))  # fmt: skip
    head = ("label", "path", "share %", "R1: CV %", "R2: p95 error % A", "B1: bias % A", "C1: coverage % A")
    return _markdown(head, rows) if rows else ""


def _second(
    condition: Condition, keys: Sequence[str], spec: str, first: Sequence[str], truth: Array, other: Array
) -> str:
    shared = consensus(condition.labels.values())
    rows: list[Sequence[str]] = []
    for name, labels in condition.labels.items():
        cells = [name, *("-" for _ in range(2))]
        if len(labels.ms) > 1:
            cells = [name, f"{rank_agreement(labels.ms):.3f}", _pct(swapped(labels.ms, shared))]
        said = predictions(spec, keys, labels.ms[0], first)
        for target in (truth, other):
            for predicted in said.values():
                error, shape, tau = prediction_errors(predicted, target)
                cells.append("-" if np.isnan(error) else f"{_pct(error)} ({_pct(shape)}), {tau:.3f}")
        rows.append(cells)
    head = ("tool", "R3: tau", "R3: swapped %", *(f"P1: {m} on {t}" for t in "AB" for m in ("ridge", "mlp")))
    return (
        f"### predict\n\n{len(keys)} other networks, timed under load once by each tool (R3: some of them twice). "
        "P1: mean error % (with the level divided out), tau.\n\n" + _markdown(head, rows)
    )


def _throughput(path: Path) -> str:
    if not path.exists():
        return ""
    found = json.loads(path.read_text())
    rows = [(peer, f"{min(seconds):.2f}", f"{np.median(seconds):.2f}") for peer, seconds in found["peers"].items()]
    shares: list[str] = []
    for plan, campaign in found["campaigns"].items():
        own = f"{3600 / campaign['networks_per_hour']:.2f}"
        rows.append((f"tempograd, a campaign of {campaign['measured']} labels, plan {plan}", own, own))
        shares.append(
            f"{plan}: {_pct(campaign['timed_share'])} % in samples of networks, "
            f"{_pct(campaign['sentinel_share'])} % in samples of sentinels"
        )
    return (
        "### cost\n\n"
        + _markdown(("T1: one network from outside", "best s", "median s"), rows)
        + f"\nT2, of our campaigns' wall time: {'; '.join(shares)}.\n"
    )


def _plots(conditions: Sequence[Condition], truth: Array, other: Array, images: Path) -> str:
    def errors(reference: Array) -> Callable[[Labels], Interval]:
        return lambda labels: bootstrap(worst_case, labels.ms, per_network=[reference])

    def covered(labels: Labels) -> Interval:
        return bootstrap(coverage, labels.low_ms, labels.high_ms, per_network=[truth])

    plots: list[tuple[str, str, Callable[[Labels], Interval], bool]] = [
        ("variation", "R1: CV between processes, %", lambda labels: bootstrap(repeatability, labels.ms), True),
        ("errors", "R2: 95th percentile of the error on truth A, %", errors(truth), True),
        ("errors-other-truth", "R2: 95th percentile of the error on truth B, %", errors(other), True),
        ("coverage", "C1: 95 % intervals that hold truth A, %", covered, False),
    ]
    lines: list[str] = []
    for name, title, figure, log in plots:
        if _plot(conditions, title, figure, images / f"measuring-{name}.svg", log=log):
            lines.append(f"![{title}](../images/measuring-{name}.svg)")
    return "\n" + "\n\n".join(lines) + "\n"


def _plot(
    conditions: Sequence[Condition], title: str, figure: Callable[[Labels], Interval], path: Path, *, log: bool
) -> bool:
    """Draw one figure, a row a tool and a mark a condition; return whether there was anything to draw."""
    names = list(dict.fromkeys(name for c in conditions for name in c.labels))
    if not log or "error" in title:
        names = [name for name in names if name not in NO_LEVEL]
    canvas = Figure(figsize=(7, 0.32 * len(names) + 1.2), layout="constrained")
    axes = canvas.subplots()
    drawn = False
    for n, condition in enumerate(conditions):
        for row, name in enumerate(names):
            if name not in condition.labels:
                continue
            value, low, high = (100 * x for x in figure(condition.labels[name]))
            if np.isfinite(value) and (value > 0 or not log):
                y = row + 0.2 * (n - (len(conditions) - 1) / 2)
                axes.plot([low, high], [y, y], color=f"C{n}", linewidth=1.5)
                axes.plot(value, y, "o", color=f"C{n}", markersize=4, label=condition.name)
                drawn = True
    if not drawn:
        return False
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    if log:
        axes.set_xscale("log")
    else:
        axes.axvline(95, color="0.5", linewidth=1, linestyle="--")
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(handles.values(), handles.keys(), fontsize=8)
    canvas.savefig(path, metadata={"Date": None})
    return True


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _pct(share: float, *, sign: bool = False) -> str:
    return "-" if np.isnan(share) else f"{100 * share:{'+' if sign else ''}.1f}"


def _range(found: Interval) -> str:
    return "-" if np.isnan(found[0]) else f"{_pct(found[0])} ({_pct(found[1])}-{_pct(found[2])})"


def _ms(value: float) -> str:
    return f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path)
    parser.add_argument(
        "--docs", type=Path, help="folder of results/repeatability.md and images; default: the raw folder"
    )
    arguments = parser.parse_args()
    write(arguments.raw, arguments.docs or arguments.raw)


if __name__ == "__main__":
    main()
