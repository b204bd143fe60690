"""A session on a phone, a fake one whose loops are real: whose failure it is, and what a pass asks."""

from __future__ import annotations

import signal

import pytest

from tempograd.errors import DeviceError
from tempograd.registry import create

from .background import later, worker_of

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_one_question_a_pass_however_many_networks(hung, zoo):
    with create("device", hung.spec).open() as session:
        session.load([zoo.conv("a"), zoo.conv("b")])
        session.start_timing()
        before = len(hung.phone.log)
        session.run_pass(["a", "b"] * 20, burst_ms=2.0)
        assert len(hung.phone.log) == before + 1


def test_a_reboot_while_it_loads_costs_loading_again(hung, zoo):
    with create("device", hung.spec).open() as session:
        session.load([zoo.conv("a")])
        (loop,) = hung.phone.loops()
        hung.server.reboot()
        with later(0.3, hung.phone.plug):
            assert session.load([zoo.conv("b")])[0].failure is None
        assert loop not in hung.phone.loops()
        assert [r.key for r in session.run_pass(["b", "a"], burst_ms=1.0).rounds] == ["b", "a"]


def test_a_network_that_hangs_is_stopped_on_the_phone(hung, zoo):
    with create("device", hung.spec + ",load_s=1").open() as session:
        found = {one.key: one for one in session.load([zoo.conv("a"), zoo.endless("b"), zoo.conv("c")])}
        failure = found["b"].failure
        assert (failure.cause, failure.phase, failure.signal) == ("timeout", "warm_up", signal.SIGALRM)
        assert failure.elapsed_ms > 500
        assert found["a"].failure is found["c"].failure is None
        assert [r.key for r in session.run_pass(["c", "a"], burst_ms=1.0).rounds] == ["c", "a"]


def test_a_crash_is_the_failure_of_the_network_that_ran(hung, zoo):
    with create("device", hung.spec).open() as session:
        session.load([zoo.conv("a"), zoo.conv("b")])
        (loop,) = hung.phone.loops()
        with later(0.5, lambda: worker_of(loop).send_signal(signal.SIGSEGV)):
            result = session.run_pass(["a"] + ["b"] * 40, burst_ms=30.0)
        assert result.rounds == ()
        assert (result.failures["b"].cause, result.failures["b"].signal) == ("crashed", signal.SIGSEGV)
        with pytest.raises(DeviceError, match="closed"):
            session.run_pass(["a"], burst_ms=1.0)


def test_lines_that_are_no_replies_end_the_session(hung, zoo):
    with create("device", hung.spec).open() as session:
        session.load([zoo.conv("a")])
        (replies,) = hung.phone.tmp.glob("sessions/*/replies")
        with replies.open("a") as file:
            file.write("[1, 2\n")
        with pytest.raises(DeviceError, match="what is no reply"):
            session.run_pass(["a"], burst_ms=1.0)
