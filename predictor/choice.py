"""Which encoding serves a device: chosen by held-out rows of that device, never by its name.

The simplest encoding is taken of those that could well be the best: a few rows cannot tell encodings apart whose errors
differ by less than their own spread, and one that happens to lead among them would be another with other rows.

References:
    Breiman, Friedman, Olshen and Stone, *Classification and regression trees*, 1984, 3.4.3: one standard error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone

from .estimator import fit_held_out
from .models.gp import GaussianProcessLatency
from .predictor import Array

MOST_ROWS = 400  # rows that the choice looks at
STEPS = 30
CAP = 0.5  # of an error, in log ms: one network with a latency near zero must not decide
DOUBT = 1.0  # standard errors by which the best must lead before a simpler encoding
FEW = 1e-9  # of an error: numbers that differ by rounding alone are equal


def held_out_errors(
    encodings: Mapping[str, npt.ArrayLike],
    y_ms: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    *,
    groups: npt.ArrayLike | None = None,
    judge: Any = None,
    seed: int = 0,
) -> dict[str, Array]:
    """Return name -> ``(m,)`` absolute log errors, capped, of predictions of up to 400 rows held out.

    Args:
        encodings: name -> ``(n, d)``.
        y_ms: ``(n,)``.
        weight: ``(n,)`` 1 / relative variance of the label.
        groups: ``(n,)`` numbers that rows of one network share, which are held out together; None if none are.
        judge: the unfitted model that predicts them; None is a small Gaussian process.
        seed: which rows are looked at, if there are more than enough.
    """
    y = np.asarray(y_ms, float)
    rows = np.sort(np.random.default_rng(seed).permutation(len(y))[:MOST_ROWS])
    counted = np.ones(len(rows)) if weight is None else np.asarray(weight, float)[rows]
    shared = None if groups is None else np.asarray(groups)[rows]
    judge = judge or GaussianProcessLatency(steps=STEPS, random_state=seed)
    errors: dict[str, Array] = {}
    for name, X in encodings.items():
        held = fit_held_out(clone(judge), np.asarray(X, float)[rows], y[rows], counted, seed=seed, groups=shared)
        assert held is not None
        errors[name] = capped_log_errors(y[rows], held)
    return errors


def capped_log_errors(y_ms: Array, p_ms: Array) -> Array:
    """Return ``min(|ln(y / p)|, CAP)`` of the rows ``(n,)`` that have a prediction."""
    known = np.isfinite(p_ms)
    return np.minimum(np.abs(np.log(y_ms[known] / p_ms[known])), CAP)


def simplest_of_the_best(errors: Mapping[str, Array]) -> str:
    """Return the first encoding, of names from simple to rich, that the best does not beat beyond doubt.

    It does where the mean of the differences ``(m,)`` between both errors is more than its standard error.
    """
    best = min(errors, key=lambda name: float(errors[name].mean()))
    for name, own in errors.items():
        lead = own - errors[best]
        if float(lead.mean()) <= DOUBT * float(lead.std()) / np.sqrt(len(lead)) + FEW:
            return name
    return best


def choose_encoding(
    encodings: Mapping[str, npt.ArrayLike],
    y_ms: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    *,
    groups: npt.ArrayLike | None = None,
    judge: Any = None,
    seed: int = 0,
) -> tuple[str, dict[str, float]]:
    """Return the name of the encoding to learn from, and what each was judged by: its mean held-out error.

    The encodings ``(n, d)`` are given from simple to rich; the rest is as `held_out_errors` takes it.
    """
    if len(encodings) == 1:
        return next(iter(encodings)), {}
    errors = held_out_errors(encodings, y_ms, weight, groups=groups, judge=judge, seed=seed)
    return simplest_of_the_best(errors), {name: float(own.mean()) for name, own in errors.items()}
