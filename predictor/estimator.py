"""What the latency models share: scikit-learn's face, the checks of what comes in, the pieces of a saved state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from time import perf_counter
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GroupKFold, KFold
from sklearn.utils import Tags, validation

from ..errors import InputRefusedError, UsageError
from .predictor import Array
from .support import support_of

_checks: Any = validation  # inferred types take each default's type for the only one

FOLDS = 5
Groups = npt.NDArray[np.int64]
MAX_WEIGHT_RATIO = 20.0  # a label may count at most this many times as much as the mean, or that much less


class BadLabelError(UsageError, ValueError):
    """Labels or weights that no latency model can learn from."""


class UnfittedPredictorError(UsageError, NotFittedError):
    """A predictor was asked before it had learnt anything."""


class LatencyModel(RegressorMixin, BaseEstimator):
    """Abstract base of the latency models: a scikit-learn regressor with positive targets in ms.

    Attributes:
        support_: ``(2, d)``, the range of every feature that counts as known; see `support_of`.
        n_features_in_: d.
    """

    fitted_mark: ClassVar[str]  # the attribute that ``fit`` sets last
    small: ClassVar[Mapping[str, Any]] = {}  # arguments with which it learns in a second, for contract tests
    rows_count: ClassVar[str] = ""  # why a row of weight 2 is not two equal rows, as scikit-learn expects, if it is not
    frugal: ClassVar[bool] = False  # whether it learns from few rows, of the space's sparing encoding
    literal: ClassVar[bool] = False  # whether an entry of its encoding must be an option: it adds up what options cost
    leaves_out: ClassVar[bool] = False  # whether ``fit`` takes ``groups`` and sets held_out_ms_, ``(n,)`` predictions
    # of which none has seen a label of its own group

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = True
        return tags

    def _learnable(
        self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None
    ) -> tuple[Array, Array, Array]:
        """Check what ``fit`` was given; rows of weight zero are left out, weights have mean 1."""
        if sample_weight is not None:
            given = np.asarray(sample_weight, float)
            if np.any(given < 0) or not np.any(given > 0):
                raise BadLabelError(
                    "sample_weight must be >= 0 and not all zero; give 1 / relative variance of the label"
                )
        checked_X, checked_y = _checks.validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        features, labels_ms = np.asarray(checked_X, float), np.asarray(checked_y, float)
        weight = np.asarray(_checks._check_sample_weight(sample_weight, features, dtype=np.float64), float)
        kept = weight > 0
        features, labels_ms, weight = features[kept], labels_ms[kept], weight[kept]
        if not np.all(labels_ms > 0):
            raise BadLabelError(
                f"latencies must be > 0 ms, found {labels_ms.min():g}; leave out networks that were not measured"
            )
        self.support_: Array = support_of(features)
        return features, labels_ms, weight / weight.mean()

    def _encoded(self, X: npt.ArrayLike) -> Array:
        """Check what ``predict`` was given."""
        self._check_fitted()
        return np.asarray(_checks.validate_data(self, X, dtype=np.float64, reset=False), float)

    def _check_fitted(self) -> None:
        try:
            _checks.check_is_fitted(self, self.fitted_mark)
        except NotFittedError as error:
            raise UnfittedPredictorError(
                f"this {type(self).__name__} has learnt nothing yet: call fit first"
            ) from error

    def _restore_support(self, arrays: Mapping[str, npt.NDArray[Any]]) -> int:
        self.support_ = array_of(arrays, "support", (2, None))
        self.n_features_in_: int = self.support_.shape[1]
        return self.n_features_in_


def tempered(weight: Array) -> Array:
    """Return weights ``(n,)`` with outliers drawn in, of mean 1.

    Inverse variances span decades, but a model's own error does not shrink with the label's: without a bound a few
    lucky labels would be all that a network sees.
    """
    bounded = np.clip(weight, 1 / MAX_WEIGHT_RATIO, MAX_WEIGHT_RATIO)
    return bounded / bounded.mean()


def learnt_groups(groups: npt.ArrayLike | None, sample_weight: npt.ArrayLike | None, rows: int) -> Groups:
    """Return the groups ``(rows,)``, from 0, of the rows that are learnt from: those of ``(n,)`` with a weight above 0.

    Without groups each row is a group of its own.

    Raises:
        BadLabelError: there is not one for every row.
    """
    if groups is None:
        return np.arange(rows)
    given = np.asarray(groups)
    kept = np.ones(len(given), bool) if sample_weight is None else np.asarray(sample_weight, float) > 0
    if given.ndim != 1 or len(given) != len(kept) or kept.sum() != rows:
        raise BadLabelError(f"groups must be (n,), one for each network; found {given.shape}")
    return np.unique(given[kept], return_inverse=True)[1]


def repeated(groups: Groups) -> Iterator[npt.NDArray[np.int64]]:
    """Yield ``(m, k)`` rows of the m groups that have k rows each, for every k above 1."""
    order = np.argsort(groups, kind="stable")
    _, start, size = np.unique(groups[order], return_index=True, return_counts=True)
    for k in np.unique(size[size > 1]).tolist():
        yield order[start[size == k][:, None] + np.arange(k)]


def of_all_rows(left_out: Array, sample_weight: npt.ArrayLike | None) -> Array:
    """Return ``left_out`` at the rows of weight above 0, those learnt from, and NaN at the others: ``(n,)``."""
    if sample_weight is None:
        return left_out
    given = np.asarray(sample_weight, float) > 0
    found = np.full(len(given), np.nan)
    found[given] = left_out
    return found


def folds(groups: Groups, seed: int) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yield rows to learn from and rows to predict, no group ``(n,)`` among both.

    It does so 5 times, or as often as there are groups; never for one.
    """
    rows, many = len(groups), len(np.unique(groups))
    if many > 1:
        parts, alone = min(FOLDS, many), many == rows
        kind = (KFold if alone else GroupKFold)(parts, shuffle=True, random_state=seed)
        yield from kind.split(np.empty(rows), groups=None if alone else groups)


def fit_grouped(model: Any, X: Array, y_ms: Array, weight: Array | None, groups: npt.ArrayLike | None) -> Any:
    """Fit a model and return it; one that leaves rows out is told which belong together, if any do."""
    takes = groups is not None and _checks.has_fit_parameter(model, "groups")
    return model.fit(X, y_ms, sample_weight=weight, **({"groups": groups} if takes else {}))


def fit_held_out(
    model: Any,
    X: Array,
    y_ms: Array,
    weight: Array,
    *,
    seed: int,
    groups: npt.ArrayLike | None = None,
    left_s: float = float("inf"),
) -> Array | None:
    """Fit a model and return ``(n,)`` predictions in ms of all rows, each without any label of its own group.

    They come from the model itself where it leaves rows out, else from 5 folds. None, and a model that is not fitted,
    if the folds would take longer than ``left_s``.

    Args:
        model: unfitted.
        X: ``(n, d)``.
        y_ms: ``(n,)``.
        weight: ``(n,)``.
        seed: Seed of the folds.
        groups: ``(n,)`` numbers that rows of one network share; None if no network is there twice.
        left_s: seconds.
    """
    if left_s <= 0:
        return None
    if getattr(type(model), "leaves_out", False) and (groups is None or _checks.has_fit_parameter(model, "groups")):
        return fit_grouped(model, X, y_ms, weight, groups).held_out_ms_
    start = perf_counter()
    found = np.full(len(X), float(np.median(y_ms)))  # of one network alone nothing else is known
    for number, (learn, test) in enumerate(folds(learnt_groups(groups, None, len(X)), seed)):
        if number == 1 and (perf_counter() - start) * (FOLDS + 1) > left_s:
            return None
        fresh: Any = clone(model)
        found[test] = fresh.fit(X[learn], y_ms[learn], sample_weight=weight[learn]).predict(X[test])
    model.fit(X, y_ms, sample_weight=weight)
    return found


def array_of(arrays: Mapping[str, npt.NDArray[Any]], name: str, shape: tuple[int | None, ...]) -> Array:
    """Return one finite float64 array of a saved state, of the given shape; None in it allows any length.

    Raises:
        InputRefusedError: it is missing, or not of this shape, or not finite numbers.
    """
    if name not in arrays:
        raise InputRefusedError(f"the saved predictor lacks the array {name!r}; it has {sorted(arrays)}")
    array = arrays[name]
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    if not fits or array.dtype.kind not in "fiu" or not np.all(np.isfinite(array)):
        raise InputRefusedError(
            f"array {name!r} of the saved predictor is {array.dtype}{list(array.shape)}; "
            f"expected finite numbers of shape {['any' if n is None else n for n in shape]}"
        )
    return array.astype(np.float64)


def params_of(config: Mapping[str, Any], estimator: type[BaseEstimator]) -> dict[str, Any]:
    """Return the constructor's arguments in a saved state.

    Raises:
        InputRefusedError: they are not an object, or not arguments of this model.
    """
    params = config.get("params")
    defaults = estimator().get_params()
    if not isinstance(params, dict) or not set(params) <= set(defaults):
        raise InputRefusedError(f"params of the saved {estimator.__name__} are {params!r}; allowed: {sorted(defaults)}")
    for name, value in params.items():
        if not _like(value, defaults[name]):
            raise InputRefusedError(
                f"{name} of the saved {estimator.__name__} is {value!r}; expected something like {defaults[name]!r}"
            )
    return dict(params)


def _like(value: object, default: object) -> bool:
    """Tell whether a JSON value can stand for an argument with this default."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if default is None or isinstance(default, tuple):
        numbers = isinstance(value, list) and all(isinstance(number, int | float) for number in value)
        whole = numbers and all(isinstance(number, int) for number in cast(list[object], value))
        return (value is None or numbers) if default is None else whole
    return isinstance(value, int | float) if isinstance(default, float) else isinstance(value, type(default))
