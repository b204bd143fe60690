"""A campaign: many networks of one space timed on one device, into a store, resumable at any moment."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import log

from ..data.duplicates import blind_duplicates
from ..data.schema import Receipt
from ..data.store import Store, campaign_id
from ..devices.device import Place
from ..errors import UsageError
from ..measurement.calibration import Calibration
from ..measurement.drift import Drift
from ..measurement.label import GATE, MIN_COMMON_SHARE
from ..measurement.measurement import Measurement
from ..measurement.reference import SentinelHistory, in_hindsight
from ..measurement.repeatability import (
    AGAIN,
    ENOUGH,
    outliers,
    pair_up,
    process_sd,
    settled,
    spread,
    usual,
    worse_than,
)
from ..shown import counted
from .engine import engine_of
from .plan import PLANS, Items, Plan, duplicates
from .timer import Job, Tally, clock_of

MIN_OK = 0.5  # share of labels that meet the plan's target, below which a run is not trusted
MAX_REJECTED = 0.5  # share of rounds left out, above which a run is not trusted
MIN_GATED_SHARE = 0.25  # below it labels rest on the sentinel's correction alone
EASY = 0.6  # of a target: what a device must let expect on average if more than half of the labels are to meet it
RECENT_ROWS = 250  # measurements whose sentinel readings a new process takes over: some 2000 readings


@dataclass(frozen=True)
class Progress:
    """How far a campaign is.

    Attributes:
        done, total: jobs, blind duplicates included.
        verdicts: verdict -> jobs closed by this run.
        elapsed_s: since this run began.
        remaining_s: at the pace of this run; None until something is closed.
    """

    done: int
    total: int
    verdicts: dict[str, int]
    elapsed_s: float
    remaining_s: float | None


@dataclass(frozen=True)
class CampaignSummary:
    """What a campaign gave. Shares are NaN where nothing was timed or the device's clock is not the wall clock.

    Attributes:
        campaign: id in the store.
        networks: networks asked for, and ``duplicates`` of them asked for twice.
        measured: jobs closed by this run; ``found`` were in the store before.
        again: Measured networks that had a label already, and a noisy one.
        verdicts: verdict -> jobs in the store; a network that was measured again counts once, by its best verdict, and
            is ``quarantined`` if it is `disagreeing`.
        disagreeing: networks whose two labels lie too far apart for either to be believed.
        beside_time: energy or memory -> jobs closed by this run that it was read of.
        seconds: wall time of this run.
        networks_per_hour: Pace of this run.
        timed_share: wall time inside recorded samples of networks.
        sentinel_share: wall time inside recorded samples of sentinels.
        gated_share: rounds taken in the device's reference state.
        rejected: reason -> rounds left out of their network's level.
        repeatability: relative standard deviation between measuring processes, from blind duplicates; NaN without any.
        pairs: duplicates that it rests on: those in the reference state, if there are enough.
        calibration: the last one in force.
        attainable: half width of the interval that the calibration lets expect of this plan.
        drift: what the sentinel said of the device during this run; None if nothing was timed.
        doubts: why the run is not reliable, one sentence each; none if it is.
        interrupted: it was stopped; the same command goes on.
    """

    campaign: str
    networks: int
    duplicates: int
    measured: int
    found: int
    again: int
    verdicts: dict[str, int]
    disagreeing: tuple[str, ...]
    beside_time: dict[str, int]
    seconds: float
    networks_per_hour: float
    timed_share: float
    sentinel_share: float
    gated_share: float
    rejected: dict[str, int]
    repeatability: float
    pairs: int
    calibration: Calibration | None
    attainable: float
    drift: Drift | None
    doubts: tuple[str, ...]
    interrupted: bool

    @property
    def labels(self) -> int:
        """Return how many jobs in the store have a latency, noisy ones among them."""
        return _labels(self.verdicts)


def run(
    device: Place,
    items: Items,
    plan: Plan,
    store: Store,
    *,
    seed: int = 0,
    batch_size: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
) -> CampaignSummary:
    """Time items, networks or single operations; what the store has already is not repeated.

    Where fewer than half of the labels met the plan's target in the end, the noisy ones are measured once more, in
    every run of the same campaign; a data set takes the narrowest label of each.

    Args:
        device: where.
        items: what; some are blindly timed twice.
        plan: how long each.
        store: open to write.
        seed: Seed of the order of measurement.
        batch_size: networks resident in one measuring process; by default 32, or 128 on a GPU, where a process takes
            seconds to start and nothing is timed meanwhile.
        progress: called after every pass that closed a network.
        stop: set it to end after the pass under way.

    Raises:
        UsageError: an argument is not allowed.
        DeviceError: the device cannot be reached, or fails network after network.
        StoreError: the store cannot be written.
    """
    if batch_size is None:
        batch_size = 128 if clock_of(device.fingerprint) == "gpu" else 32
    if batch_size < 1:
        raise UsageError(f"batch_size={batch_size}; allowed: a whole number from 1")
    stop = stop or threading.Event()
    campaign = store.begin(items.space, device.fingerprint, plan.record(seed), seed)
    twice = duplicates(len(items.keys))
    done = store.done(campaign)
    jobs = [job for job in schedule(items.keys, twice, batch_size) if (job.key, job.replicate) not in done]
    found = len(items.keys) + len(twice) - len(jobs)
    sink = _StoreSink(store, campaign, found, found + len(jobs), progress)
    history, calibration = recall(store, device)
    sink.calibration = calibration
    engine = engine_of(
        device, items, plan, seed=seed, sink=sink, history=history, calibration=calibration,
        batch_size=batch_size, stop=stop,
    )  # fmt: skip
    engine.run(jobs)
    again = [] if stop.is_set() else _again(store, campaign, items.keys)
    if again:
        sink.total += len(again)
        engine.run(again)
    real = not device.environment().get("virtual_clock")
    return _summary(
        sink, engine.tally, items, plan, device.fingerprint.id,
        duplicates=len(twice), found=found, again=len(again), real=real,
    )  # fmt: skip


def left_of(device: Place, items: Items, plan: Plan, store: Store, *, seed: int = 0) -> int:
    """Return how many jobs `run` would have to time now: those that the store has not, and noisy ones once more."""
    campaign = campaign_id(items.space, device.fingerprint, plan.record(seed), seed)
    done = store.done(campaign)
    jobs = schedule(items.keys, duplicates(len(items.keys)), 1)
    new = sum((job.key, job.replicate) not in done for job in jobs)
    return new + len(_again(store, campaign, items.keys))


def _again(store: Store, campaign: str, keys: Sequence[str]) -> list[Job]:
    """Return a job for every network whose label is noisy, if too few labels of this campaign are not."""
    labels = _verdicts(store, campaign)
    best = settled(labels)
    if not _too_few(Counter(best.values())):
        return []
    last = Counter[str]()
    for key, replicate in labels:
        last[key] = max(last[key], replicate)
    noisy = (key for key in keys if best.get((key, 0)) in {"noisy", "hot"})
    return [Job(key, replicate=max(last[key] + 1, AGAIN)) for key in noisy]


def _verdicts(store: Store, campaign: str) -> dict[tuple[str, int], str]:
    return {job: verdict for job, (verdict, _) in store.labels(campaign).items()}


def _too_few(verdicts: Mapping[str, int]) -> bool:
    """Return whether less than the least share of labels, failures apart, met the plan's target."""
    return verdicts.get("ok", 0) < MIN_OK * _labels(verdicts)


def _labels(verdicts: Mapping[str, int]) -> int:
    """Return how many jobs gave a latency."""
    return sum(verdicts.get(verdict, 0) for verdict in ("ok", "noisy", "hot"))


def schedule(keys: Sequence[str], twice: Sequence[int], batch_size: int) -> list[Job]:
    """Return the jobs in order: every key once, and each blind duplicate at least a batch after its original."""
    places = [(float(n), Job(key)) for n, key in enumerate(keys)]
    places += [(n + 2 * batch_size + 0.5, Job(keys[n], replicate=1)) for n in twice]
    return [job for _, job in sorted(places, key=lambda place: place[0])]


def recall(store: Store, device: Place) -> tuple[SentinelHistory, Calibration | None]:
    """Return what the store knows of a device: recent sentinel readings, how far processes agree, the calibration."""
    id_ = device.fingerprint.id
    rows = list(store.measurements(fingerprint_id=id_, newest=RECENT_ROWS))
    known = in_hindsight(rows)  # what was not known of the device then is no difference between processes
    pairs = [pair for space in {m.space for m in known} for pair in pair_up(m for m in known if m.space == space)]
    history = SentinelHistory(
        (r for row in rows for r in sorted(row.rounds, key=lambda r: r.started_s)), process_sd=process_sd(usual(pairs))
    )
    return history, next(reversed(store.calibrations(id_)), None)


@dataclass
class _StoreSink:
    """Keeps what the engine closes, and tells of it."""

    store: Store
    campaign: str
    found: int
    total: int
    progress: Callable[[Progress], None] | None
    calibration: Calibration | None = None
    verdicts: dict[str, int] = field(default_factory=dict[str, int])
    beside_time: Counter[str] = field(default_factory=Counter[str])
    started_s: float = field(default_factory=time.monotonic)

    @property
    def measured(self) -> int:
        """Return how many jobs this run closed."""
        return sum(self.verdicts.values())

    def keep(self, measurements: Sequence[Measurement], receipts: Sequence[Receipt] = ()) -> None:
        self.store.append(self.campaign, *measurements, receipts=receipts)
        for m in measurements:
            self.verdicts[m.verdict] = self.verdicts.get(m.verdict, 0) + 1
            self.beside_time.update(list(m.beside_time))
        if self.progress is not None:
            done, elapsed_s = self.found + self.measured, time.monotonic() - self.started_s
            remaining_s = elapsed_s / self.measured * (self.total - done) if self.measured else None
            self.progress(Progress(done, self.total, dict(self.verdicts), elapsed_s, remaining_s))

    def calibrated(self, calibration: Calibration) -> None:
        self.store.add_calibration(self.campaign, calibration)
        self.calibration = calibration


def _summary(
    sink: _StoreSink,
    tally: Tally,
    items: Items,
    plan: Plan,
    fingerprint_id: str,
    *,
    duplicates: int,
    found: int,
    again: int,
    real: bool,
) -> CampaignSummary:
    seconds = time.monotonic() - sink.started_s
    twice = blind_duplicates(sink.store, items.space, fingerprint_id, sink.campaign)
    pairs, disagreeing = usual(twice), outliers(twice)
    valid = tally.rounds - sum(tally.rejected.values())
    wall_ms = seconds * 1e3 if real else float("nan")
    claimed_ms = tally.burst_ms + tally.sentinel_ms
    if claimed_ms > wall_ms:  # no share of that is told
        tally.alarms.append(
            f"the device says that it ran for {claimed_ms / 1e3:.3g} s within {seconds:.3g} s of wall time: its clock "
            "or its unit is wrong, and so are its latencies; correct what it returns, in ms, before any use"
        )
        wall_ms = float("nan")
    found_so_far = CampaignSummary(
        campaign=sink.campaign,
        networks=len(items.keys),
        duplicates=duplicates,
        measured=sink.measured,
        found=found,
        again=again,
        verdicts=_counted(settled(_verdicts(sink.store, sink.campaign)), disagreeing),
        disagreeing=tuple(sorted(disagreeing)),
        beside_time=dict(sink.beside_time),
        seconds=seconds,
        networks_per_hour=sink.measured / seconds * 3600,
        timed_share=tally.burst_ms / wall_ms,
        sentinel_share=tally.sentinel_ms / wall_ms,
        gated_share=tally.gated / valid if valid else float("nan"),
        rejected=dict(tally.rejected),
        repeatability=spread(pairs),
        pairs=len(pairs),
        calibration=sink.calibration,
        attainable=sink.calibration.attainable(plan.checks[-1], plan.coverage) if sink.calibration else float("nan"),
        drift=Drift.of([s for s, _ in tally.readings], [ms for _, ms in tally.readings]),
        doubts=(),
        interrupted=found + sink.measured < sink.total,
    )
    return replace(found_so_far, doubts=(*tally.alarms, *_doubts(found_so_far, plan, tally.rounds)))


def _counted(verdicts: Mapping[tuple[str, int], str], disagreeing: Collection[str]) -> dict[str, int]:
    """Return verdict -> jobs; both of a network whose two labels disagree are quarantined."""
    return dict(Counter("quarantined" if key in disagreeing else verdict for (key, _), verdict in verdicts.items()))


def _remedy(calibration: Calibration | None, plan: Plan) -> str:
    """Return what makes labels meet their plan: the strictest other one that this device lets expect, or quiet."""
    wider = sorted((p for p in PLANS.values() if p.target > plan.target), key=lambda p: p.target)
    for other in wider:
        if calibration is not None and calibration.attainable(other.checks[-1], other.coverage) <= EASY * other.target:
            return f"--plan {other.name} asks for {other.target:.0%}, which it can meet"
    return "stop other work on it and run the same command again, which measures the noisy ones once more"


def _doubts(summary: CampaignSummary, plan: Plan, rounds: int) -> Iterator[str]:
    """Yield what speaks against trusting the whole run, with what to do."""
    if summary.verdicts and not summary.labels:
        causes = ", ".join(f"{n} {verdict}" for verdict, n in sorted(summary.verdicts.items()))
        yield f"no label: none of the networks gave a latency ({causes})"
    if _too_few(summary.verdicts):
        yield (
            f"{summary.verdicts.get('ok', 0)} of {summary.labels} labels met the plan's {plan.target:.0%}; this device "
            f"lets expect {summary.attainable:.1%}: {_remedy(summary.calibration, plan)}"
        )
    if worse_than(summary.repeatability, summary.pairs, plan.target):
        yield (
            f"two processes disagree by {summary.repeatability:.1%} (standard deviation, "
            f"{counted(summary.pairs, 'pair')}), "
            f"more than the plan's {plan.target:.0%}"
        )
    if summary.disagreeing and summary.pairs < ENOUGH:
        yield (
            f"{len(summary.disagreeing)} of {len(summary.disagreeing) + summary.pairs} networks that were timed twice "
            "have labels too far apart for either to be believed: run it again into another store, with more networks"
        )
    left_out = sum(summary.rejected.values())
    if left_out > MAX_REJECTED * rounds:
        reasons = ", ".join(f"{n} {reason}" for reason, n in summary.rejected.items())
        yield f"{left_out} of {rounds} rounds had to be left out ({reasons})"
    if summary.gated_share < MIN_GATED_SHARE and summary.calibration is not None:
        share = summary.calibration.common_share
        if share < MIN_COMMON_SHARE:
            yield (
                f"{summary.gated_share:.0%} of the rounds were taken in the reference state, and the sentinel explains "
                f"too little ({share:.0%}) of the rest to correct it"
            )
    if summary.drift is not None and abs(summary.drift.shift) > log(GATE):
        yield (
            f"the device's own speed moved by {summary.drift.shift:+.0%} from the first to the last third of the run: "
            "labels of different hours refer to different states"
        )
