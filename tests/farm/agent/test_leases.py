"""Where each lease is, from taking a job to delivering its result; a lease is never lost and never in two hands."""

from dataclasses import replace

import pytest

from tempograd.farm.agent.leases import Leases
from tempograd.farm.queue import Lease, QueueAwayError, now_s

from ..conftest import _job as job
from ..conftest import _result as result


def lease(name, attempt="0123456789abcdef", *, hold_s=45.0, **asked):
    return Lease(job(name, **asked), 1, attempt, now_s() + hold_s, "handle")


@pytest.fixture
def leases():
    return Leases()


def test_a_job_goes_from_the_reserve_to_its_delivered_result(leases):
    taken = lease("a")
    assert leases.admit([taken]) == [taken]
    leases.reserve([taken])
    assert (leases.reserved, leases.in_hand, leases.next_job) == (1, 1, taken.job)
    assert leases.pop(taken.job, 5) == [taken.job]
    assert (leases.reserved, leases.in_hand, leases.next_job) == (0, 1, None)
    kept = leases.close(taken.job, result)
    assert (leases.in_hand, leases.held()) == (0, [taken])
    assert leases.deliver([kept]) == [taken]
    assert leases.held() == leases.deliver([kept]) == []


def test_only_what_goes_together_is_popped_together(leases):
    first, other, third = lease("a"), lease("b", "b" * 16, campaign="c2"), lease("c", "c" * 16)
    leases.reserve(leases.admit([first, other, third]))
    assert leases.pop(first.job, 5) == [first.job, third.job]
    assert leases.next_job == other.job
    assert not first.job.goes_with(replace(first.job, seed=1))
    assert first.job.goes_with(replace(first.job, replicate=1))


def test_a_job_that_comes_again_is_the_same_attempt(leases):
    taken, again, late = lease("a"), lease("a", "b" * 16), lease("a", "c" * 16)
    leases.admit([taken])
    assert leases.admit([again]) == []
    kept = leases.close(taken.job, result)
    assert kept.attempt == again.attempt  # the newest lease of it can still be finished
    assert leases.admit([late]) == []
    assert leases.deliver([kept]) == [taken, again, late]


def test_what_could_not_be_given_back_stays_left(leases):
    held = [lease(name, name * 16) for name in "abc"]
    leases.admit(held[:2])
    leases.leave([held[0].job], 0.0)
    leases.leave([held[1].job], 30.0)
    leases.refuse([held[2]], 30.0)
    given = []

    def give(some, delay_ms):
        if delay_ms:
            raise QueueAwayError("away")
        given.extend(some)

    with pytest.raises(QueueAwayError):
        leases.give_back(give)
    assert given == [held[0]]
    assert leases.anything_left
    leases.give_back(lambda some, delay_ms: given.extend(some))
    assert given == held
    assert not leases.anything_left


def test_after_a_restart_results_keep_their_leases_and_jobs_go_back(leases):
    kept, unfinished, lost = lease("a"), lease("b", "b" * 16), lease("c", "c" * 16, hold_s=-1.0)
    answer = result(kept)
    assert leases.take_up([answer.key, "1:1:1:gone"], [kept, unfinished, lost]) == 1
    assert leases.held() == [kept]
    given = []
    leases.give_back(lambda some, delay_ms: given.extend(some))
    assert given == [unfinished]
    assert leases.deliver([answer]) == [kept]


def test_a_lost_lease_leaves_the_reserve_but_not_the_engine(leases):
    waiting, timed = lease("a", hold_s=-1.0), lease("b", "b" * 16, hold_s=-1.0)
    leases.reserve(leases.admit([timed]))
    leases.pop(timed.job, 1)
    leases.reserve(leases.admit([waiting]))
    assert leases.drop_lost() == [waiting]
    assert leases.jobs_in_hand() == [timed.job]


def test_renewed_leases_take_the_place_of_what_they_were(leases):
    taken = lease("a")
    leases.reserve(leases.admit([taken]))
    later = replace(taken, deadline_s=taken.deadline_s + 15)
    leases.renew([later])
    assert leases.held() == [later]
    leases.empty_reserve(0.0)
    assert (leases.reserved, leases.in_hand, leases.anything_left) == (0, 0, True)
