"""The campaign's side of a farm: offers jobs to agents and collects their results, in the place of the local engine.

The store is the truth. A result is confirmed to the queue after the store has it; whatever was neither stored nor is
in the queue is offered again. So the queue may be lost, and agents may die, at any moment: that costs repeated work.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import msgspec

from ..data.schema import Fate, Receipt
from ..errors import DeviceError
from ..measurement.calibration import Calibration
from ..measurement.fingerprint import Fingerprint
from ..measurement.measurement import Measurement
from ..measurement.rounds import Failure
from ..profiler import engine
from ..profiler.plan import Items, Plan
from ..profiler.timer import CampaignSink, Tally, clock_of
from ..scratch import Scratch
from ..shown import counted
from .messages import Blob, Job, Limits, job_id
from .queue import Delivery, Queue, QueueAwayError, QueueFullError, Seen
from .wire import NewerSchemaError, digest

RECONCILE_S = 60.0  # between looks at jobs that nobody speaks of
SILENT_S = 300.0  # before a job is one of them
DOUBTED_S = 10.0  # the same, after the queue was away
AGENTS_S = 15.0
COLLECTED = 64  # results stored in one transaction
OFFERED = 32  # built and put at a time: the first agent need not wait for more than a batch
FEWEST_AHEAD, MOST_AHEAD = 128, 50_000  # jobs offered and not done
LIMITS = Limits(memory_bytes=8 * 2**30, load_ms=600_000.0, wall_ms=3_600_000.0)


class Lenders(Protocol):
    """The agents of one class, and how they are reached; see `farm.device.FarmDevice`."""

    @property
    def kind(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def fingerprint(self) -> Fingerprint: ...
    @property
    def ahead_s(self) -> float: ...
    @property
    def patience_s(self) -> float: ...
    def connect(self) -> Queue: ...
    def live(self, queue: Queue) -> list[Seen]: ...


@dataclass
class _Offer:
    """A job that is offered or about to be, with its model's bytes until the queue has them."""

    job: Job
    content: bytes = b""
    heard_s: float = field(default_factory=time.monotonic)

    @property
    def of(self) -> tuple[str, int]:
        return self.job.key, self.job.replicate


class FarmEngine:
    """Has jobs timed by the agents of a class and hands their measurements to a sink as they come.

    Args:
        device: the farm's class.
        items: what; the keys of the jobs are among them.
        plan: how long.
        seed: Seed of the orders in which agents time; it stands in every measurement.
        sink: where measurements and calibrations go.
        stop: when it is set, what has come is handed over, and the loop ends; jobs offered stay in the queue.
    """

    def __init__(
        self,
        device: Lenders,
        items: Items,
        plan: Plan,
        *,
        seed: int,
        sink: CampaignSink,
        stop: threading.Event | None = None,
    ) -> None:
        self.tally = Tally()
        self._device, self._items, self._sink = device, items, sink
        self._plan, self._seed = plan, seed
        self._stop = stop or threading.Event()
        self._campaign = sink.campaign or f"verify-{secrets.token_hex(6)}"
        self._fingerprint = device.fingerprint
        self._waiting: dict[tuple[str, int], None] = {}  # key and replicate of what is not offered yet, in order
        self._built: deque[_Offer] = deque()  # the next ones
        self._open: dict[str, _Offer] = {}
        self._settled: dict[str, Job] = {}  # done, but perhaps still in the queue
        self._models: Counter[str] = Counter()  # digest -> open jobs
        self._weights: dict[str, tuple[Blob, bytes]] = {}
        self._seen: dict[str, set[str]] = {}  # key of a result -> digests of what came under it
        self._calibrations: set[str] = set()
        self._done = 0
        self._began_s = self._heard_s = self._live_s = time.monotonic()
        self._away = False
        self._next_s = {"reconcile": self._began_s + RECONCILE_S, "agents": 0.0}

    def run(self, jobs: Iterable[engine.Job]) -> None:
        """Have all jobs timed.

        Raises:
            DeviceError: the queue, or every agent, was away for longer than the device's patience.
            StoreError: the store cannot be written.
        """
        self._waiting = dict.fromkeys((job.key, job.replicate) for job in jobs)
        if self._sink.store is not None:
            for receipt in self._sink.store.receipts(self._campaign):
                self._seen.setdefault(receipt.key, set()).add(receipt.sha256)
        declared = False
        with self._device.connect() as queue, Scratch() as folder:
            while (self._waiting or self._built or self._open) and not self._stop.is_set():
                try:
                    if not declared:
                        queue.declare(self._campaign, [self._device.kind])
                        declared = True
                    came = self._collect(queue)
                    self._offer(queue, Path(folder))
                    self._look_after(queue, quiet=not came)
                    self._heard_s = time.monotonic()
                    if self._away:
                        self._doubt_all()
                except QueueFullError:
                    self._stop.wait(0.5)
                except QueueAwayError as error:
                    declared, self._away = False, True
                    self._be_patient(error)
            if not self._stop.is_set():
                self._clear(queue)

    # -- results -------------------------------------------------------------------------------------------------

    def _collect(self, queue: Queue) -> bool:
        """Store what has come, then confirm it; return whether anything had."""
        deliveries = queue.results(self._campaign, COLLECTED, 1.0 if self._next_batch() else 200.0)
        if not deliveries:
            return False
        accepted: list[Measurement] = []
        receipts: list[Receipt] = []
        for delivery in deliveries:
            self._judge(delivery, accepted, receipts)
        if accepted or receipts:
            self._sink.keep(accepted, receipts)
        queue.confirm(deliveries)
        self._done += len(accepted)
        unused = [name for name in {m.onnx_digest for m in accepted} if name and not self._models[name]]
        queue.drop_models(unused)
        return True

    def _judge(self, delivery: Delivery, accepted: list[Measurement], receipts: list[Receipt]) -> None:
        """Decide what becomes of one result; the first valid outcome of a job is accepted."""
        sha256 = digest(delivery.raw)

        def receive(key: str, fate: Fate) -> None:
            self._seen.setdefault(key, set()).add(sha256)
            receipts.append(Receipt(key, sha256, delivery.agent, fate, None if fate == "accepted" else delivery.raw))

        result = delivery.result
        if result is None:
            if isinstance(delivery.refusal, NewerSchemaError) and sha256 not in self._seen.get("newer", ()):
                receive("newer", "newer")
            self._alarm(f"a result of agent {delivery.agent} was refused: {delivery.refusal}")
            return None
        known = self._seen.get(result.key, set())
        if sha256 in known:
            return None
        if known:
            self._alarm(f"agent {delivery.agent} sent two different results of one attempt ({result.key})")
            return receive(result.key, "contradiction")
        offer = self._open.get(result.job_id) or self._not_yet_offered(result.measurement, result.job_id)
        if offer is None:
            return receive(result.key, "evidence")
        if misfit := result.misfit(offer.job):
            self._alarm(f"a result of agent {delivery.agent} does not fit its job: {misfit}")
            self._reissue(offer)
            return receive(result.key, "other_device")
        receive(result.key, "accepted")
        self._settle(offer)
        self._take(result.measurement, result.calibration)
        accepted.append(result.measurement)
        return None

    def _take(self, measurement: Measurement, calibration: dict[str, Any]) -> None:
        self.tally.time(measurement.rounds)
        if measurement.reference is not None:
            self.tally.count(measurement.rounds, measurement.reference, measurement.clock)
        if calibration and calibration.get("id") not in self._calibrations:
            try:
                found = msgspec.convert(calibration, Calibration)
            except msgspec.ValidationError as error:
                self._alarm(f"a calibration that is none: {error}")
                return
            self._calibrations.add(found.id)
            self._sink.calibrated(found)

    def _settle(self, offer: _Offer) -> None:
        self._open.pop(offer.job.job_id, None)
        self._waiting.pop(offer.of, None)
        if offer in self._built:
            self._built.remove(offer)
        self._models[offer.job.model.sha256] -= 1
        self._settled[offer.job.job_id] = offer.job

    def _not_yet_offered(self, measurement: Measurement, id_: str) -> _Offer | None:
        """Return the job of a result that was asked for before a restart, if it is still wanted."""
        built = next((offer for offer in self._built if offer.job.job_id == id_), None)
        wanted = (measurement.key, measurement.replicate)
        if built is None and wanted in self._waiting:
            with Scratch() as folder:
                built = self._build(*wanted, Path(folder))
        if built is None or built.job.job_id != id_:
            return None
        self._models[built.job.model.sha256] += 1
        return built

    def _alarm(self, text: str) -> None:
        if len(self.tally.alarms) < 20 and text not in self.tally.alarms:
            self.tally.alarms.append(text)

    # -- offers --------------------------------------------------------------------------------------------------

    def _offer(self, queue: Queue, folder: Path) -> None:
        """Keep the queue as far ahead as its agents work in the device's ``ahead_s``."""
        for _ in range(self._next_batch()):
            wanted = next(iter(self._waiting))
            del self._waiting[wanted]
            self._built.append(self._build(*wanted, folder))
        if self._built:
            self._put(queue, list(self._built))
            for offer in self._built:
                self._open[offer.job.job_id] = offer
                self._models[offer.job.model.sha256] += 1
                offer.content, offer.heard_s = b"", time.monotonic()
            self._built.clear()

    def _next_batch(self) -> int:
        """Return how many jobs to build now: a batch, as soon as there is room for one."""
        rate = self._done / (time.monotonic() - self._began_s)
        ahead = min(max(FEWEST_AHEAD, int(rate * self._device.ahead_s)), MOST_AHEAD)
        batch = min(OFFERED, len(self._waiting))
        return batch if ahead - len(self._open) - len(self._built) >= batch else 0

    def _put(self, queue: Queue, offers: Sequence[_Offer]) -> None:
        shared = {blob.sha256 for offer in offers for blob in offer.job.weights}
        weights = [content for blob, content in self._weights.values() if blob.sha256 in shared]
        queue.put_models([*weights, *(offer.content for offer in offers)])
        queue.offer([offer.job for offer in offers])

    def _build(self, key: str, replicate: int, folder: Path) -> _Offer:
        """Build a network; files beside it are weights that others share."""
        path, sha256 = self._items.build(key, folder)
        content = path.read_bytes()
        if path.parent == folder:  # else it is a file of the user's
            path.unlink()
        for file in folder.iterdir():
            if file.name not in self._weights:
                shared = file.read_bytes()
                self._weights[file.name] = Blob(file.name, digest(shared), len(shared)), shared
        weights = tuple(blob for name, (blob, _) in sorted(self._weights.items()) if name.encode() in content)
        facts: dict[str, Any] = {
            "model": Blob("model.onnx", sha256, len(content)),
            "weights": weights,
            "plan": self._plan,
            "seed": self._seed,
            "campaign": self._campaign,
            "device_class": self._device.kind,
            "fingerprint_id": self._fingerprint.id,
            "key": key,
            "space": self._items.space,
            "replicate": replicate,
        }
        return _Offer(Job(job_id=job_id(**facts), issue=1, limits=LIMITS, **facts), content)

    def _reissue(self, offer: _Offer) -> None:
        """Offer a job again, with the next issue."""
        self._open.pop(offer.job.job_id, None)
        self._models[offer.job.model.sha256] -= 1
        with Scratch() as folder:
            again = self._build(*offer.of, Path(folder))
        again.job = replace(again.job, issue=offer.job.issue + 1)
        self._built.append(again)

    # -- what may have gone wrong --------------------------------------------------------------------------------

    def _look_after(self, queue: Queue, *, quiet: bool) -> None:
        now = time.monotonic()
        if now >= self._next_s["agents"]:
            self._next_s["agents"] = now + AGENTS_S
            if self._device.live(queue):
                self._live_s = now
            elif now - self._live_s > self._device.patience_s:
                raise DeviceError(
                    f"no agent of class {self._device.kind!r} has been at {self._device.url} for "
                    f"{self._device.patience_s:.0f} s; the queue has {counted(len(self._open), 'job')} and nothing is "
                    f"lost. Start one: tempograd agent --class {self._device.kind}; then run the same command to go on"
                )
        if quiet and now >= self._next_s["reconcile"]:  # every result that has come is stored
            self._next_s["reconcile"] = now + RECONCILE_S
            self._reconcile(queue, now)

    def _reconcile(self, queue: Queue, now: float) -> None:
        """Ask the queue for jobs that nobody speaks of: offer forgotten ones again, end those tried too often."""
        silent = [offer for offer in self._open.values() if now - offer.heard_s > SILENT_S]
        exhausted: list[_Offer] = []
        for offer, standing in zip(silent, queue.standing([o.job for o in silent]), strict=True):
            offer.heard_s = now
            if standing == "absent":
                self._reissue(offer)
            elif standing == "exhausted":
                exhausted.append(offer)
        if exhausted:
            queue.withdraw([offer.job for offer in exhausted])
            for offer in exhausted:
                self._settle(offer)
            self._sink.keep([self._quarantined(offer.job, queue.terms.max_deliver) for offer in exhausted])
        self._clear(queue)

    def _clear(self, queue: Queue) -> None:
        """Take out of the queue what is done: an agent died between delivering a result and finishing its job."""
        settled = list(self._settled.values())
        standings = queue.standing(settled)
        left = [job for job, standing in zip(settled, standings, strict=True) if standing != "absent"]
        if left:
            queue.withdraw(left)
        self._settled.clear()

    def _doubt_all(self) -> None:
        """The queue was away: it may have forgotten jobs, so do not wait long to ask for them."""
        self._away = False
        now = time.monotonic()
        for offer in self._open.values():
            offer.heard_s = min(offer.heard_s, now - SILENT_S + DOUBTED_S)
        self._next_s["reconcile"] = min(self._next_s["reconcile"], now + DOUBTED_S + 1)

    def _be_patient(self, error: QueueAwayError) -> None:
        if time.monotonic() - self._heard_s > self._device.patience_s:
            raise DeviceError(
                f"the queue has been away for {self._device.patience_s:.0f} s ({error}); nothing is lost: what agents "
                "have timed comes when it is back. Run the same command to go on"
            ) from error
        self._stop.wait(0.5)

    def _quarantined(self, job: Job, attempts: int) -> Measurement:
        detail = f"given out {attempts} times without an outcome: it may have ended every agent that tried it"
        failure = Failure("crashed", "run", detail=detail)
        return job.failed(failure, clock=clock_of(self._fingerprint), attempts=attempts)
