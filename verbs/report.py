"""``report``: one offline HTML page from a result."""

from __future__ import annotations

from pathlib import Path

from .. import outputs
from ..report.report import is_report, write_report
from .outcome import Outcome


def report(result: Path, out: Path) -> Outcome:
    """Write one offline HTML page from a result."""
    outputs.check([out], is_report)
    path = write_report(result, out)
    return Outcome({"report": str(path)}, f"wrote {path}")
