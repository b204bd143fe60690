"""The loop that times jobs: batches of resident networks, rounds in random order, until each network is closed.

While one batch is timed, a background thread builds the next one's networks and loads them into the next measuring
process, both on cores that are not timed. A thread does for that, without the cost and the pickling of a builder
process: affinity is a thread's own, and the main thread sleeps while a pass runs.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ..devices.device import Device, Loaded, Model, Place, ReadsOthers, Session, opens
from ..devices.turn import turn
from ..errors import DeviceError, UsageError
from ..measurement.calibration import CALIBRATION_NETWORKS, CALIBRATION_ROUNDS, Calibration, calibrate, is_stale
from ..measurement.label import Estimate, Reference, estimate
from ..measurement.measurement import Measurement
from ..measurement.reference import SentinelHistory
from ..measurement.rounds import Failure, Round
from ..scratch import Scratch
from .plan import Items, Plan
from .stopping import next_step
from .timer import BringsEngine, CampaignSink, Job, Sink, Tally, Timer, check_clock, clock_of

RECENT = 50  # jobs over which a failing device is recognised
TOO_MANY = 10  # of them with one and the same cause: more than 20 %
MAX_LOST_PASSES = 3  # passes in a row that end without rounds and without a culprit


@dataclass
class _Batch:
    jobs: list[Job]
    folder: Scratch
    session: Session

    def close(self) -> None:
        try:
            self.session.close()
        finally:
            self.folder.cleanup()


class Engine:
    """Times jobs on one device and hands their measurements to a sink as soon as they are closed.

    Args:
        device: where.
        items: what; the keys of the jobs are among them.
        plan: how long.
        seed: Seed of the order of rounds; it stands in every measurement.
        sink: where closed measurements and calibrations go.
        history: recent sentinel readings of this device; it is added to.
        calibration: the last one of this device, if there is one.
        batch_size: networks resident at a time.
        calibration_rounds: Calibration rounds of each network that a new calibration rests on.
        stop: when set, the pass under way is finished, what is closed is handed over, and the loop ends.
    """

    def __init__(
        self,
        device: Device,
        items: Items,
        plan: Plan,
        *,
        seed: int,
        sink: Sink,
        history: SentinelHistory,
        calibration: Calibration | None = None,
        batch_size: int = 32,
        calibration_rounds: int = CALIBRATION_ROUNDS,
        stop: threading.Event | None = None,
    ) -> None:
        self.tally = Tally()
        self._device = device
        self._items = items
        self._plan = plan
        self._seed = seed
        self._sink = sink
        self._history = history
        self._calibration = calibration
        self._batch_size = batch_size
        self._calibration_rounds = calibration_rounds
        self._stop = stop or threading.Event()
        self._fingerprint_id = device.fingerprint.id
        self._clock = clock_of(device.fingerprint)
        self._virtual = bool(device.environment().get("virtual_clock"))
        self._rng = np.random.default_rng([seed, 3])
        self._queue: deque[Job] = deque()
        self._more: Callable[[int], Iterable[Job]] = lambda n: ()
        self._recent: deque[str] = deque(maxlen=RECENT)
        self._lost_passes = 0
        self._renew = False  # labels fell back on plain medians: calibrate again

    def run(self, jobs: Iterable[Job], more: Callable[[int], Iterable[Job]] | None = None) -> None:
        """Time all jobs.

        Args:
            jobs: in this order, but for those that wait or are tried again.
            more: gives up to so many further ones whenever fewer than a batch are left; it must not wait.

        Raises:
            DeviceError: the device cannot be reached, or more than a fifth of the last 50 networks failed alike.
        """
        self._queue = deque(jobs)
        self._more = more or self._more
        if not self._refilled():
            return
        with turn(self._device, self._stop) as ours:
            if ours:
                self._run()

    def _run(self) -> None:
        timed, idle = _cores(self._device)
        # with no core to spare, or on the very GPU that is timed, preparing would disturb the timing
        beside = self._clock != "gpu" and (not idle or bool(idle - timed))
        following: Future[_Batch] | None = None
        with ThreadPoolExecutor(1, "prepare", initializer=_keep_to, initargs=(idle - timed,)) as pool:
            try:
                while (following or self._refilled()) and not self._stop.is_set():
                    batch = (following or self._prepare_in(pool)).result()
                    following = self._prepare_in(pool) if beside and self._refilled() else None
                    try:
                        self._time(batch)
                    finally:
                        batch.close()
            finally:
                if following is not None and not following.cancel() and following.exception() is None:
                    following.result().close()

    # -- preparing, in the background ----------------------------------------------------------------------------

    def _prepare_in(self, pool: ThreadPoolExecutor) -> Future[_Batch]:
        return pool.submit(self._prepare, self._next_jobs())

    def _refilled(self) -> bool:
        """Ask for more where less than a batch is left; return whether there is anything to do."""
        if len(self._queue) < self._batch_size:
            self._queue.extend(self._more(self._batch_size - len(self._queue)))
        return bool(self._queue)

    def _next_jobs(self) -> list[Job]:
        """Take the next batch off the queue: keys differ, and whoever failed before is alone."""
        if self._queue[0].alone:
            return [self._queue.popleft()]
        taken: dict[str, Job] = {}
        left: deque[Job] = deque()
        while self._queue and len(taken) < self._batch_size:
            job = self._queue.popleft()
            if job.alone or job.key in taken:
                left.append(job)
            else:
                taken[job.key] = job
        self._queue.extendleft(reversed(left))
        return list(taken.values())

    def _prepare(self, jobs: list[Job]) -> _Batch:
        folder = Scratch()
        session: Session | None = None
        try:
            for job in jobs:
                if self._stop.is_set():
                    break
                path, digest = self._items.build(job.key, Path(folder.name))
                job.model = Model(job.key, path, digest, self._items.own_batch)
            session = self._device.open()
            if not self._stop.is_set():
                loaded = {found.key: found for found in session.load([job.model for job in jobs if job.model])}
                for job in jobs:
                    job.loaded = loaded.get(job.key)
            return _Batch(jobs, folder, session)
        except BaseException:
            if session is not None:
                session.close()
            folder.cleanup()
            raise

    # -- timing --------------------------------------------------------------------------------------------------

    def _time(self, batch: _Batch) -> None:
        if self._stop.is_set():
            return
        environment = self._device.environment()
        waiting = {job.key: job for job in batch.jobs if job.loaded and not job.loaded.failure}
        for job in batch.jobs:
            if job.loaded and job.loaded.failure:
                self._failed(job, job.loaded.failure, environment, others_run=bool(waiting))
        subjects: Sequence[str] | None = (
            None  # networks on which a calibration under way rests; None before the first pass
        )
        started = False
        while waiting and not self._stop.is_set():
            try:
                if not started:
                    batch.session.start_timing()
                    started = True
                if isinstance(batch.session, ReadsOthers):
                    batch.session.reads_others = self._calibrates(subjects)
                began_s = time.monotonic()
                result = batch.session.run_pass(self._order(waiting, subjects or []), burst_ms=self._plan.burst_ms)
            except DeviceError:
                self._lost_passes += 1
                if self._lost_passes >= MAX_LOST_PASSES:
                    raise
                self._put_back(waiting.values())
                return
            self._lost_passes = 0
            if not self._virtual:
                check_clock(result.rounds, took_ms=1e3 * (time.monotonic() - began_s))
            self._take(result.rounds, waiting)
            if result.failures:  # the process is gone: who lived goes on in a fresh one and keeps its rounds
                self._put_back(job for key, job in waiting.items() if key not in result.failures)
                for key, failure in result.failures.items():
                    self._failed(waiting[key], failure, environment)
                return
            if subjects is None:
                subjects = self._subjects(list(waiting), result.rounds[-1].started_s)
            subjects = self._calibrated(waiting, subjects)
            if not subjects:
                self._close_finished(waiting, environment)

    def _subjects(self, keys: Sequence[str], now_s: float) -> Sequence[str]:
        """Return the networks to calibrate on now; a few do not replace an older calibration that rests on a dozen."""
        due = self._renew or is_stale(self._calibration, now_s)
        if not due or (self._calibration is not None and len(keys) < CALIBRATION_NETWORKS):
            return []
        return keys[:CALIBRATION_NETWORKS]

    def _calibrates(self, subjects: Sequence[str] | None) -> bool:
        """Return whether a calibration is under way; before a batch's first pass, whether one is sure to come."""
        return self._renew or self._calibration is None if subjects is None else bool(subjects)

    def _order(self, waiting: Mapping[str, Job], subjects: Sequence[str]) -> list[str]:
        """Return who is timed next, in random order; while a calibration is under way, who has enough only waits."""
        first = self._plan.checks[0]
        keys = [k for k, job in waiting.items() if not subjects or k in subjects or len(job.rounds) < first]
        return [keys[i] for i in self._rng.permutation(len(keys))]

    def _take(self, rounds: Sequence[Round], waiting: Mapping[str, Job]) -> None:
        self._history.extend(rounds)
        self.tally.time(rounds)
        for round_ in rounds:
            waiting[round_.key].rounds.append(round_)

    def _calibrated(self, waiting: Mapping[str, Job], subjects: Sequence[str]) -> Sequence[str]:
        """Calibrate as soon as every subject has enough rounds; return those that still rest on it."""
        if not subjects or any(len(waiting[key].rounds) < self._calibration_rounds for key in subjects):
            return subjects
        at_s = max(job.rounds[-1].started_s for job in waiting.values())
        rounds = {key: job.rounds for key, job in waiting.items()}
        self._calibration = calibrate(rounds, self._clock, f"{self._fingerprint_id}-{at_s:.3f}")
        self._renew = False
        self._sink.calibrated(self._calibration)
        return []

    def _close_finished(self, waiting: dict[str, Job], environment: dict[str, Any]) -> None:
        if self._calibration is None:
            raise DeviceError("the device gave rounds, but no calibration; run again")
        state = self._history.reference(self._calibration)
        closed: list[Measurement] = []
        for key, job in list(waiting.items()):
            reference = cache(partial(self._history.around, job.rounds, state))
            label = cache(partial(self._label, job, reference))
            valid = sum(r.invalid(self._clock, state.noise) is None for r in job.rounds)
            step = next_step(label, self._plan, valid=valid, taken=len(job.rounds), waited=job.waited)
            if step == "go on":
                continue
            del waiting[key]
            if step == "wait":
                job.waited = True
                self._queue.append(job)
                continue
            found = label()
            self._renew = self._renew or (found is not None and found.path == "plain")
            self.tally.count(job.rounds, state, self._clock)
            closed.append(self._measurement(job, environment, reference()))
        if closed:
            self._sink.keep(closed)
            self._recent.extend("" for m in closed if m.attempts == 1)

    def _label(self, job: Job, reference: Callable[[], Reference]) -> Estimate | None:
        return estimate(job.rounds, reference(), self._clock, coverage=self._plan.coverage)

    def _put_back(self, jobs: Iterable[Job]) -> None:
        self._queue.extendleft(reversed(list(jobs)))

    # -- what becomes of a job -----------------------------------------------------------------------------------

    def _failed(self, job: Job, failure: Failure, environment: dict[str, Any], *, others_run: bool = False) -> None:
        """Try a network again, alone, unless it was refused or this was its second failure: then that is its row.

        That a network from elsewhere is refused while others run says nothing of the device.
        """
        job.failures.append(failure)
        if failure.cause == "refused" or len(job.failures) > 1:
            self._sink.keep([self._measurement(job, environment, None, failure)])
        else:
            self._queue.append(job)
        its_own = failure.cause == "refused" and self._items.own_batch and others_run
        if len(job.failures) == 1 and not its_own:
            self._recent.append(self._kind(failure))
            self._check_device(failure)

    def _kind(self, failure: Failure) -> str:
        """Return what failures that are alike share; networks from elsewhere are refused each for its reason."""
        return failure.detail if failure.cause == "refused" and self._items.own_batch else failure.cause

    def _check_device(self, failure: Failure) -> None:
        """Raise DeviceError if so many networks failed alike that it is no matter of the networks."""
        count = self._recent.count(self._kind(failure))
        if count > TOO_MANY:
            raise DeviceError(
                f"{count} of the last {len(self._recent)} networks failed alike ({failure.cause}; {failure.detail}): "
                "the device is suspected, not the networks. Nothing is lost. See to the device, or leave out what it "
                "cannot run; then the same command goes on"
            )

    def _measurement(
        self, job: Job, environment: dict[str, Any], reference: Reference | None, failure: Failure | None = None
    ) -> Measurement:
        loaded = job.loaded or Loaded(job.key)
        facts = {k: v for k, v in asdict(loaded).items() if k not in ("key", "failure")}
        if job.failures and failure is None:
            facts["first_failure"] = asdict(job.failures[0])
        return Measurement(
            key=job.key,
            space=self._items.space,
            fingerprint_id=self._fingerprint_id,
            plan=self._plan.record(self._seed),
            onnx_digest=job.model.digest if job.model else "",
            clock=self._clock,
            rounds=tuple(job.rounds),
            reference=reference,
            environment=environment | facts,
            failure=failure,
            replicate=job.replicate,
            attempts=max(len(job.failures) + (failure is None and bool(job.failures)), 1),
        )


def _cores(device: Device) -> tuple[set[int], set[int]]:
    """Return the CPUs that are timed and those that are not, as far as the device says."""
    environment = device.environment()
    return set(environment.get("timed_cores") or ()), set(environment.get("idle_cores") or ())


def _keep_to(cores: set[int]) -> None:
    """Keep this thread, and the processes that it starts, on these CPUs."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def engine_of(
    place: Place,
    items: Items,
    plan: Plan,
    *,
    seed: int,
    sink: CampaignSink,
    history: SentinelHistory,
    calibration: Calibration | None,
    batch_size: int,
    stop: threading.Event | None,
    calibration_rounds: int = CALIBRATION_ROUNDS,
) -> Timer:
    """Return what times jobs at a place: the engine that it brings, else `Engine`.

    Raises:
        UsageError: the place neither brings an engine nor opens measuring processes.
    """
    if isinstance(place, BringsEngine):
        return place.engine(items, plan, seed=seed, sink=sink, stop=stop)
    if not opens(place):
        raise UsageError(f"{type(place).__name__} neither opens a measuring process nor brings an engine of its own")
    return Engine(
        place, items, plan, seed=seed, sink=sink, history=history, calibration=calibration,
        batch_size=batch_size, calibration_rounds=calibration_rounds, stop=stop,
    )  # fmt: skip
