"""Judging a model on a table: which rows it learns from, which it is tested on, and how many its intervals hold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from .predictor import Array

METRICS = ("within_1_pct", "within_5_pct", "within_10_pct", "mape_pct", "spearman", "kendall")


class BadSplitError(UsageError, ValueError):
    """A split that leaves nothing to learn from or to test on."""


def covered(y_ms: Array, p_ms: Array, low_ms: Array, high_ms: Array) -> dict[str, float]:
    """Return how many of the measurements lie within their intervals, in all and in every third of the predictions.

    The width is the median of ``(high - low) / p``, in per cent. Fewer than three predictions leave thirds without
    any: their coverage is NaN.
    """
    inside = (y_ms >= low_ms) & (y_ms <= high_ms)
    thirds = np.array_split(np.argsort(p_ms, kind="stable"), 3)
    shares = {
        f"coverage_{name}_pct": 100 * float(inside[third].mean()) if len(third) else float("nan")
        for name, third in zip(("fast", "middle", "slow"), thirds, strict=True)
    }
    width_pct = 100 * float(np.median((high_ms - low_ms) / p_ms))
    return {"coverage_pct": 100 * float(inside.mean())} | shares | {"width_pct": width_pct}


def split_rows(
    labels: npt.NDArray[np.generic], train: int, valid: int, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the places of the rows to learn from, to choose by and to test on; no label is among two of them.

    Those to learn from depend on the seed alone, not on the labels.

    Args:
        labels: ``(n,)``, equal for rows of one network.
        train: rows to learn from.
        valid: rows to choose by.
        seed: Seed of the split.

    Returns:
        Indices ``(train,)``, ``(valid,)`` and ``(m,)``, of all rows that are left.

    Raises:
        BadSplitError: no row is left to learn from or to test on, or too few to choose by.
    """
    if train < 1 or valid < 0 or train + valid >= len(labels):
        raise BadSplitError(
            f"train={train}, valid={valid} of {len(labels)} rows: train must be >= 1, and some rows be left to test"
        )
    order = np.random.default_rng(seed).permutation(len(labels))
    learn, rest = np.split(order, [train])
    rest = rest[~np.isin(labels[rest], labels[learn])]
    choose, test = np.split(rest, [valid])
    test = test[~np.isin(labels[test], labels[choose])]
    if len(choose) < valid or len(test) == 0:
        raise BadSplitError(
            f"seed {seed}: besides the {len(np.unique(labels[learn]))} networks of {train} rows to learn from there "
            f"are {len(np.unique(labels[rest]))} others, too few for {valid} rows to choose by and some to test on; "
            "learn from fewer"
        )
    return learn, choose, test
