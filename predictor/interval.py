"""Intervals that hold without knowing the model: split-conformal prediction on relative residuals.

Lei et al., *Distribution-free predictive inference for regression*, JASA 2018. The promise is marginal and needs the
networks asked about to be drawn like the calibration's: outside the support it does not hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from .metrics import BadComparisonError, compared
from .predictor import Array


class TooFewResidualsError(UsageError, ValueError):
    """A coverage that so few calibration networks cannot promise."""


@dataclass(frozen=True)
class Conformal:
    """Sorted absolute log residuals ``|ln(y / p)| (n,)`` of networks that the model did not learn from."""

    residuals: tuple[float, ...]

    @classmethod
    def fit(cls, y_ms: npt.ArrayLike, p_ms: npt.ArrayLike) -> Conformal:
        """Take the residuals of predictions ``p_ms (n,)`` against measurements ``y_ms (n,)`` of held-out networks."""
        y, p = compared(y_ms, p_ms)
        if np.any(p <= 0):
            raise BadComparisonError(f"predictions must be > 0 ms, found {p.min():g}: the model is unusable here")
        return cls(tuple(float(r) for r in np.sort(np.abs(np.log(y / p)))))

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
        p, factor = np.asarray(p_ms, float), float(np.exp(self.log_half_width(coverage)))
        return p / factor, p * factor
