"""Which networks of a space to measure on a new device: those that tell a linear model the most."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..shown import counted
from .linear import moments

RIDGE = 0.5  # variance of the noise that a design reckons with, where the latency's is 1: less leads to odd corners


def d_optimal(
    X: npt.ArrayLike, count: int, rng: np.random.Generator, *, blocks: Sequence[int] = (), taken: Sequence[int] = ()
) -> list[int]:
    """Return ``count`` rows of ``X (n, d)`` that tell a linear model the most: greedy D-optimal design.

    Each row maximises the determinant of the information of those before it. A longer design begins with the shorter.

    Args:
        X: features of the candidates.
        count: rows to choose.
        rng: breaks ties.
        blocks: numbers of consecutive features in each block; blocks count alike, however many features they have.
        taken: rows measured already; not chosen again.

    Raises:
        UsageError: fewer candidates than asked.

    References:
        Fedorov, *Theory of optimal experiments*, 1972.
    """
    features = np.asarray(X, float)
    if not 0 <= count <= len(features) - len(taken):
        asked = counted(count, "network")
        raise UsageError(f"{asked} asked of {len(features) - len(taken)} candidates; give more candidates")
    mean, inverse = moments(features, np.ones(len(features)))
    edges = np.cumsum([0, *(blocks or (features.shape[1],))])
    sizes = [np.sqrt(len(edges) - 1) * np.sqrt(max(1, np.count_nonzero(inverse[a:b]))) for a, b in pairwise(edges)]
    z = (features - mean) * inverse / np.repeat(sizes, np.diff(edges))
    spread = (z**2).sum(axis=1) * (1 + 1e-9 * rng.random(len(z)))  # what is not yet known of each candidate
    known = np.zeros((0, len(z)))
    chosen: list[int] = list(taken)
    for turn in range(len(taken) + count):
        if turn >= len(taken):
            chosen.append(int(np.argmax(np.where(np.isin(np.arange(len(z)), chosen), -1, spread))))
        row = chosen[turn]
        told = (z @ z[row] - known[:, row] @ known) / np.sqrt(spread[row] + RIDGE)
        known = np.vstack([known, told])
        spread = np.maximum(spread - told**2, 0)
    return chosen[len(taken) :]
