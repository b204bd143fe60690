# pyright: basic, reportArgumentType=false, reportOptionalSubscript=false
"""What every model of latency owes: scikit-learn's contract, honest weights, a state without pickle, a true slope."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from ..errors import InputRefusedError, TempogradError
from ..predictor.plain import PlainModel, model_class
from ..predictor.predictor import DifferentiablePredictor, Predictor, SaveablePredictor


@dataclass(frozen=True)
class Table:
    """One-hot encodings ``(n, 30)`` of six sites with five options, their true latencies and noisy labels."""

    X: np.ndarray
    true_ms: np.ndarray
    y_ms: np.ndarray
    choices: np.ndarray


COST_MS = np.array([0.0, 0.1, 0.7, 2.0, 0.4])


def make_table(n: int, *, seed: int, parallel: bool, noise: float = 0.0) -> Table:
    """Draw networks whose cost is a sum, or partly the longer of two branches that run side by side."""
    rng = np.random.default_rng(seed)
    choices = rng.integers(0, 5, (n, 6))
    cost = COST_MS[choices] * np.linspace(0.6, 1.4, 6)
    true_ms = 1.0 + cost.sum(axis=1)
    if parallel:
        true_ms = 1.0 + cost[:, 4:].sum(axis=1) + np.maximum(cost[:, :2].sum(axis=1), cost[:, 2:4].sum(axis=1))
    return Table(np.eye(5)[choices].reshape(n, 30), true_ms, true_ms * np.exp(noise * rng.standard_normal(n)), choices)


def relaxed(n, *, dtype=torch.float32, seed=0):
    """Draw probabilities over the five options of six sites: ``(n, 30)``."""
    logits = torch.randn(n, 6, 5, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return logits.softmax(dim=-1).reshape(n, 30)


@cache
def _additive():
    return make_table(500, seed=1, parallel=False)


@cache
def _parallel():
    return make_table(800, seed=2, parallel=True, noise=0.005)


@cache
def _fitted(name, table):
    """Return a fitted model, once for all tests that only look at it."""
    return ModelContract.quick(name).fit(table().X, table().y_ms)


def failing(model):
    """Return the check of scikit-learn that a model says it fails on purpose."""
    return {"check_sample_weight_equivalence_on_dense_data": model.rows_count} if model.rows_count else {}


class ModelContract:
    """A model learns, keeps scikit-learn's contract, and comes back from its state.

    A plain scikit-learn regressor is tested as it is used: wrapped, see `predictor.plain`.

    A class may state ``small``, arguments with which it learns in a second, and ``rows_count``, why a row of weight 2
    is not two equal rows.

    Attributes:
        names: the models' names in the registry.
    """

    names: ClassVar[Sequence[str]]

    def pytest_generate_tests(self, metafunc):
        """Run every test on every model, those of slopes on every one that has a slope."""
        if "check" in metafunc.fixturenames:
            models = [self.quick(name) for name in self.names]
            models = [model for model in models if not isinstance(model, PlainModel)]  # its estimator has its own tests
            marked = parametrize_with_checks(models, expected_failed_checks=failing)
            metafunc.parametrize(*marked.args, **marked.kwargs)
        elif "fitted" in metafunc.fixturenames:
            sloped = [name for name in self.names if isinstance(getattr(model_class(name), "module", None), property)]
            metafunc.parametrize("fitted", sloped, indirect=True)
        elif "name" in metafunc.fixturenames:
            metafunc.parametrize("name", self.names)

    @classmethod
    def quick(cls, name):
        return model_class(name)(**getattr(model_class(name), "small", {}))

    @pytest.fixture
    def additive(self):
        return _additive()

    @pytest.fixture
    def parallel(self):
        return _parallel()

    @pytest.fixture
    def fitted(self, request):
        return _fitted(request.param, _parallel)

    def test_scikit_learn_contract(self, estimator, check):
        check(estimator)

    def test_is_a_saveable_predictor(self, name):
        assert isinstance(self.quick(name), Predictor)
        assert isinstance(self.quick(name), SaveablePredictor)

    def test_learns_an_additive_device(self, name, additive):
        model = self.quick(name).fit(additive.X[:400], additive.y_ms[:400])
        relative = np.abs(model.predict(additive.X[400:]) / additive.true_ms[400:] - 1)
        assert relative.mean() < (0.01 if hasattr(model_class(name), "module") else 0.1)

    def test_scales_with_the_unit_of_the_labels(self, name, additive):
        in_ms = self.quick(name).fit(additive.X, additive.y_ms).predict(additive.X)
        in_us = self.quick(name).fit(additive.X, 1000 * additive.y_ms).predict(additive.X)
        np.testing.assert_allclose(in_us, 1000 * in_ms, rtol=2e-3)

    def test_near_zero_labels_give_positive_predictions(self, name, additive):
        y = additive.y_ms.copy()
        y[::7] = 1e-4
        assert np.all(self.quick(name).fit(additive.X, y).predict(additive.X) > 0)

    @pytest.mark.parametrize("bad", [0.0, -1.0])
    def test_refuses_labels_that_are_not_positive(self, name, additive, bad):
        y = additive.y_ms.copy()
        y[3] = bad
        with pytest.raises(ValueError, match=r"must be > 0 ms") as caught:
            self.quick(name).fit(additive.X, y)
        assert isinstance(caught.value, TempogradError)

    def test_refuses_negative_and_all_zero_weights(self, name, additive):
        for weight in (-np.ones(500), np.zeros(500)):
            with pytest.raises(ValueError, match="1 / relative variance"):
                self.quick(name).fit(additive.X, additive.y_ms, sample_weight=weight)

    def test_refuses_to_predict_before_fit(self, name, additive):
        with pytest.raises(TempogradError, match="call fit first"):
            self.quick(name).predict(additive.X)

    def test_rows_of_weight_zero_do_not_count(self, name, additive):
        y, weight = additive.y_ms.copy(), np.ones(500)
        y[400:], weight[400:] = 99.0, 0.0
        weighted = self.quick(name).fit(additive.X, y, sample_weight=weight)
        without = self.quick(name).fit(additive.X[:400], y[:400])
        np.testing.assert_allclose(weighted.predict(additive.X), without.predict(additive.X), rtol=1e-9)

    def test_noisy_rows_count_less_with_weights(self, name, additive):
        rng = np.random.default_rng(0)
        noisy = rng.random(500) < 0.5
        y = additive.true_ms * np.exp(np.where(noisy, 0.5, 0.001) * rng.standard_normal(500))
        weight = np.where(noisy, 1 / 0.5**2, 1 / 0.001**2)
        error = [
            np.mean(
                np.abs(self.quick(name).fit(additive.X, y, sample_weight=w).predict(additive.X) / additive.true_ms - 1)
            )
            for w in (weight, None)
        ]
        assert error[0] < 0.6 * error[1]

    def test_same_seed_same_predictor(self, name, parallel):
        again = self.quick(name).fit(parallel.X, parallel.y_ms)
        np.testing.assert_array_equal(again.predict(parallel.X), _fitted(name, _parallel).predict(parallel.X))

    def test_works_in_a_pipeline_and_a_grid_search(self, name, additive):
        model = make_pipeline(FunctionTransformer(), clone(self.quick(name)))
        search = GridSearchCV(model, {"functiontransformer__validate": [True, False]}, cv=2).fit(
            additive.X, additive.y_ms
        )
        assert search.best_score_ > 0.8

    def test_state_survives_safetensors_and_json(self, name, parallel):
        model = _fitted(name, _parallel)
        arrays, config = model.get_state()
        arrays = load(save({key: np.ascontiguousarray(value) for key, value in arrays.items()}))
        again = type(model).from_state(arrays, json.loads(json.dumps(config, allow_nan=False)))
        np.testing.assert_array_equal(again.predict(parallel.X), model.predict(parallel.X))
        np.testing.assert_array_equal(again.support_, model.support_)
        assert again.get_params().keys() == model.get_params().keys()
        if isinstance(model, DifferentiablePredictor):
            assert isinstance(again, DifferentiablePredictor)

    def test_state_without_any_one_array_is_refused(self, name):
        model = _fitted(name, _additive)
        arrays, config = model.get_state()
        for missing in arrays:
            rest = {key: value for key, value in arrays.items() if key != missing}
            with pytest.raises(InputRefusedError, match=missing.rpartition(".")[2]):  # a member's, without its number
                type(model).from_state(rest, config)

    def test_state_of_another_shape_or_with_nan_is_refused(self, name):
        model = _fitted(name, _additive)
        arrays, config = model.get_state()
        for key, value in arrays.items():
            with pytest.raises(InputRefusedError, match="expected finite numbers"):
                type(model).from_state(arrays | {key: np.stack([value, value])}, config)
            with pytest.raises(InputRefusedError, match="expected finite numbers"):
                type(model).from_state(arrays | {key: np.full(value.shape, np.nan)}, config)

    @pytest.mark.parametrize("params", [None, [], {"no_such_argument": 1}])
    def test_state_with_foreign_parameters_is_refused(self, name, params):
        model = _fitted(name, _additive)
        arrays, config = model.get_state()
        with pytest.raises(InputRefusedError, match="allowed"):
            type(model).from_state(arrays, config | {"params": params})

    def test_state_with_a_parameter_of_another_type_is_refused(self, name):
        model = _fitted(name, _additive)
        arrays, config = model.get_state()
        for argument in config["params"]:
            with pytest.raises(InputRefusedError, match=argument):
                type(model).from_state(arrays, config | {"params": config["params"] | {argument: {"a": 1}}})

    def test_module_predicts_what_the_model_predicts(self, fitted, parallel):
        x = torch.from_numpy(parallel.X).float()
        output = fitted.module(x)
        assert output.shape == (800,)
        assert output.dtype == torch.float32
        np.testing.assert_allclose(output.detach().numpy(), fitted.predict(parallel.X), rtol=1e-5)

    def test_module_is_new_each_time_so_that_callers_cannot_spoil_the_model(self, fitted, parallel):
        before = fitted.predict(parallel.X)
        with torch.no_grad():
            for parameter in fitted.module.parameters():
                parameter.zero_()
        np.testing.assert_array_equal(fitted.predict(parallel.X), before)

    def test_slope_equals_finite_differences(self, fitted):
        x = relaxed(3, dtype=torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(fitted.module.double(), (x,))

    def test_slope_has_the_sign_of_the_cost(self, fitted, parallel):
        module, cheap, dear = fitted.module, 5 * 5 + 0, 5 * 5 + 3  # no operation and the 2 ms one at the last site
        x = torch.from_numpy(parallel.X[:50]).float().requires_grad_()
        module(x).sum().backward()
        assert torch.all(x.grad[:, dear] > x.grad[:, cheap])

    def test_module_keeps_its_precision_under_autocast(self, fitted):
        x = relaxed(8)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = fitted.module(x)
        np.testing.assert_allclose(output.detach(), fitted.module(x).detach(), rtol=1e-6)

    def test_module_accepts_half_precision_gates(self, fitted):
        x = relaxed(8).bfloat16()
        np.testing.assert_allclose(fitted.module(x).detach(), fitted.module(x.float()).detach(), rtol=1e-6)
