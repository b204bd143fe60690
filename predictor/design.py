"""Which networks of a space to measure on a new device: those that tell a linear model the most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from .linear import moments

RIDGE = 1e-2  # prior precision of a design, against features of unit variance


def d_optimal(X: npt.ArrayLike, count: int, rng: np.random.Generator, taken: Sequence[int] = ()) -> list[int]:
    """Return ``count`` rows of ``X (n, d)`` that tell a linear model the most: greedy D-optimal design.

    Each row maximises the determinant of the information of those before it. A longer design begins with the shorter.

    Args:
        X: features of the candidates.
        count: rows to choose.
        rng: breaks ties.
        taken: rows measured already; not chosen again.

    Raises:
        UsageError: fewer candidates than asked.

    References:
        Fedorov, *Theory of optimal experiments*, 1972.
    """
    features = np.asarray(X, float)
    if not 0 <= count <= len(features) - len(taken):
        raise UsageError(f"{count} networks asked of {len(features) - len(taken)} candidates; give more candidates")
    mean, inverse = moments(features, np.ones(len(features)))
    z = np.column_stack([np.ones(len(features)), (features - mean) * inverse])[:, np.r_[True, inverse > 0]]
    tie = 1 + 1e-9 * rng.random(len(z))
    covariance = np.eye(z.shape[1]) / RIDGE
    gone = np.zeros(len(z), bool)
    chosen: list[int] = []
    for turn in range(len(taken) + count):
        spread = np.einsum("nd,de,ne->n", z, covariance, z)
        row = taken[turn] if turn < len(taken) else int(np.argmax(np.where(gone, -np.inf, spread * tie)))
        gone[row] = True
        if turn >= len(taken):
            chosen.append(row)
        along = covariance @ z[row]
        covariance -= np.outer(along, along) / (1 + spread[row])
    return chosen
