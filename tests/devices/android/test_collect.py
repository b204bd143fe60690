"""A campaign on a phone, from the command to the store, whatever happens to the phone meanwhile."""

from __future__ import annotations

import threading
import time

import pytest

from tempograd.data.store import Store
from tempograd.devices import inventory
from tempograd.measurement.label import Reference
from tempograd.measurement.measurement import Measurement
from tempograd.registry import create
from tempograd.verbs.collect import collect

pytestmark = [pytest.mark.real, pytest.mark.slow]

SPACE = "nasbench201:cells=1,width=4,size=8"


def measured(path):
    with Store(path) as store:
        return list(store.measurements())


def test_a_campaign_through_the_command_line_names_and_stores_everything(hung, tmp_path):
    outcome = collect(SPACE, tmp_path / "m.db", device=hung.spec, count=5, plan="quick")
    found = measured(tmp_path / "m.db")
    jobs = outcome.document["networks"] + outcome.document["duplicates"]
    assert len(found) == outcome.document["measured"] == jobs + outcome.document["again"]
    for one in found:
        assert one.failure is None
        assert one.latency_ms > 0
        assert one.clock == "cpu"
        assert one.environment["battery_percent"] == 85
        assert set(one.environment["providers"]) == {"CPUExecutionProvider"}
        assert all(r.state["frequency_mhz"] == 2400.0 for r in one.rounds)
    again = collect(SPACE, tmp_path / "m.db", device=hung.spec, count=5, plan="quick")
    assert again.document["measured"] == again.document["again"]  # none but noisy ones
    assert again.document["found"] == jobs


def test_a_cable_and_a_reboot_in_the_middle_cost_time_and_nothing_else(hung, tmp_path):
    done = threading.Event()

    def mischief():
        for harm in (hung.server.unplug, hung.server.reboot):
            while not any(" run_pass " in command for command in hung.phone.log) and not done.is_set():
                time.sleep(0.02)
            time.sleep(0.4)
            harm()
            hung.phone.log.clear()
            time.sleep(0.5)
            hung.phone.plug()

    thread = threading.Thread(target=mischief)
    thread.start()
    try:
        outcome = collect(SPACE, tmp_path / "m.db", device=hung.spec, count=6, plan="standard")
    finally:
        done.set()
        thread.join()
    found = measured(tmp_path / "m.db")
    assert len(found) == len({(m.key, m.replicate) for m in found})
    assert len(found) == sum(outcome.document[what] for what in ("networks", "duplicates", "again"))
    assert all(m.failure is None for m in found)
    for one in found:
        starts = [r.started_s for r in one.rounds]
        assert len(starts) == len(set(starts))


def test_what_is_emulated_is_never_ok(hung, zoo):
    hung.phone.properties["ro.boot.qemu"] = "1"
    device = create("device", hung.spec)
    with device.open() as session:
        session.load([zoo.conv("a")])
        session.start_timing()
        rounds = session.run_pass(["a"] * 20, burst_ms=1.0).rounds
    assert all(r.events == ("emulated",) for r in rounds)
    reference = Reference.of([r.sentinel_ms for r in rounds])
    plan = {"target": 1.0, "coverage": 0.95}
    found = Measurement("a", SPACE, device.fingerprint.id, plan, "", "cpu", rounds, reference)
    assert (found.verdict, found.estimate) == ("noisy", None)
    assert device.fingerprint.hardware["emulated"] is True


@pytest.fixture
def listed(hung, monkeypatch, tmp_path):
    host, port = hung.server.address.split(":")
    monkeypatch.setenv("ANDROID_ADB_SERVER_ADDRESS", host)
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", port)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return lambda: list(inventory._places("android"))


def test_phones_are_listed_with_what_is_missing(hung, listed, phone_tools, tmp_path):
    (entry,) = listed()
    assert (entry.device, entry.state) == ("android:serial=0123FAKE", "unusable")
    assert "tempograd-runner and libonnxruntime.so for x86_64 not in" in entry.found
    assert "python -m tempograd.devices.android.build x86_64" in entry.remedy
    folder = tmp_path / "tempograd" / "android" / "x86_64"
    folder.mkdir(parents=True)
    for tool in phone_tools.iterdir():
        (folder / tool.name).symlink_to(tool)
    (entry,) = listed()
    assert (entry.state, entry.found) == ("here", "FK100")
    hung.phone.state = "unauthorized"
    (entry,) = listed()
    assert entry.state == "unusable"
    assert "accept the question" in entry.remedy
    hung.phone.state = "absent"
    (entry,) = listed()
    assert "knows of no phone" in entry.found
    hung.server.close()
    (entry,) = listed()
    assert entry.remedy == "adb start-server"
