"""scikit-learn's Gaussian process: a baseline that every model of ours has to beat."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, Kernel, WhiteKernel
from threadpoolctl import threadpool_limits

from ...arguments import Count, Seed
from ..estimator import LatencyModel, array_of, params_of, tempered
from ..linear import FLOOR_SHARE, above_floor, moments
from ..predictor import Array, State

JITTER = 1e-8


class SklearnGP(LatencyModel):
    """`GaussianProcessRegressor` with a linear and a squared exponential kernel, one length for all; no ``module``.

    It finds one noise for all rows first; then each row's is in proportion to its latency and to 1 / weight.

    Args:
        rows: with more, so many at random are learnt from: the cost is their cube.
        random_state: seed of that choice.

    Attributes:
        floor_ms_: no prediction is below it.
        theta_: logarithms of the kernel's hyperparameters.
        alpha_: ``(k,)`` weights of the rows learnt from.
    """

    fitted_mark: ClassVar[str] = "alpha_"
    small: ClassVar[Mapping[str, Any]] = {"rows": 150}
    rows_count: ClassVar[str] = "two equal rows are two measurements, each with noise of its own"

    def __init__(self, rows: Count = 1000, random_state: Seed = 0) -> None:
        self.rows = rows
        self.random_state = random_state

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Learn from encodings ``X (n, d)`` and latencies ``y (n,)`` in ms; weights are 1 / relative variance.

        Raises:
            BadLabelError: a latency is not positive, or a weight is negative.
        """
        features, y_ms, weight = self._learnable(X, y, sample_weight)
        kept = np.sort(np.random.default_rng(self.random_state).permutation(len(y_ms))[: self.rows])
        z, labels = features[kept], y_ms[kept]
        self.mean_, self.inverse_ = moments(z, np.ones(len(z)))
        self.center_, self.scale_ = float(labels.mean()), float(labels.std()) or 1.0
        self.known_: Array = (z - self.mean_) * self.inverse_
        target = (labels - self.center_) / self.scale_
        kernel = _kernel(z.shape[1])
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a hyperparameter at its bound is an answer
            first: Any = GaussianProcessRegressor(kernel + WhiteKernel(1e-2)).fit(self.known_, target)
            noise = first.kernel_.k2.noise_level * (labels / labels.mean()) ** 2 / tempered(weight[kept])
            second: Any = GaussianProcessRegressor(first.kernel_.k1, alpha=noise + JITTER).fit(self.known_, target)
        self.theta_: Array = second.kernel_.theta
        self.alpha_: Array = np.ravel(second.alpha_)
        self.floor_ms_ = FLOOR_SHARE * float(y_ms.min())
        return self

    def predict(self, X: npt.ArrayLike) -> Array:
        """Return the latencies ``(n,)`` in ms of the encodings ``X (n, d)``."""
        z = (self._encoded(X) - self.mean_) * self.inverse_
        across: Any = _kernel(z.shape[1]).clone_with_theta(self.theta_)
        return above_floor(self.center_ + self.scale_ * (across(z, self.known_) @ self.alpha_), self.floor_ms_)

    def get_state(self) -> State:
        """Return everything that ``predict`` needs."""
        self._check_fitted()
        arrays = {"mean": self.mean_, "inverse": self.inverse_, "known": self.known_, "alpha": self.alpha_}
        arrays |= {
            "theta": self.theta_,
            "scalars": np.array([self.center_, self.scale_, self.floor_ms_]),
            "support": self.support_,
        }
        return arrays, {"params": self.get_params()}

    @classmethod
    def from_state(cls, arrays: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Self:
        """Restore what ``get_state`` gave; an InputRefusedError tells what does not fit."""
        model = cls(**params_of(config, cls))
        width = model._restore_support(arrays)
        model.mean_, model.inverse_ = (array_of(arrays, name, (width,)) for name in ("mean", "inverse"))
        model.known_ = array_of(arrays, "known", (None, width))
        model.theta_ = array_of(arrays, "theta", (_kernel(width).n_dims,))
        model.center_, model.scale_, model.floor_ms_ = map(float, array_of(arrays, "scalars", (3,)))
        model.alpha_ = array_of(arrays, "alpha", (len(model.known_),))
        return model


def _kernel(width: int) -> Kernel:
    linear = ConstantKernel(1.0 / width) * DotProduct(1.0)
    return linear + ConstantKernel(1.0) * RBF(np.sqrt(width), (1e-2, 1e3))


MODEL = SklearnGP
