"""A new device from few samples: a line whose coefficients are known beforehand from counts and from other devices.

Nothing is taken from other devices unless it helps: models without them are always in the mix, and each counts by how
well it predicts left-out samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from ...errors import UsageError
from ..estimator import LatencyModel, array_of, learnt_groups, of_all_rows, params_of, repeated
from ..linear import FLOOR_SHARE, Linear, above_floor, moments
from ..predictor import Array, State

if TYPE_CHECKING:
    from ..modules import LinearModule

STRENGTHS = (0.0, 0.1, 1.0)  # of a block of features, before the scale of all
SCALES = tuple(float(s) for s in np.logspace(-1, 3, 9))  # signal to noise
TRUST = 4.0  # a model counts as its left-out error to the power of minus this


class TransferLatency(LatencyModel):
    """Linear latency from few samples: blocks of features, each with its own strength, averaged over strengths.

    The prior of the latency is a Gaussian process with a linear kernel a block; what other devices' lines say of a
    network is one more block. Combinations of strengths are averaged by their marginal likelihood. Such averages are
    made with and without the first blocks, and with and without the other devices; they are mixed by their left-out
    errors. All of this is linear, so the result is one line.

    Args:
        blocks: numbers of consecutive features in each block, the finest first; all features in one by default.
        sources: other devices' latencies in ms as lines over the same features, such as ``line_`` of a model learnt
            there. Their levels and units do not matter.

    Attributes:
        line_: the latency in ms over the features.
        floor_ms_: no prediction is below it.
        source_share_: weight of the models that use the sources, 0 to 1.
        held_out_ms_: ``(n,)`` predictions of the rows of ``fit`` without any label of their group; NaN for rows of
            weight 0, and for all after loading.

    References:
        Lee et al., *HELP*, NeurIPS 2021; Akhauri and Abdelfattah, *On latency predictors for neural architecture
        search* (NASFLAT), MLSys 2024.
    """

    fitted_mark: ClassVar[str] = "floor_ms_"
    rows_count: ClassVar[str] = "two equal rows are two measurements, each with noise of its own"
    leaves_out: ClassVar[bool] = True
    frugal: ClassVar[bool] = True

    def __init__(self, blocks: Sequence[int] = (), sources: Sequence[Linear] = ()) -> None:
        self.blocks = blocks
        self.sources = sources

    def fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        groups: npt.ArrayLike | None = None,
    ) -> Self:
        """Learn from features ``X (n, d)`` and latencies ``y (n,)`` in ms; weights are 1 / relative variance.

        ``groups (n,)`` are numbers that rows of one network share: these are left out together.

        Raises:
            BadLabelError: a latency is not positive, a weight is negative, or there is not one group for each row.
            UsageError: the blocks do not add up to the features, or a source is over other features.
        """
        features, y_ms, weight = self._learnable(X, y, sample_weight)
        together = list(repeated(learnt_groups(groups, sample_weight, len(y_ms))))
        n, width = features.shape
        blocks = list(self.blocks) or [width]
        if sum(blocks) != width or min(blocks) < 1:
            raise UsageError(f"blocks={blocks} add up to {sum(blocks)}; the features are {width}")
        if wrong := [len(source.coef) for source in self.sources if len(source.coef) != width]:
            raise UsageError(f"a source is a line over {wrong[0]} features; the features are {width}")
        lines = np.stack([np.append(source.coef, source.intercept) for source in self.sources] or [np.zeros(width + 1)])
        parts = [np.eye(width + 1)[a:b] for a, b in pairwise(np.cumsum([0, *blocks]))]  # lines, one a feature
        kinds = [parts[first:] for first in range(len(parts))]
        kinds += [[*parts[first:], lines] for first in range(len(parts) + 1)] if self.sources else []
        ones = np.column_stack([features, np.ones(n)])
        with threadpool_limits(1):  # matrices too small to gain by more threads, and the cores are not ours alone
            found = [_averaged([ones @ part.T for part in kind], y_ms, weight, together) for kind in kinds]
        error = np.maximum([f.error for f in found], 1e-9)
        share = (error.min() / error) ** TRUST
        share /= share.sum()
        line = np.zeros(width + 1)
        for mine, kind, f in zip(share, kinds, found, strict=True):
            line += mine * (f.coef @ np.concatenate(kind))
            line[-1] += mine * f.intercept
        self.line_ = Linear(line[:-1], float(line[-1]))
        self.source_share_ = float(share[len(parts) :].sum())
        floor_ms = FLOOR_SHARE * float(y_ms.min())
        left_out = np.maximum(share @ np.stack([f.left_out for f in found]), floor_ms)
        self.held_out_ms_: Array = of_all_rows(left_out, sample_weight)
        self.floor_ms_ = floor_ms
        return self

    def predict(self, X: npt.ArrayLike) -> Array:
        """Return the latencies ``(n,)`` in ms of the features ``X (n, d)``."""
        features = self._encoded(X)
        return above_floor(self.line_(features), self.floor_ms_)

    @property
    def module(self) -> LinearModule:
        """Return a new module ``(b, d) -> (b,)`` ms, float32."""
        from ..modules import LinearModule

        self._check_fitted()
        return LinearModule(self.line_.coef, self.line_.intercept, self.floor_ms_).float()

    def get_state(self) -> State:
        """Return everything that ``predict`` needs: the sources are in the line."""
        self._check_fitted()
        scalars = np.array([self.line_.intercept, self.floor_ms_, self.source_share_])
        params = {"blocks": [int(b) for b in self.blocks]}
        return {"coef": self.line_.coef, "scalars": scalars, "support": self.support_}, {"params": params}

    @classmethod
    def from_state(cls, arrays: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Self:
        """Restore what ``get_state`` gave; an InputRefusedError tells what does not fit."""
        model = cls(**params_of(config, cls))
        coef = array_of(arrays, "coef", (model._restore_support(arrays),))
        intercept, model.floor_ms_, model.source_share_ = map(float, array_of(arrays, "scalars", (3,)))
        model.line_ = Linear(coef, intercept)
        model.held_out_ms_ = np.full(1, np.nan)
        return model


@dataclass(frozen=True)
class _Average:
    """A line over the features of some blocks, left-out predictions ``(n,)`` in ms and their relative error."""

    coef: Array
    intercept: float
    left_out: Array
    error: float


def _averaged(
    parts: Sequence[Array], y_ms: Array, weight: Array, together: Sequence[npt.NDArray[np.int64]]
) -> _Average:
    """Return the average over strengths of blocks of features, each ``(n, width)``.

    Rows are left out one at a time, or as ``together`` says: arrays ``(groups, rows of each)``.
    """
    n = len(y_ms)
    center, scale = float(y_ms.mean()), float(y_ms.std())
    scaled = [moments(part, np.ones(n)) for part in parts]
    if n < 3 or scale == 0 or not any(inverse.any() for _, inverse in scaled):
        return _Average(np.zeros(sum(part.shape[1] for part in parts)), center, np.full(n, center), 1.0)
    sizes = [np.sqrt(max(1, np.count_nonzero(inverse))) for _, inverse in scaled]
    z = [(part - mean) * inverse / size for part, (mean, inverse), size in zip(parts, scaled, sizes, strict=True)]
    kernels, target, root = [part @ part.T for part in z], (y_ms - center) / scale, np.sqrt(weight)
    evidence: list[float] = []
    slopes: list[Array] = []
    left_out: list[Array] = []
    for strength in (s for s in product(STRENGTHS, repeat=len(parts)) if max(s) == max(STRENGTHS)):
        mixed = sum((s * k for s, k in zip(strength, kernels, strict=True)), np.ones((n, n)))  # ones: the intercept's
        values, vectors = np.linalg.eigh(root[:, None] * mixed * root)
        whitened, vectors = vectors.T @ (root * target), root[:, None] * vectors
        for signal in SCALES:
            covariance = signal * np.maximum(values, 0) + 1  # of the whitened target, along each vector
            alpha = vectors @ (whitened / covariance)
            variance = float(target @ alpha) / n  # of the noise, at its most likely
            evidence.append(-0.5 * (n * np.log(variance) + float(np.log(covariance).sum())))
            along = [signal * s * (part.T @ alpha) for s, part in zip(strength, z, strict=True)]
            slopes.append(np.concatenate([*along, [signal * alpha.sum()]]))
            residual = alpha / (vectors**2 / covariance).sum(axis=1)
            for rows in together:
                inverse = (vectors[rows] / covariance) @ vectors[rows].swapaxes(1, 2)
                residual[rows] = np.linalg.solve(inverse, alpha[rows][..., None])[..., 0]
            left_out.append(target - residual)
    share = np.exp(np.array(evidence) - max(evidence))
    share /= share.sum()
    slope, without = share @ np.array(slopes), share @ np.array(left_out)
    error = float(np.sqrt(np.average((target - without) ** 2, weights=weight)))
    unit = np.concatenate([inverse / size for (_, inverse), size in zip(scaled, sizes, strict=True)])
    coef = scale * slope[:-1] * unit
    intercept = center + scale * float(slope[-1]) - float(np.concatenate([mean for mean, _ in scaled]) @ coef)
    return _Average(coef, intercept, center + scale * without, error)


MODEL = TransferLatency
