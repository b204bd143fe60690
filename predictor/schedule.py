"""A schedule: latency as the longest of the paths that a machine runs side by side, with learnt costs.

Twenty-odd parameters and a linear term catch what no sum of operations can: a branch that waits for a longer one is
free. The times at which values are ready are features for the models above.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputRefusedError
from .linear import FLOOR_SHARE, moments
from .predictor import Array

Step = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
Stages = tuple[tuple[Step, ...], ...]

STEPS, LEARNING_RATE = 600, 0.2
HUBER_DELTA = 0.05  # relative errors above it count linearly
STRENGTH = 1e-4  # of the ridge on the linear term
DEAD = 1e-30  # presence of an operation that is not there
SOURCE = -1


class Schedule(nn.Module):
    """Times at which the joins of a network's cells are ready: ``(b, d) -> (b, joins)``, in units of the mean latency.

    A join is ready when the last of its inputs is, ``tau * logsumexp(T / tau)`` smoothly, and an operation takes its
    input's time and its own cost. All costs are positive.

    Args:
        stages: one tuple of steps a cell. A step is ``(inputs, columns, costs)``: the numbers of earlier steps, or -1
            for what enters the cell; and for an operation the features that say which it is, with the number of each
            one's cost. A step without columns is a join.
    """

    def __init__(self, stages: Stages) -> None:
        super().__init__()
        self.stages = stages
        counts = [1 + max(cost for _, _, costs in steps for cost in costs) for steps in stages]
        self.offsets = [sum(counts[:n]) for n in range(len(counts))]
        self.cost = nn.Parameter(torch.full((sum(counts),), -3.0, dtype=torch.float64))
        self.join = nn.Parameter(torch.full((len(stages),), -3.0, dtype=torch.float64))
        self.tau = nn.Parameter(torch.full((len(stages),), -2.0, dtype=torch.float64))

    @property
    def width(self) -> int:
        """Return the number of joins."""
        return sum(not columns for steps in self.stages for _, columns, _ in steps)

    def forward(self, x: Tensor) -> Tensor:
        ready: list[Tensor] = []
        for number, steps in enumerate(self.stages):
            times, _ = self._stage(x, number, steps)
            ready += [time.clamp_min(0) for time, (_, columns, _) in zip(times, steps, strict=True) if not columns]
        return torch.stack(ready, dim=-1)

    def total(self, x: Tensor) -> Tensor:
        """Return the sum of the times at which the cells are ready, ``(b,)``."""
        found = torch.zeros(len(x), dtype=x.dtype)
        for number, steps in enumerate(self.stages):
            times, tau = self._stage(x, number, steps)
            taken = {i for inputs, _, _ in steps for i in inputs}
            found = found + _latest([time for n, time in enumerate(times) if n not in taken], tau).clamp_min(0)
        return found

    def _stage(self, x: Tensor, number: int, steps: Sequence[Step]) -> tuple[list[Tensor], Tensor]:
        cost, join = functional.softplus(self.cost[self.offsets[number] :]), functional.softplus(self.join[number])
        tau = functional.softplus(self.tau[number]) + 1e-3
        start, here = torch.zeros(len(x), dtype=x.dtype), torch.ones(len(x), dtype=x.dtype)
        times: list[Tensor] = []
        present: list[Tensor] = []
        for inputs, columns, costs in steps:
            before = [start if i == SOURCE else times[i] for i in inputs]
            if columns:
                taken = x[:, list(columns)]
                share = taken.sum(dim=1)
                present.append(share)
                times.append(before[0] + taken @ cost[list(costs)] + tau * share.clamp_min(DEAD).log())
            else:
                many = sum((here if i == SOURCE else present[i] for i in inputs), torch.zeros_like(start))
                present.append(many.clamp_max(1))
                times.append(_latest(before, tau) + join * (many - 1).clamp_min(0))
        return times, tau


def _latest(times: Sequence[Tensor], tau: Tensor) -> Tensor:
    """Return the smooth maximum of times ``(b,)``; far below 0 where nothing is alive."""
    return tau * torch.logsumexp(torch.stack(list(times)) / tau, dim=0)


def fit_schedule(stages: Stages, X: Array, y_ms: Array, weight: Array) -> Schedule:
    """Learn the costs, beside a linear term in all features, by Huber's loss of relative errors.

    Args:
        stages: as `Schedule` takes them.
        X: features ``(n, d)``.
        y_ms: ``(n,)``.
        weight: ``(n,)``, mean 1.
    """
    mean, inverse = moments(X, weight)
    x, scale = torch.from_numpy(X), float(np.average(y_ms, weights=weight))
    z = torch.from_numpy((X - mean) * inverse / max(1.0, np.sqrt((inverse > 0).sum())))
    target, counted = torch.from_numpy(y_ms / scale), torch.from_numpy(weight)
    schedule = Schedule(stages)
    linear = torch.zeros(X.shape[1], dtype=torch.float64, requires_grad=True)
    constant = torch.tensor(float(np.median(y_ms) / scale), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([*schedule.parameters(), linear, constant], LEARNING_RATE / 25)
    slope = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
    floor = FLOOR_SHARE * float(target.min())
    for _ in range(STEPS):
        error = (constant + schedule.total(x) + z @ linear - target) / target.clamp_min(floor)
        loss = functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=HUBER_DELTA)
        penalty = STRENGTH * linear.square().sum()
        optimizer.zero_grad()
        ((counted * loss).mean() / HUBER_DELTA + penalty).backward()
        optimizer.step()
        slope.step()
    return schedule.requires_grad_(False)


def stages_of(value: object, width: int) -> Stages:
    """Return the stages in a saved state, checked against the number of features.

    Raises:
        InputRefusedError: they are not stages, or point to features or steps that are not there.
    """
    try:
        stages = cast(
            Stages,
            tuple(tuple(tuple(tuple(map(int, p)) for p in step) for step in steps) for steps in cast(Any, value)),
        )
        fits = all(
            len(step) == 3
            and step[0]
            and all(SOURCE <= i < n for i in step[0])
            and all(0 <= column < width for column in step[1])
            and len(step[1]) == len(step[2])
            and all(0 <= cost < width for cost in step[2])
            for steps in stages
            for n, step in enumerate(steps)
        )
        if fits and all(any(step[1] for step in steps) and any(not step[1] for step in steps) for steps in stages):
            return stages
    except (TypeError, ValueError):
        pass
    raise InputRefusedError("the stages of the saved predictor do not fit its features: fit and save again")
