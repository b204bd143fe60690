"""Gradients laid out as the maps they belong to: channels last, or first where a map is so.

Some layers leave the gradient of a map in another order than the map: a mean over the map, a concatenation, a crop.
What lies before them, BatchNorm and activations above all, then learns many times more slowly on a CPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def ordered(x: Tensor) -> Tensor:
    """Return the map ``(b, C, H, W)`` itself; its gradient will come in the same order."""
    return _Ordered.apply(x) if x.requires_grad else x


class _Ordered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        last = x.is_contiguous(memory_format=torch.channels_last)
        ctx.order = torch.channels_last if last else torch.contiguous_format
        return x.view_as(x)

    @staticmethod
    # torch declares backward for any number of gradients; this forward has one output
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient.contiguous(memory_format=ctx.order)
