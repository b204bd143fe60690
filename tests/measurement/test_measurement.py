import numpy as np
import pytest

from tempograd.measurement.measurement import Statistics
from tempograd.measurement.rounds import Failure

from .conftest import measured, round_


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
