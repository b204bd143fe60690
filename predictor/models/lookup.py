"""Look-up table: latency as a base plus a cost for every option taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from ...arguments import NonNegative
from ...errors import UsageError
from ..estimator import BadLabelError, LatencyModel, array_of, params_of
from ..linear import relative_weight
from ..predictor import Array, State

if TYPE_CHECKING:
    from ..modules import LinearModule


class BadTableError(UsageError, ValueError):
    """A table that does not fit the encoding, or is not of finite numbers."""


class LookupLatency(LatencyModel):
    """``base_ms + X @ table_ms``: from operations measured one by one, or learnt from whole networks.

    A table that is given serves at once, without ``fit``. Without one, ``fit`` learns a non-negative table by
    non-negative least squares of relative errors (Lawson and Hanson, 1974).

    Args:
        table_ms: ``(d,)`` ms that each option adds; None to learn it.
        base_ms: ms that every network needs; learnt along with the table if that is None.
        calibrate: fit one scale and one offset on top of a given table.

    Attributes:
        table_ms_: ``(d,)`` in force.
        base_ms_: in force.

    References:
        Cai et al., *ProxylessNAS*, ICLR 2019; Wu et al., *FBNet*, CVPR 2019.
    """

    fitted_mark: ClassVar[str] = "base_ms_"
    literal: ClassVar[bool] = True

    def __init__(
        self, table_ms: npt.ArrayLike | None = None, base_ms: NonNegative = 0.0, calibrate: bool = False
    ) -> None:
        self.table_ms = table_ms
        self.base_ms = base_ms
        self.calibrate = calibrate

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Learn from encodings ``X (n, d)`` and latencies ``y (n,)`` in ms, or only check them against the table.

        Raises:
            BadLabelError: a latency is not positive, or contradicts the table (more cost, less latency).
            BadTableError: the table has another width than the encodings.
        """
        features, y_ms, weight = self._learnable(X, y, sample_weight)
        weight = relative_weight(y_ms, weight)
        if self.table_ms is None:
            columns = np.column_stack([features, np.ones(len(features))])
            solution, _ = nnls(columns * np.sqrt(weight)[:, None], y_ms * np.sqrt(weight))
            self.table_ms_, self.base_ms_ = solution[:-1], float(solution[-1])
            return self
        table = _table(self.table_ms, width=features.shape[1])
        scale, offset = _calibration(self.base_ms + features @ table, y_ms, weight) if self.calibrate else (1.0, 0.0)
        self.table_ms_, self.base_ms_ = scale * table, scale * self.base_ms + offset
        return self

    def predict(self, X: npt.ArrayLike) -> Array:
        """Return the latencies ``(n,)`` in ms of the encodings ``X (n, d)``."""
        self._serve_given_table()
        return self._encoded(X) @ self.table_ms_ + self.base_ms_

    @property
    def module(self) -> LinearModule:
        """Return a new module ``(b, d) -> (b,)`` ms, float32."""
        from ..modules import LinearModule

        self._serve_given_table()
        self._check_fitted()
        return LinearModule(self.table_ms_, self.base_ms_).float()

    def get_state(self) -> State:
        """Return everything that ``predict`` needs; the table in force becomes the given one."""
        self._serve_given_table()
        self._check_fitted()
        return {"table_ms": self.table_ms_, "support": self.support_}, {"params": {"base_ms": float(self.base_ms_)}}

    @classmethod
    def from_state(cls, arrays: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Self:
        """Restore what ``get_state`` gave; an InputRefusedError tells what does not fit."""
        model = cls(**params_of(config, cls))
        model.table_ms = array_of(arrays, "table_ms", (model._restore_support(arrays),))
        model.table_ms_, model.base_ms_ = model.table_ms, float(model.base_ms)
        return model

    def _serve_given_table(self) -> None:
        if self.table_ms is None or self.calibrate or hasattr(self, self.fitted_mark):
            return
        self.table_ms_, self.base_ms_ = _table(self.table_ms), float(self.base_ms)
        self.n_features_in_ = len(self.table_ms_)
        self.support_ = np.stack([np.zeros(self.n_features_in_), np.ones(self.n_features_in_)])


def _table(table_ms: npt.ArrayLike, width: int | None = None) -> Array:
    table = np.asarray(table_ms, float)
    if table.ndim != 1 or not np.all(np.isfinite(table)):
        raise BadTableError(f"table_ms must be (d,) finite ms, got shape {table.shape}")
    if width not in (None, len(table)):
        raise BadTableError(f"table_ms has {len(table)} options, the encodings {width}; use one space for both")
    return table


def _calibration(table_sum_ms: Array, y_ms: Array, weight: Array) -> tuple[float, float]:
    """Return the scale and offset that bring the table's sums to the labels."""
    center = np.average(table_sum_ms, weights=weight)
    spread = np.average((table_sum_ms - center) ** 2, weights=weight)
    if spread == 0:
        raise BadLabelError("all networks have the same cost by the table: no scale can be fitted; sample more")
    mean_ms = np.average(y_ms, weights=weight)
    scale = float(np.average((table_sum_ms - center) * (y_ms - mean_ms), weights=weight) / spread)
    if scale <= 0:
        raise BadLabelError(
            f"the labels fall as the table's cost rises (scale {scale:.3g}): this is not the table of this device"
        )
    return scale, float(mean_ms - scale * center)


MODEL = LookupLatency
