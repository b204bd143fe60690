from __future__ import annotations

import json

import numpy as np
import pytest

from tempograd.devices.places.simulated import SimulatedDevice
from tempograd.errors import InputRefusedError, UnknownNameError, UsageError
from tempograd.measurement.label import Reference, estimate
from tempograd.registry import create

from ..formula import CALM, TABLE, model, rounds_of


def test_without_noise_it_tells_the_truth():
    for key, rounds in rounds_of(SimulatedDevice(TABLE, **CALM), passes=2).items():
        for round_ in rounds:
            assert round_.wall_ms == round_.cpu_ms
            assert round_.cpu_ms == pytest.approx([TABLE[key]] * len(round_.cpu_ms))
            assert sum(round_.cpu_ms) * max(1, np.ceil(0.2 / TABLE[key])) >= 10.0 - 1e-9
            assert len(round_.cpu_ms) >= 3


def test_the_protocols_estimate_finds_the_truth_where_a_plain_median_does_not():
    device = SimulatedDevice(TABLE, seed=2, process_noise=0.0, dwell_max_s=2.0)
    rounds = rounds_of(device, passes=20)
    reference = Reference.of([r.sentinel_ms for many in rounds.values() for r in many], noise=0.02)
    errors, plain = [], []
    for key, many in rounds.items():
        label = estimate(many, reference, "cpu")
        errors.append(abs(label.latency_ms / device.true_ms(model(key)) - 1))
        plain.append(abs(np.mean([r.value_ms("cpu") for r in many]) / TABLE[key] - 1))
    assert np.median(errors) < 0.02 < 0.1 < np.median(plain)


def test_truth_from_a_file_a_function_or_the_graph(tmp_path, zoo):
    path = tmp_path / "table.json"
    path.write_text(json.dumps(TABLE))
    device = create("device", f"simulated:table={path},seed=3")
    assert device.true_ms(model("n3")) == TABLE["n3"]
    with pytest.raises(UnknownNameError, match="'n99'"):
        device.true_ms(model("n99"))
    assert SimulatedDevice(latency_of=lambda m: len(m.key)).true_ms(model("abc")) == 3.0
    with pytest.raises(UsageError, match="positive number of ms"):
        SimulatedDevice(latency_of=lambda _: float("nan")).true_ms(model("abc"))
    graph = SimulatedDevice(batch=2)
    small, large = zoo.conv("s", batch=2), zoo.conv("l", channels=512, batch=2)
    assert 0 < graph.true_ms(small) < graph.true_ms(large)
    with pytest.raises(InputRefusedError, match="batch 1"):
        graph.true_ms(zoo.conv("one"))


@pytest.mark.parametrize("text", ["[1]", "{", '{"a": -1}', '{"a": "x"}', '{"a": true}', '{"a": NaN}', '{"a": null}'])
def test_a_table_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(InputRefusedError):
        SimulatedDevice(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"crash": 0.6, "hang": 0.6},
        {"noise": -1.0},
        {"slow": 0.5},
        {"dwell_min_s": 0.0},
        {"throttle": 2.0},
        {"batch": 0},
        {"gflops": 0.0},
        {"table": TABLE, "latency_of": len},
    ],
)
def test_wrong_values_are_refused(wrong):
    with pytest.raises(UsageError):
        SimulatedDevice(**wrong)


def test_faults_do_not_change_the_fingerprint_and_noise_does():
    plain = SimulatedDevice(TABLE).fingerprint
    assert SimulatedDevice(TABLE, crash=0.5).fingerprint == plain
    assert SimulatedDevice(TABLE, noise=0.5).fingerprint != plain
    assert SimulatedDevice(TABLE | {"n0": 9.0}).fingerprint != plain
    assert SimulatedDevice(latency_of=len).fingerprint != plain
