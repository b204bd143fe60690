"""``collect``: measure sampled networks of a space on a device."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..data.store import Store
from ..devices.device import Device
from ..profiler.campaign import run_items
from ..profiler.plan import Items, choose, duplicates, named
from ..spaces.space import SearchSpace
from .outcome import INTERRUPTED, PARTIAL, UNRELIABLE, Outcome, Progress, device_of, plain, silent, space_of


def collect(
    space: str,
    store: Path,
    *,
    device: str = "local",
    count: int = 300,
    plan: str = "standard",
    seed: int = 0,
    threads: int | None = None,
    operations: bool = False,
    dry_run: bool = False,
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Outcome:
    """Measure ``count`` sampled networks of a space on a device into a store; what is there is not repeated.

    With ``operations``, every single operation of the space is measured instead: what a ``lookup`` predictor adds up.
    """
    chosen, place, timing = space_of(space), device_of(device, threads), named(plan)
    if operations:
        items = Items.operations(chosen, batch=place.batch)
    else:
        items = Items.of(chosen, choose(chosen, count, seed=seed), batch=place.batch)
    jobs = len(items.keys) + len(duplicates(len(items.keys)))
    if dry_run:
        return _dry_run(chosen, place, timing.burst_ms * timing.checks[-1], jobs, store)
    with Store(store, write=True) as opened:
        summary = run_items(
            place, items, timing, opened, seed=seed,
            progress=lambda p: progress("measuring", p.done, p.total), stop=stop,
        )  # fmt: skip
    document = plain(asdict(summary)) | {
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
        f"this run: {d['measured']} in {d['seconds']:.0f} s ({d['networks_per_hour']:.0f} an hour)",
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
