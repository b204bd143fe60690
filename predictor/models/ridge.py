"""Ridge regression in ms: the baseline that every other model must beat, and hard to beat on near-additive devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from ..estimator import LatencyModel, array_of, params_of
from ..linear import ALPHAS, FLOOR_SHARE, Linear, above_floor, fit_ridge, relative_weight
from ..predictor import Array, State

if TYPE_CHECKING:
    from ..modules import LinearModule


class RidgeLatency(LatencyModel):
    """Linear latency, its strength chosen by generalised cross-validation (Golub, Heath and Wahba, 1979).

    Args:
        relative: minimise relative errors (weights 1 / y^2) and not errors in ms.
        alphas: strengths to try, as shares of the total weight; None for the default grid.

    Attributes:
        coef_: ``(d,)`` ms per unit of feature.
        intercept_: ms.
        alpha_: the strength chosen.
        floor_ms_: no prediction is below it.
    """

    fitted_mark: ClassVar[str] = "floor_ms_"
    rows_count: ClassVar[str] = "cross-validation leaves out rows: a row of weight 2 is one row, two equal rows are two"

    def __init__(self, relative: bool = True, alphas: Sequence[float] | None = None) -> None:
        self.relative = relative
        self.alphas = alphas

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Learn from encodings ``X (n, d)`` and latencies ``y (n,)`` in ms; weights are 1 / relative variance.

        Raises:
            BadLabelError: a latency is not positive, or a weight is negative.
        """
        features, y_ms, weight = self._learnable(X, y, sample_weight)
        weight = relative_weight(y_ms, weight) if self.relative else weight
        linear, self.alpha_ = fit_ridge(features, y_ms, weight, ALPHAS if self.alphas is None else self.alphas)
        self.coef_, self.intercept_ = linear.coef, linear.intercept
        self.floor_ms_ = FLOOR_SHARE * float(y_ms.min())
        return self

    def predict(self, X: npt.ArrayLike) -> Array:
        """Return the latencies ``(n,)`` in ms of the encodings ``X (n, d)``."""
        features = self._encoded(X)
        return above_floor(Linear(self.coef_, self.intercept_)(features), self.floor_ms_)

    @property
    def module(self) -> LinearModule:
        """Return a new module ``(b, d) -> (b,)`` ms, float32."""
        from ..modules import LinearModule

        self._check_fitted()
        return LinearModule(self.coef_, self.intercept_, self.floor_ms_).float()

    def get_state(self) -> State:
        """Return everything that ``predict`` needs."""
        self._check_fitted()
        alphas = None if self.alphas is None else [float(a) for a in self.alphas]
        scalars = np.array([self.intercept_, self.floor_ms_, np.minimum(self.alpha_, np.finfo(float).max)])
        return (
            {"coef": self.coef_, "scalars": scalars, "support": self.support_},
            {"params": {"relative": self.relative, "alphas": alphas}},
        )

    @classmethod
    def from_state(cls, arrays: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Self:
        """Restore what ``get_state`` gave; an InputRefusedError tells what does not fit."""
        model = cls(**params_of(config, cls))
        model.coef_ = array_of(arrays, "coef", (model._restore_support(arrays),))
        model.intercept_, model.floor_ms_, model.alpha_ = map(float, array_of(arrays, "scalars", (3,)))
        return model


MODEL = RidgeLatency
