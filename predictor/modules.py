"""The torch face of the models: modules ``(b, d) -> (b,)`` ms.

Every module computes in its own precision, even under autocast: half precision would round a latency to 0.4 %.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from .linear import SHARPNESS
from .predictor import Array


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
        dtype: of the parameters.
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
        h = x if x.dim() == 3 else x.expand(self.members, *x.shape)
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias, h, weight)  # (m, b, width)
            if layer < last:
                h = functional.relu(h)
        return h[..., 0]


class ResidualModule(nn.Module):
    """``backbone(x) * exp(scale * mean over members of ensemble(standardised x))``: members are averaged in log ms.

    Args:
        backbone: ``(b, d) -> (b,)`` ms.
        ensemble: of the standardised log ratio to the backbone.
        mean: of the features, ``(d,)``.
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
            residual = self.ensemble((x - self.mean) * self.inverse).mean(dim=0)
            return self.backbone(x) * (self.scale * residual).exp()
