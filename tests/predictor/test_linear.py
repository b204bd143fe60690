import numpy as np

from tempograd.predictor.estimator import MAX_WEIGHT_RATIO, tempered
from tempograd.predictor.linear import above_floor, fit_ridge, moments


def test_recovers_a_line():
    X = np.random.default_rng(0).standard_normal((50, 2)) * [1, 1000] + [5, 0]
    linear, _ = fit_ridge(X, X @ [2.0, 0.003] + 7, np.ones(50))
    np.testing.assert_allclose(linear.coef, [2, 0.003], rtol=1e-5)
    np.testing.assert_allclose(linear.intercept, 7, rtol=1e-5)


def test_repeated_rows_equal_weighted_rows_at_a_given_strength():
    rng = np.random.default_rng(0)
    X, y, times = rng.standard_normal((30, 4)), rng.standard_normal(30), rng.integers(1, 4, 30)
    weighted, _ = fit_ridge(X, y, times.astype(float), alphas=(0.1,))
    repeated, _ = fit_ridge(X.repeat(times, axis=0), y.repeat(times), np.ones(times.sum()), alphas=(0.1,))
    np.testing.assert_allclose(weighted.coef, repeated.coef)


def test_constant_features_get_no_weight():
    X = np.column_stack([np.full(20, 0.1), np.arange(20.0)])
    assert moments(X, np.ones(20))[1][0] == 0
    linear, _ = fit_ridge(X, np.arange(20.0), np.ones(20))
    assert linear.coef[0] == 0


def test_too_few_rows_give_the_mean():
    linear, strength = fit_ridge(np.eye(2), np.array([1.0, 3.0]), np.array([3.0, 1.0]))
    assert linear(np.eye(2)).tolist() == [1.5, 1.5]
    assert strength == float("inf")


def test_floor_bends_only_what_is_below_it():
    latency = np.array([-1e6, 0.0, 1.0, 1 / 0.3, 100.0])
    bent = above_floor(latency, 1.0)
    assert np.all(np.diff(bent) >= 0)
    assert bent[0] == 1.0
    np.testing.assert_allclose(bent[3:], latency[3:], rtol=1e-5)
    assert above_floor(latency, 0.0) is latency


def test_tempered_weights_are_bounded_with_mean_one():
    weight = tempered(np.array([1e-9, 0.5, 1.0, 1e9]))
    assert weight.mean() == 1.0
    assert weight.max() / weight.min() <= MAX_WEIGHT_RATIO**2
    assert np.all(np.diff(weight) > 0)
    np.testing.assert_array_equal(tempered(np.array([0.5, 1.5])), [0.5, 1.5])
