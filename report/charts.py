"""Plots from plain numbers, and their way into a page: inline SVG that follows the page's colours.

Every figure is a matplotlib ``Figure`` made without pyplot. Colours are those of :data:`COLOURS`; in a page each
becomes a CSS variable, so that the same figure is read on light and on dark paper. What colour says, shape says too.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from html import escape
from typing import Any, Literal, ParamSpec

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..metric import ACCURACY, SHARE, Metric

COLOURS = {
    "ink": "#1f2430",
    "muted": "#5d6675",
    "rule": "#d5dae1",
    "main": "#0a5fb4",
    "good": "#197a3d",
    "warn": "#a85a00",
    "bad": "#c0262d",
}
RASTER_FROM = 5000  # points from which a scatter is drawn as an image, to keep a page small
LOG_FROM = 20  # ratio of largest to smallest latency from which axes are logarithmic
PAUSE_S = 600.0  # a longer pause between readings is cut out of the time axis

_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": COLOURS["muted"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": COLOURS["ink"],
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": COLOURS["ink"],
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "font.size": 10.0,
    "grid.color": COLOURS["rule"],
    "grid.linewidth": 0.7,
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "legend.labelcolor": COLOURS["ink"],
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
}

P = ParamSpec("P")
Values = Sequence[float | None] | Sequence[float] | Sequence[bool] | NDArray[Any]  # None and NaN are not drawn


@dataclass(frozen=True)
class Series:
    """Networks of one kind in a plane of metric and latency.

    Attributes:
        label: for the legend.
        latency_ms, score: ``(n,)``; score by the task's metric.
        low_ms, high_ms: ``(n,)`` interval of the latency, or None.
        trusted: ``(n,)`` whether the measurement's verdict is ``ok``, or None if all are.
        kind: ``found`` is drawn large, ``other`` small.
    """

    label: str
    latency_ms: Values
    score: Values
    low_ms: Values | None = None
    high_ms: Values | None = None
    trusted: Values | None = None
    kind: Literal["found", "other"] = "other"


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Return a function that draws in the style of all figures here."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with style.context(["default", _STYLE]):
            return draw(*args, **kwargs)

    return styled


@styled
def pareto_figure(series: Sequence[Series], metric: Metric = ACCURACY, *, target_ms: float | None = None) -> Figure:
    """Return a metric against measured latency, intervals as bars, the front of all trusted networks as a line.

    Points whose measurement is not trusted are hollow and crossed, and take no part in the front.
    """
    figure = Figure(figsize=(7.6, 4.3))
    axes = figure.subplots()
    scale = 100 if metric.unit == SHARE else 1
    front: list[tuple[float, float]] = []
    doubtful = False
    for one in series:
        latency, score = _floats(one.latency_ms), scale * _floats(one.score)
        drawn = np.isfinite(latency) & np.isfinite(score)
        trusted = np.ones(latency.shape, bool) if one.trusted is None else np.asarray(one.trusted, bool)
        colour, size = (COLOURS["main"], 13.0) if one.kind == "found" else (COLOURS["muted"], 5.5)
        _intervals(axes, latency, score, one.low_ms, one.high_ms, colour, along_x=True)
        marker = "*" if one.kind == "found" else "o"
        sure, unsure = drawn & trusted, drawn & ~trusted
        look: dict[str, Any] = {
            "linestyle": "none",
            "color": colour,
            "markersize": size,
            "zorder": 3 + (one.kind == "found"),
        }
        if sure.any():
            axes.plot(latency[sure], score[sure], marker=marker, label=one.label, **look)
        if unsure.any():
            hollow: dict[str, Any] = look | {"markerfacecolor": "none", "markeredgewidth": 1.2}
            crossed: dict[str, Any] = look | {"color": COLOURS["bad"]}
            axes.plot(latency[unsure], score[unsure], marker=marker, **hollow)
            axes.plot(latency[unsure], score[unsure], marker="x", **crossed)
            doubtful = True
        front += zip(latency[sure].tolist(), score[sure].tolist(), strict=True)
    if len(front) > 1:
        axes.plot(*_front(front, metric), color=COLOURS["muted"], linewidth=1.1, drawstyle="steps-post", label="front")
    if target_ms is not None:
        _target(axes, target_ms, vertical=True)
    if doubtful:
        axes.plot([], [], "x", color=COLOURS["bad"], label="not trusted")
    axes.margins(0.08, 0.12)
    axes.set_xlabel("measured latency (ms)")
    unit = "%" if metric.unit == SHARE else metric.unit
    lower = "" if metric.higher_is_better else ", lower is better"
    axes.set_ylabel(f"test {metric.name}{f' ({unit})' if unit else ''}{lower}")
    _legend_above(axes)
    return figure


@styled
def parity_figure(
    measured_ms: Values, predicted_ms: Values, low_ms: Values | None = None, high_ms: Values | None = None
) -> Figure:
    """Return predicted against measured latency with intervals, and beside it the residuals in percent."""
    figure = Figure(figsize=(7.6, 3.9))
    left, right = figure.subplots(1, 2)
    measured, predicted = _floats(measured_ms), _floats(predicted_ms)
    drawn = np.isfinite(measured) & np.isfinite(predicted) & (measured > 0) & (predicted > 0)
    measured, predicted = measured[drawn], predicted[drawn]
    _intervals(left, measured, predicted, _rows(low_ms, drawn), _rows(high_ms, drawn), COLOURS["main"], along_x=False)
    look: dict[str, Any] = {
        "linestyle": "none", "marker": "o", "markersize": 3.6, "color": COLOURS["main"], "alpha": 0.75,
        "rasterized": len(measured) > RASTER_FROM,
    }  # fmt: skip
    left.plot(measured, predicted, zorder=3, **look)
    if measured.size:
        ends = [min(measured.min(), predicted.min()), max(measured.max(), predicted.max())]
        left.plot(ends, ends, color=COLOURS["ink"], linewidth=1, linestyle="--", label="predicted = measured")
        if ends[1] > LOG_FROM * ends[0]:
            for axis in (left.set_xscale, left.set_yscale, right.set_xscale):
                axis("log")
        left.legend(loc="upper left")
    right.plot(measured, 100 * (predicted / measured - 1), zorder=3, **look)
    right.axhline(0, color=COLOURS["ink"], linewidth=1, linestyle="--")
    left.set_title("Parity")
    left.set_ylabel("predicted latency (ms)")
    right.set_title("Residuals")
    right.set_ylabel("predicted above measured (%)")
    for axes in (left, right):
        axes.set_xlabel("measured latency (ms)")
    return figure


@styled
def drift_figure(started_s: Values, sentinel_ms: Values, gate_ms: Values) -> Figure:
    """Return sentinel readings over the time spent measuring, and the gate; pauses above ten minutes are cut out."""
    figure = Figure(figsize=(7.6, 3.2))
    axes = figure.subplots()
    started = _floats(started_s)
    order = np.argsort(started, kind="stable")
    started, sentinel, gate = started[order], _floats(sentinel_ms)[order], _floats(gate_ms)[order]
    steps = np.diff(started, prepend=started[:1])
    paused = steps > PAUSE_S
    minutes = np.cumsum(np.where(paused, max(60.0, 0.03 * steps[~paused].sum()), steps)) / 60
    inside = sentinel <= gate
    look: dict[str, Any] = {
        "linestyle": "none",
        "markersize": 4.2,
        "rasterized": len(started) > RASTER_FROM,
        "zorder": 3,
    }
    axes.plot(minutes[inside], sentinel[inside], marker="o", color=COLOURS["main"], label="in the gate", **look)
    axes.plot(
        minutes[~inside], sentinel[~inside], marker="x", color=COLOURS["warn"], label="above it: the device was slower",
        **look,
    )  # fmt: skip
    axes.plot(minutes, gate, color=COLOURS["ink"], linewidth=1, linestyle="--", drawstyle="steps-post", label="gate")
    for at, pause in zip(minutes[paused], steps[paused], strict=True):
        axes.axvline(at, color=COLOURS["muted"], linewidth=0.9, linestyle=":")
        axes.annotate(
            f" {pause / 3600:.1f} h later" if pause >= 3600 else f" {pause / 60:.0f} min later",
            (at, 1), xycoords=("data", "axes fraction"), va="top", color=COLOURS["muted"], fontsize=8.5,
        )  # fmt: skip
    axes.margins(0.03, 0.12)
    axes.set_xlabel("minutes of measuring")
    axes.set_ylabel("sentinel (ms)")
    _legend_above(axes)
    return figure


@styled
def trace_figure(
    epoch: Values,
    *,
    losses: Mapping[str, Values],
    latencies_ms: Mapping[str, Values],
    lam: Values | None = None,
    entropy: Values | None = None,
    warm_up: Values | None = None,
    target_ms: float | None = None,
) -> Figure:
    """Return four small plots over the epochs of a search: losses, latencies, weight of latency, entropy of the law.

    Args:
        epoch: ``(n,)``.
        losses: label -> ``(n,)``.
        latencies_ms: label -> ``(n,)``.
        lam: ``(n,)``, or None: then the plot says so.
        entropy: ``(n,)`` in nats, or None.
        warm_up: ``(n,)`` whether only weights were trained in an epoch; these are shaded.
        target_ms: drawn among the latencies.
    """
    figure = Figure(figsize=(7.6, 5.2))
    (loss, latency), (weight, law) = figure.subplots(2, 2, sharex=True)
    x = _floats(epoch)
    panels = [
        (loss, "Cross-entropy", losses, "loss"),
        (latency, "Predicted latency of the law", latencies_ms, "ms"),
        (weight, "Weight of latency", {} if lam is None else {"": lam}, "lam"),
        (law, "Entropy of the law", {} if entropy is None else {"": entropy}, "nats"),
    ]
    for axes, title, lines, unit in panels:
        axes.set_title(title)
        axes.set_ylabel(unit)
        kinds = zip(lines.items(), ("-", "--", ":"), ("main", "warn", "good"), strict=False)
        for (label, values), dash, colour in kinds:
            marker = "o" if x.size == 1 else None
            axes.plot(x, _floats(values), dash, color=COLOURS[colour], linewidth=1.6, marker=marker, label=label)
        if not lines:
            axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color=COLOURS["muted"])
        for first, last in _runs(x, warm_up):
            axes.axvspan(first - 0.5, last + 0.5, color=COLOURS["rule"], alpha=0.55, linewidth=0, zorder=0)
        if len(lines) > 1:
            axes.legend()
    if target_ms is not None:
        _target(latency, target_ms, vertical=False)
    weight.set_xlabel("epoch")
    law.set_xlabel("epoch")
    return figure


def to_svg(figure: Figure, name: str, title: str, description: str, *, standalone: bool = False) -> str:
    """Return a figure as an ``<svg>`` element that is the same, byte for byte, for the same data.

    Args:
        figure: one of this module's.
        name: a word, unique in the page: prefix of every id.
        title: read out in place of the picture.
        description: what it shows, read out after the title.
        standalone: a file of its own, on white paper, rather than a part of a page that defines the colours.
    """
    out = io.BytesIO()
    with style.context({"svg.fonttype": "none", "svg.hashsalt": name}):
        # no metadata: a date would differ from run to run, and the vocabulary's address has no business in a page
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        paper: dict[str, Any] = {"facecolor": "white"} if standalone else {"transparent": True}
        figure.savefig(out, format="svg", metadata=nothing, **paper)
    text = out.getvalue().decode()
    text = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", text[text.index("<svg") :])
    opening, rest = text.split(">", 1)
    told = f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    text = f'{opening} role="img" aria-label="{escape(f"{title}. {description}")}">{told}{rest}'
    return text if standalone else themed(text)


def themed(svg: str) -> str:
    """Return the SVG with every colour of :data:`COLOURS` as a CSS variable that falls back to it."""
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name}, {colour})")
    return svg


def _floats(values: Values) -> NDArray[np.float64]:
    """Return the values as floats; None becomes NaN, which is not drawn."""
    return np.asarray(values, dtype=np.float64)


def _runs(x: NDArray[np.float64], chosen: Values | None) -> list[tuple[float, float]]:
    """Return the first and last ``x`` of every unbroken run of chosen rows."""
    if chosen is None:
        return []
    edges = np.flatnonzero(np.diff(np.asarray(chosen, int), prepend=0, append=0))
    return [(float(x[start]), float(x[end - 1])) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def _rows(values: Values | None, chosen: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    return None if values is None else _floats(values)[chosen]


def _intervals(
    axes: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    low: Values | None,
    high: Values | None,
    colour: str,
    *,
    along_x: bool,
) -> None:
    if low is None or high is None:
        return
    centre = x if along_x else y
    # an interval need not hold its point (a median beside a mean): the bar spans the interval, drawn as lines
    low_, high_ = _floats(low), _floats(high)
    known = np.isfinite(low_) & np.isfinite(high_) & np.isfinite(centre)
    draw = axes.hlines if along_x else axes.vlines
    other = y if along_x else x
    draw(
        other[known], low_[known], high_[known],
        color=colour, alpha=0.45, linewidth=1.3, zorder=2, rasterized=bool(known.sum() > RASTER_FROM),
    )  # fmt: skip


def _front(points: Sequence[tuple[float, float]], metric: Metric) -> tuple[list[float], list[float]]:
    """Return the non-dominated points by rising latency."""
    best: list[tuple[float, float]] = []
    for latency, score in sorted(points, key=lambda point: (point[0], -metric.merit(point[1]))):
        if not best or metric.better(score, best[-1][1]):
            best.append((latency, score))
    return [latency for latency, _ in best], [score for _, score in best]


def _target(axes: Axes, target_ms: float, *, vertical: bool) -> None:
    line = axes.axvline if vertical else axes.axhline
    line(target_ms, color=COLOURS["bad"], linewidth=1.3, linestyle=(0, (5, 3)), label=f"target {target_ms:.4g} ms")
    if not vertical:
        axes.legend()


def _legend_above(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=5, handletextpad=0.4, columnspacing=1.4)
