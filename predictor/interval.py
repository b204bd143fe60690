"""Intervals that hold without knowing the model: split-conformal prediction on relative residuals.

Lei et al., *Distribution-free predictive inference for regression*, JASA 2018; from leave-one-out residuals, Barber et
al., *Predictive inference with the jackknife+*, Annals of Statistics 2021. The promise is marginal and needs the
networks asked about to be drawn like the calibration's: outside the support it does not hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from .metrics import BadComparisonError, compared
from .predictor import Array


class TooFewResidualsError(UsageError, ValueError):
    """A coverage that so few calibration networks cannot promise."""


COVERAGE = 0.95  # of the intervals that people are shown
GROUPS = 3
SMALLEST_GROUP = 40  # calibration networks, below which a group's own residuals say little


@dataclass(frozen=True)
class Conformal:
    """Sorted absolute log residuals ``|ln(y / p)| (n,)`` of networks that the model did not learn from.

    Where the predictions are known too, each third of them, from fast to slow, has a width of its own, so that the
    promise holds in every third (Vovk, *Conditional validity of inductive conformal predictors*, ACML 2012).

    Attributes:
        residuals: sorted.
        predictions_ms: Predictions of the same networks, in the same order; empty if not known.
    """

    residuals: tuple[float, ...]
    predictions_ms: tuple[float, ...] = ()

    @classmethod
    def fit(cls, y_ms: npt.ArrayLike, p_ms: npt.ArrayLike) -> Conformal:
        """Take the residuals of predictions ``p_ms (n,)`` against measurements ``y_ms (n,)`` of held-out networks."""
        y, p = compared(y_ms, p_ms)
        if np.any(p <= 0):
            raise BadComparisonError(f"predictions must be > 0 ms, found {p.min():g}: the model is unusable here")
        residuals = np.abs(np.log(y / p))
        order = np.argsort(residuals, kind="stable")
        return cls(tuple(residuals[order].tolist()), tuple(p[order].tolist()))

    @cached_property
    def groups(self) -> tuple[Array, tuple[Conformal, ...]]:
        """Return the ``g - 1`` predictions in ms that separate groups of networks, and the ``g`` calibrations."""
        known, residuals = np.asarray(self.predictions_ms), np.asarray(self.residuals)
        if len(known) < GROUPS * SMALLEST_GROUP:
            return np.zeros(0), (Conformal(self.residuals),)
        edges = np.quantile(known, np.arange(1, GROUPS) / GROUPS)
        number = np.searchsorted(edges, known)
        found = tuple(Conformal(tuple(residuals[number == n].tolist())) for n in range(GROUPS))
        small = any(len(group.residuals) < SMALLEST_GROUP for group in found)  # many equal predictions
        return (np.zeros(0), (Conformal(self.residuals),)) if small else (edges, found)

    def log_half_width(self, coverage: float) -> float:
        """Return the residual of rank ``ceil((n + 1) * coverage)``.

        Raises:
            UsageError: coverage is not between 0 and 1.
            TooFewResidualsError: that rank is above n.
        """
        if not 0 < coverage < 1:
            raise UsageError(f"coverage is {coverage}; it must be between 0 and 1, such as 0.9")
        n = len(self.residuals)
        rank = ceil((n + 1) * coverage - 1e-9)  # 10 * 0.9 must be rank 9 whatever the rounding
        if rank > n:
            raise TooFewResidualsError(
                f"{n} calibration networks promise at most {n / (n + 1):.3f} coverage, asked {coverage}; "
                f"measure at least {ceil(coverage / (1 - coverage) - 1e-9)} or ask for less"
            )
        return self.residuals[rank - 1]

    def interval(self, p_ms: npt.ArrayLike, coverage: float = 0.9) -> tuple[Array, Array]:
        """Return the bounds ``(n,)``, ``(n,)`` in ms around predictions ``p_ms (n,)``: a factor either way."""
        p = np.asarray(p_ms, float)
        edges, groups = self.groups
        widths = np.array([group.log_half_width(coverage) for group in groups])
        factor = np.exp(widths[np.searchsorted(edges, p)])
        return p / factor, p * factor

    def share_within(self, p_ms: npt.ArrayLike, limit_ms: float) -> Array:
        """Return ``(n,)``: how likely networks predicted at ``p_ms (n,)`` are to have at most ``limit_ms``.

        It is the share of calibration networks that were at most so much slower than predicted, errors either way
        taken to be as frequent.
        """
        p = np.asarray(p_ms, float)
        edges, groups = self.groups
        room = np.log(limit_ms / p)
        group = np.searchsorted(edges, p)
        known = [np.asarray(part.residuals) for part in groups]
        below = np.stack([np.searchsorted(r, np.abs(room), side="right") / (len(r) + 1) for r in known])
        return (1 + np.sign(room) * below[group, np.arange(len(p))]) / 2
