"""One offline HTML page of a comparison: each network against the first, families of kernels before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import outputs
from .layout import rendered
from .table import Table

is_comparison = outputs.marked(b"<!doctype html>", b'<meta name="generator" content="tempograd compare">')


def check_place(out: Path) -> None:
    """Refuse, before anything is measured, a place that a page cannot be written to.

    Raises:
        UsageError: something else lies there, or its name is that of another format.
        StoreError: it cannot be written.
    """
    outputs.check_pages([out], is_comparison)


def write_comparison(document: Mapping[str, Any], kernels: Sequence[Mapping[str, Any]], out: Path) -> Path:
    """Write what ``compare --json`` prints as a page and return its path.

    Args:
        document: as ``--json`` prints it.
        kernels: for each network in its order ``families``, name -> ``kernels`` and ``share``, or ``why`` not.
        out: the page.

    Raises:
        UsageError: something else than such a page is at ``out``.
        StoreError: it cannot be written.
    """
    outputs.write({out: render(document, kernels).encode()}, is_comparison)
    return out


def render(document: Mapping[str, Any], kernels: Sequence[Mapping[str, Any]]) -> str:
    """Return the page."""
    rows = document["networks"]
    families = before_and_after(rows, kernels)
    return rendered(
        "compare.html", d=document, rows=rows, families=families, intervals=intervals(rows), table=_table(rows),
        why=sorted({one["why"] for one in kernels if one["why"]}),
    )  # fmt: skip


def before_and_after(
    rows: Sequence[Mapping[str, Any]], kernels: Sequence[Mapping[str, Any]]
) -> list[tuple[str, list[tuple[int, float | None]]]]:
    """Return each family with, for each network, its number of kernels and ms; the family that takes most comes first.

    A family's ms is its share of the kernels' times, of the latency that was measured while nobody watched.
    """
    names = {name for one in kernels for name in one["families"]}
    found: list[tuple[str, list[tuple[int, float | None]]]] = []
    for name in names:
        cells: list[tuple[int, float | None]] = []
        for row, one in zip(rows, kernels, strict=True):
            family = one["families"].get(name, {"kernels": 0, "share": 0.0})
            known = row["latency_ms"] is not None and one["families"]
            cells.append((family["kernels"], family["share"] * row["latency_ms"] if known else None))
        found.append((name, cells))
    return sorted(found, key=lambda one: (-max(value or 0.0 for _, value in one[1]), one[0]))


def intervals(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, float, float, float, float, str]]:
    """Return of each network that was compared: name, low, change and high as x in 0 to 100, x of no change, side."""
    told = [(row["name"], row["difference"]) for row in rows if row["difference"] is not None]
    ends = [0.0, *(d[name] for _, d in told for name in ("low", "high"))]
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0
    low, span = low - 0.05 * span, 1.1 * span

    def x(value: float) -> float:
        return 100 * (value - low) / span

    return [(name, x(d["low"]), x(d["change"]), x(d["high"]), x(0.0), d["side"]) for name, d in told]


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    names = ("change", "low", "high", "processes", "paired", "side")
    columns: dict[str, list[Any]] = {
        name: [row.get(name) for row in rows] for name in ("name", "device", "latency_ms", "low_ms", "high_ms")
    }
    return Table("comparison", columns | {n: [(row["difference"] or {}).get(n) for row in rows] for n in names})
