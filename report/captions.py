"""From a result to its pictures: the figure, the words beside it, and the data behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from markupsafe import Markup

from ..data.result import Result
from ..errors import InputRefusedError
from ..shown import counted
from .cell import Cell, cell_svg, parse_cells
from .charts import Series, drift_figure, pareto_figure, parity_figure, to_svg, trace_figure
from .formatting import a, percent
from .table import Table


@dataclass(frozen=True)
class Picture:
    """One section of the page.

    Attributes:
        name: a word, the section's anchor.
        title: the section's heading.
        words: what it shows, or, where ``drawings`` is empty, why there is nothing to show.
        drawings: caption (may be empty) and SVG of each.
        table: the data behind it.
    """

    name: str
    title: str
    words: str
    drawings: tuple[tuple[str, Markup], ...] = field(default=())
    table: Table | None = None


def pareto(result: Result) -> Picture:
    """Return the network found among the random ones, by measured latency."""
    found, metric = result.found, result.metric.value
    title = f"{metric.name[:1].upper()}{metric.name[1:]} against measured latency"
    rows = [
        ("found", found.key, found.text, found.measured.latency_ms, found.measured.low_ms, found.measured.high_ms,
         found.measured.verdict, found.score),
        *(("random", r.key, r.text, r.measured_ms, r.low_ms, r.high_ms, r.verdict, r.score) for r in result.random),
    ]  # fmt: skip
    names = ("kind", "key", "architecture", "latency_ms", "low_ms", "high_ms", "verdict", metric.name)
    table = Table("pareto", _columns(names, rows))
    missing = sum(row[3] is None or row[7] is None for row in rows)
    if missing == len(rows):
        return Picture("pareto", title, f"No network has both a measured latency and {a(metric.name)}.", table=table)
    series = [
        Series(
            label, [r[3] for r in of], [r[7] for r in of], [r[4] for r in of], [r[5] for r in of],
            [r[6] == "ok" for r in of], "found" if kind == "found" else "other",
        )
        for kind, label in (("found", "found"), ("random", "random networks"))
        if (of := [row for row in rows if row[0] == kind])
    ]  # fmt: skip
    words = (
        f"The network found beside {counted(len(result.random), 'random network')}, trained and measured alike."
        if result.random
        else "No random networks were trained beside it, so this picture cannot say whether the search was worth it."
    )
    words += " Bars are 95 % intervals of the latency; hollow, crossed points are not to be trusted."
    if missing:
        words += f" Not drawn, for want of a measured latency or {a(metric.name)}: {counted(missing, 'network')}."
    figure = pareto_figure(series, metric, target_ms=result.target_ms)
    return Picture("pareto", title, words, (("", Markup(to_svg(figure, "pareto", title, words))),), table)


def parity(result: Result) -> Picture:
    """Return what the predictor says against what was measured, on networks that it never saw."""
    title, held = "Can the predictor be believed?", result.parity
    if held is None or not held.measured_ms:
        return Picture("parity", title, "The predictor's card holds no held-out networks, so its error is not known.")
    intervals = {"low_ms": held.low_ms, "high_ms": held.high_ms} if held.low_ms else {}
    table = Table("parity", {"measured_ms": held.measured_ms, "predicted_ms": held.predicted_ms, **intervals})
    pairs = [(m, p) for m, p in zip(held.measured_ms, held.predicted_ms, strict=True) if m and p is not None]
    if not pairs:
        return Picture("parity", title, "None of the held-out networks has both latencies.", table=table)
    errors = sorted(abs(p / m - 1) for m, p in pairs)
    tail = errors[min(len(errors) - 1, int(0.9 * len(errors)))]
    words = (
        f"{counted(len(pairs), 'network')} held out of the fit: the median error is {percent(median(errors))}, "
        f"one in ten errs by more than {percent(tail)}."
    )
    if intervals:
        inside = [
            low <= m <= high
            for m, low, high in zip(held.measured_ms, held.low_ms, held.high_ms, strict=True)
            if m is not None and low is not None and high is not None
        ]
        if inside:
            words += f" The predicted interval holds the measured latency of {sum(inside)} of {len(inside)}"
            words += f" ({percent(sum(inside) / len(inside), 0)})."
    figure = parity_figure(held.measured_ms, held.predicted_ms, intervals.get("low_ms"), intervals.get("high_ms"))
    return Picture("parity", title, words, (("", Markup(to_svg(figure, "parity", title, words))),), table)


def trace(result: Result) -> Picture:
    """Return what happened epoch by epoch."""
    title, columns = "How the search went", result.trace.columns()
    if not columns.get("epoch"):
        return Picture("trace", title, "This result holds no epochs of a search.")
    losses = {"weights": "loss_weights", "law": "loss_law"}
    feeds = {"mean of drawn networks": "cost_sampled_ms", "relaxed encoding": "cost_direct_ms", "derived": "derived_ms"}
    warm = [phase == "warm_up" for phase in columns["phase"]] if "phase" in columns else None
    words = (
        "Latencies here are predictions that steered the search, not measurements. Where the relaxed encoding parts "
        "from the mean of drawn networks, a predictor fed with probabilities would have misled the search by that gap."
    )
    if warm and any(warm):
        words += " Shaded epochs train weights only."
    figure = trace_figure(
        columns["epoch"],
        losses={label: columns[name] for label, name in losses.items() if name in columns},
        latencies_ms={label: columns[name] for label, name in feeds.items() if name in columns},
        lam=columns.get("lam"),
        entropy=columns.get("entropy"),
        warm_up=warm,
        target_ms=result.target_ms,
    )
    drawing = Markup(to_svg(figure, "trace", title, words))
    return Picture("trace", title, words, (("", drawing),), Table("trace", columns))


def drift(result: Result) -> Picture:
    """Return what the sentinel says of the device while it was measuring."""
    title, readings = "Was the device steady?", result.sentinels
    if not readings:
        return Picture("drift", title, "No sentinel readings are kept in this result: nothing vouches for the device.")
    inside = sum(r.sentinel_ms <= r.gate_ms for r in readings)
    spread = max(r.sentinel_ms for r in readings) / min(r.sentinel_ms for r in readings)
    words = (
        "A sentinel is a small fixed network timed beside every round. Rounds within the gate were taken in the "
        f"device's reference state: {inside} of {len(readings)} ({percent(inside / len(readings), 0)}). "
        f"The slowest reading is {spread:.2f} times the fastest."
    )
    columns = {name: [getattr(r, name) for r in readings] for name in ("started_s", "sentinel_ms", "gate_ms")}
    drawing = Markup(to_svg(drift_figure(**columns), "drift", title, words))
    return Picture("drift", title, words, (("", drawing),), Table("sentinels", columns))


def cells(result: Result) -> Picture:
    """Return the network found, drawn if its text describes cells."""
    title, text = "The network found", result.found.text
    try:
        found = parse_cells(text)
    except InputRefusedError:
        return Picture(
            "cell", title, "Networks of this space are not made of cells that can be drawn; its text says all."
        )
    drawings = tuple(
        (cell.kind and f"{cell.kind} cell", Markup(cell_svg(cell, f"cell{i}", f"{cell.kind} cell of {result.space}")))
        for i, cell in enumerate(found)
    )
    rows = [(cell.kind, edge.source, edge.target, edge.operation) for cell in found for edge in cell.edges]
    table = Table("cell", _columns(("cell", "source", "target", "operation"), rows))
    return Picture("cell", title, _cell_words(found), drawings, table)


def _cell_words(found: Sequence[Cell]) -> str:
    words = "Operations stand on the edges; nodes add what arrives."
    if any(cell.inputs == 2 for cell in found):
        words += " k−2 and k−1 are the outputs of the two cells before."
    absent = sum(len(cell.edges) - len(cell.drawn) for cell in found)
    if absent:
        words += f" Not drawn: {counted(absent, 'edge')} that the network leaves out (none)."
    dead = sum(len(cell.drawn) - len(cell.live) for cell in found)
    if dead:
        words += (
            f" Pale and dashed: {counted(dead, 'edge')} that cannot change the output; the network built drops them."
        )
    return words


def _columns(names: Sequence[str], rows: Sequence[Sequence[object]]) -> dict[str, list[object]]:
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}
