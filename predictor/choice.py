"""Which encoding serves a device: chosen by held-out rows of that device, never by its name."""

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


def held_out_errors(
    encodings: Mapping[str, npt.ArrayLike],
    y_ms: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    *,
    groups: npt.ArrayLike | None = None,
    judge: Any = None,
    seed: int = 0,
) -> dict[str, float]:
    """Return name -> mean absolute log error, capped, of predictions of networks held out.

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
    errors: dict[str, float] = {}
    for name, X in encodings.items():
        held = fit_held_out(clone(judge), np.asarray(X, float)[rows], y[rows], counted, seed=seed, groups=shared)
        assert held is not None
        errors[name] = capped_log_error(y[rows], held)
    return errors


def capped_log_error(y_ms: Array, p_ms: Array) -> float:
    """Return the mean of ``min(|ln(y / p)|, CAP)``; rows without a prediction are left out."""
    known = np.isfinite(p_ms)
    return float(np.mean(np.minimum(np.abs(np.log(y_ms[known] / p_ms[known])), CAP)))


def choose_encoding(
    encodings: Mapping[str, npt.ArrayLike],
    y_ms: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    *,
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
) -> str:
    """Return the name of the encoding with the smallest held-out error."""
    if len(encodings) == 1:
        return next(iter(encodings))
    errors = held_out_errors(encodings, y_ms, weight, groups=groups, seed=seed)
    return min(errors, key=lambda name: errors[name])
