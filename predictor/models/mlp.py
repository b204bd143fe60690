"""A small ensemble of multilayer perceptrons on the residual of a closed-form backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...arguments import Count, NonNegative, Seed
from ...errors import InputRefusedError, UsageError
from ..estimator import LatencyModel, array_of, params_of, tempered
from ..linear import FLOOR_SHARE, fit_ridge, moments, relative_weight
from ..modules import Ensemble, LinearModule, LogLinearModule, ResidualModule, one_thread
from ..predictor import Array, State

Backbone = Literal["additive", "log", "none"]
BACKBONES: tuple[Backbone, ...] = ("additive", "log", "none")
HELD_OUT_SHARE = 0.1
LEARNING_RATE, FINAL_LEARNING_RATE = 3e-3, 1e-5
CHECKS = 60  # looks at the held-out rows in one training
CHUNK_ROWS = 512  # rows predicted at once: what they need stays in the cache


class LatencyMLP(LatencyModel):
    """MLPs d-256-128-64-1 on the log ratio of latency to a linear backbone, averaged in log ms.

    The backbone is fitted in closed form first and runs along as a skip connection, so that its slope is part of the
    module's. Each member of the ensemble keeps its own tenth of the rows for early stopping, and all members train at
    once as batched products. What is minimised is Huber's loss of the standardised log ratio, by AdamW with a cosine
    schedule.

    Args:
        backbone: ``additive`` (linear in ms, relative errors), ``log`` (linear in log ms), ``none`` (a constant), or
            ``auto``: the one of the first two that errs less on held-out rows.
        members: size of the ensemble.
        hidden: widths of the hidden layers.
        steps: Steps of the optimiser; a row is seen about ``steps * batch / n`` times.
        weight_decay: Weight decay of AdamW, times the learning rate at every step.
        random_state: seed of weights, hold-outs and batches; the same seed gives the same predictor.

    Attributes:
        backbone_: the backbone chosen.
        network_: the fitted module: the backbone in float64, the ensemble in float32, in which it was trained.
        held_out_loss_: ``(members,)`` Huber losses on the members' own held-out rows; NaN with fewer than 10 rows.

    References:
        Xu et al., *Latency-aware differentiable neural architecture search* (LA-DARTS), arXiv 2001.06392;
        Loshchilov and Hutter, *Decoupled weight decay regularization*, ICLR 2019.
    """

    fitted_mark: ClassVar[str] = "network_"
    small: ClassVar[Mapping[str, Any]] = {"steps": 60, "members": 2, "hidden": (16,)}
    rows_count: ClassVar[str] = "stochastic training: batches and hold-outs are drawn over rows, not over weight"

    def __init__(
        self,
        backbone: str = "auto",
        members: Count = 5,
        hidden: Sequence[int] = (256, 128, 64),
        steps: Count = 4000,
        weight_decay: NonNegative = 1.0,
        random_state: Seed = 0,
    ) -> None:
        self.backbone = backbone
        self.members = members
        self.hidden = hidden
        self.steps = steps
        self.weight_decay = weight_decay
        self.random_state = random_state

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Learn from encodings ``X (n, d)`` and latencies ``y (n,)`` in ms; weights are 1 / relative variance.

        Raises:
            BadLabelError: a latency is not positive, or a weight is negative.
            UsageError: a parameter of the constructor is out of range.
        """
        self._check_params()
        features, y_ms, weight = self._learnable(X, y, sample_weight)
        weight = tempered(weight)
        rng = torch.Generator().manual_seed(self.random_state)
        order = torch.randperm(len(features), generator=rng)
        with one_thread(), torch.enable_grad():
            self.backbone_ = self._chosen_backbone(features, y_ms, weight, order.numpy())
            backbone = _fit_backbone(self.backbone_, features, y_ms, weight)
            mean, inverse = moments(features, weight)
            with torch.no_grad():
                ratio = np.log(y_ms) - backbone(torch.tensor(features)).log().numpy()
            scale = float(np.sqrt(np.average(ratio**2, weights=weight))) or 1.0
            x, target = (features - mean) * inverse, ratio / scale
            rows = _Rows(*_float32(x, target, weight), order)
            widths = (features.shape[1], *self.hidden, 1)
            ensemble = Ensemble(widths, self.members, rng, torch.float32)
            self.held_out_loss_ = _train(ensemble, rows, self.steps, self.weight_decay, rng)
        self.network_ = _frozen(ResidualModule(backbone, ensemble, mean, inverse, scale))
        return self

    def predict(self, X: npt.ArrayLike) -> Array:
        """Return the latencies ``(n,)`` in ms of the encodings ``X (n, d)``."""
        features = torch.tensor(self._encoded(X))
        with one_thread(), torch.no_grad():
            return torch.cat([self.network_(rows) for rows in features.split(CHUNK_ROWS)]).numpy()

    @property
    def module(self) -> nn.Module:
        """Return a new module ``(b, d) -> (b,)`` ms, float32, its parameters frozen."""
        self._check_fitted()
        return deepcopy(self.network_).float()

    def get_state(self) -> State:
        """Return everything that ``predict`` needs."""
        self._check_fitted()
        arrays: dict[str, npt.NDArray[Any]] = {}
        for name, value in self.network_.state_dict().items():
            arrays[name] = value.numpy()
        arrays["support"] = self.support_
        floor_ms = self.network_.backbone.floor_ms if isinstance(self.network_.backbone, LinearModule) else 0.0
        arrays["scalars"] = np.array([self.network_.scale, floor_ms])
        params = self.get_params() | {"hidden": [int(width) for width in self.hidden]}
        return arrays, {"params": params, "backbone": self.backbone_}

    @classmethod
    def from_state(cls, arrays: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Self:
        """Restore what ``get_state`` gave; an InputRefusedError tells what does not fit."""
        model = cls(**params_of(config, cls))
        model._check_params()
        width = model._restore_support(arrays)
        if config.get("backbone") not in BACKBONES:
            raise InputRefusedError(
                f"backbone of the saved LatencyMLP is {config.get('backbone')!r}; allowed: {BACKBONES}"
            )
        model.backbone_ = cast(Backbone, config["backbone"])
        widths = (width, *model.hidden, 1)
        for layer, (inputs, outputs) in enumerate(pairwise(widths)):
            # before the network is built: sizes that the arrays do not have must not be allocated
            array_of(arrays, f"ensemble.weights.{layer}", (model.members, inputs, outputs))
        scale, floor_ms = map(float, array_of(arrays, "scalars", (2,)))
        zeros = np.zeros(width)
        backbone = LinearModule(zeros, 0.0, floor_ms) if model.backbone_ == "additive" else LogLinearModule(zeros, 0.0)
        ensemble = Ensemble(widths, model.members, torch.Generator(), torch.float32)
        network = _frozen(ResidualModule(backbone, ensemble, zeros, zeros, scale))
        shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        network.load_state_dict({n: torch.from_numpy(array_of(arrays, n, shape)) for n, shape in shapes.items()})
        model.held_out_loss_ = np.full(model.members, np.nan)
        model.network_ = network
        return model

    def _check_params(self) -> None:
        if self.backbone not in ("auto", *BACKBONES):
            raise UsageError(f"unknown backbone {self.backbone!r}; allowed: auto, {', '.join(BACKBONES)}")
        if self.members < 1 or self.steps < 1 or not all(width >= 1 for width in self.hidden):
            raise UsageError(
                f"members={self.members}, steps={self.steps}, hidden={tuple(self.hidden)}: all must be at least 1"
            )

    def _chosen_backbone(self, X: Array, y_ms: Array, weight: Array, order: npt.NDArray[np.int64]) -> Backbone:
        if self.backbone != "auto":
            return cast(Backbone, self.backbone)
        held = int(HELD_OUT_SHARE * len(X))
        if held == 0:
            return "additive"
        out, kept = order[:held], order[held:]

        def error(name: Backbone) -> float:
            backbone = _fit_backbone(name, X[kept], y_ms[kept], weight[kept])
            with torch.no_grad():
                ratio = np.log(y_ms[out]) - backbone(torch.tensor(X[out])).log().numpy()
            return float(np.average(np.abs(ratio), weights=weight[out]))

        return min(("additive", "log"), key=error)


def _frozen(network: ResidualModule) -> ResidualModule:
    """Return a module as it predicts, its parameters frozen."""
    network.double().ensemble.float()
    return network.requires_grad_(False)


@dataclass(frozen=True)
class _Rows:
    """Standardised features ``(n, d)``, standardised log ratios ``(n,)``, weights ``(n,)``, a permutation ``(n,)``."""

    x: Tensor
    target: Tensor
    weight: Tensor
    order: Tensor


def _float32(x: Array, target: Array, weight: Array) -> tuple[Tensor, Tensor, Tensor]:
    return torch.from_numpy(x).float(), torch.from_numpy(target).float(), torch.from_numpy(weight).float()


def _fit_backbone(name: Backbone, X: Array, y_ms: Array, weight: Array) -> LinearModule | LogLinearModule:
    if name == "additive":
        linear, _ = fit_ridge(X, y_ms, relative_weight(y_ms, weight))
        return LinearModule(linear.coef, linear.intercept, FLOOR_SHARE * float(y_ms.min()))
    if name == "log":
        linear, _ = fit_ridge(X, np.log(y_ms), weight)
        return LogLinearModule(linear.coef, linear.intercept)
    return LogLinearModule(np.zeros(X.shape[1]), float(np.average(np.log(y_ms), weights=weight)))


def _train(ensemble: Ensemble, rows: _Rows, steps: int, weight_decay: float, rng: torch.Generator) -> Array:
    """Train all members at once, leave each at its best on its own held-out rows, and return those losses."""
    n, members = len(rows.x), ensemble.members
    fold = int(HELD_OUT_SHARE * n)
    turned = torch.stack([rows.order.roll(-member * fold) for member in range(members)])
    held, kept = turned[:, :fold], turned[:, fold:]
    batch = min(kept.shape[1], max(16, min(256, n // 14)))
    optimizer = torch.optim.AdamW(ensemble.parameters(), LEARNING_RATE, weight_decay=weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, FINAL_LEARNING_RATE)
    keeper = _BestMembers(ensemble)
    if fold:
        keeper.look(_losses(ensemble, rows, held))
    shuffled, start = kept, kept.shape[1]
    for step in range(1, steps + 1):
        if start + batch > kept.shape[1]:
            places = torch.rand(kept.shape, generator=rng).argsort(dim=1)
            shuffled, start = kept.gather(1, places), 0
        loss = _losses(ensemble, rows, shuffled[:, start : start + batch]).sum()
        start += batch
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if fold and (step % max(1, steps // CHECKS) == 0 or step == steps):
            keeper.look(_losses(ensemble, rows, held))
    if not fold:
        return np.full(members, np.nan)
    keeper.restore()
    return keeper.loss.double().numpy()


def _losses(ensemble: Ensemble, rows: _Rows, index: Tensor) -> Tensor:
    """Return the weighted Huber loss of every member ``(m,)`` on its own rows ``index (m, k)``."""
    weight = rows.weight[index]
    return (weight * functional.huber_loss(ensemble(rows.x[index]), rows.target[index], reduction="none")).mean(dim=1)


class _BestMembers:
    """The parameters at which each member did best so far."""

    def __init__(self, ensemble: Ensemble) -> None:
        self.parameters = list(ensemble.parameters())
        self.best = [parameter.detach().clone() for parameter in self.parameters]
        self.loss = torch.full((ensemble.members,), float("inf"))

    def look(self, loss: Tensor) -> None:
        loss = loss.detach()
        better = loss < self.loss
        self.loss = torch.where(better, loss, self.loss)
        for best, parameter in zip(self.best, self.parameters, strict=True):
            best[better] = parameter.detach()[better]

    def restore(self) -> None:
        with torch.no_grad():
            for best, parameter in zip(self.best, self.parameters, strict=True):
                parameter.copy_(best)


MODEL = LatencyMLP
