"""The best of networks that are trained already: their accuracies are known, their latencies predicted, a few measured.

What is known of a network without running it (multiply-accumulates, activations, parameters, its family) says its
latency to some 15 %. So the networks are looked at from the most accurate down; whichever may well be within the target
is measured, and the first that is, is the answer, unless measurements have shown that a better one may well be, too.

References:
    Geurts et al., *Extremely randomized trees*, Machine Learning 2006.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

LIKELY = 0.2  # chance to be within the target, from which a network is worth a measurement
SAFE = 0.9  # chance that the last one that may be measured should have
FOLDS = 5
TREES = 200
PRIOR = 0.5  # measurements that are worth as much as the guess that two devices are equally fast

Array = NDArray[np.float64]
Measure = Callable[[int], float]
"""Gives the latency in ms of a network by its row; NaN where it has none."""


def held_out_ms(features: Array, y_ms: Array, groups: NDArray[np.int64], *, seed: int = 0) -> tuple[Array, Array]:
    """Return ``(n,)`` predictions in ms, none of which has seen its network's own latency, and their residuals.

    Args:
        features: ``(n, d)``.
        y_ms: ``(n,)``, NaN where it is not known.
        groups: ``(n,)`` numbers that rows of one network share: they are held out together.
        seed: Seed of trees and folds.

    Returns:
        Predictions, and ``(m,)`` logarithms of measured over predicted of rows that are known.
    """
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.model_selection import GroupKFold

    known = np.flatnonzero(np.isfinite(y_ms))

    def fitted(rows: NDArray[np.int64]) -> ExtraTreesRegressor:
        return ExtraTreesRegressor(TREES, random_state=seed).fit(features[rows], np.log(y_ms[rows]))

    logs = np.asarray(fitted(known).predict(features), float)
    folds = min(FOLDS, len(np.unique(groups[known])))
    for learn, test in GroupKFold(folds).split(known, groups=groups[known]):
        logs[known[test]] = fitted(known[learn]).predict(features[known[test]])
    return np.exp(logs), np.log(y_ms[known]) - logs[known]


@dataclass
class Pick:
    """Which network is the best within a target, as far as it was measured.

    Args:
        accuracy: ``(n,)``, more is better.
        predicted_ms: ``(n,)``.
        residuals: ``(m,)`` logarithms of measured over predicted, of networks whose latency is known.
        target_ms: allowed.
        elsewhere: the predictions are of another device, whose ratio to this one the measurements tell.

    Attributes:
        measured_ms: latencies by row, in the order of measurement; NaN where there was none.
    """

    accuracy: Array
    predicted_ms: Array
    residuals: Array
    target_ms: float
    elsewhere: bool = False
    measured_ms: dict[int, float] = field(default_factory=dict[int, float])

    def run(self, measure: Measure, limit: int) -> int | None:
        """Measure networks, at most ``limit``, until one is within the target and no better one is likely to be.

        Returns:
            Row of the most accurate within it; None if none is.
        """
        found: int | None = None
        while len(self.measured_ms) < limit:
            row = self.next(last=len(self.measured_ms) == limit - 1, above=found)
            if row is None:
                break
            self.measured_ms[row] = measure(row)
            if self.measured_ms[row] <= self.target_ms:
                found = row
        return found

    def next(self, *, last: bool = False, least: float = LIKELY, above: int | None = None) -> int | None:
        """Return the most accurate network that is likely enough within the target; None if none is left at all.

        Args:
            last: it is the last one, and should be safe.
            least: chance that is likely enough. Where none has it, it is the likeliest.
            above: row of one that is within the target: only a better one that is likely enough is returned.
        """
        chance = self.chances()
        chance[list(self.measured_ms)] = -1.0
        if above is not None:
            return self._most_accurate((chance >= least) & (self.accuracy > self.accuracy[above]))
        best = self._most_accurate(chance >= (SAFE if last and self.measured_ms else least))
        if best is None:  # of equally unlikely ones the one predicted fastest
            best = int(np.lexsort((self.predicted_ms, -chance))[0])
        return best if chance[best] >= 0 else None

    def chances(self) -> Array:
        """Return ``(n,)``: how likely each network is within the target."""
        room = np.log(self.target_ms) - np.log(self.predicted_ms) - self._shift()
        return np.searchsorted(np.sort(self.residuals), room, side="right") / len(self.residuals)

    def _shift(self) -> float:
        ratios = [np.log(ms / self.predicted_ms[row]) for row, ms in self.measured_ms.items() if np.isfinite(ms)]
        return float(np.sum(ratios) / (len(ratios) + PRIOR)) if self.elsewhere and ratios else 0.0

    def _most_accurate(self, allowed: NDArray[np.bool_]) -> int | None:
        """Return the most accurate of some rows; of equals the one predicted fastest."""
        rows = np.flatnonzero(allowed)
        if not len(rows):
            return None
        return int(rows[np.lexsort((self.predicted_ms[rows], -self.accuracy[rows]))[0]])
