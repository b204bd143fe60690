import numpy as np
import pytest

from tempograd.predictor.models.ridge import RidgeLatency


def test_recovers_the_differences_between_options(additive):
    model = RidgeLatency().fit(additive.X, additive.y_ms)
    site = model.coef_[25:30]  # the last of six sites costs 1.4 times the table
    np.testing.assert_allclose(site - site[0], 1.4 * np.array([0, 0.1, 0.7, 2.0, 0.4]), atol=2e-3)


def test_relative_weights_lower_relative_errors_and_raise_absolute_ones(parallel):
    relative, absolute = (
        RidgeLatency(relative=r).fit(parallel.X, parallel.y_ms).predict(parallel.X) for r in (True, False)
    )
    error = [(np.mean((p / parallel.y_ms - 1) ** 2), np.mean((p - parallel.y_ms) ** 2)) for p in (relative, absolute)]
    assert error[0][0] < error[1][0]
    assert error[0][1] > error[1][1]


def test_strength_grows_with_noise(additive):
    noise = np.random.default_rng(0).standard_normal(60)
    quiet, loud = (
        RidgeLatency().fit(additive.X[:60], additive.true_ms[:60] * np.exp(sd * noise)).alpha_ for sd in (0.001, 0.5)
    )
    assert loud > 10 * quiet


def test_given_strength_is_used(additive):
    assert RidgeLatency(alphas=(0.5,)).fit(additive.X, additive.y_ms).alpha_ == pytest.approx(0.5)


def test_predictions_do_not_fall_below_the_floor(additive):
    model = RidgeLatency().fit(additive.X, additive.y_ms)
    assert np.all(model.predict(-10 * additive.X) >= 0.3 * additive.y_ms.min() * (1 - 1e-12))


def test_features_of_any_scale(additive):
    scale = np.logspace(-6, 6, 30)
    plain = RidgeLatency().fit(additive.X, additive.y_ms).predict(additive.X)
    scaled = RidgeLatency().fit(additive.X * scale, additive.y_ms).predict(additive.X * scale)
    np.testing.assert_allclose(scaled, plain, rtol=1e-6)
