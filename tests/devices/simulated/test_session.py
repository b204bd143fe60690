"""How a simulated device behaves: states, noise and faults on a virtual clock, all from a seed."""

from __future__ import annotations

import numpy as np
import pytest

from tempograd.devices.places.simulated import SimulatedDevice
from tempograd.devices.simulated.session import Behaviour
from tempograd.errors import DeviceError, UnknownNameError, UsageError

from ..formula import CALM, TABLE, model, rounds_of


def test_energy_and_memory_are_the_truth_whatever_the_noise():
    device = SimulatedDevice(TABLE, seed=3)
    with device.open() as session:
        loaded = {one.key: one.memory_bytes for one in session.load([model(key) for key in TABLE])}
        session.start_timing()
        rounds = session.run_pass(list(TABLE), burst_ms=2.0).rounds
    assert {r.key: r.state["energy_mj"] for r in rounds} == pytest.approx({k: 15 * ms for k, ms in TABLE.items()})
    assert loaded == {key: round(2**20 * ms**0.5) for key, ms in TABLE.items()}


def test_the_same_seed_gives_the_same_rounds_whatever_else_was_opened():
    first = rounds_of(SimulatedDevice(TABLE, seed=5))
    other = SimulatedDevice(TABLE, seed=5)
    rounds_of(other, keys=("n1", "n2"))
    assert rounds_of(other) == first
    assert rounds_of(other) != first  # a second process with the same networks is another process
    assert rounds_of(SimulatedDevice(TABLE, seed=6)) != first


def test_the_slow_state_is_there_and_the_sentinel_sees_it():
    rounds = rounds_of(SimulatedDevice(TABLE, seed=1, noise=0.0, process_noise=0.0, dwell_max_s=2.0), passes=60)
    readings = np.array([r.sentinel_ms for many in rounds.values() for r in many])
    slow = readings > 1.3
    assert 0.2 < slow.mean() < 0.8
    elasticities = []
    for key, many in rounds.items():
        values = np.array([r.value_ms("cpu") for r in many])
        is_slow = np.array([r.sentinel_ms > 1.3 for r in many])
        elasticities.append(np.log(np.median(values[is_slow]) / TABLE[key]) / np.log(1.6))
        assert np.median(values[~is_slow]) == pytest.approx(TABLE[key], rel=0.02)
    assert 0.7 < min(elasticities) < max(elasticities) < 1.2
    assert max(elasticities) - min(elasticities) > 0.1


def test_preemption_is_seen_by_wall_time_only():
    rounds = rounds_of(SimulatedDevice(TABLE, **(CALM | {"preemptions": 50.0})), passes=5)
    hit = [r for many in rounds.values() for r in many if r.involuntary_switches]
    assert hit
    for round_ in hit:
        assert max(round_.wall_ms) > max(round_.cpu_ms)
        assert round_.run_queue_wait_ms > 0
        assert round_.cpu_ms == pytest.approx([TABLE[round_.key]] * len(round_.cpu_ms))


@pytest.mark.fault(16)
def test_heat_is_an_event():
    rounds = rounds_of(SimulatedDevice(TABLE, **CALM, throttle=1.0), passes=1)
    assert all(many[0].events == ("thermal",) for many in rounds.values())
    assert rounds["n11"][0].cpu_ms[0] > 1.2 * TABLE["n11"]
    cool = rounds_of(SimulatedDevice(TABLE, **CALM, throttle=0.0), passes=1)
    assert all(many[0].events == () for many in cool.values())


def test_drift_is_slow():
    rounds = rounds_of(SimulatedDevice(TABLE, **CALM, drift=0.5), passes=2)
    levels = [many[0].sentinel_ms for many in rounds.values()]
    assert max(levels) / min(levels) < 1.01
    assert abs(np.log(levels[0])) <= 0.5
    assert levels[0] != pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("fault", "cause", "phases"),
    [
        ("crash", "crashed", {"load", "run"}),
        ("hang", "timeout", {"warm_up", "run"}),
        ("oom", "oom", {"load", "run"}),
        ("nan", "invalid_output", {"warm_up"}),
    ],
)
def test_faults_are_those_of_a_real_worker(fault, cause, phases):
    keys = [f"k{i}" for i in range(200)]
    device = SimulatedDevice(dict.fromkeys(keys, 1.0), **{fault: 0.2})
    with device.open() as session:
        loaded = session.load([model(key) for key in keys])
        failures = [one.failure for one in loaded if one.failure]
        alive = [one.key for one in loaded if not one.failure]
    for key in alive:
        with device.open() as session:
            session.load([model(key)])
            result = session.run_pass([key], burst_ms=1.0)
            if result.failures:
                failures.append(result.failures[key])
                assert result.rounds == ()
                with pytest.raises(Exception, match="closed"):
                    session.run_pass([key], burst_ms=1.0)
    assert {failure.cause for failure in failures} == {cause}
    assert {failure.phase for failure in failures} == phases
    assert 20 < len(failures) < 60
    if cause == "timeout":
        assert all(failure.elapsed_ms >= 2000 for failure in failures)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"crash": 0.6, "hang": 0.6}, "shares of one whole"),
        ({"dwell_min_s": 2.0, "dwell_max_s": 1.0}, "dwell_min_s <= dwell_max_s"),
    ],
)
def test_a_behaviour_that_cannot_be_is_refused(wrong, told):
    with pytest.raises(UsageError, match=told):
        Behaviour(**wrong)


def test_elasticities_and_faults_are_of_the_key_and_the_seed_alone():
    one, two = Behaviour(seed=1, crash=0.3), Behaviour(seed=2, crash=0.3)
    keys = [f"n{i}" for i in range(200)]
    assert [one.elasticity(k) for k in keys] == [Behaviour(seed=1).elasticity(k) for k in keys]
    assert all(0.74 <= one.elasticity(k) <= 1.16 for k in keys)
    failed = [{k for k in keys if behaviour.failure(k, 1.0)} for behaviour in (one, two)]
    assert failed[0] != failed[1]
    assert all(30 < len(found) < 90 for found in failed)
    assert Behaviour(elastic=False).elasticity("n0") == 1.0


def test_what_cannot_be_asked_of_a_session_is_refused():
    session = SimulatedDevice(TABLE).open()
    session.load([model("n0")])
    with pytest.raises(UsageError, match="already given"):
        session.load([model("n0")])
    with pytest.raises(UnknownNameError, match="network 'n1'"):
        session.run_pass(["n1"], burst_ms=1.0)
    with pytest.raises(UsageError, match="burst_ms=nan"):
        session.run_pass(["n0"], burst_ms=float("nan"))
    session.close()
    with pytest.raises(DeviceError, match="closed"):
        session.start_timing()
