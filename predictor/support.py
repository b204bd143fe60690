"""What a predictor may speak about: the range of every feature, and how far beyond it is still alike."""

from __future__ import annotations

from math import ceil

import numpy as np

from .predictor import Array

INSIDE = 0.98  # share of networks, drawn like those learnt from, that count as inside


def support_of(X: Array) -> Array:
    """Return the range ``(2, d)`` within which encodings count as alike those learnt from, ``X (n, d)``.

    A new network has something smaller or larger than all ``n`` in one of its many features more often than not. So the
    range of every feature is widened by as much, relative to itself, as a network at hand exceeds the range of all
    others: by the conformal quantile of these, so that 98 % of networks drawn alike are inside. An option that no
    network has stays outside, unless options that a single network has are common.

    >>> support_of(np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])).tolist()
    [[-1.5, 4.5], [4.5, 5.5]]
    """
    low, high = X.min(axis=0), X.max(axis=0)
    if len(X) < 2:
        return np.stack([low, high])
    ordered = np.sort(X, axis=0)
    second_low, second_high = ordered[1], ordered[-2]
    below = (second_low - X) / np.maximum(high - second_low, 1.0)
    above = (X - second_high) / np.maximum(second_high - low, 1.0)
    beyond = np.sort(np.maximum(below, above).max(axis=1).clip(min=0.0))  # (n,): by how much each is beyond the others
    margin = beyond[min(ceil((len(X) + 1) * INSIDE), len(X)) - 1] * np.maximum(high - low, 1.0)
    return np.stack([low - margin, high + margin])
