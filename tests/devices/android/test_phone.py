"""What happens to a phone, and what its owner is told: a fake server, real loops."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from contextlib import contextmanager
from itertools import pairwise

import psutil
import pytest

from tempograd.devices.android import loop as loops
from tempograd.devices.android.adb import CommandError, Phone, Server
from tempograd.devices.runtime.packages import UnusableError
from tempograd.errors import DeviceError, UsageError
from tempograd.registry import create

from .fake_adb import FakeServer

pytestmark = pytest.mark.real


@contextmanager
def later(seconds, *steps):
    """Do steps in the background, each so long after the one before."""

    def do():
        for step in steps:
            time.sleep(seconds)
            step()

    thread = threading.Thread(target=do)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@pytest.fixture
def link(hung):
    """The phone behind a link that soon loses its patience."""
    server = Server(hung.server.address, answer_s=0.5)
    return Phone(server, hung.phone.serial, patience_s=1.0, pause_s=0.05)


def worker_of(loop):
    (worker,) = psutil.Process(loop).children()
    return worker


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


def test_one_question_a_pass_however_many_networks(hung, zoo):
    with create("device", hung.spec).open() as session:
        session.load([zoo.conv("a"), zoo.conv("b")])
        session.start_timing()
        before = len(hung.phone.log)
        session.run_pass(["a", "b"] * 20, burst_ms=2.0)
        assert len(hung.phone.log) == before + 1


@pytest.mark.fault(28)
def test_a_reboot_ends_the_session_and_the_next_one_goes_on(hung, zoo):
    device = create("device", hung.spec)
    with device.open() as session:
        session.load([zoo.conv("a")])
        boot = device.environment()["boot_id"]
        with (
            later(0.3, hung.server.reboot, hung.phone.plug),
            pytest.raises(DeviceError, match=r"rebooted.*Nothing is lost"),
        ):
            session.run_pass(["a"] * 40, burst_ms=30.0)
        with pytest.raises(DeviceError, match="closed"):
            session.run_pass(["a"], burst_ms=1.0)
    with device.open() as session:
        session.load([zoo.conv("a")])
        assert len(session.run_pass(["a"], burst_ms=1.0).rounds) == 1
        assert device.environment()["boot_id"] != boot
        assert len(list(hung.phone.tmp.glob("sessions/*"))) == 1


def test_a_reboot_while_it_loads_costs_loading_again(hung, zoo):
    with create("device", hung.spec).open() as session:
        session.load([zoo.conv("a")])
        (loop,) = hung.phone.loops()
        hung.server.reboot()
        with later(0.3, hung.phone.plug):
            assert session.load([zoo.conv("b")])[0].failure is None
        assert loop not in hung.phone.loops()
        assert [r.key for r in session.run_pass(["b", "a"], burst_ms=1.0).rounds] == ["b", "a"]


@pytest.mark.fault(28)
def test_a_phone_that_does_not_come_back_is_named_with_what_to_do(hung, zoo):
    with create("device", hung.spec + ",patience_s=0.3").open() as session:
        session.load([zoo.conv("a")])
        hung.server.unplug()
        with pytest.raises(DeviceError, match=r"0123FAKE is absent.*plug it in.*the same command goes on"):
            session.run_pass(["a"], burst_ms=1.0)
        hung.phone.plug()


@pytest.mark.fault(28)
def test_a_phone_that_denies_is_not_waited_for(hung):
    hung.phone.state = "unauthorized"
    with pytest.raises(DeviceError, match="0123FAKE is unauthorized; unlock it and accept"):
        create("device", hung.spec).open()


def test_denied_in_the_middle(hung, link):
    hung.phone.state = "unauthorized"
    start = time.monotonic()
    with pytest.raises(DeviceError, match="unlock it and accept"):
        link.persist(lambda: link.run(["true"]))
    assert time.monotonic() - start < 1.0


def test_a_stale_link_is_reopened_without_ending_the_server(hung, link):
    hung.phone.state = "offline"
    assert link.persist(lambda: link.run(["echo", "back"])) == b"back\n"
    assert "host:reconnect-offline" in hung.server.asked
    assert not any("kill" in request for request in hung.server.asked)


def test_a_full_phone_is_told_and_goes_on_when_there_is_room(hung, zoo):
    device = create("device", hung.spec)
    with device.open() as session:
        hung.phone.full = True
        with pytest.raises(DeviceError, match=r"No space left on device; free storage.*Nothing is lost"):
            session.load([zoo.conv("a")])
    hung.phone.full = False
    with device.open() as session:
        assert session.load([zoo.conv("a")])[0].failure is None


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


@pytest.mark.parametrize("after", [0, 2, 4, 7, 11, 40])
def test_an_answer_that_breaks_off_is_asked_again(hung, link, after):
    hung.server.cut = [after]
    assert link.persist(lambda: link.run(["echo", "x" * 100])) == b"x" * 100 + b"\n"
    hung.server.cut = [after]
    link.persist(lambda: link.push([(b"y" * 100_000, "/data/local/tmp/y", 0o600)]))
    hung.server.cut = [after]
    assert link.persist(lambda: link.pull("/data/local/tmp/y")) == b"y" * 100_000


@pytest.mark.parametrize("name", ["HUP", "TERM", "KILL"])
def test_a_command_that_the_phone_ends_is_asked_again(hung, link, name):
    once = f"test -e {hung.phone.root}/ended && exit; touch {hung.phone.root}/ended; kill -{name} $$"
    link.persist(lambda: link.run(["sh", "-c", once]))
    assert hung.phone.log[-2:] == [hung.phone.log[-1]] * 2


def test_a_command_that_fails_without_a_word_is_told_with_its_status(link):
    with pytest.raises(CommandError, match="false on phone 0123FAKE: exit status 1"):
        link.run(["false"])


def test_answers_that_always_break_off_are_an_error(hung, link):
    hung.server.cut = [6] * 100
    with pytest.raises(DeviceError, match="connected but answers nothing that can be read"):
        link.persist(lambda: link.run(["true"]))


def test_a_server_that_never_answers_is_an_error(hung, link):
    hung.server.silent = True
    with pytest.raises(DeviceError, match=r"0123FAKE is silent.*server does not answer"):
        link.persist(lambda: link.run(["true"]))
    hung.server.silent = False
    assert link.persist(lambda: link.run(["echo", "there"])) == b"there\n"


def test_without_a_server_none_is_started(hung, monkeypatch):
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("something was started"))
    hung.server.close()
    with pytest.raises(UnusableError, match=r"no adb server.*adb start-server"):
        create("device", hung.spec).open()


@pytest.mark.parametrize("address", ["here", "5037", "localhost:adb", ":5037"])
def test_a_wrong_address_is_named(address):
    with pytest.raises(UsageError, match="host:port"):
        Server(address)


def test_a_server_that_others_restart_is_waited_for(hung, link):
    hung.server.close()
    again = []
    port = int(hung.server.address.split(":")[1])
    with later(0.3, lambda: again.append(FakeServer(hung.phone, port))):
        assert link.persist(lambda: link.run(["echo", "there"])) == b"there\n"
    again[0].close()


def test_words_arrive_as_they_stand(link):
    words = ["a b", "$HOME", "`id`", "; exit 3", "'\"", "ü", "*", ""]
    assert link.run(["printf", "%s|", *words]).decode() == "|".join([*words, ""])


def test_the_serial_may_look_like_a_number(hung):
    hung.phone.serial = "0012345"
    device = create("device", hung.spec.replace("0123FAKE", "0012345"))
    assert device.environment()["battery_percent"] == 85


def test_another_serial_is_answered_with_those_that_are_there(hung):
    with pytest.raises(DeviceError, match=r"serial=NOBODY is needed.*0123FAKE \(device\)"):
        create("device", hung.spec.replace("0123FAKE", "NOBODY")).open()


@pytest.mark.fault(28)
def test_a_low_battery_is_refused(hung):
    hung.phone.battery(30)
    with pytest.raises(DeviceError, match="30 % battery"):
        create("device", hung.spec).open()


def test_the_state_is_recorded(hung, zoo):
    device = create("device", hung.spec)
    told = device.environment()
    assert (told["battery_percent"], told["charger"], told["screen_on"]) == (85, "USB", True)
    assert (told["governor"], told["thermal_status"], told["phone_cores"]) == ("schedutil", 0, [1])
    assert "timed_cores" not in told  # those would be this machine's
    assert "0123FAKE" not in device.fingerprint.to_json()
    with device.open() as session:
        session.load([zoo.conv("a")])
        state = session.run_pass(["a"], burst_ms=1.0).rounds[0].state
    assert state == {"frequency_mhz": 2400.0, "temperature_c": 41.5, "battery_percent": 85.0, "thermal_status": 0.0}


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


@pytest.mark.parametrize(
    ("argument", "match"),
    [
        ("cores=huge", "little.*big"),
        ("cores=0-1", "not of one cluster"),
        ("threads=2", "as many cores as threads"),
        ("threads=0", "threads=0"),
        ("batch=0", "batch=0"),
        ("optimisation=some", "extended"),
        ("sentinel=conv", "mixed"),
        ("max_pause_s=-1", "max_pause_s=-1"),
    ],
)
def test_wrong_arguments_are_named(hung, argument, match):
    with pytest.raises(UsageError, match=match):
        _ = create("device", f"{hung.spec},{argument}").fingerprint


def test_another_processor_needs_another_runner(hung, tmp_path):
    hung.phone.properties["ro.product.cpu.abi"] = "mips"
    with pytest.raises(DeviceError, match="supported: arm64-v8a, x86_64"):
        create("device", hung.spec).open()
    hung.phone.properties["ro.product.cpu.abi"] = "arm64-v8a"
    spec = hung.spec.split(",tools=")[0] + f",tools={tmp_path}"
    with pytest.raises(DeviceError, match=r"tempograd-runner and libonnxruntime.so for arm64-v8a not in .*to/phone"):
        create("device", spec).open()
