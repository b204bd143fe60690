import numpy as np
import pytest

from tempograd.errors import UsageError
from tempograd.predictor.models.lookup import LookupLatency

TABLE_MS = np.concatenate([factor * np.array([0.0, 0.1, 0.7, 2.0, 0.4]) for factor in np.linspace(0.6, 1.4, 6)])


def test_a_given_table_serves_without_fit(additive):
    model = LookupLatency(TABLE_MS, base_ms=1.0)
    np.testing.assert_allclose(model.predict(additive.X), additive.true_ms, rtol=1e-12)


def test_a_given_table_is_not_changed_by_fit(additive):
    model = LookupLatency(TABLE_MS, base_ms=1.0).fit(additive.X, 5 * additive.y_ms)
    np.testing.assert_allclose(model.predict(additive.X), additive.true_ms, rtol=1e-12)


def test_calibration_finds_scale_and_offset(additive):
    model = LookupLatency(2 * TABLE_MS, base_ms=7.0, calibrate=True).fit(additive.X, additive.y_ms)
    np.testing.assert_allclose(model.predict(additive.X), additive.true_ms, rtol=1e-9)


def test_calibration_must_be_fitted(additive):
    with pytest.raises(UsageError, match="call fit first"):
        LookupLatency(TABLE_MS, calibrate=True).predict(additive.X)


def test_calibration_refuses_a_table_that_ranks_backwards(additive):
    with pytest.raises(UsageError, match="not the table of this device"):
        LookupLatency(-TABLE_MS, base_ms=20.0, calibrate=True).fit(additive.X, additive.y_ms)


def test_calibration_refuses_networks_of_one_cost(additive):
    with pytest.raises(UsageError, match="sample more"):
        LookupLatency(np.zeros(30), calibrate=True).fit(additive.X, additive.y_ms)


def test_learns_a_table_without_negative_costs(parallel):
    model = LookupLatency().fit(parallel.X, parallel.y_ms)
    assert np.all(model.table_ms_ >= 0)
    assert model.base_ms_ >= 0
    assert np.any(model.table_ms_ > 0)


@pytest.mark.parametrize("table", [np.ones(29), np.ones((30, 1)), np.full(30, np.nan)])
def test_refuses_a_table_that_does_not_fit(table, additive):
    with pytest.raises(UsageError, match="table_ms"):
        LookupLatency(table).fit(additive.X, additive.y_ms)


def test_refuses_encodings_of_another_width(additive):
    with pytest.raises(ValueError, match="29 features"):
        LookupLatency(TABLE_MS).predict(additive.X[:, :29])
