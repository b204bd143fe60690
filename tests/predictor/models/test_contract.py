"""Every model of the folder fulfils the same contract; a new file is tested without an edit here."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from tempograd.errors import InputRefusedError, TempogradError
from tempograd.predictor.predictor import DifferentiablePredictor, Predictor, SaveablePredictor
from tempograd.registry import load as load_entry
from tempograd.registry import names

QUICK = {"mlp": {"steps": 60, "members": 2, "hidden": (16,)}, "trees": {"trees": 100}, "gp": {"steps": 10}}
QUICK["blend"] = {"models": ("ridge", "gp"), "steps": 10}

# an argument's name and a reason for every check of scikit-learn that a model fails on purpose
_WEIGHTED = "check_sample_weight_equivalence_on_dense_data"
EXPECTED_FAILURES = {
    "BlendLatency": {
        _WEIGHTED: "cross-validation leaves out rows: a row of weight 2 is one row, two equal rows are two"
    },
    "RidgeLatency": {
        _WEIGHTED: "cross-validation leaves out rows: a row of weight 2 is one row, two equal rows are two"
    },
    "LatencyMLP": {_WEIGHTED: "stochastic training: batches and hold-outs are drawn over rows, not over weight"},
    "GaussianProcessLatency": {_WEIGHTED: "two equal rows are two measurements, each with noise of its own"},
    "TransferLatency": {_WEIGHTED: "two equal rows are two measurements, each with noise of its own"},
    "SklearnGP": {_WEIGHTED: "two equal rows are two measurements, each with noise of its own"},
    "TreesLatency": {_WEIGHTED: "histogram bins and smallest leaves count rows, not weight"},
}


def quick(name):
    return load_entry("model", name)(**QUICK.get(name, {}))


@pytest.fixture(params=names("model"))
def name(request):
    return request.param


@parametrize_with_checks(
    [quick(name) for name in names("model")],
    expected_failed_checks=lambda model: EXPECTED_FAILURES.get(type(model).__name__, {}),
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def test_is_a_saveable_predictor(name):
    assert isinstance(quick(name), Predictor)
    assert isinstance(quick(name), SaveablePredictor)


def test_learns_an_additive_device(name, additive):
    model = quick(name).fit(additive.X[:400], additive.y_ms[:400])
    relative = np.abs(model.predict(additive.X[400:]) / additive.true_ms[400:] - 1)
    assert relative.mean() < (0.1 if name == "trees" else 0.01)


def test_scales_with_the_unit_of_the_labels(name, additive):
    in_ms = quick(name).fit(additive.X, additive.y_ms).predict(additive.X)
    in_us = quick(name).fit(additive.X, 1000 * additive.y_ms).predict(additive.X)
    np.testing.assert_allclose(in_us, 1000 * in_ms, rtol=2e-3)


def test_near_zero_labels_give_positive_predictions(name, additive):
    y = additive.y_ms.copy()
    y[::7] = 1e-4
    assert np.all(quick(name).fit(additive.X, y).predict(additive.X) > 0)


@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_refuses_labels_that_are_not_positive(name, additive, bad):
    y = additive.y_ms.copy()
    y[3] = bad
    with pytest.raises(ValueError, match=r"must be > 0 ms") as caught:
        quick(name).fit(additive.X, y)
    assert isinstance(caught.value, TempogradError)


def test_refuses_negative_and_all_zero_weights(name, additive):
    for weight in (-np.ones(500), np.zeros(500)):
        with pytest.raises(ValueError, match="1 / relative variance"):
            quick(name).fit(additive.X, additive.y_ms, sample_weight=weight)


def test_refuses_to_predict_before_fit(name, additive):
    with pytest.raises(TempogradError, match="call fit first"):
        quick(name).predict(additive.X)


def test_rows_of_weight_zero_do_not_count(name, additive):
    y, weight = additive.y_ms.copy(), np.ones(500)
    y[400:], weight[400:] = 99.0, 0.0
    weighted = quick(name).fit(additive.X, y, sample_weight=weight)
    without = quick(name).fit(additive.X[:400], y[:400])
    np.testing.assert_allclose(weighted.predict(additive.X), without.predict(additive.X), rtol=1e-9)


def test_noisy_rows_count_less_with_weights(name, additive):
    rng = np.random.default_rng(0)
    noisy = rng.random(500) < 0.5
    y = additive.true_ms * np.exp(np.where(noisy, 0.5, 0.001) * rng.standard_normal(500))
    weight = np.where(noisy, 1 / 0.5**2, 1 / 0.001**2)
    error = [
        np.mean(np.abs(quick(name).fit(additive.X, y, sample_weight=w).predict(additive.X) / additive.true_ms - 1))
        for w in (weight, None)
    ]
    assert error[0] < 0.6 * error[1]


def test_same_seed_same_predictor(name, parallel):
    first, second = (quick(name).fit(parallel.X, parallel.y_ms).predict(parallel.X) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_works_in_a_pipeline_and_a_grid_search(name, additive):
    model = make_pipeline(FunctionTransformer(), clone(quick(name)))
    search = GridSearchCV(model, {"functiontransformer__validate": [True, False]}, cv=2).fit(additive.X, additive.y_ms)
    assert search.best_score_ > 0.8


def test_state_survives_safetensors_and_json(name, parallel):
    model = quick(name).fit(parallel.X, parallel.y_ms)
    arrays, config = model.get_state()
    arrays = load(save({key: np.ascontiguousarray(value) for key, value in arrays.items()}))
    again = type(model).from_state(arrays, json.loads(json.dumps(config, allow_nan=False)))
    np.testing.assert_array_equal(again.predict(parallel.X), model.predict(parallel.X))
    np.testing.assert_array_equal(again.support_, model.support_)
    assert again.get_params().keys() == model.get_params().keys()
    if isinstance(model, DifferentiablePredictor):
        assert isinstance(again, DifferentiablePredictor)


def test_state_without_any_one_array_is_refused(name, additive):
    model = quick(name).fit(additive.X, additive.y_ms)
    arrays, config = model.get_state()
    for missing in arrays:
        rest = {key: value for key, value in arrays.items() if key != missing}
        with pytest.raises(InputRefusedError, match=missing.rpartition(".")[2]):  # a member's, without its number
            type(model).from_state(rest, config)


def test_state_of_another_shape_or_with_nan_is_refused(name, additive):
    model = quick(name).fit(additive.X, additive.y_ms)
    arrays, config = model.get_state()
    for key, value in arrays.items():
        with pytest.raises(InputRefusedError, match="expected finite numbers"):
            type(model).from_state(arrays | {key: np.stack([value, value])}, config)
        with pytest.raises(InputRefusedError, match="expected finite numbers"):
            type(model).from_state(arrays | {key: np.full(value.shape, np.nan)}, config)


@pytest.mark.parametrize("params", [None, [], {"no_such_argument": 1}])
def test_state_with_foreign_parameters_is_refused(name, additive, params):
    model = quick(name).fit(additive.X, additive.y_ms)
    arrays, config = model.get_state()
    with pytest.raises(InputRefusedError, match="allowed"):
        type(model).from_state(arrays, config | {"params": params})


def test_state_with_a_parameter_of_another_type_is_refused(name, additive):
    model = quick(name).fit(additive.X, additive.y_ms)
    arrays, config = model.get_state()
    for argument in config["params"]:
        with pytest.raises(InputRefusedError, match=argument):
            type(model).from_state(
                arrays, config | {"params": config["params"] | {argument: "text"}} | _not_text(argument)
            )


def _not_text(argument):
    return {"params": {argument: {"a": 1}}} if argument == "backbone" else {}


DIFFERENTIABLE = [
    name for name in names("model") if isinstance(getattr(load_entry("model", name), "module", None), property)
]


def test_all_but_the_trees_are_differentiable():
    assert {"gp", "mlp", "ridge", "lookup"} <= set(DIFFERENTIABLE)
    assert "trees" not in DIFFERENTIABLE


@pytest.fixture(params=DIFFERENTIABLE)
def fitted(request, parallel):
    return quick(request.param).fit(parallel.X, parallel.y_ms)


def relaxed(n, *, dtype=torch.float32, seed=0):
    """Draw probabilities over the five options of six sites: ``(n, 30)``."""
    logits = torch.randn(n, 6, 5, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return logits.softmax(dim=-1).reshape(n, 30)


def test_module_predicts_what_the_model_predicts(fitted, parallel):
    x = torch.from_numpy(parallel.X).float()
    output = fitted.module(x)
    assert output.shape == (800,)
    assert output.dtype == torch.float32
    np.testing.assert_allclose(output.detach().numpy(), fitted.predict(parallel.X), rtol=1e-5)


def test_module_is_new_each_time_so_that_callers_cannot_spoil_the_model(fitted, parallel):
    before = fitted.predict(parallel.X)
    with torch.no_grad():
        for parameter in fitted.module.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(fitted.predict(parallel.X), before)


def test_slope_equals_finite_differences(fitted):
    x = relaxed(3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(fitted.module.double(), (x,))


def test_slope_has_the_sign_of_the_cost(fitted, parallel):
    module, cheap, dear = fitted.module, 5 * 5 + 0, 5 * 5 + 3  # no operation and the 2 ms one at the last site
    x = torch.from_numpy(parallel.X[:50]).float().requires_grad_()
    module(x).sum().backward()
    assert torch.all(x.grad[:, dear] > x.grad[:, cheap])


def test_module_keeps_its_precision_under_autocast(fitted):
    x = relaxed(8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = fitted.module(x)
    np.testing.assert_allclose(output.detach(), fitted.module(x).detach(), rtol=1e-6)


def test_module_accepts_half_precision_gates(fitted):
    x = relaxed(8).bfloat16()
    np.testing.assert_allclose(fitted.module(x).detach(), fitted.module(x.float()).detach(), rtol=1e-6)
