import os
import random
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from dataclasses import replace
from inspect import signature
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tempograd import registry
from tempograd.data.dataset import LatencyDataset
from tempograd.data.store import Store
from tempograd.devices import host, sentinels
from tempograd.devices.device import Model
from tempograd.devices.places.local import LocalDevice
from tempograd.devices.simulated.session import Behaviour
from tempograd.errors import DeviceError, StoreError, UsageError
from tempograd.measurement.calibration import CALIBRATION_ROUNDS
from tempograd.measurement.drift import Drift
from tempograd.measurement.rounds import Failure
from tempograd.profiler.campaign import _doubts, run, schedule
from tempograd.profiler.choose import choose
from tempograd.profiler.plan import QUICK, STANDARD, duplicates

from .conftest import SPACE, STILL, ScriptedDevice, fastest_ms, items, sample


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "s.db", write=True) as store:
        yield store


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert not list(folder.iterdir())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prepare")]


def truth(device, space, keys, directory):
    models = [Model(k, *space.write_onnx(space.from_key(k), directory, batch=1, seed=0)) for k in keys]
    return np.array([device.true_ms(model) for model in models])


# -- the whole of it ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("plan", [QUICK, STANDARD], ids=["quick", "standard"])
def test_labels_are_true_and_intervals_hold_on_a_device_that_changes_its_speed(device, space, store, plan, tmp_path):
    summary = sample(device, space, plan, store, count=80, seed=3)
    assert summary.networks == 80
    assert summary.measured == 80 + summary.duplicates == sum(summary.verdicts.values())
    assert not summary.interrupted
    assert 0.2 < summary.gated_share < 1
    assert summary.calibration.common_share > 0.9
    found = LatencyDataset.from_store(store)
    bursts = {m.key: m.rounds[0] for m in store.measurements()}
    true_ms = np.array(
        [
            fastest_ms(ms, Behaviour.noise, len(bursts[key].cpu_ms), bursts[key].block)
            for key, ms in zip(found.keys, truth(device, space, found.keys, tmp_path / "onnx"), strict=True)
        ]
    )
    error = found.y_ms / true_ms - 1
    assert np.median(np.abs(error)) < 0.025
    assert np.abs(error).max() < 0.15  # the slow state is 0.6 away
    assert ((found.low_ms <= true_ms) & (true_ms <= found.high_ms)).mean() > 0.9
    assert found.pairs >= 5
    assert 0.005 < found.repeatability < 0.04


def test_what_is_measured_is_what_was_chosen_and_a_few_twice(device, space, store):
    summary = sample(device, space, QUICK, store, count=40, seed=5, batch_size=8)
    keys = [a.key for a in choose(space, 40, seed=5)]
    twice = {(keys[place], 1) for place in duplicates(40)}
    assert store.done(summary.campaign) == {(key, 0) for key in keys} | twice
    assert len(twice) == 6
    assert 3 <= summary.pairs <= 6  # those that chance explains
    assert summary.beside_time == {"energy_mj": 46, "memory_bytes": 46}
    for m in store.measurements():
        assert m.space == space.spec
        assert m.plan["seed"] == 5
        assert m.plan["name"] == "quick"
        assert m.environment["providers"] == {"simulated": 1}
        assert m.environment["load_ms"] == 20.0
        assert m.beside_time.keys() == {"energy_mj", "memory_bytes"}
        assert len(m.onnx_digest) == 64


@pytest.mark.slow
def test_a_grown_campaign_measures_only_what_is_new(device, space, store):
    first = sample(device, space, QUICK, store, count=20, seed=5)
    # the seed and the plan name the campaign, so the larger one is the same one
    second = sample(device, space, QUICK, store, count=40, seed=5)
    assert second.campaign == first.campaign
    assert second.found == first.measured
    assert second.found + second.measured == 40 + second.duplicates
    again = sample(device, space, QUICK, store, count=40, seed=5)
    assert again.measured == 0
    assert again.verdicts == second.verdicts


@pytest.mark.slow
@pytest.mark.fault(17)
def test_noisy_labels_are_measured_again_where_too_few_are_not(space, store):
    device = registry.create("device", "simulated:seed=1,disturbed=0.2")
    summary = sample(device, space, QUICK, store, count=30, seed=5)
    rows = store.labels(summary.campaign)
    first = {key: verdict for (key, replicate), (verdict, _) in rows.items() if replicate == 0}
    again = {key: verdict for (key, replicate), (verdict, _) in rows.items() if replicate > 1}
    assert again.keys() == {key for key, verdict in first.items() if verdict == "noisy"}
    assert len(again) == summary.again > 15
    assert summary.measured == 30 + summary.duplicates + summary.again
    assert sum(summary.verdicts.values()) == 30 + summary.duplicates
    assert "ok" in again.values()
    best = [key for key in first if "ok" in (first[key], again.get(key))]
    assert LatencyDataset.from_store(store).verdict.count("ok") >= 0.8 * len(best)
    assert summary.pairs == summary.duplicates  # what was chosen for its noise tells nothing of the device
    assert not summary.interrupted


@pytest.mark.slow
def test_few_noisy_labels_among_good_ones_are_left_alone(space, store):
    device = registry.create("device", "simulated:seed=1,disturbed=0.04")
    summary = sample(device, space, QUICK, store, count=60, seed=5)
    assert summary.verdicts["noisy"] > 0
    assert summary.again == 0


@pytest.mark.slow
def test_progress_is_told_and_ends_at_the_total(device, space, store):
    seen = []
    summary = sample(device, space, QUICK, store, count=20, batch_size=5, progress=seen.append)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert seen[-1].done == seen[-1].total == summary.measured
    assert seen[-1].remaining_s == 0
    assert len(seen) >= 4


# -- batches -----------------------------------------------------------------------------------------------------


def test_a_duplicate_meets_another_process_at_another_time(store):
    device = ScriptedDevice()
    run(device, items(60), QUICK, store, batch_size=10)
    for place in duplicates(60):
        where = [session.number for session in device.sessions if f"op{place}" in session.loaded]
        assert len(where) == 2
        assert where[1] - where[0] >= 1
    assert all(len(session.loaded) <= 10 for session in device.sessions)
    assert all(session.closed for session in device.sessions)


def test_duplicates_come_at_least_a_batch_later():
    jobs = [(job.key, job.replicate) for job in schedule([str(i) for i in range(100)], [3, 50], 16)]
    assert jobs.index(("3", 1)) - jobs.index(("3", 0)) > 32
    assert jobs[-1] == ("99", 0)
    assert len(jobs) == 102


def test_rounds_are_in_random_order_and_never_the_same_again(store):
    device = ScriptedDevice()
    run(device, items(10), QUICK, store, seed=1)
    first = [tuple(p) for p in device.sessions[0].passes if len(p) == 10]
    assert len(set(first)) == len(first) >= 6


@pytest.mark.real
def test_the_next_batch_is_made_while_this_one_is_timed(store):
    ready = threading.Event()

    def on_load(session, key):
        if session.number == 1:
            ready.set()

    def on_round(session, key):
        if session.number == 0 and not ready.wait(10):
            return Failure("crashed", "run", detail="the next batch never came")
        return None

    device = ScriptedDevice(on_load=on_load, on_round=on_round)
    summary = run(device, items(20), QUICK, store, batch_size=10)
    assert summary.verdicts == {"ok": 24}


def test_with_no_core_to_spare_nothing_is_made_meanwhile(store):
    order = []
    device = ScriptedDevice(
        on_load=lambda session, key: order.append(("load", session.number)),
        on_round=lambda session, key: order.append(("round", session.number)),
        environment={"simulated": True, "virtual_clock": True, "timed_cores": [0], "idle_cores": [0]},
    )
    run(device, items(30), QUICK, store, batch_size=10)
    numbers = [number for _, number in order]
    assert numbers == sorted(numbers)


def test_the_builder_keeps_off_the_timed_cores(store):
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("needs two CPUs")
    seen = set()
    device = ScriptedDevice(
        on_load=lambda session, key: seen.add(frozenset(os.sched_getaffinity(0))),
        environment={"simulated": True, "virtual_clock": True, "timed_cores": [cores[-1]], "idle_cores": cores[:-1]},
    )
    run(device, items(5), QUICK, store)
    assert seen == {frozenset(cores[:-1])}
    assert sorted(os.sched_getaffinity(0)) == cores


@pytest.mark.slow
def test_calibration_comes_first_and_again_after_an_hour(store):
    device = ScriptedDevice(step_s=3.0)  # 32 networks x 6 rounds: ten minutes a batch
    summary = run(device, items(300), QUICK, store)
    known = store.calibrations(device.fingerprint.id)
    assert 1 < len(known) < 9
    assert all(b.at_s - a.at_s > 3600 for a, b in pairwise(known))
    assert summary.calibration.id == known[-1].id
    rounds = [len(m.rounds) for m in store.measurements()]
    assert rounds[:32].count(CALIBRATION_ROUNDS) == 12
    assert all(m.reference.calibration for m in store.measurements())


def test_a_few_networks_do_not_replace_a_calibration_on_a_dozen(store):
    device = ScriptedDevice()
    run(device, items(20), QUICK, store)
    device.now_s += 7200
    run(device, items(3), QUICK, store, seed=1)
    assert len(store.calibrations(device.fingerprint.id)) == 1
    device.now_s += 7200
    run(device, items(20), QUICK, store, seed=2)
    assert len(store.calibrations(device.fingerprint.id)) == 2


def test_the_next_campaign_remembers_the_device(store):
    device = ScriptedDevice()
    run(device, items(5), QUICK, store)
    summary = run(device, items(5), QUICK, store, seed=1)
    assert len(store.calibrations(device.fingerprint.id)) == 1
    assert summary.calibration is not None


@pytest.mark.slow
def test_networks_without_gated_rounds_wait_once(store):
    device = registry.create("device", "simulated:seed=4,slow=1.6,dwell_min_s=20,dwell_max_s=60")
    space = registry.create("space", SPACE)
    sample(device, space, STANDARD, store, count=30, batch_size=6)
    rounds = [len(m.rounds) for m in store.measurements()]
    assert max(rounds) > STANDARD.checks[-1]
    assert max(rounds) <= 2 * (STANDARD.checks[-1] + STANDARD.checks[0])


# -- what fails --------------------------------------------------------------------------------------------------


def crash(key):
    return Failure("crashed", "run", 11, f"{key} fell")


@pytest.mark.slow
def test_failures_are_rows_and_everybody_else_is_measured(space, store):
    device = registry.create("device", "simulated:seed=1,crash=0.05,hang=0.04,oom=0.03,nan=0.04")
    summary = sample(device, space, QUICK, store, count=120, batch_size=16)
    rows = list(store.measurements())
    assert len(rows) == summary.measured == 120 + summary.duplicates
    failed = [m for m in rows if m.failure]
    assert {m.failure.cause for m in failed} == {"crashed", "timeout", "oom", "invalid_output"}
    for m in failed:
        assert m.verdict == ("censored" if m.failure.cause == "timeout" else "quarantined")
        assert m.attempts == 2
    found = LatencyDataset.from_store(store)
    assert all(above_ms >= 2000 for above_ms in found.censored.values())
    assert len(found.keys) + len({m.key for m in failed}) == 120


def test_a_network_that_fails_is_tried_again_alone_in_a_fresh_process(store):
    device = ScriptedDevice(on_round=lambda session, key: crash(key) if key == "op3" else None)
    summary = run(device, items(10), QUICK, store)
    where = [session for session in device.sessions if "op3" in session.loaded]
    assert len(where) == 2
    assert where[1].loaded == ["op3"]
    assert summary.verdicts == {"ok": 11, "quarantined": 1}
    (row,) = store.measurements(key="op3")
    assert row.failure == crash("op3")


def test_survivors_keep_their_rounds(store):
    device = ScriptedDevice()
    device.on_round = lambda session, key: crash(key) if key == "op3" and len(session.passes) == 4 else None
    run(device, items(10), QUICK, store)
    first, second, *_ = device.sessions
    rescue = next(s for s in device.sessions[1:] if len(s.loaded) == 9)
    assert len(first.passes) == 4
    assert len([p for p in rescue.passes if "op5" in p]) <= CALIBRATION_ROUNDS - 3
    assert second is not None


def test_a_failure_that_does_not_come_again_is_only_noted(store):
    device = ScriptedDevice(on_round=lambda s, key: crash(key) if key == "op3" and s.number == 0 else None)
    summary = run(device, items(8), QUICK, store)
    assert set(summary.verdicts) == {"ok"}
    (row,) = store.measurements(key="op3")
    assert row.attempts == 2
    assert row.environment["first_failure"]["detail"] == "op3 fell"


def test_a_refused_network_is_not_tried_again(store):
    device = ScriptedDevice(
        on_load=lambda s, key: Failure("refused", "load", detail="rank 9") if key == "op3" else None
    )
    summary = run(device, items(8), QUICK, store)
    assert len([session for session in device.sessions if "op3" in session.loaded]) == 1
    assert summary.verdicts == {"failed": 1, "ok": 9}


def test_a_device_that_fails_network_after_network_is_stopped_and_nothing_is_lost(store):
    device = ScriptedDevice(on_load=lambda session, key: Failure("refused", "load", detail="no such provider"))
    device_error = r"11 of the last 11 networks failed alike \(refused; no such provider\).*same command goes on"
    with pytest.raises(DeviceError, match=device_error):
        run(device, items(40), QUICK, store, batch_size=8)
    assert store.counts() == {"failed": 11}
    assert all(session.closed for session in device.sessions)
    device.on_load = lambda session, key: None
    summary = run(device, items(40), QUICK, store, batch_size=8)
    assert summary.found == 11
    assert summary.verdicts["ok"] == summary.measured


def test_networks_from_elsewhere_may_be_refused_by_the_dozen_while_others_run(store):
    refused = {f"op{n}" for n in range(0, 40, 2)}
    device = ScriptedDevice(
        on_load=lambda session, key: Failure("refused", "load", detail="no such operator") if key in refused else None
    )
    summary = run(device, replace(items(40), own_batch=True), QUICK, store, batch_size=8)
    assert summary.verdicts["failed"] >= 20
    device.on_load = lambda session, key: Failure("refused", "load", detail="no such provider")
    with pytest.raises(DeviceError, match="11 of the last 11 networks failed alike"):
        run(device, replace(items(80), own_batch=True), QUICK, store, batch_size=8)


def test_networks_from_elsewhere_that_are_all_refused_for_different_reasons_are_all_told(store):
    device = ScriptedDevice(on_load=lambda session, key: Failure("refused", "load", detail=f"{key} has a cycle"))
    summary = run(device, replace(items(20), own_batch=True), QUICK, store, batch_size=8)
    assert set(summary.verdicts) == {"failed"}
    assert summary.verdicts["failed"] >= 20


def test_what_a_broken_device_did_to_networks_is_not_held_against_them(store):
    device = ScriptedDevice(on_round=lambda session, key: crash(key))
    with pytest.raises(DeviceError, match="11 of the last 11 networks failed alike"):
        run(device, items(40), QUICK, store)
    assert store.counts() == {}
    device.on_round = lambda session, key: None
    assert set(run(device, items(40), QUICK, store).verdicts) == {"ok"}


def test_a_fifth_of_failures_is_allowed(store):
    device = ScriptedDevice(on_load=lambda s, key: Failure("refused", "load") if int(key[2:]) % 7 == 0 else None)
    summary = run(device, items(140), QUICK, store)
    assert summary.verdicts["failed"] >= 20


def test_a_device_that_is_not_there_is_an_error(store, monkeypatch):
    device = ScriptedDevice()
    monkeypatch.setattr(device, "open", lambda: (_ for _ in ()).throw(DeviceError("no provider")))
    with pytest.raises(DeviceError, match="no provider"):
        run(device, items(3), QUICK, store)


def test_a_pass_that_is_lost_without_a_culprit_is_repeated_but_not_for_ever(store):
    lost = []

    def on_round(session, key):
        if len(lost) < limit:
            lost.append(session.number)
            return DeviceError("the process ended while no network ran")
        return None

    limit = 2
    summary = run(ScriptedDevice(on_round=on_round), items(5), QUICK, store)
    assert summary.verdicts == {"ok": 6}
    limit = 99
    with pytest.raises(DeviceError, match="no network ran"):
        run(ScriptedDevice(on_round=on_round), items(5), QUICK, store, seed=1)


def test_a_network_that_cannot_be_built_ends_the_campaign_and_leaves_nothing(store):
    broken = items(30)

    def build(key, directory):
        if key == "op25":
            raise UsageError("cannot build op25")
        return broken.build(key, directory)

    device = ScriptedDevice()
    with pytest.raises(UsageError, match="op25"):
        run(device, type(broken)(broken.space, broken.keys, build), QUICK, store, batch_size=10)
    assert all(session.closed for session in device.sessions)
    assert sum(store.counts().values()) >= 10


def test_a_store_that_fails_ends_the_campaign(store, monkeypatch):
    def full(*_, **__):
        raise StoreError("disk full")

    device = ScriptedDevice()
    monkeypatch.setattr(store, "append", full)
    with pytest.raises(StoreError, match="disk full"):
        run(device, items(30), QUICK, store, batch_size=10)
    assert all(session.closed for session in device.sessions)


@pytest.mark.fault(16)
def test_hot_rounds_are_kept_and_named(store):
    device = ScriptedDevice(events=("thermal",))
    summary = run(device, items(5), QUICK, store)
    assert set(summary.verdicts) == {"hot"}
    assert summary.rejected["thermal"] >= 30
    assert LatencyDataset.from_store(store).keys == ()


@pytest.mark.parametrize("size", [0, -1])
def test_senseless_batches_are_refused(store, size):
    with pytest.raises(UsageError, match="batch_size"):
        run(ScriptedDevice(), items(3), QUICK, store, batch_size=size)


# -- stopping and resuming ---------------------------------------------------------------------------------------


@pytest.mark.real
def test_a_stopped_campaign_goes_on_where_it_was(space, tmp_path):
    plain = registry.create("device", STILL)
    with Store(tmp_path / "undisturbed.db", write=True) as store:
        sample(plain, space, QUICK, store, count=40, batch_size=8)
        expected = {(m.key, m.replicate): m.latency_ms for m in store.measurements()}
    stop = threading.Event()
    with Store(tmp_path / "s.db", write=True) as store:
        device = registry.create("device", STILL)
        summary = sample(device, space, QUICK, store, count=40, batch_size=8, stop=stop, progress=lambda p: stop.set())
        assert summary.interrupted
        assert 0 < summary.measured < 40
        summary = sample(registry.create("device", STILL), space, QUICK, store, count=40, batch_size=8)
        assert not summary.interrupted
        assert {(m.key, m.replicate): m.latency_ms for m in store.measurements()} == expected


@pytest.mark.real
def test_stopping_finishes_the_pass_and_keeps_what_is_closed(store):
    stop = threading.Event()
    device = ScriptedDevice(on_round=lambda session, key: stop.set() if len(session.passes) == 9 else None)
    summary = run(device, items(32), QUICK, store, stop=stop)
    assert summary.interrupted
    assert len(device.sessions[0].passes[-1]) == 12  # the calibration was under way, nothing was closed yet
    assert summary.measured == 0
    assert all(session.closed for session in device.sessions)


COLLECT = """
    import sys
    from tempograd import registry
    from tempograd.data.store import Store
    from tempograd.profiler.campaign import run
    from tempograd.profiler.choose import choose
    from tempograd.profiler.plan import QUICK, Items
    space, device = registry.create("space", sys.argv[2]), registry.create("device", sys.argv[3])
    with Store(sys.argv[1], write=True) as store:
        tell = lambda p: print(p.done, flush=True)
        items = Items.of(space, choose(space, 48, seed=2))
        run(device, items, QUICK, store, seed=2, batch_size=6, progress=tell)
    print("done", flush=True)
"""


@pytest.mark.fault(1)
@pytest.mark.real
@pytest.mark.promise(1)
def test_a_campaign_killed_at_random_loses_and_doubles_nothing(space, tmp_path):
    with Store(tmp_path / "undisturbed.db", write=True) as store:
        sample(registry.create("device", STILL), space, QUICK, store, count=48, seed=2, batch_size=6)
        expected = {(m.key, m.replicate): (m.latency_ms, m.verdict) for m in store.measurements()}
    chance, path, kills, lines = random.Random(0), tmp_path / "s.db", 0, []
    while "done" not in lines:
        command = [sys.executable, "-c", textwrap.dedent(COLLECT), str(path), SPACE, STILL]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            lines = [child.stdout.readline().strip() for _ in range(chance.randint(1, 3))]
            threading.Event().wait(chance.uniform(0, 0.03))
            if kills < 4:
                os.kill(child.pid, signal.SIGKILL)
                kills += 1
            lines += child.stdout.read().split()
        acknowledged = max((int(line) for line in lines if line.isdecimal()), default=0)
        with Store(path) as store:
            store.check()
            assert sum(store.counts().values()) >= acknowledged
    assert kills >= 2
    with Store(path) as store:
        rows = list(store.measurements())
        assert {(m.key, m.replicate): (m.latency_ms, m.verdict) for m in rows} == expected
        assert len(rows) == len(expected)
        assert LatencyDataset.from_store(store).ok().y_ms.size == 48


@pytest.mark.fault(1)
def test_leftovers_of_a_killed_run_do_no_harm(space, tmp_path):
    assert not Path(f"{tmp_path}/s.db").exists()
    (tmp_path / "s.db.lock").write_text("")
    (tmp_path / "s.db.holder").write_text("{")
    with Store(tmp_path / "s.db", write=True) as store:
        assert sample(registry.create("device", STILL), space, QUICK, store, count=3).measured == 4


# -- a real device -----------------------------------------------------------------------------------------------


@pytest.mark.real
def test_real_networks_on_this_machine(space, store):
    device = registry.create("device", "local")
    summary = sample(device, space, QUICK, store, count=6, batch_size=4)
    assert summary.measured == 6 + summary.duplicates + summary.again
    assert set(summary.verdicts) <= {"ok", "noisy", "quarantined"}  # whatever else this machine does
    assert 0 < summary.timed_share < 1
    assert 0 < summary.sentinel_share < 1
    for m in store.measurements():
        assert m.latency_ms > 0
        assert m.environment["timed_cores"]
        assert m.environment["first_run_ms"] > 0
        assert sum(m.environment["providers"].values()) > 0


@pytest.mark.real
def test_every_label_says_all_that_is_timed(tmp_path, space):
    limits = {"memory_gib", "load_timeout_s"}  # they end a measurement or do not; they change none
    core = host.allowed_cores()[-1]
    asked = {"threads": 1, "precision": "int8-static", "batch": 2, "optimisation": "extended", "provider": "cpu",
             "sentinel": "depthwise", "cores": core}  # fmt: skip
    device = LocalDevice("onnxruntime", **asked)
    taken = (
        signature(LocalDevice).parameters.keys() | signature(registry.load("runtime", "onnxruntime")).parameters.keys()
    )
    elsewhere = {"options", "cuda_graph", "allow_fallback"}  # the runtime's; a GPU's; stated where it is set
    assert {*asked, "runtime"} == taken - limits - elsewhere
    with Store(tmp_path / "s.db", write=True) as store:
        sample(device, space, QUICK, store, count=3)
        rows = [m for m in store.measurements() if m.failure is None]
        found = [(store.fingerprint(m.fingerprint_id), m.environment) for m in rows]
    assert found
    for fingerprint, environment in found:
        assert fingerprint.runtime["name"] == "onnxruntime"
        assert fingerprint.options == asked | {
            "cores": [core], "provider": "CPUExecutionProvider", "spinning": False, "denormals": "zero",
            "sentinel_digest": sentinels.digest("depthwise"),
        }  # fmt: skip
        assert environment["timed_cores"] == [core]
        assert environment["providers"].keys() == {"CPUExecutionProvider"}
        assert any(kind.startswith("QLinear") for kind in environment["kernels"])


# -- can the run be believed? ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_good_run_has_no_doubts(device, space, store):
    summary = sample(device, space, QUICK, store, count=60, seed=3)
    assert summary.doubts == ()
    assert summary.drift.fast_ms > 0.9
    assert set(summary.calibration.other_shares) == {"depthwise", "overhead"}


def test_a_timer_that_claims_more_time_than_there_was_is_told_and_no_share_is(store, monkeypatch):
    monkeypatch.setattr("tempograd.profiler.engine.check_clock", lambda *_, **__: None)  # another's engine has none
    device = ScriptedDevice(environment={"nothing": "said of a virtual clock"})
    device.level_ms = lambda key: 1e6
    summary = run(device, items(3), QUICK, store)
    assert np.isnan(summary.timed_share)
    assert np.isnan(summary.sentinel_share)
    assert "its clock or its unit is wrong" in summary.doubts[0]


@pytest.mark.parametrize(
    ("changes", "rounds", "said"),
    [
        ({"verdicts": {"ok": 29, "noisy": 31, "failed": 9}}, 100, "29 of 60 labels met the plan's 5%"),
        ({"repeatability": 0.06, "pairs": 8}, 100, "two processes disagree by 6.0%"),
        ({"repeatability": 0.259, "pairs": 1}, 100, "two processes disagree by 25.9% (standard deviation, 1 pair)"),
        ({"disagreeing": ("a",), "pairs": 0}, 100, "1 of 1 networks that were timed twice have labels too far apart"),
        ({"rejected": {"sentinel_bracket": 40, "thermal": 20}}, 100, "60 of 100 rounds had to be left out (40 sent"),
        ({"gated_share": 0.1}, 100, "10% of the rounds were taken in the reference state, and the sentinel explains"),
        ({"drift": Drift((), (), 1.0, 0.0, 1.0, -0.2)}, 100, "moved by -20%"),
    ],
)
def test_what_speaks_against_a_run_is_said(device, space, store, changes, rounds, said):
    summary = sample(device, space, QUICK, store, count=6, seed=3)
    share = {"calibration": replace(summary.calibration, common_share=0.3)} if "gated_share" in changes else {}
    good = replace(summary, verdicts={"ok": 60}, repeatability=0.01, pairs=8, rejected={}, gated_share=0.9, drift=None)
    assert list(_doubts(good, QUICK, 100)) == []
    (doubt,) = _doubts(replace(good, **changes, **share), QUICK, rounds)
    assert said in doubt


@pytest.mark.fault(14)
def test_a_device_whose_times_are_longer_than_their_pass_is_refused_with_the_remedy(tmp_path):
    """Of a virtual clock that was not declared, or of microseconds: nothing of it is kept."""
    device = ScriptedDevice(environment={"governor": "none"})
    with Store(tmp_path / "s.db", write=True) as store:
        with pytest.raises(DeviceError, match=r"the whole pass took .*virtual_clock=True"):
            run(device, items(3), QUICK, store, seed=0)
        assert not list(store.measurements())
