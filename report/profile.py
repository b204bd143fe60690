"""One offline HTML page of a network's kernels: where the time goes, as a tree map, a roofline and a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from .. import outputs
from .charts import COLOURS, styled, themed, to_svg
from .layout import rendered
from .table import Table

WIDTH, HEIGHT = 940.0, 420.0
READABLE = (46.0, 15.0)  # width and height of a rectangle that holds a word
BOUNDS = {"arithmetic": "main", "bandwidth": "warn", "dispatch": "muted"}
is_profile = outputs.marked(b"<!doctype html>", b'<meta name="generator" content="tempograd profile">')

Box = tuple[float, float, float, float]


def check_place(out: Path) -> None:
    """Refuse, before anything is measured, a place that a page cannot be written to.

    Raises:
        UsageError: something else lies there, or its name is that of another format.
        StoreError: it cannot be written.
    """
    outputs.check_pages([out], is_profile)


def write_profile(document: Mapping[str, Any], out: Path) -> Path:
    """Write what ``profile --json`` prints as a page and return its path.

    Raises:
        UsageError: something else than such a page is at ``out``.
        StoreError: it cannot be written.
    """
    outputs.write({out: render(document).encode()}, is_profile)
    return out


def render(document: Mapping[str, Any]) -> str:
    """Return the page."""
    kernels = sorted(document["kernels"], key=lambda row: -row["ms"])
    return rendered(
        "profile.html", d=document, kernels=kernels, tree=tree_map(kernels), roofline=_roofline_svg(document),
        table=_table(kernels), bounds=BOUNDS,
    )  # fmt: skip


def tree_map(kernels: Sequence[Mapping[str, Any]]) -> str:
    """Return an ``<svg>`` in which areas are times: families, and within them kernels, each with a title."""
    families: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in kernels:
        if row["ms"] > 0:
            families[row["family"]].append(row)
    ordered = sorted(families.values(), key=lambda rows: -_time(rows))
    boxes = squarified([_time(rows) for rows in ordered], (0.0, 0.0, WIDTH, HEIGHT))
    parts = [part for rows, box in zip(ordered, boxes, strict=True) for part in _family(rows, box)]
    label = "Kernels of the network; areas are shares of its time"
    return f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def squarified(areas: Sequence[float], box: Box) -> list[Box]:
    """Return rectangles of these areas, the largest first, that fill a box and are as square as they can be.

    Bruls et al., *Squarified Treemaps*, VisSym 2000.

    >>> squarified([2.0, 1.0, 1.0], (0.0, 0.0, 4.0, 2.0))
    [(0.0, 0.0, 2.0, 2.0), (2.0, 0.0, 2.0, 1.0), (2.0, 1.0, 2.0, 1.0)]
    """
    x, y, width, height = box
    total = sum(areas)
    if not areas or total <= 0:
        return []
    scaled = [area * width * height / total for area in areas]
    found: list[Box] = []
    while scaled:
        side = min(width, height)
        count = 1
        while count < len(scaled) and _worst(scaled[: count + 1], side) <= _worst(scaled[:count], side):
            count += 1
        row, scaled = scaled[:count], scaled[count:]
        depth = sum(row) / side
        offset = 0.0
        for area in row:
            length = area / depth
            found.append((x, y + offset, depth, length) if width >= height else (x + offset, y, length, depth))
            offset += length
        if width >= height:
            x, width = x + depth, max(width - depth, 1e-9)
        else:
            y, height = y + depth, max(height - depth, 1e-9)
    return found


def _worst(row: Sequence[float], side: float) -> float:
    depth = sum(row) / side
    return max(max(depth * depth / area, area / depth / depth) for area in row)


def _time(rows: Sequence[Mapping[str, Any]]) -> float:
    return sum(row["ms"] for row in rows)


def _family(rows: Sequence[Mapping[str, Any]], box: Box) -> list[str]:
    ordered = sorted(rows, key=lambda row: -row["ms"])
    parts = [
        _kernel(row, inner) for row, inner in zip(ordered, squarified([r["ms"] for r in ordered], box), strict=True)
    ]
    x, y, width, height = box
    frame = f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" class="family"/>'
    return [*parts, frame]


def _kernel(row: Mapping[str, Any], box: Box) -> str:
    x, y, width, height = box
    name = row["origin"][-1] if row["origin"] else row["name"]
    title = f"{row['op']} {name}: {row['ms']:.4g} ms, {row['share']:.1%}, {row['family']}, bound by {row['bound']}"
    rect = (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" class="{row["bound"]}">'
        f"<title>{escape(title)}</title></rect>"
    )
    if width < READABLE[0] or height < READABLE[1]:
        return rect
    letters = max(3, int(width / 7.2))
    text = f"{row['op'].rpartition('.')[2]} {name}"
    short = text if len(text) <= letters else text[: letters - 1] + "…"
    return f'{rect}<text x="{x + 4:.1f}" y="{y + 12:.1f}">{escape(short)}</text>'


@styled
def roofline_figure(kernels: Sequence[Mapping[str, Any]], rates: Mapping[str, float]) -> Figure:
    """Return arithmetic a second against arithmetic a byte, one mark a kernel that multiplies, below the roof."""
    figure = Figure(figsize=(7.6, 3.9))
    axes = figure.subplots()
    drawn = [row for row in kernels if row["macs"] > 0 and row["ms"] > 0]
    intensity = [row["macs"] / max(row["read_bytes"] + row["written_bytes"], 1) for row in drawn]
    speed = [row["macs"] / row["ms"] / 1e6 for row in drawn]
    for bound, colour, marker in (("arithmetic", "main", "o"), ("bandwidth", "warn", "s"), ("dispatch", "muted", "^")):
        mine = [n for n, row in enumerate(drawn) if row["bound"] == bound]
        if mine:
            axes.scatter(
                [intensity[n] for n in mine], [speed[n] for n in mine], c=COLOURS[colour], marker=marker,
                s=[12 + 400 * drawn[n]["share"] for n in mine], alpha=0.75, label=bound, zorder=3,
            )  # fmt: skip
    low, high = min(intensity, default=0.1) / 3, max(intensity, default=10.0) * 3
    knee = rates["gmacs"] / rates["gbps"]
    ends = [min(low, knee / 3), knee, max(high, 3 * knee)]
    axes.plot(ends, [min(x * rates["gbps"], rates["gmacs"]) for x in ends], color=COLOURS["ink"], linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("multiply-accumulates a byte")
    axes.set_ylabel("1e9 multiply-accumulates a second")
    if drawn:
        axes.legend(loc="lower right")
    return figure


def _roofline_svg(document: Mapping[str, Any]) -> str:
    figure = roofline_figure(document["kernels"], document["rates"])
    words = "Kernels that multiply, against the arithmetic and the bandwidth that this device showed"
    return themed(to_svg(figure, "roofline", "Roofline", words))


def _table(kernels: Sequence[Mapping[str, Any]]) -> Table:
    names = (
        "name",
        "op",
        "family",
        "ms",
        "share",
        "macs",
        "read_bytes",
        "written_bytes",
        "bound",
        "of_best",
        "provider",
    )
    columns: dict[str, list[Any]] = {name: [row[name] for row in kernels] for name in names}
    columns["origin"] = [" ".join(row["origin"]) for row in kernels]
    return Table("kernels", columns)
