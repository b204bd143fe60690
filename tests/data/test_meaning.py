"""Names of columns say what they hold, in which unit."""

import pytest

from tempograd.data.meaning import Meaning, condition, meaning_of, repetition


@pytest.mark.parametrize(
    ("name", "kind", "unit"),
    [
        ("pixel3_latency_us", "time", "us"),
        ("latencyMs", "time", "ms"),
        ("time [s]", "time", "s"),
        ("images/sec", "throughput", ""),
        ("speed_ms", "throughput", ""),
        ("energy_mj", "energy", ""),
        ("top1", "accuracy", ""),
        ("flops", "a count", ""),
        ("us_west", "", ""),
        ("s", "", ""),
        ("help:raspi4", "", ""),
    ],
)
def test_kind_and_unit_are_read_off_a_name(name, kind, unit):
    assert meaning_of(name) == Meaning(kind, unit)


def test_conditions_and_repetitions_are_told_from_values():
    assert all(map(condition, ("device", "batch", "GPU_name", "num_threads")))
    assert all(map(repetition, ("seed", "run", "my_trial")))
    assert not any(map(condition, ("latency_ms", "accuracy")))
    assert not any(map(repetition, ("latency_ms", "accuracy")))
