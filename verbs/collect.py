"""``collect``: measure networks of a space on a device."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from io import BytesIO
from itertools import count as naturals
from operator import itemgetter
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import outputs, registry
from ..arguments import Count, Seed, Threads
from ..arguments import check as check_arguments
from ..data.dataset import FEW_ROWS
from ..data.store import Store
from ..devices.device import Place
from ..errors import UsageError
from ..measurement.calibration import CALIBRATION_NETWORKS
from ..measurement.label import GATE
from ..measurement.repeatability import ENOUGH
from ..profiler.campaign import CampaignSummary, left_of, run
from ..profiler.choose import choose, choose_by_design, distinct
from ..profiler.plan import Items, Plan, duplicates, named
from ..shown import counted
from ..spaces.space import SearchSpace
from .outcome import (
    INTERRUPTED,
    PARTIAL,
    REMARK,
    UNRELIABLE,
    Outcome,
    Progress,
    among,
    device_of,
    plain,
    silent,
    space_of,
)

if TYPE_CHECKING:
    from ..tasks.task import Task

NOISY = (
    "noisy: not as close as the plan asks, on a device that is never quite still. A predictor can be learnt all the "
    "same, noisy labels counting little, and a search measures the network that it finds anew in three processes or "
    "more: pass or fail does not rest on these numbers"
)
FOR_ENOUGH = next(n for n in naturals(1) if len(duplicates(n)) >= ENOUGH)  # networks of which so many are timed twice
COUNT = 300  # networks that are measured where nobody says how many
PICTURES = {".svg": "Creator", ".png": "Software"}  # what says in each format who drew it
LEVELS = "▁▂▃▄▅▆▇█"


def collect(
    space: str | SearchSpace,
    store: Path,
    *,
    task: str | Task | None = None,
    device: str | Place = "local",
    count: Count | None = None,
    plan: str = "quick",
    seed: Seed = 0,
    threads: Threads | None = None,
    operations: bool = False,
    every: bool = False,
    design: bool = False,
    plot: Path | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Outcome:
    """Measure ``count`` sampled networks of a space, by default 300, on a device into a store; none is repeated.

    With ``design``, they are those that tell a linear model the most: for a few, on a device that is new.
    With ``operations``, every single operation of the space is measured instead: what a ``lookup`` predictor adds up.
    With ``task``, what ``space`` leaves open of output, sizes and channels is what the task needs.
    With ``every``, each different network of the space, once. ``plot`` is where the drift of the device is drawn.
    """
    check_arguments(collect, locals())
    if operations and every:
        raise UsageError("--operations and --every were both given; take one of them")
    if operations or every:
        _check_none_chosen("--every" if every else "--operations", count, design=design)
    count = count or COUNT
    if plot is not None:
        _check_plot(plot)
    if task is None:
        chosen = space_of(space)
    else:
        from ..tasks.load import load_task
        from .fitting import space_for, tell

        learnt = load_task(task, seed=seed)
        chosen = space_for(space, learnt)
        tell(learnt, progress)
    place, timing = device_of(device, threads), named(plan)
    if dry_run and not (operations or every or store.exists()):
        if chosen.at_most(count) < count:
            chosen.sample(count, np.random.default_rng(seed))  # which refuses
        return _dry_run(chosen, place, timing, count, store)  # without drawing them
    if operations:
        items = Items.operations(chosen, batch=place.batch)
    elif every:
        total = round(10**chosen.size_log10)
        networks = distinct(chosen, lambda done: progress("telling networks apart", done, total))
        items = Items.of(chosen, networks, batch=place.batch)
    else:
        networks = choose_by_design(chosen, count, seed=seed) if design else choose(chosen, count, seed=seed)
        items = Items.of(chosen, networks, batch=place.batch)
    if dry_run:
        left = None
        if store.exists():
            with Store(store) as opened:
                left = left_of(place, items, timing, opened, seed=seed)
        return _dry_run(chosen, place, timing, len(items.keys), store, left)
    expected_min = _expected_s(timing, len(items.keys)) / 60
    networks = counted(len(items.keys), "network")
    progress(f"{networks}, some {max(expected_min, 0.1):.1f} minutes if all are new", 0, REMARK)
    with Store(store, write=True) as opened:
        summary = run(
            place, items, timing, opened, seed=seed,
            progress=lambda p: progress("measuring", p.done, p.total), stop=stop,
        )  # fmt: skip
        which = among(opened, chosen.spec, place.fingerprint.id)
    document = plain(asdict(summary)) | {
        "store": str(store), "space": chosen.spec, "device": place.fingerprint.id, "plan": plan, "seed": seed,
        "labels": summary.labels,
    }  # fmt: skip
    if plot is not None and summary.drift is not None:
        _draw(summary, plot)
    following = None if operations or not isinstance(device, str) else _following(document, device, chosen, which)
    return Outcome(document, _text(document), exit_code(summary), following)


def exit_code(summary: CampaignSummary) -> int:
    """Return how a campaign ends: interrupted, not to be believed, with failures, or well."""
    if summary.interrupted:
        return INTERRUPTED
    if summary.doubts and summary.labels:
        return UNRELIABLE
    return PARTIAL if failures(summary) else 0


def failures(summary: CampaignSummary) -> int:
    """Return how many jobs gave no latency; those of networks whose two labels disagree gave one each."""
    told = sum(summary.verdicts.get(v, 0) for v in ("failed", "quarantined", "censored"))
    return told - 2 * len(summary.disagreeing)


def _following(d: Mapping[str, Any], device: str, of: SearchSpace, which: str) -> str:
    """Return the next command: what a predictor can be learnt from, or what gives more labels."""
    store, space = quote(d["store"]), registry.typed("space", d["space"])
    if not d["labels"]:
        return "tempograd doctor"
    if d["labels"] >= FEW_ROWS:
        return f"tempograd fit --store {store}{which} --out predictor/"
    there = round(10 ** min(of.size_log10, 9))
    if d["networks"] >= there:
        return f"tempograd export --store {store}{which} --out table/"  # that is all of them
    return (
        f"tempograd collect --space {quote(space)} --device {quote(device)} --plan {d['plan']} --seed "
        f"{d['seed']} --count {min(200, there)} --store {store}"
    )


def _dry_run(
    space: SearchSpace, device: Place, plan: Plan, networks: int, store: Path, left: int | None = None
) -> Outcome:
    """Return what would be done: all of it, or what is ``left`` beside what the store has."""
    total = networks + len(duplicates(networks))
    jobs = total if left is None else left
    seconds = _expected_s(plan, networks) * jobs / total
    document = {
        "space": space.spec, "device": json.loads(device.fingerprint.to_json()), "store": str(store), "jobs": jobs,
        "expected_seconds": seconds, "dry_run": True,
    }  # fmt: skip
    of = counted(jobs, "network") if jobs == total else f"{jobs} of {total} networks"
    text = f"would measure {of} (blind duplicates included) of {space.spec} in about {seconds / 60:.1f} minutes"
    if jobs < total:
        text += f"; {store} has the others"
    return Outcome(document, text)


def _expected_s(plan: Plan, networks: int) -> float:
    """Return how long a campaign of so many networks of some milliseconds takes, blind duplicates included."""
    timed_s = (networks + len(duplicates(networks))) * plan.burst_ms * plan.checks[-1] / 1e3
    return 2 * timed_s  # half of the wall time goes to sentinels, loading and storing


def _text(d: Mapping[str, Any]) -> str:
    verdicts = ", ".join(f"{n} {verdict}" for verdict, n in sorted(d["verdicts"].items())) or "nothing yet"
    asked, there = d["networks"] + d["duplicates"], sum(d["verdicts"].values())
    if there > asked:
        verdicts = f"there are {there} of this plan and seed: {verdicts}"
    again = f", {d['again']} of them again, as they had been noisy" if d["again"] else ""
    lines = [
        f"{held(d)}: {verdicts}",
        f"this run: {pace(d['measured'], d['seconds'], nothing_left=d['found'] >= asked)}{again}",
    ]
    if d["measured"]:
        read = ", ".join(f"{name} of {n}" for name, n in sorted(d["beside_time"].items()))
        lines.append(f"read beside time: {read or 'nothing, this device tells neither energy nor memory'}")
    lines += repeated(d)
    if d["measured"] and d["timed_share"] is not None:
        lines.append(
            f"wall time inside timed networks {d['timed_share']:.0%}, sentinels {d['sentinel_share']:.0%}; "
            f"rounds in the reference state {d['gated_share'] or 0:.0%}"
        )
    if d["drift"] is not None and d["measured"]:
        lines.append(_drift_text(d["drift"], d["seconds"]))
    if d["rejected"]:
        lines.append("rounds left out: " + ", ".join(f"{n} {reason}" for reason, n in d["rejected"].items()))
    if better := _better_sentinel(d["calibration"]):
        lines.append(better)
    return "\n".join([*lines, *judged(d)])


def pace(measured: int, seconds: float, *, nothing_left: bool) -> str:
    """Return how many were measured and how fast, for people.

    >>> pace(20, 10.0, nothing_left=False), pace(0, 0.1, nothing_left=True)
    ('20 in 10 s (7200 an hour)', 'nothing was left to measure')
    """
    if measured:
        return f"{measured} in {seconds:.0f} s ({measured / seconds * 3600:.0f} an hour)"
    return "nothing was left to measure" if nothing_left else "nothing was measured"


def held(d: Mapping[str, Any]) -> str:
    """Return what a campaign has in its store."""
    networks, duplicates = counted(d["networks"], "network"), counted(d["duplicates"], "blind duplicate")
    return f"{networks} and {duplicates} of {d['space']} in {d['store']}"


def repeated(d: Mapping[str, Any]) -> Iterator[str]:
    """Yield how far two processes agree on the networks, or kernels, that a campaign timed twice."""
    pairs = counted(d["pairs"], "pair")
    if d["repeatability"] is not None:
        yield f"repeatability between processes: {d['repeatability']:.1%} from {pairs}"
    if d["disagreeing"]:
        yield (
            f"{len(d['disagreeing'])} timed twice with labels too far apart for either to be believed, left out as "
            f"quarantined: {', '.join(d['disagreeing'][:3])}{', ...' * (len(d['disagreeing']) > 3)}"
        )


def judged(d: Mapping[str, Any], noisy: str = NOISY) -> Iterator[str]:
    """Yield whether the numbers of a campaign can be believed, and why not."""
    if d["interrupted"]:
        yield "interrupted: run the same command to go on"
    elif d["doubts"]:
        yield from [noisy] if d["labels"] else []
        yield from (f"- {doubt}" for doubt in d["doubts"])
    elif d["labels"] and d["pairs"] < ENOUGH:
        yield (
            f"nothing speaks against these numbers, but only {d['pairs']} of them "
            f"{'was' if d['pairs'] == 1 else 'were'} timed twice: from {ENOUGH}, as of {FOR_ENOUGH}, it is said "
            "whether they are reliable"
        )
    elif d["labels"]:
        yield "reliable: nothing speaks against these numbers"


def _drift_text(drift: Mapping[str, Any], seconds: float) -> str:
    minutes = drift["minutes"][-1]
    clock = " of its own clock" if minutes * 60 > 1.1 * seconds + 5 else ""  # a simulated one's runs as it likes
    text = f"the device over {minutes:.0f} min{clock}: {_sparkline(drift['sentinel_ms'])}"
    if drift["slow_share"] < 0.005:
        return f"{text} steady"
    return f"{text} {drift['slow_factor']:.2f}x slower for {drift['slow_share']:.0%} of the rounds"


def _sparkline(values: Sequence[float]) -> str:
    """Return a line of blocks, from the smallest value to the largest or twice the smallest."""
    low, high = min(values), max(*values, 2 * min(values))
    return "".join(LEVELS[min(int((v - low) / (high - low) * len(LEVELS)), len(LEVELS) - 1)] for v in values)


def _better_sentinel(calibration: Mapping[str, Any] | None) -> str | None:
    """Return advice where another sentinel explains clearly more of the drift than the one in every round."""
    shares: Mapping[str, float] = (calibration or {}).get("other_shares") or {}
    if calibration is None or not shares or calibration["networks"] < CALIBRATION_NETWORKS:
        return None
    kind, share = max(shares.items(), key=itemgetter(1))
    if share < calibration["common_share"] + 0.1:
        return None
    return (
        f"the {kind} sentinel explains {share:.0%} of this device's drift, the one in use "
        f"{calibration['common_share']:.0%}: sentinel={kind} in --device would give better numbers"
    )


def _draw(summary: CampaignSummary, path: Path) -> None:
    from ..report.charts import drift_figure  # matplotlib

    drift = summary.drift
    assert drift is not None
    started_s = np.asarray(drift.minutes) * 60
    figure = drift_figure(started_s, drift.sentinel_ms, np.full(len(started_s), GATE * drift.fast_ms))
    picture, suffix = BytesIO(), path.suffix.lower()
    figure.savefig(picture, format=suffix[1:], metadata={PICTURES[suffix]: "tempograd"})
    outputs.write({path: picture.getvalue()}, is_picture)


def is_picture(path: Path) -> bool:
    """Return whether a file is a picture that was drawn here."""
    return any(ours(path) for ours in _OURS)


_OURS = (
    outputs.marked(b"<?xml", b"<dc:title>tempograd</dc:title>"),
    outputs.marked(b"\x89PNG", b"Software\0tempograd"),
)


def _check_none_chosen(whole: str, count: int | None, *, design: bool) -> None:
    """Refuse what would choose among networks where all there is gets measured."""
    given = [f"--count {count}"] * (count is not None) + ["--design"] * design
    if given:
        raise UsageError(
            f"{' and '.join(given)} beside {whole}, which measures all there is; leave out {whole}, or "
            f"{'it' if len(given) == 1 else 'them'}"
        )


def _check_plot(path: Path) -> None:
    """Refuse, before anything is measured, a place or a format that cannot be drawn into."""
    if path.suffix.lower() not in PICTURES:
        raise UsageError(f"--plot {path}; allowed: a file that ends in {' or '.join(PICTURES)}")
    outputs.check([path], is_picture)
