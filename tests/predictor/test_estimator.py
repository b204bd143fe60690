"""What latency models share: what comes in is checked, and a saved state is read strictly."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from tempograd.errors import InputRefusedError
from tempograd.predictor.estimator import (
    MAX_WEIGHT_RATIO,
    BadLabelError,
    UnfittedPredictorError,
    array_of,
    fit_held_out,
    learnt_groups,
    of_all_rows,
    params_of,
    repeated,
    tempered,
)
from tempograd.predictor.models.ridge import RidgeLatency


def test_labels_that_are_no_latency_are_refused(additive):
    X, y_ms = additive.X[:50], additive.y_ms[:50].copy()
    y_ms[3] = 0
    with pytest.raises(BadLabelError, match=r"latencies must be > 0 ms, found 0; leave out networks"):
        RidgeLatency().fit(X, y_ms)
    weight = np.ones(50)
    weight[3] = 0
    RidgeLatency().fit(X, y_ms, sample_weight=weight)  # a row without weight is left out, whatever stands there


@pytest.mark.parametrize("weight", [-1.0, 0.0])
def test_weights_that_are_none_are_refused(additive, weight):
    with pytest.raises(BadLabelError, match="sample_weight must be >= 0 and not all zero"):
        RidgeLatency().fit(additive.X[:20], additive.y_ms[:20], sample_weight=np.full(20, weight))


def test_a_model_that_has_learnt_nothing_says_what_to_call():
    with pytest.raises(UnfittedPredictorError, match="this RidgeLatency has learnt nothing yet: call fit first"):
        RidgeLatency().predict([[0.0]])


def test_no_label_counts_for_much_more_than_another():
    weight = tempered(np.array([1e-9, 1.0, 1.0, 1e9]))
    assert weight.mean() == pytest.approx(1)
    assert weight.max() / weight.min() == pytest.approx(MAX_WEIGHT_RATIO**2)


def test_groups_are_those_of_the_rows_that_are_learnt_from():
    assert learnt_groups(None, None, 3).tolist() == [0, 1, 2]
    assert learnt_groups([7, 7, 2], [1, 0, 1], 2).tolist() == [1, 0]
    with pytest.raises(BadLabelError, match="one for each network"):
        learnt_groups([1, 2], None, 3)


def test_rows_of_repeated_groups_are_given_together():
    found = {rows.shape[1]: rows.tolist() for rows in repeated(np.array([5, 1, 5, 2, 1, 1, 3]))}
    assert found == {2: [[0, 2]], 3: [[1, 4, 5]]}


def test_rows_without_weight_have_no_prediction():
    found = of_all_rows(np.array([1.0, 2.0]), [1, 0, 3])
    assert found[[0, 2]].tolist() == [1.0, 2.0]
    assert np.isnan(found[1])


def test_folds_that_would_take_too_long_are_not_begun(additive):
    model, weight = LinearRegression(), np.ones(30)
    assert fit_held_out(model, additive.X[:30], additive.y_ms[:30], weight, seed=0, left_s=0) is None
    assert not hasattr(model, "coef_")
    held_out = fit_held_out(model, additive.X[:30], additive.y_ms[:30], weight, seed=0)
    assert held_out.shape == (30,)
    assert hasattr(model, "coef_")


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.zeros((2, 3)), r"float64\[2, 3\]; expected finite numbers of shape \['any'\]"),
        (np.array([1.0, np.nan]), "expected finite numbers"),
        (np.array(["a"]), "expected finite numbers"),
    ],
)
def test_an_array_of_another_shape_or_kind_is_refused(array, told):
    with pytest.raises(InputRefusedError, match=told):
        array_of({"coef": array}, "coef", (None,))


def test_an_array_that_is_missing_is_named():
    with pytest.raises(InputRefusedError, match=r"lacks the array 'coef'; it has \['mean'\]"):
        array_of({"mean": np.zeros(1)}, "coef", (1,))
    assert array_of({"coef": np.array([1, 2])}, "coef", (2,)).dtype == np.float64


@pytest.mark.parametrize("params", [None, {"nonsense": 1}, {next(iter(RidgeLatency().get_params())): {"a": 1}}])
def test_arguments_of_a_saved_model_are_its_own(params):
    with pytest.raises(InputRefusedError, match="RidgeLatency"):
        params_of({"params": params}, RidgeLatency)
    assert params_of({"params": {}}, RidgeLatency) == {}
