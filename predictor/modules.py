"""The torch face of the models: modules ``(b, d) -> (b,)`` ms.

Every module computes in its own precision, even under autocast: half precision would round a latency to 0.4 %.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .linear import SHARPNESS
from .predictor import Array
from .schedule import Schedule


class LinearModule(nn.Module):
    """``intercept + x @ coef`` in ms, bent smoothly into a positive floor if there is one.

    Args:
        coef: ``(d,)`` ms per unit of feature.
        intercept: ms.
        floor_ms: no prediction is below it; 0 for none.
    """

    def __init__(self, coef: Array, intercept: float, floor_ms: float = 0.0) -> None:
        super().__init__()
        # without the usual random start, which would draw from the caller's global generator
        self.skip = cast(nn.Linear, nn.utils.skip_init(nn.Linear, len(coef), 1, dtype=torch.float64))
        with torch.no_grad():
            self.skip.weight.copy_(torch.from_numpy(coef)[None])
            self.skip.bias.fill_(intercept)
        self.floor_ms = floor_ms

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            latency = self.skip(x.to(self.skip.weight.dtype))[:, 0]
            if self.floor_ms == 0:
                return latency
            above = functional.softplus(latency / self.floor_ms - 1, beta=SHARPNESS, threshold=40.0)
            return self.floor_ms * (1 + above)


class LogLinearModule(nn.Module):
    """``exp(intercept + x @ coef)`` in ms, with ``coef (d,)`` in log ms per unit of feature."""

    def __init__(self, coef: Array, intercept: float) -> None:
        super().__init__()
        self.exponent = LinearModule(coef, intercept)

    def forward(self, x: Tensor) -> Tensor:
        return self.exponent(x).exp()


class Ensemble(nn.Module):
    """``members`` multilayer perceptrons of one shape, computed together: ``(b, d)`` or ``(m, b, d) -> (m, b)``.

    The last layer starts at zero, so that an untrained ensemble is a residual of nothing.

    Args:
        widths: ``(d, hidden..., 1)``.
        members: m.
        rng: draws the initial weights (He et al., ICCV 2015).
        dtype: Type of the parameters.
    """

    def __init__(self, widths: tuple[int, ...], members: int, rng: torch.Generator, dtype: torch.dtype) -> None:
        super().__init__()
        self.members = members
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for inputs, outputs in pairwise(widths):
            weight = torch.randn(members, inputs, outputs, generator=rng, dtype=dtype) * (2 / inputs) ** 0.5
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(members, 1, outputs, dtype=dtype)))
        with torch.no_grad():
            self.weights[-1].zero_()

    def forward(self, x: Tensor) -> Tensor:
        layers = list(zip(self.weights, self.biases, strict=True))
        if x.dim() == 3:
            h = torch.baddbmm(layers[0][1], x, layers[0][0])  # (m, b, width)
        else:  # one product for all members: they see the same features
            weight, bias = layers[0]
            wide = torch.addmm(bias.flatten(), x, weight.transpose(0, 1).flatten(1))
            h = wide.unflatten(1, (self.members, -1)).transpose(0, 1)
        for weight, bias in layers[1:]:
            h = torch.baddbmm(bias, functional.relu(h), weight)
        return h[..., 0]


class ResidualModule(nn.Module):
    """``backbone(x) * exp(scale * mean over members of ensemble(standardised x))``: members are averaged in log ms.

    The ensemble may be of another precision: a residual is small beside what it is added to.

    Args:
        backbone: ``(b, d) -> (b,)`` ms.
        ensemble: Ensemble of the standardised log ratio to the backbone.
        mean: Mean of the features, ``(d,)``.
        inverse: 1 / standard deviation of the features, ``(d,)``; 0 leaves a feature out.
        scale: standard deviation of the log ratio.
    """

    def __init__(self, backbone: nn.Module, ensemble: Ensemble, mean: Array, inverse: Array, scale: float) -> None:
        super().__init__()
        self.backbone, self.ensemble, self.scale = backbone, ensemble, scale
        self.mean: Tensor
        self.inverse: Tensor
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("inverse", torch.tensor(inverse))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.mean.dtype)
            features = ((x - self.mean) * self.inverse).to(self.ensemble.weights[0].dtype)
            residual = self.ensemble(features).mean(dim=0).to(x.dtype)
            return self.backbone(x) * (self.scale * residual).exp()


class ScaledModule(nn.Module):
    """``factor * module(x)``: an upper bound where the factor is that of an interval."""

    def __init__(self, module: nn.Module, factor: float) -> None:
        super().__init__()
        self.module, self.factor = module, factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.module(x)


class GeometricMean(nn.Module):
    """``exp(sum_k weight_k * log module_k(x))``: several predictors as one.

    Args:
        modules: each ``(b, d) -> (b,)`` ms.
        weights: positive, with sum 1.
    """

    def __init__(self, modules: Sequence[nn.Module], weights: Sequence[float]) -> None:
        super().__init__()
        self.members, self.weights = nn.ModuleList(modules), tuple(weights)

    def forward(self, x: Tensor) -> Tensor:
        logs = [weight * module(x).log() for module, weight in zip(self.members, self.weights, strict=True)]
        return torch.stack(logs).sum(dim=0).exp()


def matern(distance: Tensor) -> Tensor:
    """Return Matern's kernel of smoothness 5/2 of squared distances, of their shape: 1 at 0, towards 0 far away."""
    r = torch.sqrt(5 * distance.clamp_min(0) + 1e-12)  # a root at 0 has no slope
    return (1 + r + r.square() / 3) * torch.exp(-r)


class KernelModule(nn.Module):
    """``center + k(x, support) @ alpha`` in ms, bent smoothly into a positive floor: a Gaussian process' mean.

    The kernel is ``bias + linear + amplitude * matern(|x - s|^2)`` of standardised features, scaled twice: once for
    the linear part, once for the distance. It computes in float64, since its terms cancel.

    Args:
        schedule: appends the times of its joins to the features; None for none.
        arrays: ``mean``, ``inverse`` (0 leaves a feature out), ``rates``, ``slopes`` ``(f,)``, ``support (m, f)``,
            standardised, ``alpha (m,)``.
        amplitude: Amplitude of the part that is not linear.
        bias: Bias of the constant part.
        center: ms.
        scale: ms per unit of alpha.
        floor_ms: no prediction is below it.
    """

    def __init__(
        self,
        schedule: Schedule | None,
        arrays: Mapping[str, Array],
        *,
        amplitude: float,
        bias: float,
        center: float,
        scale: float,
        floor_ms: float,
    ) -> None:
        super().__init__()
        self.schedule = schedule
        self.amplitude, self.bias, self.center, self.scale, self.floor_ms = amplitude, bias, center, scale, floor_ms
        self.kept: Tensor
        self.mean: Tensor
        self.rates: Tensor
        self.slopes: Tensor
        self.near: Tensor
        self.alpha: Tensor
        self.line: Tensor
        kept = arrays["inverse"] > 0
        # only what the kernel sees: many features of a graph never vary
        self.register_buffer("kept", torch.from_numpy(np.flatnonzero(kept)))
        self.register_buffer("mean", torch.tensor(arrays["mean"][kept]))
        self.register_buffer("rates", torch.tensor((arrays["inverse"] * arrays["rates"])[kept]))
        self.register_buffer("slopes", torch.tensor((arrays["inverse"] * arrays["slopes"])[kept]))
        self.register_buffer("near", torch.tensor((arrays["support"] * arrays["rates"])[:, kept]))
        self.register_buffer("alpha", torch.tensor(arrays["alpha"]))
        # a linear kernel is one product whatever the support
        self.register_buffer("line", torch.tensor(((arrays["support"] * arrays["slopes"]).T @ arrays["alpha"])[kept]))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            wide = x.double()
            if self.schedule is not None:
                wide = torch.cat([wide, self.schedule(wide)], dim=1)
            z = wide[:, self.kept] - self.mean
            near = z * self.rates
            distance = near.square().sum(1, keepdim=True) + self.near.square().sum(1) - 2 * near @ self.near.T
            curve = matern(distance) @ self.alpha
            latency = (z * self.slopes) @ self.line + self.bias * self.alpha.sum() + self.amplitude * curve
            latency = self.center + self.scale * latency
            above = functional.softplus(latency / self.floor_ms - 1, beta=SHARPNESS, threshold=40.0)
            return (self.floor_ms * (1 + above)).to(torch.promote_types(x.dtype, torch.float32))


@contextmanager
def one_thread() -> Generator[None]:
    """Keep torch to one thread: the products are too small to gain by more, and the cores are not ours alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
