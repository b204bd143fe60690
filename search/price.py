"""What networks cost in a search, in milliseconds, and how a cost of another unit becomes one.

A table adds up single operations, and a counter knows no device at all: both become milliseconds by a line through a
few networks measured on the device. Of energy and memory it counts how they compare with other networks': one factor
makes milliseconds of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import nn

from ..errors import UsageError
from ..predictor.interval import Conformal
from ..predictor.metrics import Scores
from ..spaces.architecture import Architecture
from ..spaces.space import SearchSpace
from .cost import CostModel, PredictorCost, WeightedSum

REWEIGHTINGS = 15

Interval = Callable[[Sequence[Architecture]], tuple[NDArray[Any], NDArray[Any]]]  # (n,) low, (n,) high in ms
Maker = Callable[[nn.Module, SearchSpace, str | None], CostModel]  # of a predictor's module, its space and encoding


@dataclass(frozen=True)
class Price:
    """What a search is told of latency.

    Attributes:
        cost: a predictor, ``(b, d) -> (b,)`` ms, or any other cost in ms; not changed.
        space: whose networks it prices.
        encoding: the encoding that a predictor was trained on; None for the space's default.
        interval: Interval of predictions; None where nobody knows it.
        conformal: the predictor's residuals, by which a prediction becomes a chance to be within a target; None where
            there are none, or the cost is the upper end of its interval already.
        told: what a result tells of it: model, encoding, held-out scores.
        parity: held-out columns, in ms.
        measured_ms: networks that were measured on the device before the search, those of trusted latency only.
        latency: what predicts latency, where the cost is energy or memory; None where the cost is latency itself.

    >>> import torch
    >>> from tempograd import registry
    >>> space = registry.create("space", "nasbench201:cells=1,width=4")
    >>> price = Price(torch.nn.Sequential(torch.nn.Linear(sum(space.widths), 1), torch.nn.Flatten(0)), space)
    >>> price.predict(space.sample(3, np.random.default_rng(0))).shape
    (3,)
    """

    cost: nn.Module | CostModel
    space: SearchSpace
    encoding: str | None = None
    interval: Interval | None = None
    conformal: Conformal | None = None
    told: dict[str, Any] = field(default_factory=dict[str, Any])
    parity: dict[str, list[float]] | None = None
    measured_ms: Mapping[Architecture, float] = field(default_factory=dict[Architecture, float])
    latency: Price | None = None

    @property
    def of_latency(self) -> Price:
        """Return the price that predicts latency: this one, unless its cost is energy or memory."""
        return self.latency or self

    def predict(self, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        """Return ``(n,)`` ms; what was priced once is remembered."""
        known = self._known
        new = [architecture for architecture in dict.fromkeys(architectures) if architecture not in known]
        if new:
            with torch.no_grad():
                if isinstance(self._model, PredictorCost):
                    values = self._model.predict(torch.from_numpy(self.space.encode(new, self.encoding)))
                else:
                    values = self._model(self.space.gates(new))
            known.update(zip(new, values.double().tolist(), strict=True))
        return np.array([known[architecture] for architecture in architectures], float)

    def as_cost(self, cost: Maker) -> CostModel:
        """Return the differentiable cost of gates; ``cost`` makes one of a predictor, also of those in a sum."""
        return (
            cost(self.cost, self.space, self.encoding) if isinstance(self.cost, nn.Module) else _made(self.cost, cost)
        )

    def chance(self, predicted_ms: NDArray[np.float64], target_ms: float | None) -> NDArray[np.float64]:
        """Return ``(n,)``: how likely networks of these predictions are within a target; 1 where there is none."""
        if target_ms is None:
            return np.ones(len(predicted_ms))
        if self.conformal is None:
            return (predicted_ms <= target_ms).astype(float)
        return self.conformal.share_within(predicted_ms, target_ms)

    @cached_property
    def _model(self) -> CostModel:
        return self.as_cost(PredictorCost)

    @cached_property
    def _known(self) -> dict[Architecture, float]:
        return {}


def sum_in_ms(
    costs: Mapping[str, tuple[float, CostModel]],
    space: SearchSpace,
    measured_ms: Mapping[Architecture, float],
    *,
    proportional: Collection[str] = (),
) -> Price:
    """Return the price that is the sum of shares of costs, each in ms by a line through measured networks.

    Args:
        costs: share and cost by name; a predictor's is in ms already.
        space: searched.
        measured_ms: networks with their latencies.
        proportional: costs that predict no latency, whose line has no constant.

    Raises:
        UsageError: a cost says nothing about latency here.
    """
    architectures, y_ms = list(measured_ms), np.array(list(measured_ms.values()))
    lines = [
        _proportional(cost, space, architectures, y_ms)
        if name in proportional
        else _line(cost, space, architectures, y_ms, name)
        for name, (_, cost) in costs.items()
    ]
    shares = [share for share, _ in costs.values()]
    predicted = np.sum([share * line.held_out for share, line in zip(shares, lines, strict=True)], axis=0)
    return Price(
        WeightedSum(tuple(zip(shares, (line.cost for line in lines), strict=True))),
        space,
        told={"scores": asdict(Scores.of(y_ms, predicted))},
        parity={"measured_ms": y_ms.tolist(), "predicted_ms": predicted.tolist()},
    )


@dataclass(frozen=True)
class _Line:
    """A cost in ms, and every measured network by a line through the others, ``(n,)``."""

    cost: CostModel
    held_out: NDArray[np.float64]


def _made(model: CostModel, cost: Maker) -> CostModel:
    """Return a cost in which ``cost`` made all predictors, so that each is shown a law as a recipe says."""
    if isinstance(model, PredictorCost):
        return cost(model.module, model.space, model.encoding)
    if isinstance(model, WeightedSum):
        return WeightedSum(tuple((weight, _made(part, cost)) for weight, part in model.terms), model.constant_ms)
    return model


def _predicted(cost: CostModel, space: SearchSpace, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
    return Price(cost, space, cost.encoding if isinstance(cost, PredictorCost) else None).predict(architectures)


def _least_absolute(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the two numbers from 0 whose products with rows ``(n, 2)`` are nearest to 1, by absolute distance.

    A square would follow the networks of which a part reaches no output: a sum of costs is wrong about these.
    """
    weight = np.ones(len(rows))
    found = np.zeros(2)
    for _ in range(REWEIGHTINGS):
        found = nnls(rows * weight[:, None], weight)[0]
        weight = 1 / np.sqrt(np.maximum(np.abs(rows @ found - 1), 0.01))
    return found


def _proportional(
    cost: CostModel, space: SearchSpace, architectures: Sequence[Architecture], y_ms: NDArray[np.float64]
) -> _Line:
    """Return a cost in ms by the median network, and every network by the median of the others."""
    factors, groups = y_ms / _predicted(cost, space, architectures), space.groups(architectures)
    of_others = np.array([np.median(factors[groups != group]) for group in groups])
    held_out = y_ms * of_others / factors
    return _Line(WeightedSum(((float(np.median(factors)), cost),)), held_out)


def _line(
    cost: CostModel, space: SearchSpace, architectures: Sequence[Architecture], y_ms: NDArray[np.float64], name: str
) -> _Line:
    """Return a cost in ms, by the line of least relative error, and every network by a line through the others."""
    x = _predicted(cost, space, architectures)
    if isinstance(cost, PredictorCost):
        return _Line(cost, x)
    unit = float(x.max()) or 1.0
    rows = np.stack([x / unit, np.ones_like(x)], axis=1) / y_ms[:, None]
    slope, constant_ms = _least_absolute(rows)
    if slope == 0:
        raise UsageError(f"{name} say nothing about latency in {space.spec} on this device; take another --cost")
    held_out, groups = np.empty_like(y_ms), space.groups(architectures)
    for i in range(len(y_ms)):
        others = groups != groups[i]
        held_out[i] = _least_absolute(rows[others]) @ rows[i] * y_ms[i]
    return _Line(WeightedSum(((float(slope) / unit, cost),), float(constant_ms)), held_out)
