"""Two campaigns on one device: real processes, whose locks lie in a folder of the tests."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from tempograd import registry
from tempograd.data.store import Store
from tempograd.devices import host
from tempograd.devices.turn import locks_folder, turn
from tempograd.farm.agent.quiet import Quiet, QuietDevice
from tempograd.profiler.campaign import run
from tempograd.profiler.plan import QUICK

from ..profiler.conftest import ScriptedDevice, items

SPACE = "nasbench201:cells=1,width=4,size=8"
HOLD = """
import sys, time
from types import SimpleNamespace
from tempograd.devices.turn import turn
with turn(SimpleNamespace(occupies=sys.argv[1:])) as ours:
    print(ours, flush=True)
    time.sleep(600)
"""


def taking(*names):
    return SimpleNamespace(occupies=names)


@contextmanager
def holder(*names):
    """Another process whose turn it is."""
    with subprocess.Popen([sys.executable, "-c", HOLD, *names], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"True\n"
        try:
            yield process
        finally:
            process.kill()


def collecting(core, store):
    """Return a process that measures three jobs on a core of this machine."""
    command = [sys.executable, "-m", "tempograd", "collect", "--space", SPACE, "--device", f"local:cores={core}",
               "--count", "2", "--store", str(store), "--json"]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(autouse=True)
def own_locks(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.real
@pytest.mark.fault(26)
def test_a_second_campaign_waits_with_a_word_and_goes_on_when_the_holder_is_killed(tmp_path):
    core = host.allowed_cores()[-1]
    device = registry.create("device", f"local:cores={core}")
    with holder(*device.occupies) as first, collecting(core, tmp_path / "run.db") as second:
        said = next(line for line in second.stderr if "waiting for" in line)
        assert f"{device.occupies[0]}: process {first.pid} on {os.uname().nodename} since 20" in said
        assert second.poll() is None
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        output, _ = second.communicate(timeout=120)
    assert json.loads(output)["measured"] >= 3  # what was noisy is measured again


@pytest.mark.real
@pytest.mark.fault(26)
def test_a_campaign_that_waits_ends_when_it_is_asked_to(tmp_path):
    core = host.allowed_cores()[-1]
    device = registry.create("device", f"local:cores={core}")
    with holder(*device.occupies), collecting(core, tmp_path / "run.db") as second:
        assert any("waiting for" in line for line in second.stderr)
        second.send_signal(signal.SIGINT)
        _, error = second.communicate(timeout=60)
        assert second.returncode == 130, error


def test_cores_of_one_machine_are_no_matter_of_each_other(caplog):
    with turn(taking("CPU 1", "CPU 2")) as one, turn(taking("CPU 3")) as two, turn(taking()) as three:
        assert [one, two, three] == [True] * 3
    assert caplog.text == ""


@pytest.mark.parametrize("names", [("GPU 0",), ("CPU 1", "GPU 0"), ("GPU 0", "CPU 9")])
def test_whoever_shares_one_of_several_waits_and_holds_none_meanwhile(names, caplog):
    stop, got = threading.Event(), []

    def second():
        with turn(taking(*names), stop) as ours:
            got.append(ours)

    with turn(taking("GPU 0", "CPU 2")):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        for name in set(names) - {"GPU 0"}:
            with turn(taking(name)) as ours:
                assert ours
        stop.set()
        waiting.join(10)
    assert got == [False]
    assert f"waiting for GPU 0: process {os.getpid()} " in caplog.text


def test_an_engine_takes_the_turn_and_gives_it_back(tmp_path):
    seen = []

    def look(session, key):
        stop = threading.Event()
        stop.set()
        with turn(taking("CPU 5"), stop) as ours:
            seen.append(ours)

    device = ScriptedDevice(on_load=look)
    device.occupies = ("CPU 5",)
    with Store(tmp_path / "s.db", write=True) as store:
        run(device, items(3), QUICK, store)
    assert set(seen) == {False}
    with turn(device) as ours:
        assert ours


def test_an_agent_takes_the_same_turn():
    """What it lends is wrapped, and times by the same engine."""
    device = registry.create("device", "local")
    lent = QuietDevice(device, Quiet())
    assert lent.occupies == device.occupies != ()
    assert QuietDevice(registry.create("device", "simulated"), Quiet()).occupies == ()


def test_siblings_of_one_core_are_one(monkeypatch):
    monkeypatch.setattr(host, "core_groups", lambda: [(0, 2), (1, 3)])
    monkeypatch.setattr(host, "allowed_cores", lambda: [0, 1, 2, 3])
    taken = {core: registry.create("device", f"local:cores={core}").occupies for core in range(4)}
    assert taken[0] == taken[2] == ("CPU 0",)
    assert taken[1] == taken[3] == ("CPU 1",)


def test_where_no_lock_can_be_made_it_says_what_goes_unnoticed_and_goes_on(tmp_path, caplog):
    (tmp_path / "state").write_text("a file")
    with turn(taking("CPU 1")) as ours:
        assert ours
    assert "another campaign on CPU 1 would go unnoticed" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


def test_locks_of_boots_long_ago_are_swept_away(tmp_path):
    old, foreign = locks_folder().parent / "0123abcd", locks_folder().parent / "notes"
    for folder, name in ((old, "CPU_1.lock"), (foreign, "diary.txt")):
        folder.mkdir(parents=True)
        (folder / name).write_text("")
        os.utime(folder, (0, 0))
    with turn(taking("CPU 1")):
        pass
    assert not old.exists()
    assert (foreign / "diary.txt").exists()
