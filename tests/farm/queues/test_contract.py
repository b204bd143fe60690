"""One contract for every queue: nothing lost, nothing twice, whatever is done in whatever order.

A machine of random rules does things to a queue and to a plain account of what must be true. It runs on a fake in
memory, on queues that are wrong on purpose (which it must notice), on the queue in a file, and on real servers. Time is
a number for the first three; servers keep their own, so there the account knows only what must and what may be free.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, rule, run_state_machine_as_test

from tempograd.farm import queue as queue_module
from tempograd.farm.connection import open_queue
from tempograd.farm.messages import Job, Result
from tempograd.farm.queue import Delivery, Lease, Terms
from tempograd.farm.queues import embedded
from tempograd.farm.queues.embedded import EmbeddedQueue
from tempograd.farm.wire import decode, encode

pytestmark = pytest.mark.real

WAIT_S = 1.0
TERMS = Terms(ack_wait_s=WAIT_S, max_deliver=3)
SLACK_S = 0.35  # by which a server's clock may differ from ours, on a busy machine

_examples = itertools.count()


# -- time ------------------------------------------------------------------------------------------------------------


class RealTime:
    slack_s = SLACK_S

    def now(self) -> float:
        return queue_module.now_s()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class PlainTime:
    """A number that rules move on."""

    slack_s = 0.0

    def __init__(self) -> None:
        self._now = 1000.0

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds


@pytest.fixture
def plain_time(monkeypatch: pytest.MonkeyPatch) -> PlainTime:
    clock = PlainTime()
    monkeypatch.setattr(queue_module, "now_s", clock.now)
    monkeypatch.setattr(embedded, "now_s", clock.now)
    return clock


# -- a queue in memory -----------------------------------------------------------------------------------------------


class FakeQueue:
    """The rules of a queue, and nothing else."""

    def __init__(self, clock: PlainTime) -> None:
        self.clock = clock
        self.jobs: dict[str, list[Any]] = {}  # job id -> job, delivery, free at
        self.offered: set[str] = set()
        self.delivered: set[str] = set()
        self.kept: dict[str, list[Any]] = {}  # key -> result, free at

    def declare(self, campaign: str, device_classes: Sequence[str]) -> None:
        pass

    def offer(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if job.job_id not in self.jobs and job.message_id not in self.offered:
                self.jobs[job.job_id] = [job, 0, 0.0]
                self.offered.add(job.message_id)

    def withdraw(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self.jobs.pop(job.job_id, None)

    def standing(self, jobs: Sequence[Job]) -> list[str]:
        return [self._standing(job) for job in jobs]

    def _standing(self, job: Job) -> str:
        if job.job_id not in self.jobs:
            return "absent"
        _, delivery, free_s = self.jobs[job.job_id]
        if delivery >= TERMS.max_deliver and free_s <= self.clock.now():
            return "exhausted"
        return "leased" if delivery else "queued"

    def take(self, device_class: str, n: int, wait_ms: float) -> list[Lease]:
        now = self.clock.now()
        free = [
            entry for entry in self.jobs.values()
            if entry[0].device_class == device_class and entry[2] <= now and entry[1] < TERMS.max_deliver
        ]  # fmt: skip
        leases = []
        for entry in free[:n]:
            entry[1:] = entry[1] + 1, now + WAIT_S
            job, delivery, _ = entry
            handle = f"{job.message_id}:{delivery}"
            leases.append(Lease(job, delivery, secrets.token_hex(8), now + TERMS.hold_s, handle))
        return leases

    def _held(self, leases: Sequence[Lease]) -> list[Lease]:
        return [lease for lease in leases if not lease.lost and self._is_current(lease)]

    def _is_current(self, lease: Lease) -> bool:
        job, delivery, _ = self.jobs.get(lease.job.job_id, (lease.job, 0, 0))
        return lease.handle == f"{job.message_id}:{delivery}"

    def renew(self, leases: Sequence[Lease]) -> list[Lease]:
        held = self._held(leases)
        for lease in held:
            self.jobs[lease.job.job_id][2] = self.clock.now() + WAIT_S
        return [replace(lease, deadline_s=self.clock.now() + TERMS.hold_s) for lease in held]

    def deliver(self, results: Sequence[Result]) -> None:
        for result in results:
            if result.key not in self.delivered:
                self.delivered.add(result.key)
                self.kept[result.key] = [result, 0.0]

    def finish(self, leases: Sequence[Lease]) -> None:
        for lease in self._held(leases):
            del self.jobs[lease.job.job_id]

    def give_back(self, leases: Sequence[Lease], delay_ms: float = 0) -> None:
        for lease in self._held(leases):
            self.jobs[lease.job.job_id][2] = self.clock.now() + delay_ms / 1e3

    def results(self, campaign: str, n: int, wait_ms: float) -> list[Delivery]:
        free = [entry for entry in self.kept.values() if entry[1] <= self.clock.now()][:n]
        for entry in free:
            entry[1] = self.clock.now() + WAIT_S
        return [Delivery("a1", encode(result), result, None, result.key) for result, _ in free]

    def confirm(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self.kept.pop(delivery.handle, None)


# -- the account -----------------------------------------------------------------------------------------------------


@dataclass
class Entry:
    """What must be true of a job that was offered."""

    job: Job
    there: bool = True
    delivery: int = 0
    held_until_s: float = 0.0  # before, nobody may get it
    free_from_s: float = 0.0  # after, whoever asks must get it
    asked_since: bool = False  # somebody asked for jobs after it was free for the last time

    @property
    def spent(self) -> bool:
        return self.delivery >= TERMS.max_deliver


@dataclass
class Account:
    """What must be true of a queue."""

    entries: dict[str, Entry] = field(default_factory=dict)
    delivered: dict[str, Result] = field(default_factory=dict)
    confirmed: set[str] = field(default_factory=set)
    shown: dict[str, float] = field(default_factory=dict)  # key -> until when it is not shown again


class QueueMachine(RuleBasedStateMachine):
    """Random rules on a queue; see the module."""

    jobs = Bundle("jobs")
    leases = Bundle("leases")

    def __init__(
        self, campaign_side: Any, agent_side: Any, clock: Any, make: Callable[..., Job], answer: Callable[..., Result]
    ) -> None:
        super().__init__()
        name = f"x{next(_examples)}-{secrets.token_hex(3)}"
        self.campaign, self.device_class = f"c-{name}", f"k-{name}"
        self.near, self.far, self.clock = campaign_side, agent_side, clock
        self.make, self.answer = make, answer
        self.account = Account()
        self.near.declare(self.campaign, [self.device_class])

    # -- the campaign ------------------------------------------------------------------------------------------

    @rule(target=jobs)
    def offer(self) -> str:
        name = f"n{len(self.account.entries)}"
        job = self.make(name, campaign=self.campaign, device_class=self.device_class)
        self.near.offer([job])
        self.account.entries[job.job_id] = Entry(job)
        return job.job_id

    @rule(id_=jobs)
    def offer_again(self, id_: str) -> None:
        self.near.offer([self.account.entries[id_].job])

    @rule(id_=jobs)
    def offer_next_issue(self, id_: str) -> None:
        entry = self.account.entries[id_]
        job = replace(entry.job, issue=entry.job.issue + 1)
        self.near.offer([job])
        if not entry.there:
            self.account.entries[id_] = Entry(job)

    @rule(id_=jobs)
    def withdraw(self, id_: str) -> None:
        self.near.withdraw([self.account.entries[id_].job])
        self.account.entries[id_].there = False

    @rule(id_=jobs)
    def standing(self, id_: str) -> None:
        entry = self.account.entries[id_]
        allowed = self._allowed(entry)
        found = self.near.standing([entry.job])[0]
        assert found in allowed | self._allowed(entry), (found, entry)

    @rule(n=st.integers(1, 5), confirmed=st.booleans())
    def collect(self, n: int, confirmed: bool) -> None:
        self._collect(n, confirmed, 0)

    # -- agents --------------------------------------------------------------------------------------------------

    @rule(target=leases, n=st.integers(1, 4))
    def take(self, n: int) -> tuple[Lease, ...] | Any:
        return tuple(self._take(n))

    @rule(target=leases, some=consumes(leases))
    def renew(self, some: tuple[Lease, ...]) -> tuple[Lease, ...]:
        before, lost = self.clock.now(), {lease for lease in some if lease.lost}
        renewed = self.far.renew(some)
        assert not {lease.handle for lease in lost} & {lease.handle for lease in renewed}
        for lease in renewed:
            entry = self.account.entries[lease.job.job_id]
            assert before + TERMS.hold_s <= lease.deadline_s <= self.clock.now() + TERMS.hold_s
            if self._current(lease):
                self._hold(entry, before)
        return tuple(renewed)

    @rule(some=leases)
    def deliver(self, some: tuple[Lease, ...]) -> None:
        self._deliver(some)

    @rule(some=leases)
    def finish(self, some: tuple[Lease, ...]) -> None:
        self._deliver(some)
        self._settle(some, lambda: self.far.finish(some), there=False)

    @rule(some=leases, delay_s=st.sampled_from([0.0, 0.5]))
    def give_back(self, some: tuple[Lease, ...], delay_s: float) -> None:
        self._settle(some, lambda: self.far.give_back(some, delay_s * 1e3), there=True, delay_s=delay_s)

    @rule(share=st.sampled_from([0.3, 0.8, 1.4]))
    def wait(self, share: float) -> None:
        self.clock.sleep(share * WAIT_S)

    # -- how it must end -----------------------------------------------------------------------------------------

    def teardown(self) -> None:
        for _ in range(TERMS.max_deliver + 1):
            self.clock.sleep(WAIT_S + self.clock.slack_s)
            while some := self._take(100):
                self._deliver(some)
                self._settle(some, lambda some=some: self.far.finish(some), there=False)
            if not any(entry.there and not entry.spent for entry in self.account.entries.values()):
                break
        entries = list(self.account.entries.values())
        wanted = ["exhausted" if entry.there else "absent" for entry in entries]
        self._until(lambda: self.near.standing([entry.job for entry in entries]) == wanted, (wanted, entries))
        while self._collect(100, True, 300 * bool(self.clock.slack_s)):
            pass
        assert self.account.confirmed == self.account.delivered.keys(), "a result was lost"

    # -- helpers -------------------------------------------------------------------------------------------------

    def _take(self, n: int) -> list[Lease]:
        before = self.clock.now()
        must = {
            id_ for id_, e in self.account.entries.items() if e.there and not e.spent and e.free_from_s <= before
        }  # fmt: skip
        taken: list[Lease] = self.far.take(self.device_class, n, 500 * bool(must and self.clock.slack_s))
        after = self.clock.now()
        assert len(taken) <= n
        ids = [lease.job.job_id for lease in taken]
        assert len(set(ids)) == len(ids), "one job twice in one take"
        for lease in taken:
            entry = self.account.entries[lease.job.job_id]
            assert entry.there, "a job that was done or withdrawn"
            assert not entry.spent, "a job that was given out as often as allowed"
            assert entry.held_until_s <= after, "a job that somebody else holds"
            assert lease.job == entry.job
            entry.delivery += 1
            assert lease.delivery == entry.delivery, "deliveries are counted"
            self._hold(entry, before)
            assert lease.deadline_s <= after + TERMS.hold_s
        if len(taken) < n:
            assert must <= set(ids), "a free job was not given out"
            for entry in self.account.entries.values():
                entry.asked_since |= entry.free_from_s <= before
        return taken

    def _hold(self, entry: Entry, before: float) -> None:
        entry.held_until_s = before + WAIT_S - self.clock.slack_s
        entry.free_from_s = self.clock.now() + WAIT_S + self.clock.slack_s
        entry.asked_since = False

    def _current(self, lease: Lease) -> bool:
        entry = self.account.entries[lease.job.job_id]
        return entry.there and (lease.job.issue, lease.delivery) == (entry.job.issue, entry.delivery)

    def _deliver(self, some: Sequence[Lease]) -> None:
        results = [self.answer(lease) for lease in some]
        self.far.deliver(results)
        for result in results:
            self.account.delivered.setdefault(result.key, result)

    def _settle(self, some: Sequence[Lease], act: Callable[[], None], *, there: bool, delay_s: float = 0.0) -> None:
        held = [lease for lease in some if not lease.lost and self._current(lease)]
        before = self.clock.now()
        act()
        for lease in held:
            entry = self.account.entries[lease.job.job_id]
            if lease.lost:  # it was lost meanwhile: either may be true
                entry.there = self.near.standing([entry.job])[0] != "absent"
                continue
            entry.there = there
            entry.held_until_s = before + max(0.0, delay_s - self.clock.slack_s)
            entry.free_from_s = self.clock.now() + delay_s + self.clock.slack_s * bool(delay_s)
            entry.asked_since = False

    def _allowed(self, entry: Entry) -> set[str]:
        if not entry.there:
            return {"absent"}
        if not entry.delivery:
            return {"queued"}
        if not entry.spent or self.clock.now() < entry.held_until_s:
            return {"leased"}
        return {"exhausted"} if entry.asked_since and not self.clock.slack_s else {"leased", "exhausted"}

    def _collect(self, n: int, confirmed: bool, wait_ms: float) -> int:
        before = self.clock.now()
        found = self.near.results(self.campaign, n, wait_ms)
        for delivery in found:
            assert delivery.refusal is None
            assert delivery.agent == "a1"
            result = delivery.result
            assert result == self.account.delivered.get(result.key), "a result that nobody delivered"
            assert decode(delivery.raw, Result) == result
            assert result.key not in self.account.confirmed, "a result that was confirmed"
            assert self.account.shown.get(result.key, 0) - self.clock.slack_s <= self.clock.now(), "one result twice"
            self.account.shown[result.key] = before + WAIT_S
        if confirmed:
            self.near.confirm(found)
            self.account.confirmed |= {delivery.result.key for delivery in found if delivery.result}
        elif found:
            self.clock.sleep(WAIT_S * (1 + 2 * self.clock.slack_s))  # unconfirmed, they come again
        return len(found)

    def _until(self, true: Callable[[], bool], message: Any) -> None:
        until = time.monotonic() + 20 * self.clock.slack_s
        while not true():
            assert time.monotonic() < until, message
            time.sleep(0.05)


def _run(machine: Callable[[], QueueMachine], examples: int, steps: int, **more: Any) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), **more,
        ),
    )  # fmt: skip


@pytest.mark.slow
def test_fake(plain_time: PlainTime, job: Callable[..., Job], result: Callable[..., Result]) -> None:
    def machine() -> QueueMachine:
        queue = FakeQueue(plain_time)
        return QueueMachine(queue, queue, plain_time, job, result)

    _run(machine, 60, 40)


class ForgetsLeases(FakeQueue):
    def take(self, device_class: str, n: int, wait_ms: float) -> list[Lease]:
        leases = super().take(device_class, n, wait_ms)
        for lease in leases:
            self.jobs[lease.job.job_id][2] = 0.0
        return leases


class LosesOnReturn(FakeQueue):
    def give_back(self, leases: Sequence[Lease], delay_ms: float = 0) -> None:
        self.finish(leases)


class BelievesLateFinish(FakeQueue):
    def finish(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            self.jobs.pop(lease.job.job_id, None)


class RenewsLate(FakeQueue):
    def renew(self, leases: Sequence[Lease]) -> list[Lease]:
        for lease in leases:
            if lease.job.job_id in self.jobs:
                self.jobs[lease.job.job_id][2] = self.clock.now() + WAIT_S
        return super().renew(leases)


class OffersTwice(FakeQueue):
    def offer(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self.jobs.setdefault(job.job_id, [job, 0, 0.0])


class DeliversTwice(FakeQueue):
    def deliver(self, results: Sequence[Result]) -> None:
        for result in results:
            self.kept[result.key] = [result, 0.0]


class GivesForEver(FakeQueue):
    def take(self, device_class: str, n: int, wait_ms: float) -> list[Lease]:
        for entry in self.jobs.values():
            entry[1] = min(entry[1], TERMS.max_deliver - 1)
        return super().take(device_class, n, wait_ms)


class ShowsOnce(FakeQueue):
    def results(self, campaign: str, n: int, wait_ms: float) -> list[Delivery]:
        found = super().results(campaign, n, wait_ms)
        self.confirm(found)
        return found


WRONG = [
    ForgetsLeases, LosesOnReturn, BelievesLateFinish, RenewsLate, OffersTwice, DeliversTwice, GivesForEver, ShowsOnce,
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_queue_is_found_out(
    wrong: type[FakeQueue], plain_time: PlainTime, job: Callable[..., Job], result: Callable[..., Result]
) -> None:
    def machine() -> QueueMachine:
        queue = wrong(plain_time)
        return QueueMachine(queue, queue, plain_time, job, result)

    with pytest.raises(AssertionError):
        _run(machine, 400, 40, phases=[Phase.generate], derandomize=True)


@pytest.mark.fault(11)
@pytest.mark.fault(12)
def test_embedded(
    tmp_path: Path, plain_time: PlainTime, job: Callable[..., Job], result: Callable[..., Result]
) -> None:
    near = EmbeddedQueue(tmp_path / "queue.sqlite", terms=TERMS)
    far = EmbeddedQueue(tmp_path / "queue.sqlite", terms=TERMS)
    with near, far:
        _run(lambda: QueueMachine(near, far, plain_time, job, result), 30, 30)


@pytest.mark.fault(11)
@pytest.mark.fault(12)
@pytest.mark.slow
def test_jetstream(each_server: Any, job: Callable[..., Job], result: Callable[..., Result]) -> None:
    with open_queue(each_server.url, terms=TERMS) as near, open_queue(each_server.url, terms=TERMS) as far:
        _run(lambda: QueueMachine(near, far, RealTime(), job, result), 3, 12, phases=[Phase.generate])
