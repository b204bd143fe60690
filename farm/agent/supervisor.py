"""The supervisor of an agent: network, spool, health; the timing runs in a thread beside it, its networks in a worker.

Whatever touches the network goes through the turnstile: renewals, uploads and new jobs between passes, never during a
burst. Without the queue it finishes what it holds, keeps the results, and waits.
"""

from __future__ import annotations

import json
import platform
import random
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil

from ... import __version__
from ...devices.device import Device, Model
from ...devices.worker.foreign import Limits
from ...errors import DeviceError, UsageError
from ...measurement.measurement import Measurement
from ...measurement.rounds import Failure
from ..messages import AgentDevice, AgentState, Environment, Job, NewerSchemaError, Result, State
from ..queue import AgentSide, Lease, Queue, QueueAwayError, QueueFullError
from .breaker import Breaker
from .files import Files
from .quiet import QuietDevice, Turnstile
from .settings import Settings
from .spool import WARNED, Spool
from .supply import Measure, Order

ANNOUNCE_S = 15.0
COMMANDS_S = 5.0
UPLOAD_S = 5.0  # a result waits no longer for others to be sent with
EMPTY_S = (0.25, 5.0)  # between questions to an empty queue while something is timed: the first, the longest
LONG_POLL_MS = 500.0
GATHER_MS = 200.0
BACK_OFF_S = (1.0, 60.0)
RETURN_DELAY_MS = 30_000.0  # before others get what could not be done here
MIN_DISK_BYTES = 256 * 2**20
UPLOAD = 64  # results sent together
DRIVERS = ("local", "android", "simulated")


class Agent:
    """Takes jobs of one class for one device, until it is stopped.

    Args:
        settings: who it is.
        device: what it lends.
        measure: times a supply of jobs on a device.
        queue, spool: open; the caller closes them.
        tell: called with a line for a person when something changes.
        idle_exit_s: end by itself when there was nothing to do for so long; None for never.

    Raises:
        UsageError: a device that agents do not lend.
    """

    def __init__(
        self,
        settings: Settings,
        device: Device,
        measure: Measure,
        queue: Queue,
        spool: Spool,
        *,
        tell: Callable[[str], None] = lambda line: None,
        idle_exit_s: float | None = None,
    ) -> None:
        place = device.fingerprint.place
        if place not in DRIVERS:
            raise UsageError(f"device {place!r} cannot be lent to a farm; allowed: {', '.join(DRIVERS)}")
        self.stop = threading.Event()
        self._settings, self._measure, self._spool, self._tell = settings, measure, spool, tell
        self._queue: AgentSide = queue
        self._away_since_s = lambda: queue.away_since_s
        self._terms = lambda: queue.terms
        self._idle_exit_s = idle_exit_s
        self._turnstile = Turnstile()
        self._device = QuietDevice(device, self._turnstile)
        self._files = Files(spool.folder)
        self._fingerprint_id = device.fingerprint.id
        self._environment = _environment(settings.name, device)
        self._lent = AgentDevice(settings.device_class, place, self._fingerprint_id, self._environment.sha256)
        self._breaker = Breaker.of(spool.noted("breaker", Breaker().record()))
        self._mutex = threading.RLock()
        self._reserve: deque[Lease] = deque()  # taken, not yet given to the measuring side
        self._hand: dict[str, list[Lease]] = {}  # job id -> its leases, until its result is kept
        self._awaiting: dict[str, list[Lease]] = {}  # key of a kept result -> leases to finish once it is delivered
        self._left: list[tuple[Lease, float]] = []  # to be given back, with the delay in ms
        self._wake = threading.Event()
        self._busy = self._paused = self._told_environment = False
        self._error: BaseException | None = None
        self._delivered = self._failed = 0
        self._started_ms = int(time.time() * 1e3)
        self._due: dict[str, float] = {}
        self._retries, self._empty_s = 0, EMPTY_S[0]
        self._state: tuple[State, str] = ("ready", "")
        self._worked_s = time.monotonic()
        self._good = spool.folder / "known-good"

    def run(self) -> None:
        """Work until ``stop`` is set, the queue says to drain, or there was nothing to do for long enough.

        Raises:
            NewerSchemaError: jobs are of a version that this agent does not know.
            StoreError: the spool cannot be written.
        """
        self._take_up()
        measuring = threading.Thread(target=self._serve, name="measuring")
        measuring.start()
        try:
            while not self.stop.is_set() and not self._idle_for_long():
                if self._anything_due():
                    with self._turnstile.working():
                        self._keep_house()
                self._wake.wait(0.1)
                self._wake.clear()
        finally:
            self.stop.set()
            measuring.join()
            self._say_goodbye()
        if self._error is not None:
            raise self._error

    # -- what the measuring side is given ------------------------------------------------------------------------

    def pop(self, order: Order, n: int) -> list[Job]:
        """Return up to ``n`` jobs of an order out of the reserve."""
        with self._mutex:
            taken = [lease for lease in self._reserve if Order.of(lease.job) == order][:n]
            for lease in taken:
                self._reserve.remove(lease)
        self._wake.set()
        return [lease.job for lease in taken]

    def lay_out(self, job: Job, folder: Path) -> Path:
        """Put a job's files into a folder; return the path of its model."""
        return self._files.lay_out(job, folder)

    def keep(self, closed: Sequence[tuple[Job, Measurement]], calibration: Mapping[str, Any]) -> None:
        """Keep results of jobs."""
        results: list[Result] = []
        with self._mutex:
            for job, measurement in closed:
                leases = self._hand.pop(job.job_id)
                result = self._result(leases[-1], measurement, calibration)
                results.append(result)
                self._awaiting[result.key] = leases
                self._failed += measurement.failure is not None
        self._spool.keep(results)
        for job, measurement in closed:
            if measurement.verdict == "ok" and not self._good.exists():
                self._remember_good(job)
        self._wake.set()

    # -- the measuring thread ------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while not self.stop.is_set():
                order = self._next_order()
                if order is None:
                    self.stop.wait(0.02)
                    continue
                self._busy = True
                supply, delay_ms = _Supply(self, order), 0.0
                try:
                    self._measure(self._device, supply)
                except DeviceError as error:
                    self._trip(str(error))
                    delay_ms = RETURN_DELAY_MS
                finally:
                    self._busy = False
                    self._leave(supply.given, delay_ms)
        except BaseException as error:
            self._error = error
            self.stop.set()
        finally:
            self._wake.set()

    def _next_order(self) -> Order | None:
        """Return what to time next, None while there is nothing or the device may not be used."""
        position = self._breaker.position(time.time())
        if position == "half_open":
            self._breaker.probe(self._probe(), time.time())
            self._spool.note("breaker", self._breaker.record())
        if self._breaker.position(time.time()) != "closed":
            return None
        with self._mutex:
            return Order.of(self._reserve[0].job) if self._reserve else None

    def _leave(self, jobs: Sequence[Job], delay_ms: float) -> None:
        """Have those jobs given back that were not closed."""
        with self._mutex:
            for job in jobs:
                self._left += [(lease, delay_ms) for lease in self._hand.pop(job.job_id, [])]

    def _trip(self, reason: str) -> None:
        with self._mutex:
            self._breaker.trip(reason, time.time())
            self._spool.note("breaker", self._breaker.record())
            reserve = [lease.job for lease in self._reserve]
            self._reserve.clear()
        self._leave(reserve, RETURN_DELAY_MS)

    def _probe(self) -> str | None:
        """Time a network that ran here before, if there is one; return what went wrong."""
        known = self._spool.noted("known_good", None)
        try:
            with self._device.open() as session:
                if known is None or not self._good.exists():
                    return None  # the sentinels were loaded and ran
                model = Model(known["key"], self._good / known["file"], known["digest"])
                failure = session.load([model])[0].failure
                if failure is None:
                    session.start_timing()
                    failure = session.run_pass([model.key], burst_ms=10.0).failures.get(model.key)
        except DeviceError as error:
            return str(error)
        return failure and f"a network that ran before failed: {failure.cause} ({failure.detail})"

    def _remember_good(self, job: Job) -> None:
        folder = self._good.with_suffix(".part")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        path = self._files.lay_out(job, folder)
        folder.rename(self._good)
        self._spool.note("known_good", {"key": job.key, "file": path.name, "digest": job.model.sha256})

    # -- the supervisor's own work, never during a pass ----------------------------------------------------------

    def _anything_due(self) -> bool:
        if self._left or self._uploads_due():
            return True
        return any(time.monotonic() >= self._due.get(name, 0.0) for name in ("announce", "commands", "renew")) or (
            self._may_take() and time.monotonic() >= self._due.get("take", 0.0)
        )

    def _uploads_due(self) -> bool:
        waiting = self._spool.waiting
        if not waiting or time.monotonic() < self._due.get("retry", 0.0):
            return False
        return not self._busy or waiting >= self._settings.batch_size or self._is_due("upload")

    def _is_due(self, name: str) -> bool:
        return time.monotonic() >= self._due.get(name, 0.0)

    def _later(self, name: str, seconds: float) -> None:
        self._due[name] = time.monotonic() + seconds

    def _keep_house(self) -> None:
        self._look_at_state()
        if self._away_since_s() is not None or not self._is_due("retry"):
            for name in ("announce", "commands", "take", "renew"):
                self._later(name, 0.2)
            self._give_up_lost()
            return
        try:
            if self._is_due("renew"):
                self._renew()
                self._later("renew", self._terms().renew_s)
            self._listen()
            self._return_leases()
            if self._uploads_due():
                self._upload()
            if self._may_take() and self._is_due("take"):
                self._take()
            if self._is_due("announce"):
                self._announce()
                self._later("announce", ANNOUNCE_S)
            self._retries = 0
        except (QueueAwayError, QueueFullError) as error:
            pause_s = min(BACK_OFF_S[0] * 2**self._retries, BACK_OFF_S[1]) * random.uniform(0.5, 1)
            self._retries += 1
            self._told_environment = False
            self._later("retry", pause_s)
            self._tell(f"{error}; {self._spool.waiting} results spooled; trying again in {pause_s:.0f} s")

    def _take_up(self) -> None:
        """Go on after a restart: results kept keep their leases, jobs in hand go back."""
        attempts = {lease.attempt: lease for lease in self._spool.leases() if not lease.lost}
        for key in self._spool.waiting_keys():
            lease = attempts.pop(key.rpartition(":")[2], None)
            self._awaiting[key] = [] if lease is None else [lease]
        self._left = [(lease, 0.0) for lease in attempts.values()]
        if self._spool.waiting or self._left:
            self._tell(f"from before: {self._spool.waiting} results to deliver, {len(self._left)} jobs to give back")

    def _renew(self) -> None:
        with self._mutex:
            held = [lease for leases in (*self._hand.values(), *self._awaiting.values()) for lease in leases]
        renewed = {lease.attempt: lease for lease in self._queue.renew(held)}
        with self._mutex:
            for leases in (*self._hand.values(), *self._awaiting.values()):
                leases[:] = [renewed.get(lease.attempt, lease) for lease in leases]
            self._reserve = deque(renewed.get(lease.attempt, lease) for lease in self._reserve)
        self._spool.hold(renewed.values())
        self._give_up_lost()

    def _give_up_lost(self) -> None:
        """Drop from the reserve what others may have by now; what is being timed is timed to its end."""
        with self._mutex:
            lost = [lease for lease in self._reserve if lease.lost]
            for lease in lost:
                self._reserve.remove(lease)
                self._hand.pop(lease.job.job_id, None)
        if lost:
            self._spool.forget(lost)
            self._drop_files([lease.job for lease in lost])

    def _listen(self) -> None:
        if not self._is_due("commands"):
            return
        self._later("commands", COMMANDS_S)
        for word in self._queue.commands(self._settings.name):
            self._tell(f"told to {word}")
            match word:
                case "drain":
                    self.stop.set()
                case "pause":
                    self._paused = True
                case "resume":
                    self._paused = False
                case "release":
                    self._breaker.release()
                    self._spool.note("breaker", self._breaker.record())

    def _return_leases(self) -> None:
        with self._mutex:
            left, self._left = self._left, []
        for delay_ms in sorted({delay for _, delay in left}):
            leases = [lease for lease, delay in left if delay == delay_ms]
            try:
                self._queue.give_back(leases, delay_ms)
            except QueueAwayError:
                with self._mutex:
                    self._left += [(lease, delay_ms) for lease in leases]
                raise
            self._spool.forget(leases)
            self._drop_files([lease.job for lease in leases])

    def _upload(self) -> None:
        self._later("upload", UPLOAD_S)
        while results := self._spool.undelivered(UPLOAD):
            self._queue.deliver(results)
            self._spool.delivered(results)
            self._delivered += len(results)
            with self._mutex:
                leases = [lease for result in results for lease in self._awaiting.pop(result.key, [])]
            self._queue.finish(leases)
            self._spool.forget(leases)
            self._drop_files([lease.job for lease in leases])

    def _may_take(self) -> bool:
        if self._paused or self.stop.is_set() or self._unfit() or self._breaker.position(time.time()) != "closed":
            return False
        room = self._settings.batch_size - len(self._reserve)
        return room > 0 and (not self._busy or 2 * room >= self._settings.batch_size)

    def _take(self) -> None:
        room, idle = self._settings.batch_size - len(self._reserve), not self._busy and not self._reserve
        try:
            leases = self._queue.take(self._settings.device_class, room, LONG_POLL_MS if idle else 20.0)
            if idle and 0 < len(leases) < room:  # the first of many that are being offered: a batch is better
                leases += self._queue.take(self._settings.device_class, room - len(leases), GATHER_MS)
        except NewerSchemaError as error:
            self._error = error
            self.stop.set()
            return
        if leases:
            self._empty_s = EMPTY_S[0]
            self._admit(leases)
        elif not idle:
            self._later("take", self._empty_s)
            self._empty_s = min(2 * self._empty_s, EMPTY_S[1])

    def _admit(self, leases: Sequence[Lease]) -> None:
        strange = [lease for lease in leases if lease.job.fingerprint_id != self._fingerprint_id]
        fitting = [lease for lease in leases if lease.job.fingerprint_id == self._fingerprint_id]
        fresh: list[Lease] = []
        with self._mutex:
            kept = {key.partition(":")[0]: key for key in self._awaiting}
            for lease in fitting:
                if lease.job.job_id in self._hand:  # the same job again: the same attempt
                    self._hand[lease.job.job_id].append(lease)
                elif lease.job.job_id in kept:
                    self._awaiting[kept[lease.job.job_id]].append(lease)
                else:
                    self._hand[lease.job.job_id] = [lease]
                    fresh.append(lease)
            self._left += [(lease, RETURN_DELAY_MS) for lease in strange]
        self._spool.hold(fitting)
        limit = Limits().file_bytes
        large = [lease for lease in fresh if lease.job.model.size_bytes > limit]
        for lease in large:
            detail = f"a model of {lease.job.model.size_bytes} bytes; the limit is {limit}"
            self.keep([(lease.job, self._refused(lease.job, detail))], {})
        small = [lease for lease in fresh if lease not in large]
        try:
            missing = self._files.fetch(self._queue, [lease.job for lease in small])
        except QueueAwayError:
            self._leave([lease.job for lease in small], 0.0)
            raise
        whole = [x for x in small if missing.isdisjoint(blob.sha256 for blob in (x.job.model, *x.job.weights))]
        self._leave([lease.job for lease in small if lease not in whole], RETURN_DELAY_MS)
        with self._mutex:
            self._reserve.extend(whole)
        self._worked_s = time.monotonic()

    def _announce(self) -> None:
        if not self._told_environment:
            self._queue.put_environment(self._environment)
            self._told_environment = True
        self._queue.announce(self._said())

    def _drop_files(self, jobs: Sequence[Job]) -> None:
        with self._mutex:
            needed = [lease.job for leases in self._hand.values() for lease in leases]
        self._files.drop(jobs, needed)

    def _say_goodbye(self) -> None:
        """Give back what is not done and deliver what is, as far as the queue can be reached now."""
        with self._mutex:
            unfinished = [lease.job for lease in self._reserve]
            self._reserve.clear()
        self._leave([*unfinished, *(leases[0].job for leases in [*self._hand.values()])], 0.0)
        self._state = ("draining", "")
        with self._turnstile.working():
            try:
                if self._away_since_s() is None:
                    self._return_leases()
                    self._upload()
                    self._announce()
            except (QueueAwayError, QueueFullError) as error:
                self._tell(
                    f"{error}; {self._spool.waiting} results stay in {self._spool.folder}: start again to deliver"
                )

    # -- what it says of itself ----------------------------------------------------------------------------------

    def _unfit(self) -> str:
        """Return why nothing may be taken, or nothing."""
        if self._spool.fullness >= 1:
            return f"the spool is full: {self._spool.waiting} results wait for the queue"
        free = shutil.disk_usage(self._spool.folder).free
        return f"{free // 2**20} MiB of disk left" if free < MIN_DISK_BYTES else ""

    def _look_at_state(self) -> None:
        """Find out in which state it is, and tell if that has changed."""
        position, unfit = self._breaker.position(time.time()), self._unfit()
        state: tuple[State, str] = ("measuring", "") if self._busy else ("ready", "")
        if position != "closed":
            state = ("quarantined" if position == "quarantined" else "breaker_open", self._breaker.reason)
        elif self._paused or unfit:
            state = ("paused", unfit)
        elif self._spool.fullness >= WARNED:
            state = (state[0], f"the spool is {self._spool.fullness:.0%} full")
        away_s = self._away_since_s()
        told = (*state, "queue away" if away_s is not None else "")
        if told != (*self._state, self._told_away):
            self._state, self._told_away = state, told[2]
            self._due["announce"] = 0.0
            self._tell(": ".join(filter(None, told)) + f"; {self._delivered} delivered, {self._spool.waiting} spooled")

    _told_away = "?"

    def _said(self) -> AgentState:
        return AgentState(
            agent=self._settings.name,
            version=__version__,
            schemas=(Job.SCHEMA,),
            devices=(self._lent,),
            memory_bytes=psutil.virtual_memory().total,
            disk_free_bytes=shutil.disk_usage(self._spool.folder).free,
            state=self._state[0],
            reason=self._state[1][:300],
            in_hand=len(self._hand),
            spooled=self._spool.waiting,
            delivered=self._delivered,
            failed=self._failed,
            started_unix_ms=self._started_ms,
        )

    def _idle_for_long(self) -> bool:
        if self._busy or self._hand or self._spool.waiting:
            self._worked_s = time.monotonic()
        return self._idle_exit_s is not None and time.monotonic() - self._worked_s > self._idle_exit_s

    def _result(self, lease: Lease, measurement: Measurement, calibration: Mapping[str, Any]) -> Result:
        job = lease.job
        in_force = measurement.environment.get("isolation") or {}
        return Result(
            job_id=job.job_id,
            issue=job.issue,
            delivery=lease.delivery,
            attempt=lease.attempt,
            campaign=job.campaign,
            agent=self._settings.name,
            device_class=job.device_class,
            model_sha256=job.model.sha256,
            environment_sha256=self._environment.sha256,
            isolation=tuple(sorted(name for name, on in in_force.items() if on and not str(on).startswith("not"))),
            started_unix_ms=int(time.time() * 1e3),
            measurement=_plain(measurement),
            calibration=dict(calibration),
        )

    def _refused(self, job: Job, detail: str) -> Measurement:
        return Measurement(
            key=job.key,
            space=job.space,
            fingerprint_id=self._fingerprint_id,
            plan=asdict(job.plan) | {"checks": list(job.plan.checks)},
            onnx_digest=job.model.sha256,
            clock="wall",
            failure=Failure("refused", "load", detail=detail),
            replicate=job.replicate,
        )


class _Supply:
    """Jobs of one order; see `Supply`."""

    def __init__(self, agent: Agent, order: Order) -> None:
        self.order, self.stop = order, agent.stop
        self.given: list[Job] = []
        self._agent = agent

    def more(self, n: int) -> list[Job]:
        jobs = self._agent.pop(self.order, n)
        self.given += jobs
        return jobs

    def lay_out(self, job: Job, folder: Path) -> Path:
        return self._agent.lay_out(job, folder)

    def keep(self, closed: Sequence[tuple[Job, Measurement]], calibration: Mapping[str, Any]) -> None:
        self._agent.keep(closed, calibration)
        done = {job.job_id for job, _ in closed}
        self.given = [job for job in self.given if job.job_id not in done]


def _plain(measurement: Measurement) -> Measurement:
    """Return a measurement whose environment is as it comes back from JSON: the same bytes, however often written."""
    return replace(measurement, environment=json.loads(json.dumps(measurement.environment)))


def _environment(name: str, device: Device) -> Environment:
    facts = {"tempograd": __version__, "python": platform.python_version(), "system": platform.platform()}
    fingerprint = json.loads(device.fingerprint.to_json())
    return Environment(name, fingerprint, json.loads(json.dumps(facts | {"conditions": device.environment()})))
