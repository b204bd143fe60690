"""Latency as a weighted sum of features: the closed-form part of the models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .predictor import Array

ALPHAS = tuple(float(a) for a in np.logspace(-7, 1, 17))  # shares of the total weight: features are standardised
FLOOR_SHARE = 0.3  # a prediction never falls below this share of the smallest label
SHARPNESS = 4.0  # of the bend into the floor; at the smallest label it is off by less than 1e-4 of it


@dataclass(frozen=True)
class Linear:
    """``intercept + X @ coef``, with ``coef (d,)``."""

    coef: Array
    intercept: float

    def __call__(self, X: Array) -> Array:
        return X @ self.coef + self.intercept


def moments(X: Array, weight: Array) -> tuple[Array, Array]:
    """Return the weighted mean ``(d,)`` and 1 / standard deviation ``(d,)``, 0 for a feature that never varied."""
    mean = np.average(X, axis=0, weights=weight)
    deviation = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))
    varies = (np.ptp(X, axis=0) > 0) & (deviation > 1e-12 * np.abs(mean))
    return mean, np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)


def fit_ridge(X: Array, target: Array, weight: Array, alphas: Sequence[float] = ALPHAS) -> tuple[Linear, float]:
    """Fit a ridge on standardised features, its strength by generalised cross-validation; return it and the strength.

    Args:
        X: features ``(n, d)``.
        target: ``(n,)``.
        weight: ``(n,)``, any scale.
        alphas: strengths to try, as shares of the total weight.
    """
    from sklearn.linear_model import RidgeCV  # heavy: a design needs the moments only

    mean, inverse = moments(X, weight)
    if len(X) < 3 or not inverse.any():
        return Linear(np.zeros(X.shape[1]), float(np.average(target, weights=weight))), float("inf")
    ridge: Any = RidgeCV(alphas=np.asarray(alphas, float))
    ridge.fit((X - mean) * inverse, target, sample_weight=weight / weight.sum())
    coef = np.asarray(ridge.coef_, float) * inverse
    return Linear(coef, float(ridge.intercept_) - float(mean @ coef)), float(ridge.alpha_)


def relative_weight(y_ms: Array, weight: Array) -> Array:
    """Return weights ``(n,)`` under which least squares of ``y_ms`` ``(n,)`` minimises relative errors."""
    return weight * (y_ms.min() / y_ms) ** 2


def above_floor(latency_ms: Array, floor_ms: float) -> Array:
    """Bend latencies smoothly so that none falls below the floor: ``floor + softplus(latency - floor)``."""
    if floor_ms == 0:
        return latency_ms
    scaled = SHARPNESS * (latency_ms / floor_ms - 1)
    return floor_ms * (1 + np.logaddexp(0, scaled) / SHARPNESS)
