"""A plain scikit-learn regressor of somebody else as a model."""

import json

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestRegressor
from sklearn.neighbors import KNeighborsRegressor

from tempograd import registry
from tempograd.errors import InputRefusedError, UsageError
from tempograd.predictor import plain
from tempograd.predictor.plain import model_class


class Half(BaseEstimator):
    def fit(self, X, y):
        return self

    def predict(self, X):
        return X[:, 0]

    def get_state(self):
        return {}, {}


class Shapeless:
    def fit(self, X, y):
        return self


OTHERS = {"forest": RandomForestRegressor, "near": KNeighborsRegressor, "half": Half, "shapeless": Shapeless}


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    load, names = registry.load, registry.names
    monkeypatch.setattr(plain.registry, "load", lambda kind, name: OTHERS.get(name) or load(kind, name))
    monkeypatch.setattr(plain.registry, "names", lambda kind: [*names(kind), *OTHERS])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["forest", "near"])
def test_it_learns_with_weights_and_comes_back_from_its_state(name, additive):
    weight = np.where(np.arange(500) < 400, 1.0, 0.0)
    model = model_class(name)().fit(additive.X, additive.y_ms, sample_weight=weight)
    arrays, config = model.get_state()
    again = model_class(name).from_state(arrays, json.loads(json.dumps(config)))
    np.testing.assert_allclose(again.predict(additive.X), model.predict(additive.X))
    without = model_class(name)().fit(additive.X[:400], additive.y_ms[:400])
    np.testing.assert_allclose(without.predict(additive.X), model.predict(additive.X))


def test_one_that_learns_otherwise_where_it_is_loaded_is_refused(additive):
    arrays, config = model_class("near")().fit(additive.X, additive.y_ms).get_state()
    with pytest.raises(InputRefusedError, match="learns otherwise here"):
        model_class("near").from_state(arrays | {"predicted": 1.1 * arrays["predicted"]}, config)


@pytest.mark.parametrize(
    ("name", "said"),
    [("half", "has get_state but lacks from_state and the argument sample_weight"), ("shapeless", "lacks predict")],
)
def test_what_a_model_lacks_is_said_before_any_work(name, said):
    with pytest.raises(UsageError, match=said):
        model_class(name)


def test_an_argument_that_could_not_be_kept_is_refused_before_any_work():
    with pytest.raises(UsageError, match="cannot be kept without pickle"):
        model_class("near")(metric=np.linalg.norm)
