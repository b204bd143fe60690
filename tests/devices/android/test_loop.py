"""The loop on a phone, a real one of a fake phone: it outlives cables, and does nothing twice."""

from __future__ import annotations

import os
import shutil
import time
from itertools import pairwise

import pytest

from tempograd.devices.android import loop as loops
from tempograd.errors import DeviceError
from tempograd.registry import create

from .background import later

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.mark.fault(28)
def test_a_pulled_cable_loses_nothing_and_repeats_nothing(hung, zoo):
    keys = ["a"] * 40
    with create("device", hung.spec).open() as session:
        session.load([zoo.conv("a")])
        session.start_timing()
        (loop,) = hung.phone.loops()
        with later(0.5, hung.server.unplug, hung.phone.plug):
            rounds = session.run_pass(keys, burst_ms=30.0).rounds
        assert [r.key for r in rounds] == keys
        starts = [r.started_s for r in rounds]
        assert starts == sorted(set(starts))
        assert hung.phone.loops() == [loop]
        asked = [command for command in hung.phone.log if " run_pass " in command]
        assert len(asked) >= 2
        assert len({command.split()[3] for command in asked}) == 1  # one command, asked again
    assert not any("kill" in request for request in hung.server.asked)


@pytest.mark.fault(16)
@pytest.mark.fault(28)
def test_heat_makes_it_pause_then_its_rounds_say_thermal(hung, zoo):
    with create("device", hung.spec + ",max_pause_s=0.4").open() as session:
        session.load([zoo.conv("a")])
        session.start_timing()
        hung.phone.heat(2)
        start = time.monotonic()
        hot = session.run_pass(["a", "a"], burst_ms=1.0).rounds
        assert time.monotonic() - start > 0.4
        assert all(r.events == ("thermal",) and r.state["thermal_status"] == 2 for r in hot)
        hung.phone.heat(0)
        assert all(r.events == () for r in session.run_pass(["a", "a"], burst_ms=1.0).rounds)


def test_it_goes_on_as_soon_as_it_is_cool(hung, zoo):
    with create("device", hung.spec + ",max_pause_s=60").open() as session:
        session.load([zoo.conv("a")])
        session.start_timing()
        hung.phone.heat(1)
        with later(0.5, lambda: hung.phone.heat(0)):
            rounds = session.run_pass(["a"], burst_ms=1.0).rounds
        assert rounds[0].events == ()


def test_a_slow_sentinel_is_heat_too(hung, zoo):
    with create("device", hung.spec.replace("cool_within=20", "cool_within=0") + ",max_pause_s=0.05").open() as session:
        session.load([zoo.conv("a")])
        session.start_timing()
        events = [session.run_pass(["a"], burst_ms=1.0).rounds[0].events for _ in range(8)]
        assert ("thermal",) in events  # one in ten readings is the cool one, by its definition


def test_a_phone_that_is_warm_from_the_start_is_told_by_an_earlier_loop(hung, zoo):
    device = create("device", hung.spec.replace("cool_within=20", "cool_within=0.5") + ",max_pause_s=0")
    with device.open() as session:
        session.start_timing()
    assert 0.1 < device._cool.sentinel_ms < 100
    device._cool.learn(1e-3)  # as if that loop had found the phone much cooler
    with device.open() as session:
        session.load([zoo.conv("a")])
        session.start_timing()
        assert session.run_pass(["a"], burst_ms=1.0).rounds[0].events == ("thermal",)
    assert device._cool.sentinel_ms == 1e-3


def test_work_comes_in_stretches(hung, zoo):
    with create("device", hung.spec.replace("rest_s=0.01", "rest_s=0.3") + ",duty_s=0.05").open() as session:
        session.load([zoo.conv("a")])
        session.start_timing()
        starts = [r.started_s for r in session.run_pass(["a"] * 9, burst_ms=20.0).rounds]
        gaps = [later - earlier for earlier, later in pairwise(starts)]
        assert sum(gap >= 0.3 for gap in gaps) >= 2
        assert min(gaps) < 0.3


def test_answers_in_pieces_are_put_together(hung, zoo):
    hung.server.piece = 3
    with create("device", hung.spec).open() as session:
        session.load([zoo.conv("a")])
        assert len(session.run_pass(["a"], burst_ms=1.0).rounds) == 1


def test_what_a_dead_owner_left_is_ended_and_a_living_one_is_left_alone(hung, zoo, monkeypatch):
    device = create("device", hung.spec)
    mine = loops._OWNER
    session = device.open()
    (loop,) = hung.phone.loops()
    monkeypatch.setattr(loops, "_OWNER", mine + "other")
    monkeypatch.setattr(loops, "_BUSY_S", 0.0)
    with pytest.raises(DeviceError, match="another process measures"):
        device.open()
    assert hung.phone.loops() == [loop]
    owner = hung.phone.path(mine)
    os.utime(owner, (owner.stat().st_mtime - 100,) * 2)
    with device.open():
        assert loop not in hung.phone.loops()
        assert len(hung.phone.loops()) == 1
    with pytest.raises(DeviceError):
        session.load([zoo.conv("a")])


def test_the_runner_is_sent_once_and_again_when_it_is_damaged(hung):
    shutil.rmtree(hung.phone.tmp)
    create("device", hung.spec).open().close()
    (runner,) = hung.phone.tmp.glob("bin/*-tempograd-runner")
    (library,) = hung.phone.tmp.glob("bin/*-libonnxruntime.so")
    before = library.stat().st_mtime_ns
    create("device", hung.spec).open().close()
    assert library.stat().st_mtime_ns == before
    good = library.read_bytes()
    library.write_bytes(good[:-1])
    create("device", hung.spec).open().close()
    assert library.read_bytes() == good
    assert runner.stat().st_mode & 0o777 == 0o755
