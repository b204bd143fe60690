"""A schedule: latency as the longest of the paths that a machine runs side by side, with learnt costs.

Twenty-odd parameters and a linear term catch what no sum of operations can: a branch that waits for a longer one is
free. The times at which values are ready are features for the models above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
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
_Present = tuple[Tensor, Tensor]
"""What a step finds in rows: the shares of an operation's kinds ``(b, k)`` and the logarithm of their sum ``(b,)``; for
a join nothing, and how many more than one of its inputs are there."""

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
        own = dict(self.named_parameters())
        for number, steps in enumerate(self.stages):
            times, _ = self._times(_present(x, steps), number, own)
            ready += [time.clamp_min(0) for time, (_, columns, _) in zip(times, steps, strict=True) if not columns]
        return torch.stack(ready, dim=-1)

    def total(self, present: Sequence[Sequence[_Present]], parameters: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of the times ``(b,)`` at which the cells are ready.

        Args:
            present: for each cell what its steps find in the rows, which no parameter changes.
            parameters: ``cost``, ``join`` and ``tau``, as ``named_parameters`` gives them.
        """
        found = torch.zeros((), dtype=torch.float64)
        for number, steps in enumerate(self.stages):
            times, tau = self._times(present[number], number, parameters)
            taken = {i for inputs, _, _ in steps for i in inputs}
            found = found + _latest([time for n, time in enumerate(times) if n not in taken], tau).clamp_min(0)
        return found

    def _times(
        self, present: Sequence[_Present], number: int, parameters: Mapping[str, Tensor]
    ) -> tuple[list[Tensor], Tensor]:
        cost = functional.softplus(parameters["cost"][self.offsets[number] :])
        join, tau = (
            functional.softplus(parameters["join"][number]),
            functional.softplus(parameters["tau"][number]) + 1e-3,
        )
        times: list[Tensor] = []
        for (inputs, columns, costs), (taken, counted) in zip(self.stages[number], present, strict=True):
            before = [torch.zeros_like(counted) if i == SOURCE else times[i] for i in inputs]
            if columns:
                times.append(before[0] + taken @ cost[list(costs)] + tau * counted)
            else:
                times.append(_latest(before, tau) + join * counted)
        return times, tau


def _present(x: Tensor, steps: Sequence[Step]) -> list[_Present]:
    """Return what steps find in rows ``x (b, d)``: see `_Present`."""
    start, here = torch.zeros(len(x), dtype=x.dtype), torch.ones(len(x), dtype=x.dtype)
    shares: list[Tensor] = []
    found: list[_Present] = []
    for inputs, columns, _ in steps:
        if columns:
            taken = x[:, list(columns)]
            shares.append(taken.sum(dim=1))
            found.append((taken, shares[-1].clamp_min(DEAD).log()))
        else:
            many = sum((here if i == SOURCE else shares[i] for i in inputs), start)
            shares.append(many.clamp_max(1))
            found.append((x[:, :0], (many - 1).clamp_min(0)))
    return found


def _latest(times: Sequence[Tensor], tau: Tensor) -> Tensor:
    """Return the smooth maximum of times ``(b,)``; far below 0 where nothing is alive."""
    return tau * torch.logsumexp(torch.stack(list(times)) / tau, dim=0)


def fit_schedules(stages: Stages, X: Array, y_ms: Array, weights: Array) -> list[Schedule]:
    """Learn the costs, beside a linear term in all features, by Huber's loss of relative errors.

    Several are learnt side by side, in hardly more time than one: each from the rows that have a weight in its own.

    Args:
        stages: as `Schedule` takes them.
        X: features ``(n, d)``.
        y_ms: ``(n,)``.
        weights: ``(k, n)``, one row for each schedule; 0 for what it must not see.
    """
    x, schedule = torch.from_numpy(X), Schedule(stages)
    learnt = [_standardised(X, y_ms, weight) for weight in weights]
    z, target, floor, counted = (torch.stack([one[part] for one in learnt]) for part in range(4))
    own = {
        name: value.detach().expand(len(weights), *value.shape).clone() for name, value in schedule.named_parameters()
    }
    own["constant"] = torch.stack([one[4] for one in learnt])
    own["linear"] = torch.zeros(len(weights), X.shape[1], dtype=torch.float64)
    optimizer = torch.optim.Adam([value.requires_grad_() for value in own.values()], LEARNING_RATE / 25, fused=True)
    slope = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
    present = [_present(x, steps) for steps in stages]
    totals = torch.vmap(partial(schedule.total, present))
    for _ in range(STEPS):
        line = own["constant"][:, None] + (z @ own["linear"][:, :, None])[:, :, 0]
        error = (line + totals({name: own[name] for name in ("cost", "join", "tau")}) - target) / floor
        loss = functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=HUBER_DELTA)
        optimizer.zero_grad()
        ((counted * loss).sum() / HUBER_DELTA + STRENGTH * own["linear"].square().sum()).backward()
        optimizer.step()
        slope.step()
    found: list[Schedule] = []
    for number in range(len(weights)):
        found.append(Schedule(stages).requires_grad_(False))
        found[-1].load_state_dict({name: own[name][number].detach() for name in ("cost", "join", "tau")})
    return found


def _standardised(X: Array, y_ms: Array, weight: Array) -> tuple[Tensor, ...]:
    """Return features and labels in the units in which one schedule learns from the rows that have a weight.

    These are features ``(n, d)``, labels ``(n,)``, the least that an error of each is compared with, what each counts,
    and the constant to begin with.
    """
    seen = weight > 0
    mean, inverse = moments(X[seen], weight[seen])
    scale = float(np.average(y_ms[seen], weights=weight[seen]))
    z = (X - mean) * inverse / max(1.0, np.sqrt((inverse > 0).sum()))
    least = np.maximum(y_ms, FLOOR_SHARE * y_ms[seen].min()) / scale
    start = np.asarray(np.median(y_ms[seen]) / scale)
    return tuple(map(torch.from_numpy, (z, y_ms / scale, least, weight / seen.sum(), start)))


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
