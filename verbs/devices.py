"""``devices``: every place and runtime, what is missing, and the command that installs it."""

from __future__ import annotations

from dataclasses import asdict

from ..devices.inventory import inventory
from .outcome import Outcome, Progress, silent, table


def devices(progress: Progress = silent) -> Outcome:
    """Return what is here and what is not."""
    entries = []
    for entry in inventory():
        entries.append(entry)
        progress("looking", len(entries), len(entries))
    rows = [(e.state, e.device, e.version, e.found, e.remedy) for e in entries]
    text = table(("", "--device", "version", "found", "to do"), rows)
    return Outcome({"devices": [asdict(entry) for entry in entries]}, text)
