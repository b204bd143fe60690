"""A new device from few samples: blocks of features, averaged over how much each block counts.

Nothing is taken from other devices unless it helps: the model without them is always fitted too, and is left only for
one that predicts left-out samples better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from ...errors import UsageError
from ..estimator import LatencyModel, array_of, params_of
from ..linear import FLOOR_SHARE, Linear, above_floor, moments
from ..predictor import Array, State

if TYPE_CHECKING:
    from ..modules import LinearModule

STRENGTHS = (0.0, 0.1, 1.0)  # of a block of features, before the scale of all
SCALES = tuple(float(s) for s in np.logspace(-1, 3, 9))  # signal to noise
GAIN = 0.97  # left-out error that sources must reach, as a share of that without


class TransferLatency(LatencyModel):
    """Linear latency from few samples: blocks of features, each with its own strength, averaged over strengths.

    The prior of the latency is a Gaussian process with a linear kernel a block. Combinations of strengths are averaged
    by their marginal likelihood. With a block of source devices, the average with it is used only if it predicts
    left-out samples better than the average without.

    Args:
        blocks: numbers of consecutive features in each block.
        sources: the last block holds other devices' latencies (or their logarithms).

    Attributes:
        coef_: ``(d,)`` ms per unit of feature.
        intercept_: ms.
        floor_ms_: no prediction is below it.
        uses_sources_: whether the sources helped.
        held_out_ms_: ``(n,)`` predictions of the rows of ``fit`` without their own label; NaN for rows of weight 0,
            and for all after loading.

    References:
        Lee et al., *HELP*, NeurIPS 2021; Akhauri and Abdelfattah, *On latency predictors for neural architecture
        search* (NASFLAT), MLSys 2024.
    """

    fitted_mark: ClassVar[str] = "floor_ms_"
    leaves_out: ClassVar[bool] = True

    def __init__(self, blocks: Sequence[int] = (), sources: bool = False) -> None:
        self.blocks = blocks
        self.sources = sources

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Learn from features ``X (n, d)`` and latencies ``y (n,)`` in ms; weights are 1 / relative variance.

        Raises:
            UsageError: the blocks do not add up to the features.
        """
        features, y_ms, weight = self._learnable(X, y, sample_weight)
        blocks = list(self.blocks) or [features.shape[1]]
        if sum(blocks) != features.shape[1] or min(blocks) < 1:
            raise UsageError(f"blocks={blocks} add up to {sum(blocks)}; the features are {features.shape[1]}")
        alone = blocks[:-1] if self.sources and len(blocks) > 1 else blocks
        self.uses_sources_ = False
        with threadpool_limits(1):  # matrices too small to gain by more threads, and the cores are not ours alone
            found, left_out, error = _averaged(features, y_ms, weight, alone)
            if len(alone) < len(blocks):
                other, other_left_out, other_error = _averaged(features, y_ms, weight, blocks)
                if other_error < GAIN * error:
                    self.uses_sources_, found, left_out = True, other, other_left_out
        self.coef_, self.intercept_ = found.coef, found.intercept
        given = np.ones(len(np.asarray(y)), bool) if sample_weight is None else np.asarray(sample_weight, float) > 0
        floor_ms = FLOOR_SHARE * float(y_ms.min())
        self.held_out_ms_: Array = np.full(len(given), np.nan)
        self.held_out_ms_[given] = np.maximum(left_out, floor_ms)
        self.floor_ms_ = floor_ms
        return self

    def predict(self, X: npt.ArrayLike) -> Array:
        """Return the latencies ``(n,)`` in ms of the features ``X (n, d)``."""
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
        scalars = np.array([self.intercept_, self.floor_ms_])
        params = {"blocks": [int(b) for b in self.blocks], "sources": bool(self.sources)}
        return {"coef": self.coef_, "scalars": scalars, "support": self.support_}, {"params": params}

    @classmethod
    def from_state(cls, arrays: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Self:
        """Restore what ``get_state`` gave; an InputRefusedError tells what does not fit."""
        model = cls(**params_of(config, cls))
        model.coef_ = array_of(arrays, "coef", (model._restore_support(arrays),))
        model.intercept_, model.floor_ms_ = map(float, array_of(arrays, "scalars", (2,)))
        model.uses_sources_ = bool(model.sources)
        model.held_out_ms_ = np.full(1, np.nan)
        return model


def _averaged(X: Array, y_ms: Array, weight: Array, blocks: Sequence[int]) -> tuple[Linear, Array, float]:
    """Return the average over strengths of the blocks, left-out predictions ``(n,)`` in ms and their relative error.

    The blocks may be fewer than the features: the last ones are left out then.
    """
    n, width = len(X), X.shape[1]
    mean, inverse = moments(X, np.ones(n))
    center, scale = float(y_ms.mean()), float(y_ms.std())
    if n < 3 or scale == 0 or not inverse[: sum(blocks)].any():
        return Linear(np.zeros(width), center), np.full(n, center), np.inf
    z, target = (X - mean) * inverse, (y_ms - center) / scale
    edges = np.cumsum([0, *blocks])
    parts = [z[:, a:b] for a, b in pairwise(edges)]
    sizes = [max(1, int((inverse[a:b] > 0).sum())) for a, b in pairwise(edges)]
    kernels = [part @ part.T / size for part, size in zip(parts, sizes, strict=True)]
    evidence: list[float] = []
    weights: list[Array] = []
    left_out: list[Array] = []
    root = np.sqrt(weight)
    for strength in (s for s in product(STRENGTHS, repeat=len(blocks)) if max(s) == max(STRENGTHS)):
        mixed = sum((s * k for s, k in zip(strength, kernels, strict=True)), np.ones((n, n)))  # ones: the intercept's
        values, vectors = np.linalg.eigh(root[:, None] * mixed * root)
        whitened, vectors = vectors.T @ (root * target), root[:, None] * vectors
        for signal in SCALES:
            covariance = signal * np.maximum(values, 0) + 1  # of the whitened target, along each vector
            alpha = vectors @ (whitened / covariance)
            variance = float(target @ alpha) / n  # of the noise, at its most likely
            evidence.append(-0.5 * (n * np.log(variance) + float(np.log(covariance).sum())))
            slopes = [
                s * signal / size * (part.T @ alpha) for s, size, part in zip(strength, sizes, parts, strict=True)
            ]
            weights.append(np.concatenate([*slopes, np.zeros(width - edges[-1]), [signal * alpha.sum()]]))
            left_out.append(target - alpha / (vectors**2 / covariance).sum(axis=1))
    share = np.exp(np.array(evidence) - max(evidence))
    share /= share.sum()
    slope = share @ np.array(weights)
    without = share @ np.array(left_out)
    error = float(np.sqrt(np.average((target - without) ** 2, weights=weight)))
    coef = scale * slope[:-1] * inverse
    return Linear(coef, center + scale * float(slope[-1]) - float(mean @ coef)), center + scale * without, error


MODEL = TransferLatency
