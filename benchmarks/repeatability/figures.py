"""What is told of labels: plain functions of arrays ``(r, n)``, processes by networks, NaN where there is no label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

Array = NDArray[np.float64]
Interval = tuple[float, float, float]  # the figure, and the ends of its 95 % bootstrap interval

GAP = 0.05
RESAMPLES = 400


def variation(labels: Array) -> Array:
    """Return every network's coefficient of variation over processes, ``(n,)``; NaN with fewer than two labels."""
    count = np.isfinite(labels).sum(0)
    mean = np.nansum(labels, 0) / np.maximum(count, 1)
    square = np.nansum((labels - mean) ** 2, 0) / np.maximum(count - 1, 1)
    return np.where(count > 1, np.sqrt(square) / np.where(mean > 0, mean, 1), np.nan)


def repeatability(labels: Array) -> float:
    """R1: the median over networks of `variation`."""
    return middle(variation(labels))


def worst_case(labels: Array, truth: Array) -> float:
    """R2: the 95th percentile of abs(label / truth - 1), over networks and processes."""
    errors = np.abs(labels / truth - 1)
    errors = errors[np.isfinite(errors)]
    return float(np.quantile(errors, 0.95)) if errors.size else float("nan")


def bias(labels: Array, truth: Array) -> float:
    """B1: the median of label / truth - 1."""
    return middle(labels / truth - 1)


def coverage(low: Array, high: Array, truth: Array) -> float:
    """C1: the share of intervals that contain the truth, of those that exist."""
    known = np.isfinite(low) & ~np.isnan(high) & np.isfinite(truth)
    inside = (low <= truth) & (truth <= high)
    return float(inside[known].mean()) if known.any() else float("nan")


def rank_agreement(labels: Array) -> float:
    """R3: Kendall's tau between the labels of two processes, averaged over pairs of processes."""
    taus: list[float] = []
    for one, other in combinations(labels, 2):
        both = np.isfinite(one) & np.isfinite(other)
        if both.sum() > 2:
            taus.append(float(kendalltau(one[both], other[both]).statistic))
    return float(np.mean(taus)) if taus else float("nan")


def swapped(labels: Array, truth: Array, gap: float = GAP) -> float:
    """R3: of pairs of networks that truly differ by over ``gap``, the share that two processes order differently."""
    rows, columns = np.triu_indices(len(truth), 1)
    far = np.abs(np.log(truth[rows] / truth[columns])) > np.log1p(gap)
    order = np.sign(labels[:, rows[far]] - labels[:, columns[far]])
    shares = [
        float(np.mean((one != other)[known]))
        for one, other in combinations(order, 2)
        if (known := np.isfinite(one) & np.isfinite(other)).any()
    ]
    return float(np.mean(shares)) if shares else float("nan")


def middle(values: Array) -> float:
    """Return the median of what is finite, NaN if nothing is."""
    found = values[np.isfinite(values)]
    return float(np.median(found)) if found.size else float("nan")


def bootstrap(
    statistic: Callable[..., float], *arrays: Array, per_network: Sequence[Array] = (), seed: int = 0
) -> Interval:
    """Return a figure with its 95 % interval: processes and networks are both drawn anew.

    Args:
        statistic: of the arrays, then of ``per_network``.
        arrays: each ``(r, n)``.
        per_network: each ``(n,)``.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    processes, networks = arrays[0].shape
    found: list[float] = []
    for _ in range(RESAMPLES):
        rows = rng.integers(0, processes, processes)[:, None]
        columns = rng.integers(0, networks, networks)
        found.append(statistic(*(a[rows, columns] for a in arrays), *(a[columns] for a in per_network)))
    kept = np.array(found)[np.isfinite(found)]
    value = statistic(*arrays, *per_network)
    half = 1.96 * float(kept.std()) if kept.size else float("nan")  # quantiles are biased: a draw repeats processes
    return value, max(value - half, 0.0), value + half


def prediction_errors(predicted: Array, truth: Array) -> tuple[float, float, float]:
    """P1: return the mean absolute relative error, the same with the common level divided out, and Kendall's tau."""
    known = np.isfinite(truth)
    if known.sum() < 3:
        return float("nan"), float("nan"), float("nan")
    ratio = predicted[known] / truth[known]
    tau = float(kendalltau(predicted[known], truth[known]).statistic)
    return float(np.mean(np.abs(ratio - 1))), float(np.mean(np.abs(ratio / np.median(ratio) - 1))), tau
