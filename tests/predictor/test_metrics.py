import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempograd.errors import UsageError
from tempograd.predictor.metrics import (
    Scores,
    kendall,
    mape_pct,
    noise_floor_mape_pct,
    noise_floor_of_duplicates_mape_pct,
    spearman,
    within_pct,
)

Y = [10.0, 20.0, 40.0, 80.0]
P = [10.05, 20.8, 37.0, 100.0]  # errors of 0.5, 4, 7.5 and 25 per cent


@pytest.mark.parametrize(("pct", "expected"), [(1, 25.0), (5, 50.0), (10, 75.0), (25, 100.0)])
def test_within(pct, expected):
    assert within_pct(Y, P, pct) == expected


def test_errors_are_relative_to_the_measurement():
    assert mape_pct([10.0], [20.0]) == pytest.approx(100)
    assert mape_pct([20.0], [10.0]) == pytest.approx(50)
    assert mape_pct(Y, P) == pytest.approx((0.5 + 4 + 7.5 + 25) / 4)


def test_rank_correlations():
    assert spearman(Y, [1, 2, 3, 4]) == pytest.approx(1)
    assert kendall(Y, [1, 2, 4, 3]) == pytest.approx(4 / 6)  # one pair of six is turned round


def test_rank_correlations_of_a_constant_are_nan():
    assert np.isnan(spearman(Y, [1.0] * 4))
    assert np.isnan(kendall([1.0] * 4, Y))


def test_scores_collect_the_metrics():
    scores = Scores.of(Y, P)
    assert scores.to_dict() == pytest.approx(
        {
            "within_1_pct": 25.0,
            "within_5_pct": 50.0,
            "within_10_pct": 75.0,
            "mape_pct": 9.25,
            "spearman": 1.0,
            "kendall": 1.0,
            "mae_ms": (0.05 + 0.8 + 3 + 20) / 4,
            "n": 4,
        }
    )


@pytest.mark.slow
@given(st.floats(1e-3, 1e3), st.integers(0, 1000))
def test_scores_do_not_depend_on_the_unit(factor, seed):
    rng = np.random.default_rng(seed)
    y, p = rng.uniform(1, 2, 20), rng.uniform(1, 2, 20)
    one, other = Scores.of(y, p).to_dict(), Scores.of(factor * y, factor * p).to_dict()
    assert one.pop("mae_ms") * factor == pytest.approx(other.pop("mae_ms"))
    assert one == pytest.approx(other)


@pytest.mark.parametrize(
    ("y", "p"),
    [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([np.nan], [1.0]), ([1.0], [np.inf]), ([[1.0]], [[1.0]])],
)
def test_refuses_what_cannot_be_compared(y, p):
    with pytest.raises(UsageError):
        Scores.of(y, p)


def test_noise_floor_is_what_a_perfect_predictor_shows():
    rng = np.random.default_rng(0)
    true_ms, sd = rng.uniform(1, 50, 40_000), rng.uniform(0.005, 0.03, 40_000)
    labels = true_ms * (1 + sd * rng.standard_normal(40_000))
    assert mape_pct(labels, true_ms) == pytest.approx(noise_floor_mape_pct(sd), rel=0.03)


def test_noise_floor_from_duplicates_agrees():
    rng = np.random.default_rng(1)
    true_ms = rng.uniform(1, 50, 40_000)
    first, second = (true_ms * (1 + 0.02 * rng.standard_normal(40_000)) for _ in range(2))
    assert noise_floor_of_duplicates_mape_pct(first, second) == pytest.approx(noise_floor_mape_pct([0.02]), rel=0.03)


@pytest.mark.parametrize("bad", [[], [-0.1], [np.nan]])
def test_noise_floor_refuses_what_is_no_standard_deviation(bad):
    with pytest.raises(UsageError):
        noise_floor_mape_pct(bad)


def test_noise_floor_refuses_duplicates_that_are_not_positive():
    with pytest.raises(UsageError):
        noise_floor_of_duplicates_mape_pct([1.0], [0.0])
