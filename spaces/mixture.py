"""The sum of options times their gates, in one pass over each option where torch's own operators take two.

The gate's gradient is one product of two vectors, the options' gradients are made when the sum's is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def weighted_sum(gates: Tensor, weights: Mapping[int, float], values: Sequence[Tensor]) -> Tensor:
    """Return the sum of values, all of one shape, type and layout, times their gates.

    Args:
        gates: ``(K,)``.
        weights: Weight of every value, in their order: its gate's place in ``gates``, and the gate as a number.
        values: one or more.
    """
    return _WeightedSum.apply(gates, weights, *values)


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, weights: Mapping[int, float], *values: Tensor) -> Tensor:
        ctx.places = list(weights)
        ctx.save_for_backward(gates, *(values if gates.requires_grad else ()))
        first, *others = weights.values()
        found = values[0] * first
        for weight, value in zip(others, values[1:], strict=True):
            found.add_(value, alpha=weight)
        return found

    @staticmethod
    # torch declares backward for any number of gradients; this forward has one output
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        gates, *values = ctx.saved_tensors
        of_gates = None
        if ctx.needs_input_grad[0]:
            products = torch.stack([_flat(gradient) @ _flat(value) for value in values]).to(gates.dtype)
            of_gates = torch.zeros_like(gates).index_add(0, torch.tensor(ctx.places, device=gates.device), products)
        needed = zip(ctx.places, ctx.needs_input_grad[2:], strict=True)
        return of_gates, None, *(gates[place] * gradient if need else None for place, need in needed)


def _flat(x: Tensor) -> Tensor:
    """Return a value as a vector, without a copy where it is laid out channels last."""
    return x.permute(0, 2, 3, 1).flatten() if x.ndim == 4 else x.flatten()
