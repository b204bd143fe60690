"""The law's gradient one weight step ahead.

With ``w' = w - xi (grad_w L_train(w, a) + ...)``, the next step of SGD with momentum and weight decay, the gradient of
``L_law(w'(a), a)`` is that at ``w'`` less ``xi`` times a product of a matrix of second derivatives with
``v = grad_w' L_law``. The product is a difference of two gradients of L_train, at weights moved by ``v`` either way.

References:
    Liu et al., *DARTS*, arXiv:1806.09055, sections 2.3 and A.2.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

Slopes = tuple[Tensor, list[tuple[Tensor, ...]], list[Tensor]]
"""A loss, its gradients by the gates of every path, and by weights."""

_REACH = 0.01  # length of the move by v


def unrolled(
    law_batch: Callable[..., Slopes], training_batch: Callable[..., Slopes], optimizer: torch.optim.Optimizer
) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """Return the loss on the law's batch after one weight step, and its gradients by the gates of every path.

    The weights are as they were afterwards, bit for bit.

    Args:
        law_batch: gives loss and gradients on images of the law; called with ``weights``.
        training_batch: the same on images of the weights.
        optimizer: SGD, whose next step is looked at.
    """
    (group,) = optimizer.param_groups
    weights: list[Tensor] = group["params"]
    rate, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
    _, _, gradients = training_batch(weights=weights)
    step: list[Tensor] = []
    for weight, gradient in zip(weights, gradients, strict=True):
        before = optimizer.state[weight].get("momentum_buffer") if momentum else None
        decayed = gradient + decay * weight.detach()
        step.append(decayed if before is None else decayed + momentum * before)
    with moved(weights, step, -rate):
        value, slopes, v = law_batch(weights=weights)
    length = float(torch.stack([part.square().sum() for part in v]).sum().sqrt())
    if length == 0:
        return value, slopes
    reach, ends = _REACH / length, list[list[tuple[Tensor, ...]]]()
    for sign in (1, -1):
        with moved(weights, v, sign * reach):
            ends.append(training_batch()[1])
    factor = rate / (2 * reach)
    paths = zip(slopes, *ends, strict=True)
    return value, [tuple(slope - factor * (up - down) for slope, up, down in zip(*path, strict=True)) for path in paths]


@contextmanager
def moved(weights: Sequence[Tensor], direction: Sequence[Tensor], factor: float) -> Generator[None]:
    """Add a factor times a direction to weights, each of its weight's shape; set the weights back at the end."""
    before = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        for weight, along in zip(weights, direction, strict=True):
            weight.add_(along, alpha=factor)
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, value in zip(weights, before, strict=True):
                weight.copy_(value)
