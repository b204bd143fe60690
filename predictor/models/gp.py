"""A robust Gaussian process in ms: the default model, exact on small data, with a slope and held-out predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...arguments import Count, Seed
from ...errors import InputRefusedError, UsageError
from ..estimator import Groups, LatencyModel, array_of, folds, learnt_groups, of_all_rows, repeated, tempered
from ..linear import FLOOR_SHARE, moments
from ..modules import KernelModule, matern, one_thread
from ..predictor import Array, State
from ..schedule import Schedule, Stages, fit_schedules, stages_of

LEARNING_RATE = 0.1
BATCH = 500  # rows that one step of the hyperparameters sees
PRIOR = 0.01  # strength that holds the rates near their start
JITTER = 1e-6
FREEDOM = 4.0  # degrees of freedom of Student's noise
REWEIGHTINGS = 3
NEAR_ZERO = 0.05  # share of the typical latency below which errors count absolutely, not relatively
MANY = 200  # rows, from which a single label moves neither schedule nor hyperparameters of half of them
MAX_SUPPORT = 2000  # with more rows, so many of them carry the kernel
CHUNK_ROWS = 512  # rows predicted at once: what they need stays in the cache

Rows = npt.NDArray[np.int64]


class GaussianProcessLatency(LatencyModel):
    """Gaussian process with a linear and a Matern 5/2 kernel, its rates learnt one a feature, Student noise.

    Latencies are modelled in ms, where work adds up, with noise in proportion to them, so that relative errors are
    what is minimised. Hyperparameters come from the marginal likelihood of random batches. Student's noise is reached
    by reweighting: a row far from what the others say of it counts less. With ``stages``, a schedule of parallel
    branches is learnt first and its times are features.

    With more rows than ``MAX_SUPPORT``, so many carry the kernel and all train it (deterministic training conditional).

    Args:
        stages: the cells' steps over columns of the encoding, as a search space gives them; empty for none.
        steps: Steps of the hyperparameters.
        random_state: seed of batches and support.

    Attributes:
        network_: the fitted module, float64.
        held_out_ms_: ``(n,)`` predictions of the rows of ``fit`` without any label of their group: by leave-one-out,
            with hyperparameters learnt from the half of the rows that they are not in; with few rows, in 5 folds. NaN
            for rows of weight 0, and for all after loading.

    References:
        Rasmussen and Williams, *Gaussian processes for machine learning*, 2006 (5.4 leave-one-out, 8.3 sparse);
        Jylanki et al., *Robust Gaussian process regression with a Student-t likelihood*, JMLR 2011.
    """

    fitted_mark: ClassVar[str] = "network_"
    small: ClassVar[Mapping[str, Any]] = {"steps": 3}
    rows_count: ClassVar[str] = "two equal rows are two measurements, each with noise of its own"
    leaves_out: ClassVar[bool] = True

    def __init__(self, stages: Stages = (), steps: Count = 60, random_state: Seed = 0) -> None:
        self.stages = stages
        self.steps = steps
        self.random_state = random_state

    def fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        groups: npt.ArrayLike | None = None,
    ) -> Self:
        """Learn from encodings ``X (n, d)`` and latencies ``y (n,)`` in ms; weights are 1 / relative variance.

        ``groups (n,)`` are numbers that rows of one network share: these are left out together.

        Raises:
            BadLabelError: a latency is not positive, a weight is negative, or there is not one group for each row.
            UsageError: fewer than one step.
        """
        if self.steps < 1:
            raise UsageError(f"steps={self.steps}; allowed: a whole number from 1")
        features, y_ms, weight = self._learnable(X, y, sample_weight)
        weight, together = tempered(weight), learnt_groups(groups, sample_weight, len(y_ms))
        with one_thread(), torch.enable_grad():
            many = len(np.unique(together)) >= MANY
            parts = [] if many else list(folds(together, self.random_state))
            schedule, *others = self._schedules(features, y_ms, weight, [learn for learn, _ in parts])
            found = _fit(
                _with_times(features, schedule), y_ms, weight, self.steps, self.random_state, together if many else None
            )
            held_out = found.held_out_ms if many else np.full(len(y_ms), float(np.median(y_ms)))
            for (learn, test), own in zip(parts, others, strict=True):
                held_out[test] = self._predicted(own, features, y_ms, weight, learn, test)
        self._set(schedule, found.arrays, found.scalars)
        self.held_out_ms_: Array = of_all_rows(np.maximum(held_out, found.scalars["floor_ms"]), sample_weight)
        return self

    def _schedules(self, X: Array, y_ms: Array, weight: Array, parts: Sequence[Rows]) -> list[Schedule | None]:
        """Return a schedule learnt from all rows, and one from each part of them; None where there is none to learn."""
        rows: list[Rows] = [np.arange(len(y_ms)), *parts]
        if not self.stages or min(map(len, rows)) <= 2:
            return [None] * len(rows)
        weights = np.zeros((len(rows), len(y_ms)))
        for own, learn in zip(weights, rows, strict=True):
            own[learn] = weight[learn]
        return [*fit_schedules(self.stages, X, y_ms, weights)]

    def _predicted(
        self, schedule: Schedule | None, X: Array, y_ms: Array, weight: Array, learn: Rows, test: Rows
    ) -> Array:
        """Return predictions in ms of a process that has seen nothing of the rows ``test``, not even its schedule."""
        seen = _with_times(X[learn], schedule)
        found = _fit(seen, y_ms[learn], weight[learn], self.steps, self.random_state, None)
        with torch.no_grad():
            return KernelModule(schedule, found.arrays, **found.scalars)(torch.from_numpy(X[test])).numpy()

    def predict(self, X: npt.ArrayLike) -> Array:
        """Return the latencies ``(n,)`` in ms of the encodings ``X (n, d)``."""
        features = torch.tensor(self._encoded(X))
        with one_thread(), torch.no_grad():
            return torch.cat([self.network_(rows) for rows in features.split(CHUNK_ROWS)]).numpy()

    @property
    def module(self) -> KernelModule:
        """Return a new module ``(b, d) -> (b,)`` ms, its parameters frozen."""
        self._check_fitted()
        return deepcopy(self.network_)

    def get_state(self) -> State:
        """Return everything that ``predict`` needs."""
        self._check_fitted()
        arrays = dict(self._arrays) | {"support_range": self.support_}
        if self.network_.schedule is not None:
            arrays |= {f"schedule.{k}": v.numpy() for k, v in self.network_.schedule.state_dict().items()}
        params = {"steps": self.steps, "random_state": self.random_state}
        stages = self.stages if self.network_.schedule is not None else ()
        return arrays, {"params": params, "stages": stages, "scalars": self._scalars}

    @classmethod
    def from_state(cls, arrays: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Self:
        """Restore what ``get_state`` gave; an InputRefusedError tells what does not fit."""
        params, scalars = config.get("params"), config.get("scalars")
        names = {"steps", "random_state"}
        if not isinstance(params, dict) or set(params) != names or not all(type(v) is int for v in params.values()):
            raise InputRefusedError(
                f"params of the saved {cls.__name__} are {params!r}; allowed: whole {sorted(names)}"
            )
        if (
            not isinstance(scalars, dict)
            or set(scalars) != set(_SCALARS)
            or not all(isinstance(v, float | int) for v in scalars.values())
        ):
            raise InputRefusedError(f"scalars of the saved {cls.__name__} are {scalars!r}; allowed: {_SCALARS}")
        width = array_of(arrays, "support_range", (2, None)).shape[1]
        model = cls(stages_of(config.get("stages"), width), **params)
        model._restore_support({"support": arrays["support_range"]})
        schedule = Schedule(model.stages).requires_grad_(False) if model.stages else None
        if schedule is not None:
            state = {k: tuple(v.shape) for k, v in schedule.state_dict().items()}
            schedule.load_state_dict(
                {k: torch.from_numpy(array_of(arrays, f"schedule.{k}", s)) for k, s in state.items()}
            )
        width += schedule.width if schedule is not None else 0
        many = array_of(arrays, "alpha", (None,)).shape[0]
        shapes: dict[str, tuple[int | None, ...]] = dict.fromkeys(_FEATURES, (width,))
        shapes |= {"support": (many, width), "alpha": (many,)}
        model._set(schedule, {name: array_of(arrays, name, s) for name, s in shapes.items()}, scalars)
        model.held_out_ms_ = np.full(many, np.nan)
        return model

    def _set(self, schedule: Schedule | None, arrays: dict[str, Array], scalars: dict[str, float]) -> None:
        self._arrays, self._scalars = arrays, scalars
        self.network_: KernelModule = KernelModule(schedule, arrays, **scalars).requires_grad_(False)


def _with_times(X: Array, schedule: Schedule | None) -> Array:
    """Return features, and the times of their schedule beside them."""
    return X if schedule is None else np.hstack([X, schedule(torch.from_numpy(X)).numpy()])


_FEATURES = ("mean", "inverse", "rates", "slopes")
_SCALARS = ("amplitude", "bias", "center", "scale", "floor_ms")


@dataclass(frozen=True)
class _Fitted:
    """What a `KernelModule` needs, and the held-out predictions ``(n,)``."""

    arrays: dict[str, Array]
    scalars: dict[str, float]
    held_out_ms: Array


class _Kernel:
    """The hyperparameters, as logarithms."""

    def __init__(self, width: int) -> None:
        start = -0.5 * float(np.log(max(width, 1)))
        self.rates = torch.full((width,), start - 1, dtype=torch.float64)
        self.slopes = torch.full((width,), start - 0.5, dtype=torch.float64)
        self.amplitude, self.bias = (torch.tensor(-1.0, dtype=torch.float64) for _ in range(2))
        self.noise = torch.tensor(-4.0, dtype=torch.float64)
        self.start = self.rates.clone()

    def parameters(self) -> list[Tensor]:
        return [self.rates, self.slopes, self.amplitude, self.bias, self.noise]

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        near_a, near_b = a * self.rates.exp(), b * self.rates.exp()
        distance = near_a.square().sum(1)[:, None] + near_b.square().sum(1) - 2 * near_a @ near_b.T
        line = (a * (2 * self.slopes).exp()) @ b.T
        return self.amplitude.exp() * matern(distance) + line + self.bias.exp()

    def learn(
        self, z: Tensor, target: Tensor, variance: Tensor, order: Tensor, steps: int, rate: float, batch: int = BATCH
    ) -> None:
        """Follow the marginal likelihood of batches of the rows ``order``, taken in turn.

        Its slope in the covariance is known (Rasmussen and Williams, 5.9): no way back through the factorisation.
        """
        parameters = [p.requires_grad_() for p in self.parameters()]
        optimizer = torch.optim.Adam(parameters, rate)
        size = min(len(order), batch)
        for step in range(steps):
            rows = order[(torch.arange(size) + step * size) % len(order)]
            covariance = self.covariance(z[rows], variance[rows])
            with torch.no_grad():
                inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
                alpha = inverse @ target[rows]
                slope = (inverse - alpha[:, None] * alpha) / (2 * size)
            prior = PRIOR * (self.rates - self.start).square().mean()
            optimizer.zero_grad()
            torch.autograd.backward([covariance, prior], [slope, None])
            optimizer.step()
        for p in parameters:
            p.requires_grad_(False)

    def factor(self, z: Tensor, variance: Tensor) -> Tensor:
        """Return the Cholesky factor of the covariance of labels at ``z (n, f)``."""
        return torch.linalg.cholesky(self.covariance(z, variance))

    def covariance(self, z: Tensor, variance: Tensor) -> Tensor:
        return self(z, z) + torch.diag(self.noise.exp() * variance + JITTER)


def _fit(X: Array, y_ms: Array, weight: Array, steps: int, seed: int, groups: Groups | None) -> _Fitted:
    """Return the fitted process; with ``groups (n,)``, predictions of judges that have not seen them too."""
    typical = float(np.exp(np.log(y_ms).mean()))
    variance = ((y_ms / typical) ** 2 + NEAR_ZERO**2) / weight
    mean, inverse = moments(X, np.ones(len(X)))
    center = float(np.average(y_ms, weights=1 / variance))
    scale = float(y_ms.std()) or typical
    z, target = torch.from_numpy((X - mean) * inverse), torch.from_numpy((y_ms - center) / scale)
    noise = torch.from_numpy(variance)
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(seed))
    support = order[:MAX_SUPPORT] if len(X) > MAX_SUPPORT else torch.arange(len(X))
    kernel = _Kernel(X.shape[1])
    trust = torch.ones(len(X), dtype=torch.float64)
    alpha = torch.zeros(len(support), dtype=torch.float64)
    held_out = torch.zeros(len(X), dtype=torch.float64)
    if len(X) > 2 and inverse.any():
        kernel.learn(z, target, noise, order, steps, LEARNING_RATE)
        for turn in range(REWEIGHTINGS + 1):
            alpha, held_out = _solve(kernel, z, target, noise / trust, support)
            if turn < REWEIGHTINGS:
                far = (target - held_out).square() / noise
                usual = (far.sqrt().median() / 0.6745).square().clamp_min(1e-12)  # normal: median |z| is 0.6745
                trust = (FREEDOM + 1) / (FREEDOM + far / usual)
            if turn == 0:
                kernel.learn(z, target, noise / trust, order, steps // 2, LEARNING_RATE / 2)
        if groups is not None:
            # whole groups to either half: every second one, in the order in which the rows were drawn
            drawn, first = np.unique(groups[order.numpy()], return_index=True)
            rank = np.empty(len(drawn), np.int64)
            rank[np.argsort(first)] = np.arange(len(drawn))
            odd = torch.from_numpy(rank[groups[order.numpy()]] % 2 == 1)
            for half, other in ((order[~odd], order[odd]), (order[odd], order[~odd])):
                judge = _Kernel(X.shape[1])
                judge.learn(z, target, noise / trust, other, steps, LEARNING_RATE, BATCH // 2)
                held_out[half] = _solve(judge, z, target, noise / trust, support, groups)[1][half]
    arrays = {
        "mean": mean, "inverse": inverse, "rates": kernel.rates.exp().numpy(), "slopes": kernel.slopes.exp().numpy(),
        "support": z[support].numpy(), "alpha": alpha.numpy(),
    }  # fmt: skip
    scalars = {
        "amplitude": float(kernel.amplitude.exp()), "bias": float(kernel.bias.exp()), "center": center, "scale": scale,
        "floor_ms": FLOOR_SHARE * float(y_ms.min()),
    }  # fmt: skip
    return _Fitted(arrays, scalars, held_out.numpy() * scale + center)


def _solve(
    kernel: _Kernel, z: Tensor, target: Tensor, variance: Tensor, support: Tensor, groups: Groups | None = None
) -> tuple[Tensor, Tensor]:
    """Return the weights of the support ``(m,)`` and what other rows, or groups of them, say of each row ``(n,)``."""
    many = [] if groups is None else [torch.from_numpy(rows) for rows in repeated(groups)]
    if len(support) == len(z):
        factor = kernel.factor(z, variance)
        alpha = torch.cholesky_solve(target[:, None], factor)[:, 0]
        inverse = torch.cholesky_inverse(factor)
        residual = alpha / inverse.diagonal()
        for rows in many:
            residual[rows] = torch.linalg.solve(inverse[rows[:, :, None], rows[:, None]], alpha[rows])
        return alpha, target - residual
    noise = kernel.noise.exp() * variance + JITTER
    across, own = kernel(z, z[support]), kernel(z[support], z[support])
    factor = torch.linalg.cholesky(own + (across / noise[:, None]).T @ across + JITTER * torch.eye(len(support)))
    alpha = torch.cholesky_solve((across.T @ (target / noise))[:, None], factor)[:, 0]
    root = torch.linalg.solve_triangular(factor, across.T, upper=False)
    residual = target - across @ alpha
    left = residual / (1 - root.square().sum(0) / noise).clamp_min(1e-3)
    for rows in many:
        parts = root.T[rows]  # (groups, rows of each, m)
        hat = parts @ parts.mT / noise[rows][:, None]
        left[rows] = torch.linalg.solve((1 + 1e-4) * torch.eye(rows.shape[1], dtype=z.dtype) - hat, residual[rows])
    return alpha, target - left


MODEL = GaussianProcessLatency
