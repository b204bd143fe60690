"""The supervisor of an agent: network, spool, health; the timing runs in a thread beside it, its networks in a worker.

Whatever touches the network waits until it is quiet: renewals, uploads and new jobs between passes, never during a
burst. Without the queue it finishes what it holds, keeps the results, and waits.
"""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

import psutil

from ... import __version__
from ...devices.device import Device
from ...devices.turn import turn
from ...devices.worker.foreign import Limits
from ...errors import DeviceError
from ...measurement.calibration import Calibration
from ...shown import counted
from ..messages import AgentDevice, AgentState, Job, State
from ..queue import AgentSide, Lease, Queue, QueueAwayError, QueueFullError
from ..wire import NewerSchemaError
from . import outcome
from .breaker import Breaker
from .files import Files
from .known_good import KnownGood
from .leases import Leases
from .lot import Closed, Lot
from .quiet import Quiet, QuietDevice
from .service import Service
from .settings import Settings
from .spool import WARNED, Spool

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


class Agent:
    """Takes jobs of one class for one device, until it is stopped.

    Args:
        settings: who it is.
        device: what it lends: any place that opens measuring processes here.
        queue, spool: open; the caller closes them.
        tell: called with a line for a person when something changes.
        idle_exit_s: end by itself when there was nothing to do for so long; None for never.

    Raises:
        InputRefusedError: the name of its place cannot be announced.
    """

    def __init__(
        self,
        settings: Settings,
        device: Device,
        queue: Queue,
        spool: Spool,
        *,
        tell: Callable[[str], None] = lambda line: None,
        idle_exit_s: float | None = None,
    ) -> None:
        self.stop = threading.Event()
        self._settings, self._spool, self._tell = settings, spool, tell
        self._queue: AgentSide = queue
        self._away_since_s = lambda: queue.away_since_s
        self._terms = lambda: queue.terms
        self._idle_exit_s = idle_exit_s
        self._quiet = Quiet()
        self._device = QuietDevice(device, self._quiet)
        self._files = Files(spool.folder)
        self._known_good = KnownGood(spool, self._files)
        self._fingerprint_id = device.fingerprint.id
        remembered = spool.noted("device", {}).get(self._fingerprint_id)
        self._service = Service(batch_size=settings.batch_size, remembered=remembered)
        self._environment = outcome.environment(settings.name, device)
        self._lent = AgentDevice(
            settings.device_class, device.fingerprint.place, self._fingerprint_id, self._environment.sha256
        )
        self._breaker = Breaker.of(spool.noted("breaker", Breaker().record()))
        self._mutex = threading.Lock()  # of the breaker, and of what is counted
        self._leases = Leases()
        self._wake = threading.Event()
        self._busy = self._paused = self._told_environment = False
        self._error: BaseException | None = None
        self._delivered = self._failed = 0
        self._started_ms = int(time.time() * 1e3)
        self._due: dict[str, float] = {}
        self._retries, self._empty_s = 0, EMPTY_S[0]
        self._state: tuple[State, str] = ("ready", "")
        self._worked_s = time.monotonic()

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
                    with self._quiet.working():
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

    def _lot(self, like: Job) -> Lot:
        def pop(n: int) -> list[Job]:
            jobs = self._leases.pop(like, n)
            self._wake.set()
            return jobs

        return Lot(like, pop=pop, lay_out=self._files.lay_out, keep=self._keep)

    def _keep(self, closed: Closed, calibration: Calibration | None) -> None:
        """Keep results of jobs."""
        results = [
            self._leases.close(
                job,
                partial(
                    outcome.result, agent=self._settings.name, environment_sha256=self._environment.sha256,
                    measurement=measurement, calibration=calibration,
                ),
            )
            for job, measurement in closed
        ]  # fmt: skip
        with self._mutex:
            self._failed += sum(measurement.failure is not None for _, measurement in closed)
        self._spool.keep(results)
        for job, measurement in closed:
            if measurement.verdict == "ok":
                self._known_good.remember(job)
        self._wake.set()

    # -- the measuring thread ------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while not self.stop.is_set():
                job = self._next_job()
                if job is None:
                    self.stop.wait(0.02)
                    continue
                self._busy = True
                lot, delay_ms = self._lot(job), 0.0
                try:
                    self._service(self._device, lot, self.stop)
                except DeviceError as error:
                    self._trip(str(error))
                    delay_ms = RETURN_DELAY_MS
                finally:
                    self._spool.note("device", {self._fingerprint_id: self._service.record()})
                    self._busy = False
                    self._leases.leave(lot.open, delay_ms)
        except BaseException as error:
            self._error = error
            self.stop.set()
        finally:
            self._wake.set()

    def _next_job(self) -> Job | None:
        """Return what to time next, None while there is nothing or the device may not be used."""
        position = self._breaker.position(time.time())
        if position == "half_open":
            with turn(self._device, self.stop) as ours:
                if ours:
                    self._breaker.probe(self._known_good.probe(self._device), time.time())
                    self._spool.note("breaker", self._breaker.record())
        if self._breaker.position(time.time()) != "closed":
            return None
        return self._leases.next_job

    def _trip(self, reason: str) -> None:
        with self._mutex:
            self._breaker.trip(reason, time.time())
            self._spool.note("breaker", self._breaker.record())
        self._leases.empty_reserve(RETURN_DELAY_MS)

    # -- the supervisor's own work, never during a pass ----------------------------------------------------------

    def _anything_due(self) -> bool:
        if self._leases.anything_left or self._uploads_due():
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
            self._leases.give_back(self._give_back)
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
            self._tell(f"{error}; {counted(self._spool.waiting, 'result')} spooled; trying again in {pause_s:.0f} s")

    def _take_up(self) -> None:
        """Go on after a restart: results kept keep their leases, jobs in hand go back."""
        left = self._leases.take_up(self._spool.waiting_keys(), self._spool.leases())
        if self._spool.waiting or left:
            results = counted(self._spool.waiting, "result")
            self._tell(f"from before: {results} to deliver, {counted(left, 'job')} to give back")

    def _renew(self) -> None:
        renewed = self._queue.renew(self._leases.held())
        self._leases.renew(renewed)
        self._spool.hold(renewed)
        self._give_up_lost()

    def _give_up_lost(self) -> None:
        lost = self._leases.drop_lost()
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

    def _give_back(self, leases: Sequence[Lease], delay_ms: float) -> None:
        self._queue.give_back(leases, delay_ms)
        self._spool.forget(leases)
        self._drop_files([lease.job for lease in leases])

    def _upload(self) -> None:
        self._later("upload", UPLOAD_S)
        while results := self._spool.undelivered(UPLOAD):
            self._queue.deliver(results)
            self._spool.delivered(results)
            self._delivered += len(results)
            leases = self._leases.deliver(results)
            self._queue.finish(leases)
            self._spool.forget(leases)
            self._drop_files([lease.job for lease in leases])

    def _may_take(self) -> bool:
        if self._paused or self.stop.is_set() or self._unfit() or self._breaker.position(time.time()) != "closed":
            return False
        room = self._settings.batch_size - self._leases.reserved
        return room > 0 and (not self._busy or 2 * room >= self._settings.batch_size)

    def _take(self) -> None:
        room, idle = self._settings.batch_size - self._leases.reserved, not self._busy and not self._leases.reserved
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
        fresh = self._leases.admit(fitting)
        self._leases.refuse(strange, RETURN_DELAY_MS)
        self._spool.hold(fitting)
        limit = Limits().file_bytes
        large = [lease for lease in fresh if lease.job.model.size_bytes > limit]
        for lease in large:
            detail = f"a model of {lease.job.model.size_bytes} bytes; the limit is {limit}"
            self._keep([(lease.job, outcome.refusal(lease.job, detail))], None)
        small = [lease for lease in fresh if lease not in large]
        try:
            missing = self._files.fetch(self._queue, [lease.job for lease in small])
        except QueueAwayError:
            self._leases.leave([lease.job for lease in small], 0.0)
            raise
        whole = [x for x in small if missing.isdisjoint(blob.sha256 for blob in (x.job.model, *x.job.weights))]
        self._leases.leave([lease.job for lease in small if lease not in whole], RETURN_DELAY_MS)
        self._leases.reserve(whole)
        self._worked_s = time.monotonic()

    def _announce(self) -> None:
        if not self._told_environment:
            self._queue.put_environment(self._environment)
            self._told_environment = True
        self._queue.announce(self._said())

    def _drop_files(self, jobs: Sequence[Job]) -> None:
        self._files.drop(jobs, self._leases.jobs_in_hand())

    def _say_goodbye(self) -> None:
        """Give back what is not done and deliver what is, as far as the queue can be reached now."""
        self._leases.empty_reserve(0.0)
        self._leases.leave(self._leases.jobs_in_hand(), 0.0)
        self._state = ("draining", "")
        with self._quiet.working():
            try:
                if self._away_since_s() is None:
                    self._leases.give_back(self._give_back)
                    self._upload()
                    self._announce()
            except (QueueAwayError, QueueFullError) as error:
                self._tell(
                    f"{error}; kept in {self._spool.folder}: {counted(self._spool.waiting, 'result')}; start again to "
                    "deliver"
                )

    # -- what it says of itself ----------------------------------------------------------------------------------

    def _unfit(self) -> str:
        """Return why nothing may be taken, or nothing."""
        if self._spool.fullness >= 1:
            return f"the spool is full: {counted(self._spool.waiting, 'result')} to be sent to the queue"
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
            in_hand=self._leases.in_hand,
            spooled=self._spool.waiting,
            delivered=self._delivered,
            failed=self._failed,
            started_unix_ms=self._started_ms,
        )

    def _idle_for_long(self) -> bool:
        if self._busy or self._leases.in_hand or self._spool.waiting:
            self._worked_s = time.monotonic()
        return self._idle_exit_s is not None and time.monotonic() - self._worked_s > self._idle_exit_s
