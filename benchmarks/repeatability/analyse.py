"""From raw data to a page: tables and plots of what the folder holds.

python -m tempograd.benchmarks.repeatability.analyse runs/repeatability --docs docs
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .figures import (
    Array,
    Interval,
    bias,
    bootstrap,
    coverage,
    middle,
    prediction_errors,
    rank_agreement,
    repeatability,
    swapped,
    worst_case,
)
from .said import Labels, collect, consensus, derived, predictions, read_runs, reference

NO_LEVEL = ("openvino",)  # another engine: its level is no error
OTHER_TRUTH = "torch_blocked"
BEGIN, END = "<!-- results -->", "<!-- end of results -->"


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
