"""The jobs of a user, as functions: what the command line calls, and what a script may call.

Only here do the profiler and the search meet: the search is handed a function that measures.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import registry
from .errors import InputRefusedError, MismatchError, TargetError, UsageError

if TYPE_CHECKING:
    from .data.dataset import LatencyDataset
    from .devices.device import Device
    from .devices.doctor import Finding
    from .spaces.space import SearchSpace

Progress = Callable[[str, int, int], None]

FOLDS = 5
UNRELIABLE, PARTIAL, MISSED, INTERRUPTED = 3, 6, 8, 130


@dataclass(frozen=True)
class Outcome:
    """What a verb returns: a JSON document, the same for people, and the exit code that it deserves."""

    document: dict[str, Any]
    text: str
    exit_code: int = 0


def silent(what: str, done: int, total: int) -> None:
    """Say nothing."""


def doctor() -> list[Finding]:
    """Return what on this machine would make numbers better."""
    from .devices.doctor import examine

    return examine()


def doctor_text(findings: Sequence[Finding]) -> str:
    """Return the findings as aligned lines."""
    rows = [(f.level, f.topic, f.found, f.remedy) for f in findings]
    return _table(("", "topic", "found", "to do"), rows)


def collect(
    space: str,
    store: Path,
    *,
    device: str = "local",
    count: int = 300,
    plan: str = "standard",
    seed: int = 0,
    threads: int | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Outcome:
    """Measure ``count`` sampled networks of a space on a device into a store; what is there is not repeated."""
    from .data.store import Store
    from .profiler.campaign import run
    from .profiler.plan import duplicates, named

    chosen, place, timing = _space(space), _device(device, threads), named(plan)
    jobs = count + len(duplicates(count))
    if dry_run:
        return _dry_run(chosen, place, timing.burst_ms * timing.checks[-1], jobs, store)
    with Store(store, write=True) as opened:
        summary = run(
            place, chosen, timing, opened, count=count, seed=seed,
            progress=lambda p: progress("measuring", p.done, p.total), stop=stop,
        )  # fmt: skip
    document = _plain(asdict(summary)) | {
        "store": str(store), "space": chosen.spec, "device": place.fingerprint.id, "plan": plan, "seed": seed,
    }  # fmt: skip
    verdicts = summary.verdicts
    failed = sum(verdicts.get(v, 0) for v in ("failed", "quarantined", "censored"))
    code = INTERRUPTED if summary.interrupted else PARTIAL if failed else 0
    if not code and verdicts.get("ok", 0) < sum(verdicts.values()) / 2:
        code = UNRELIABLE
    return Outcome(document, _collect_text(document), code)


def _dry_run(space: SearchSpace, device: Device, timed_ms: float, jobs: int, store: Path) -> Outcome:
    seconds = jobs * timed_ms / 1e3 * 2  # half of the wall time goes to sentinels, loading and storing
    document = {
        "space": space.spec, "device": json.loads(device.fingerprint.to_json()), "store": str(store), "jobs": jobs,
        "expected_seconds": seconds, "dry_run": True,
    }  # fmt: skip
    text = (
        f"would measure {jobs} networks (blind duplicates included) of {space.spec} in about {seconds / 60:.1f} minutes"
    )
    return Outcome(document, text)


def _collect_text(d: Mapping[str, Any]) -> str:
    verdicts = ", ".join(f"{n} {verdict}" for verdict, n in sorted(d["verdicts"].items())) or "nothing yet"
    lines = [
        f"{d['networks']} networks and {d['duplicates']} blind duplicates of {d['space']} in {d['store']}: {verdicts}",
        f"this run: {d['measured']} in {d['seconds']:.0f} s ({d['networks_per_hour']:.0f} an hour), {d['found']} were there",
    ]
    if d["repeatability"] is not None:
        lines.append(f"repeatability between processes: {d['repeatability']:.1%} from {d['pairs']} pairs")
    if d["timed_share"] is not None:
        lines.append(
            f"wall time inside timed networks {d['timed_share']:.0%}, sentinels {d['sentinel_share']:.0%}; "
            f"rounds in the reference state {d['gated_share'] or 0:.0%}"
        )
    if d["rejected"]:
        lines.append("rounds left out: " + ", ".join(f"{n} {reason}" for reason, n in d["rejected"].items()))
    if d["interrupted"]:
        lines.append("interrupted: run the same command to go on")
    return "\n".join(lines)


def _space(spec: str) -> SearchSpace:
    return registry.create("space", spec)


def _device(spec: str, threads: int | None = None) -> Device:
    extra = {} if threads is None else {"threads": threads}
    return registry.create("device", spec, **extra)


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold: NaN and infinity become null."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return aligned columns."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return "\n".join(line.rstrip() for line in lines)
