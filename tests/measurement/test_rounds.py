from dataclasses import replace

import pytest

from tempograd.errors import UsageError
from tempograd.measurement.label import Reference, estimate

from .conftest import measured, round_


def test_a_round_is_its_fastest_sample_by_its_clock():
    one = round_(0, wall_ms=(4.0, 2.0, 1.5, 3.0, 50.0), cpu_ms=(4.0, 2.0, 1.0, 3.0, 5.0))
    assert (one.value_ms("wall"), one.value_ms("cpu")) == (1.5, 1.0)
    assert (one.value_ms("wall", 0.25), one.value_ms("wall", 0.125), one.value_ms("wall", 1.0)) == (2.0, 1.75, 50.0)
    assert round_(1.0, sentinel_before_ms=(3.0, 2.0), sentinel_after_ms=(2.5, 9.0)).sentinel_ms == 2.0


@pytest.mark.parametrize(
    ("changes", "clock", "reason"),
    [
        ({}, "cpu", None),
        ({"sentinel_after_ms": (1.2, 1.3)}, "cpu", "sentinel_bracket"),
        ({"sentinel_after_ms": (1.05, 1.3)}, "cpu", None),
        ({"run_queue_wait_ms": 3.0}, "wall", "interference"),
        ({"run_queue_wait_ms": 3.0}, "cpu", None),
        ({"events": ("thermal",)}, "cpu", "thermal"),
    ],
)
def test_why_a_round_is_left_out(changes, clock, reason):
    assert round_(5.0, **changes).invalid(clock, 0.0) == reason


def test_on_a_gpu_the_label_is_the_median_of_its_own_clock():
    one = round_(2.0, gpu_ms=(1.0, 5.0, 1.2))
    assert one.value_ms("gpu") == 1.2
    label = estimate([one] * 8, Reference(1.0, 1.1), "gpu")
    assert label is not None
    assert label.latency_ms == 1.2
    with pytest.raises(UsageError, match="holds no GPU times; its clock is cpu or wall"):
        round_(2.0).value_ms("gpu")
    hot = [replace(one, events=("gpu_throttle_thermal_software",))] * 8
    assert replace(measured(hot), clock="gpu").verdict == "hot"
