from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from tempograd.errors import UsageError
from tempograd.measurement.label import Reference, estimate, order_interval
from tempograd.measurement.measurement import Measurement, Statistics
from tempograd.measurement.rounds import Failure, Round


def round_(value_ms: float, sentinel_ms: float = 1.0, **changes) -> Round:
    plain = Round("a", 0.0, (sentinel_ms,) * 2, (sentinel_ms,) * 2, (value_ms,) * 4, (value_ms,) * 4)
    return replace(plain, **changes)


def measured(rounds, reference: Reference | None = None, failure: Failure | None = None, target: float = 0.02):
    reference = reference or Reference(1.0, 1.1)
    return Measurement("a", "s", "f", {"target": target}, "d", "cpu", tuple(rounds), reference, failure=failure)


@given(st.integers(6, 60))
def test_the_interval_of_the_median_is_the_narrowest_that_covers(n):
    low, high = order_interval(list(range(1, n + 1)))
    rank = int(low)
    assert high == n + 1 - rank
    coverage = 1 - 2 * binom.cdf(rank - 1, n, 0.5)
    assert coverage >= 0.95
    assert 1 - 2 * binom.cdf(rank, n, 0.5) < 0.95


@pytest.mark.parametrize(("n", "low", "high"), [(6, 1, 6), (8, 1, 8), (11, 2, 10), (15, 4, 12), (20, 6, 15)])
def test_published_ranks(n, low, high):
    assert order_interval(list(range(n, 0, -1))) == (low, high)


@given(st.lists(st.floats(0.1, 10.0), min_size=2, max_size=5))
def test_few_values_give_at_least_their_range(values):
    low, high = order_interval(values)
    assert low <= min(values)
    assert high >= max(values)
    assert order_interval(values[:1]) == (0.0, np.inf)


def test_a_round_is_the_lower_quartile_by_its_clock():
    one = round_(0, wall_ms=(4.0, 2.0, 1.0, 3.0, 50.0), cpu_ms=(4.0, 2.0, 1.0, 3.0, 5.0))
    assert one.value_ms("wall") == one.value_ms("cpu") == 2.0
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


def test_three_gated_rounds_make_a_label_undivided():
    reference = Reference(1.0, 1.1)
    rounds = [round_(2.0), round_(2.1), round_(2.2), round_(9.0, 1.6), round_(9.0, 1.6)]
    label = estimate(rounds, reference, "cpu")
    assert (label.path, label.rounds, label.gated, label.latency_ms) == ("gated", 5, 3, 2.1)


def test_fewer_are_corrected_by_the_sentinel_if_it_explains_the_drift():
    rounds = [round_(3.2, 1.6) for _ in range(4)]
    ratio = estimate(rounds, Reference(1.0, 1.1), "cpu")
    assert (ratio.path, ratio.latency_ms) == ("ratio", pytest.approx(2.0))
    elastic = estimate(rounds, Reference(1.0, 1.1, beta=0.5), "cpu")
    assert elastic.latency_ms == pytest.approx(3.2 / 1.6**0.5)
    within_noise = estimate(rounds, Reference(1.0, 1.1, noise=0.3), "cpu")
    assert within_noise.latency_ms == pytest.approx(3.2)
    plain = estimate(rounds, Reference(1.0, 1.1, common_share=0.3), "cpu")
    assert (plain.path, plain.latency_ms) == ("plain", pytest.approx(3.2))


def test_repeatability_joins_in_quadrature():
    rounds = [round_(v) for v in (1.97, 1.98, 1.99, 2.0, 2.01, 2.02, 2.03)]
    narrow = estimate(rounds, Reference(1.0, 1.1), "cpu")
    wide = estimate(rounds, Reference(1.0, 1.1), "cpu", repeatability=0.02)
    assert wide.half_width == pytest.approx(np.hypot(narrow.half_width, 1.96 * 0.02))


def test_the_reference_is_the_fast_state():
    readings = [1.0, 1.02, 1.04] * 10 + [1.6] * 30
    reference = Reference.of(readings, beta=0.9, calibration="c")
    assert reference.sentinel_ms == pytest.approx(1.02)
    assert reference.gate_ms == pytest.approx(1.1)
    assert (reference.beta, reference.calibration) == (0.9, "c")


def test_verdicts():
    steady = [round_(2.0 + 0.001 * i) for i in range(8)]
    assert measured(steady).verdict == "ok"
    assert measured([round_(2.0 + 0.1 * i) for i in range(8)]).verdict == "noisy"
    assert measured([round_(2.0, events=("thermal",))]).verdict == "hot"
    assert measured([round_(2.0, sentinel_after_ms=(2.0, 2.0))]).verdict == "noisy"
    assert measured([], failure=Failure("timeout", "run", 9, elapsed_ms=2000.0)).verdict == "censored"
    assert measured([], failure=Failure("crashed", "load", 11)).verdict == "failed"
    assert np.isnan(measured([]).latency_ms)
    assert measured(steady).latency_ms == pytest.approx(2.0035)


def test_statistics_are_of_all_samples_of_valid_rounds():
    rounds = [
        round_(0, wall_ms=(1.0, 2.0, 3.0), cpu_ms=(1.0, 1.0, 2.0)),
        round_(0, wall_ms=(0.5, 9.0), cpu_ms=(0.4, 4.0)),
        round_(0, wall_ms=(0.01,), cpu_ms=(0.01,), events=("thermal",)),
    ]
    told = measured(rounds).statistics
    assert told == Statistics(5, 2.0, 0.5, 0.5, 1.0, None, None)
    assert measured(rounds[2:]).statistics is None


@pytest.mark.parametrize(
    ("n", "quantile", "known"), [(63, "p90_ms", False), (64, "p90_ms", True), (662, "p99_ms", True)]
)
def test_tail_quantiles_need_as_many_samples_as_mlperf_asks(n, quantile, known):
    wall = tuple(float(i + 1) for i in range(n))
    found = getattr(Statistics.of([round_(0, wall_ms=wall, cpu_ms=wall)]), quantile)
    assert found == (n - 1 if known else None)  # the second largest
    assert getattr(Statistics.of([round_(0, wall_ms=wall, cpu_ms=wall, block=3)]), quantile) is None


def test_a_tail_quantile_is_an_upper_bound():
    rng = np.random.default_rng(0)
    held = [
        Statistics.of([round_(0, wall_ms=tuple(rng.uniform(0, 1, 200)), cpu_ms=(1.0,))]).p90_ms >= 0.9
        for _ in range(300)
    ]
    assert np.mean(held) > 0.97


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


def test_energy_is_the_median_of_the_valid_rounds_and_memory_stands_in_the_environment():
    drawn = [round_(1.0, state={"energy_mj": mj}) for mj in (3.0, 4.0, 8.0)]
    drawn += [round_(1.0, state={"energy_mj": 99.0}, events=("thermal",)), round_(1.0)]
    found = replace(measured(drawn), environment={"memory_bytes": 4096, "peak_memory_bytes": 2**20})
    assert found.beside_time == {"energy_mj": 4.0, "memory_bytes": 4096.0}


@pytest.mark.parametrize("environment", [{}, {"memory_bytes": None}, {"memory_bytes": 0}, {"peak_memory_bytes": 2**20}])
def test_what_was_not_read_is_not_there(environment):
    still = [round_(1.0), round_(1.0, state={"energy_mj": 0.0})]  # a counter that never moved says nothing
    assert replace(measured(still), environment=environment).beside_time == {}
