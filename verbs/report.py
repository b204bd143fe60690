"""``report``: one offline HTML page from a result."""

from __future__ import annotations

from pathlib import Path

from ..report.report import write_report
from .outcome import Outcome


def report(result: Path, out: Path) -> Outcome:
    """Write one offline HTML page from a result."""
    path = write_report(result, out)
    return Outcome({"report": str(path)}, f"wrote {path}")
