"""``doctor``: what on this machine would make numbers better."""

from __future__ import annotations

from ..devices.doctor import examine
from .outcome import Outcome, table


def doctor() -> Outcome:
    """Return the findings, each with the command that helps."""
    findings = examine()
    rows = [(f.level, f.topic, f.found, f.remedy) for f in findings]
    return Outcome({"findings": [vars(f) for f in findings]}, table(("", "topic", "found", "to do"), rows))
