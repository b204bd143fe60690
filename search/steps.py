"""What every training loop does at a step: the rate, the gradient, and a look at the numbers."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from math import cos, pi

import torch
from torch import Tensor, nn

from ..errors import DivergedError


def step(optimizer: torch.optim.Optimizer, loss: Tensor, clip: float) -> None:
    """Take one step, gradients clipped to a norm."""
    optimizer.zero_grad()
    loss.backward()
    move(optimizer, clip)


def move(optimizer: torch.optim.Optimizer, clip: float) -> None:
    """Take a step along the gradients that are there, clipped to a norm."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    nn.utils.clip_grad_norm_(weights, clip)
    optimizer.step()


def check_finite(value: Tensor, where: str) -> Tensor:
    """Return the value.

    Raises:
        DivergedError: it is NaN or infinite; the message says where.
    """
    if not bool(torch.isfinite(value).all()):
        raise DivergedError(f"NaN or infinity in {where}; what was saved before is kept. Try a lower learning rate")
    return value


def cosine(first: float, last: float, share: float) -> float:
    """Return a value on the cosine from ``first`` to ``last``.

    >>> cosine(1.0, 0.0, 0.5)
    0.5
    """
    return last + (first - last) * (1 + cos(pi * share)) / 2


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Seed torch's own generator, which initial weights are drawn from, and leave it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def frozen_statistics(module: nn.Module) -> Generator[None]:
    """Normalise by the batch without moving any running statistic."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
