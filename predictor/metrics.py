"""How far predictions are from measurements, and how near they could be."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..errors import UsageError
from .predictor import Array

GAUSSIAN_MEAN_ABSOLUTE = float(np.sqrt(2 / np.pi))  # E|z| of a standard normal z


class BadComparisonError(UsageError, ValueError):
    """Arrays that cannot be compared with each other."""


@dataclass(frozen=True)
class Scores:
    """Predictions against measurements of n networks.

    Attributes:
        within_1_pct, within_5_pct, within_10_pct: per cent of the networks predicted that closely.
        mape_pct: mean absolute percentage error.
        spearman, kendall: rank correlations; NaN if either side is constant.
        mae_ms: mean absolute error.
        n: networks.
    """

    within_1_pct: float
    within_5_pct: float
    within_10_pct: float
    mape_pct: float
    spearman: float
    kendall: float
    mae_ms: float
    n: int

    @classmethod
    def of(cls, y_ms: npt.ArrayLike, p_ms: npt.ArrayLike) -> Scores:
        """Score predictions ``p_ms (n,)`` against measurements ``y_ms (n,)``."""
        y, p = compared(y_ms, p_ms)
        return cls(
            within_1_pct=within_pct(y, p, 1),
            within_5_pct=within_pct(y, p, 5),
            within_10_pct=within_pct(y, p, 10),
            mape_pct=mape_pct(y, p),
            spearman=spearman(y, p),
            kendall=kendall(y, p),
            mae_ms=float(np.mean(np.abs(p - y))),
            n=len(y),
        )

    @classmethod
    def of_none(cls) -> Scores:
        """Return the scores of no network: NaN each."""
        return cls(*[float("nan")] * 7, n=0)

    def to_dict(self) -> dict[str, float]:
        """Return name -> value."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def compared(y_ms: npt.ArrayLike, p_ms: npt.ArrayLike) -> tuple[Array, Array]:
    """Return both as float arrays ``(n,)``.

    Raises:
        BadComparisonError: lengths differ, nothing to compare, a number is not finite, or a measurement not positive.
    """
    y, p = np.asarray(y_ms, float), np.asarray(p_ms, float)
    if y.ndim != 1 or y.shape != p.shape or len(y) == 0:
        raise BadComparisonError(f"measurements {y.shape} and predictions {p.shape} must both be (n,) with n >= 1")
    if not (np.all(np.isfinite(y)) and np.all(np.isfinite(p)) and np.all(y > 0)):
        raise BadComparisonError(
            "measurements must be finite and > 0 ms, predictions finite; leave out failed networks"
        )
    return y, p


def within_pct(y_ms: npt.ArrayLike, p_ms: npt.ArrayLike, pct: float) -> float:
    """Return the percentage of networks predicted within ``pct`` % of their measurement, both ``(n,)`` in ms.

    >>> within_pct([10.0, 10.0], [10.4, 11.2], 5)
    50.0
    """
    y, p = compared(y_ms, p_ms)
    return 100 * float(np.mean(np.abs(p - y) <= pct / 100 * y))


def mape_pct(y_ms: npt.ArrayLike, p_ms: npt.ArrayLike) -> float:
    """Return the mean absolute percentage error of predictions ``(n,)``, relative to measurements ``(n,)``, in ms.

    >>> round(mape_pct([10.0, 10.0], [10.4, 11.2]), 6)
    8.0

    Raises:
        BadComparisonError: as `compared`.
    """
    y, p = compared(y_ms, p_ms)
    return 100 * float(np.mean(np.abs(p / y - 1)))


def spearman(y_ms: npt.ArrayLike, p_ms: npt.ArrayLike) -> float:
    """Return Spearman's rank correlation of ``(n,)`` labels and predictions; NaN if either side is constant.

    >>> spearman([1.0, 2.0, 3.0], [10.0, 30.0, 20.0])
    0.5
    """
    y, p = compared(y_ms, p_ms)
    return float("nan") if _constant(y, p) else _statistic(stats.spearmanr(y, p))


def kendall(y_ms: npt.ArrayLike, p_ms: npt.ArrayLike) -> float:
    """Return Kendall's tau-b of ``(n,)`` labels and predictions; NaN if either side is constant."""
    y, p = compared(y_ms, p_ms)
    return float("nan") if _constant(y, p) else _statistic(stats.kendalltau(y, p))


def noise_floor_mape_pct(relative_sd: npt.ArrayLike) -> float:
    """Return the MAPE that a perfect predictor would show against labels of this noise, taken as Gaussian.

    Args:
        relative_sd: ``(n,)`` standard deviation of each label as a share of it.
    """
    noise = np.asarray(relative_sd, float)
    if noise.size == 0 or not np.all(np.isfinite(noise)) or np.any(noise < 0):
        raise BadComparisonError("relative_sd must be (n,) finite shares >= 0 with n >= 1")
    return 100 * GAUSSIAN_MEAN_ABSOLUTE * float(np.mean(noise))


def noise_floor_of_duplicates_mape_pct(first_ms: npt.ArrayLike, second_ms: npt.ArrayLike) -> float:
    """Return the same floor from networks measured twice: mean ``|ln(first / second)|`` over the square root of two.

    Args:
        first_ms: ``(n,)`` measurements.
        second_ms: ``(n,)`` measurements of the same networks, independent of the first.
    """
    first, second = compared(first_ms, second_ms)
    if np.any(second <= 0):
        raise BadComparisonError("duplicates must be > 0 ms; leave out failed networks")
    return 100 * float(np.mean(np.abs(np.log(first / second)))) / float(np.sqrt(2))


def _constant(y: Array, p: Array) -> bool:
    return bool(np.ptp(y) == 0 or np.ptp(p) == 0)


def _statistic(result: Any) -> float:
    return float(result.statistic)
