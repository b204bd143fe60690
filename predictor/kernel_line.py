"""One family of kernels: a line in logarithms, and a Gaussian process on what times are off it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf, log
from typing import Annotated, Self

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from ..graphs.kernels import Kernel
from ..graphs.work import bare, operator_of

NEAR = 2.0  # times the range seen within which a feature counts as seen
RIDGES = (1e-2, 1e-1, 1.0)  # chosen by kernels left out one at a time
SHY = 2.0  # kernels of an operator that its own offset waits for
ENOUGH = 20  # kernels from which a process is learnt
MANY = 1000  # kernels that a process rests on, at the most
LEARNT_FROM = 300  # of them, that its rates are learnt from
DISTANCES = (3.0, 6.0, 12.0, 24.0)  # of features standardised, at which kernels may be alike
NOISES = (0.1, 0.3, 1.0, 3.0, 10.0)  # of labels, in parts of the process's variance

FloatArray = NDArray[np.float64]
Number = Annotated[float, Meta(gt=-1e15, lt=1e15)]
Positive = Annotated[float, Meta(gt=0, lt=1e15)]


@dataclass
class Rates:
    """Of a process: the variance of what it tells, the distance at which kernels are alike, and the labels' noise."""

    variance: Positive = 1.0
    distance: Positive = 1.0
    noise: Positive = 1.0

    def covariance(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """Return the covariances ``(n, m)`` of rows ``(n, d)`` and ``(m, d)``: Matern, 5/2."""
        squares = np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0.0)
        far = np.sqrt(5 * squares) / self.distance
        return self.variance * (1 + far + far**2 / 3) * np.exp(-far)

    @classmethod
    def learnt(cls, rows: FloatArray, off: FloatArray) -> Rates:
        """Return those, of `DISTANCES` and `NOISES`, under which ``off (n,)`` of rows ``(n, d)`` is the most likely.

        The variance that suits best is known for each (Rasmussen and Williams, *Gaussian processes for machine
        learning*, 2006, 5.4.1).
        """
        best, found = -inf, cls()
        for distance in DISTANCES:
            alike = cls(distance=distance).covariance(rows, rows)
            for noise in NOISES:
                covariance = alike + noise * np.eye(len(rows))
                variance = max(float(off @ np.linalg.solve(covariance, off)) / len(off), 1e-9)
                likelihood = -0.5 * len(off) * log(variance) - 0.5 * float(np.linalg.slogdet(covariance)[1])
                if likelihood > best:
                    best, found = likelihood, cls(variance, distance, noise * variance)
        return found


@dataclass
class Line:
    """One family's model.

    Attributes:
        mean, scale: Mean and standard deviation of each feature.
        weights: Weights of a constant, and of the features standardised.
        low, high: the range that they were seen in.
        rows: how many kernels it was learnt from.
        offsets: operator -> ln of what its kernels are off the line.
        rates, seen, told: a process on what remains: the features seen, operators beside them, and what each tells.
    """

    mean: list[Number]
    scale: list[Positive]
    weights: list[Number]
    low: list[Number]
    high: list[Number]
    rows: int
    offsets: dict[str, Number] = field(default_factory=dict[str, float])
    rates: Rates = field(default_factory=Rates)
    seen: list[list[Number]] = field(default_factory=list[list[float]])
    told: list[Number] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        width = len(self.mean)
        sizes = len(self.scale), len(self.weights) - 1, len(self.low), len(self.high)
        if any(size != width for size in sizes) or len(self.seen) != len(self.told):
            raise ValueError("a line's parts are not of one length")
        if any(len(row) != width + len(self.offsets) for row in self.seen):
            raise ValueError("what a line has seen is not as wide as it is")

    @classmethod
    def of(
        cls, X: FloatArray, ms: Sequence[float], ops: Sequence[str], rates: Rates | None = None, *, bends: bool = True
    ) -> Self:
        """Fit ridge to logarithms of times; the first feature, a time in itself, is pulled to 1 and not to 0.

        Args:
            X: features ``(n, d)``.
            ms: times.
            ops: operators.
            rates: Rates of the process, where they are known; else they are learnt.
            bends: whether there is a process.
        """
        y = np.log(np.asarray(ms, float))
        mean, scale = X.mean(0), X.std(0)
        scale = np.where(scale > 1e-9, scale, 1.0)
        Z = np.column_stack([np.ones(len(X)), (X - mean) / scale])
        prior = np.zeros(Z.shape[1])
        prior[1] = scale[0]
        best, weights, off = inf, prior, y
        for ridge in RIDGES:
            penalty = ridge * len(X) * np.eye(Z.shape[1])
            penalty[0, 0] = 1e-9
            inverse = np.linalg.inv(Z.T @ Z + penalty)
            told = inverse @ (Z.T @ y + penalty @ prior)
            residuals = y - Z @ told
            left_out = residuals / np.maximum(1 - np.einsum("ij,jk,ik->i", Z, inverse, Z), 1e-3)
            if np.abs(left_out).mean() < best:
                best, weights, off = float(np.abs(left_out).mean()), told, residuals
        by_op: defaultdict[str, list[float]] = defaultdict(list)
        for op, residual in zip(ops, off.tolist(), strict=True):
            by_op[op].append(residual)
        offsets = {op: sum(rows) / (len(rows) + SHY) for op, rows in by_op.items()}
        found = cls(
            mean.tolist(), scale.tolist(), weights.tolist(), X.min(0).tolist(), X.max(0).tolist(), len(X), offsets
        )
        if bends and len(X) >= ENOUGH:
            found._learn(X, off - np.array([offsets[op] for op in ops]), ops, rates)
        return found

    def _learn(self, X: FloatArray, off: FloatArray, ops: Sequence[str], rates: Rates | None) -> None:
        order = np.random.default_rng(0).permutation(len(X))[:MANY]
        rows, off = np.array([self._row(X[n], ops[int(n)]) for n in order]).round(4), off[order]
        self.rates = rates or Rates.learnt(rows[:LEARNT_FROM], off[:LEARNT_FROM])
        covariance = self.rates.covariance(rows, rows) + self.rates.noise * np.eye(len(rows))
        self.seen, self.told = rows.tolist(), np.linalg.solve(covariance, off).tolist()

    def _row(self, x: FloatArray, op: str) -> FloatArray:
        z = (x - np.array(self.mean)) / np.array(self.scale)
        return np.append(z, [float(op == one) for one in self.offsets])

    @cached_property
    def _process(self) -> tuple[FloatArray, FloatArray]:
        return np.array(self.seen), np.array(self.told)

    def log_ms(self, x: FloatArray, op: str) -> float:
        """Return ln of the time of a kernel of features ``(d,)`` and an operator."""
        row = self._row(x, op)
        value = float(np.append(1.0, row[: len(x)]) @ np.array(self.weights)) + self.offsets.get(op, 0.0)
        if self.seen:
            seen, told = self._process
            value += float(self.rates.covariance(row[None], seen)[0] @ told)
        return float(np.clip(value, -20, 20))

    def nearest(self, kernel: Kernel) -> str:
        """Return the operator seen here that a kernel of another runtime is, by whatever name; else its own."""
        if kernel.op in self.offsets:
            return kernel.op
        asked = operator_of(kernel)
        return next((op for op in self.offsets if bare(op) == asked), kernel.op)

    def has_seen(self, x: FloatArray, op: str) -> bool:
        """Return whether kernels like this one were learnt from."""
        near = np.all(x >= np.array(self.low) - log(NEAR)) and np.all(x <= np.array(self.high) + log(NEAR))
        return bool(near) and op in self.offsets
