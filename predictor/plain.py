"""A plain scikit-learn regressor as a model of latency: what it lacks is put around it, without pickle.

A model of ours weighs its rows and gives its state as arrays and JSON. A regressor of scikit-learn, or one that follows
its contract, does neither, so it is wrapped: rows are drawn by weight where its ``fit`` takes none, and what is kept is
what it learnt from. It learns again when it is loaded, and what it then predicts is compared with what it predicted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, clone

from .. import registry
from ..errors import InputRefusedError, UsageError
from .estimator import LatencyModel, array_of
from .linear import FLOOR_SHARE, above_floor
from .predictor import Array, State

DRAWS = 4  # rows drawn for every row, where weights are heeded by drawing
SAME = 1e-6  # relative difference of predictions that learning again may make
FACE = ("fit", "predict", "get_params", "set_params")
STATE = ("get_state", "from_state")


class PlainModel(LatencyModel):
    """A scikit-learn regressor that weighs its rows and can be kept.

    Labels are learnt in units of their mean, so that no prediction depends on the unit of time.

    Args:
        estimator: the regressor, unfitted.
        name: Name of the model in the registry.

    Attributes:
        estimator_: fitted.
        floor_ms_: no prediction is below it.
    """

    fitted_mark: ClassVar[str] = "estimator_"

    def __init__(self, estimator: Any = None, name: str = "") -> None:
        self.estimator = estimator
        self.name = name

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Learn from encodings ``X (n, d)`` and latencies ``y (n,)`` in ms; weights are 1 / relative variance.

        Raises:
            BadLabelError: a latency is not positive, or a weight is negative.
        """
        features, y_ms, weight = self._learnable(X, y, sample_weight)
        self._learn(features, y_ms, weight)
        return self

    def _learn(self, features: Array, y_ms: Array, weight: Array) -> None:
        self.rows_, self.labels_ms_, self.row_weight_ = features, y_ms, weight
        self.unit_ms_, self.floor_ms_ = float(y_ms.mean()), FLOOR_SHARE * float(y_ms.min())
        estimator: Any = clone(self.estimator)
        labels = y_ms / self.unit_ms_
        if np.ptp(weight) == 0:
            estimator.fit(features, labels)
        elif "sample_weight" in signature(estimator.fit).parameters:
            estimator.fit(features, labels, sample_weight=weight)
        else:
            drawn = np.random.default_rng(0).choice(len(weight), DRAWS * len(weight), p=weight / weight.sum())
            estimator.fit(features[drawn], labels[drawn])
        self.estimator_: Any = estimator

    def predict(self, X: npt.ArrayLike) -> Array:
        """Return the latencies ``(n,)`` in ms of the encodings ``X (n, d)``."""
        features = self._encoded(X)
        return above_floor(self.unit_ms_ * np.ravel(self.estimator_.predict(features)), self.floor_ms_)

    def get_state(self) -> State:
        """Return what it learnt from, and what it predicts there."""
        self._check_fitted()
        arrays = {
            "rows": self.rows_,
            "labels": self.labels_ms_,
            "weight": self.row_weight_,
            "predicted": self.predict(self.rows_),
            "support": self.support_,
        }
        return arrays, {"model": self.name, "params": plain_params(self.name, self.estimator)}

    @classmethod
    def from_state(cls, arrays: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Self:
        """Learn again from what ``get_state`` gave.

        Raises:
            InputRefusedError: an array is missing or of another shape, an argument is foreign, or what is learnt now
                is not what was learnt then.
        """
        name = str(config.get("model"))
        if name not in registry.names("model"):
            raise InputRefusedError(f"the saved model {name!r} is not installed; known: {registry.names('model')}")
        estimator = registry.load("model", name)()
        params, defaults = config.get("params"), plain_params(name, estimator)
        if not isinstance(params, dict) or not set(params) <= set(defaults):
            raise InputRefusedError(f"params of the saved {name} are {params!r}; allowed: {sorted(defaults)}")
        for key, value in dict[str, Any](params).items():
            if isinstance(value, dict) or (isinstance(defaults[key], str) and not isinstance(value, str)):
                raise InputRefusedError(f"{key} of the saved {name} is {value!r}; expected like {defaults[key]!r}")
        model = cls(estimator.set_params(**params), name)
        width = model._restore_support(arrays)
        rows = array_of(arrays, "rows", (None, width))
        labels_ms, weight, predicted_ms = (
            array_of(arrays, key, (len(rows),)) for key in ("labels", "weight", "predicted")
        )
        try:
            model._learn(rows, labels_ms, weight)
        except (ValueError, TypeError) as error:
            raise InputRefusedError(f"{name} does not learn from what was saved: {error}") from error
        if not np.allclose(model.predict(rows), predicted_ms, rtol=SAME, atol=0):
            raise InputRefusedError(
                f"{name} learns otherwise here than where it was saved, from the same rows; install the version of its "
                "library that was there, or fit again"
            )
        return model


@dataclass(frozen=True)
class Wrapped:
    """A plain regressor of the registry, to be called and restored as the class of a model is."""

    name: str

    def __call__(self, **params: Any) -> PlainModel:
        """Return the model, unfitted; without a seed of its own it gets seed 0, so that it can be learnt again."""
        estimator = registry.load("model", self.name)(**params)
        if "random_state" in estimator.get_params() and estimator.get_params()["random_state"] is None:
            estimator.set_params(random_state=0)
        plain_params(self.name, estimator)
        return PlainModel(estimator, self.name)

    def from_state(self, arrays: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> PlainModel:
        """Restore what ``get_state`` gave."""
        return PlainModel.from_state(arrays, config)


def plain_params(name: str, estimator: BaseEstimator) -> dict[str, Any]:
    """Return a regressor's arguments as JSON holds them.

    Raises:
        UsageError: one of them is no number, text, or list of these: it could not be kept without pickle.
    """
    params = estimator.get_params(deep=False)
    for key, value in params.items():
        try:
            if json.loads(json.dumps(value, allow_nan=False)) == value:
                continue
        except (TypeError, ValueError):
            pass
        raise UsageError(
            f"model {name}: {key}={value!r} cannot be kept without pickle; use numbers and text, or give the class "
            "get_state and from_state"
        )
    return params


def model_class(name: str) -> Any:
    """Return what makes and restores a model of the registry: its class, or a plain regressor wrapped.

    Raises:
        UnknownNameError: no such model.
        UsageError: it is no estimator, or has one half of what it takes; the message says what is missing.
    """
    kind = registry.load("model", name)
    lacks = [part for part in FACE if not callable(getattr(kind, part, None))]
    if lacks:
        raise UsageError(
            f"model {name} lacks {', '.join(lacks)}: a model is a class with the face of a scikit-learn regressor "
            "(derive from sklearn.base.BaseEstimator)"
        )
    state = [part for part in STATE if callable(getattr(kind, part, None))]
    if not state:
        return Wrapped(name)
    lacks = [part for part in STATE if part not in state]
    if "sample_weight" not in signature(kind.fit).parameters:
        lacks.append("the argument sample_weight of fit")
    if lacks:
        raise UsageError(f"model {name} has {' and '.join(state)} but lacks {' and '.join(lacks)}; add it, or neither")
    return kind


def registered_name(model: Any) -> str | None:
    """Return the name under which a model's class is in the registry; None where it is not."""
    if isinstance(model, PlainModel):
        return model.name
    return next((name for name in registry.names("model") if registry.load("model", name) is type(model)), None)
