"""What happens to a phone, and what its owner is told: a fake server, real loops."""

from __future__ import annotations

import time

import pytest

from tempograd.devices.android.adb import CommandError, Phone, Server
from tempograd.devices.runtime.packages import UnusableError
from tempograd.errors import DeviceError, UsageError
from tempograd.registry import create

from .background import later
from .fake_adb import FakeServer

pytestmark = pytest.mark.real


@pytest.fixture
def link(hung):
    """The phone behind a link that soon loses its patience."""
    server = Server(hung.server.address, answer_s=0.5)
    return Phone(server, hung.phone.serial, patience_s=1.0, pause_s=0.05)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.fault(28)
def test_a_phone_that_does_not_come_back_is_named_with_what_to_do(hung, zoo):
    with create("device", hung.spec + ",patience_s=0.3").open() as session:
        session.load([zoo.conv("a")])
        hung.server.unplug()
        with pytest.raises(DeviceError, match=r"0123FAKE is absent.*plug it in.*the same command goes on"):
            session.run_pass(["a"], burst_ms=1.0)
        hung.phone.plug()


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_full_phone_is_told_and_goes_on_when_there_is_room(hung, zoo):
    device = create("device", hung.spec)
    with device.open() as session:
        hung.phone.full = True
        with pytest.raises(DeviceError, match=r"No space left on device; free storage.*Nothing is lost"):
            session.load([zoo.conv("a")])
    hung.phone.full = False
    with device.open() as session:
        assert session.load([zoo.conv("a")])[0].failure is None


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


@pytest.mark.slow
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
