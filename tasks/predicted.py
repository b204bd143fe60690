"""A task without examples: how good a network is, is predicted from its architecture, as others published it.

What searches score networks by then asks a model in place of training, and what searches by gradients follows the
model's slope in the gates. Nothing is trained, so what is found has the weights it begins with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..metric import Metric
from ..spaces.architecture import Architecture
from ..spaces.space import SearchSpace
from .task import Input, Output, Task

STEPS = 20  # steps of a law that are called an epoch
PREDICTED = Metric("predicted accuracy")


@dataclass(frozen=True)
class Nothing:
    """A part of ``STEPS`` batches that hold nothing: a model that predicts looks at no example."""

    def __len__(self) -> int:
        return STEPS

    def steps(self, batch: int) -> int:
        """Return the steps of one pass, whatever the batch."""
        return STEPS

    def batches(
        self, batch: int, generator: torch.Generator, *, augment: bool = False, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one pass of empty batches ``(1, 0)`` and targets ``(1,)``."""
        for _ in range(start, STEPS):
            yield torch.zeros(1, 0), torch.zeros(1)

    def ordered(self, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield no example."""
        yield from ()

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return as many empty examples as there are indices ``(n,)``."""
        return torch.zeros(len(index), 0), torch.zeros(len(index))


class PredictedTask(Task):
    """Accuracy as a model tells it of an architecture's encoding.

    Args:
        name: Name of the table that it was learnt from, ``table:FILE:COLUMN``.
        space: whose networks it knows.
        module: ``(b, d) -> (b,)`` accuracy in per cent, with a slope.
        encoding: the space's encoding that the module reads.
        spread: standard deviation of the accuracies learnt from, in points: the unit of the loss.
        told: what a result tells of the model: its name, rows, held-out scores.
    """

    metric = PREDICTED
    by_recipe = False

    def __init__(
        self, name: str, space: SearchSpace, module: nn.Module, encoding: str, spread: float, told: Mapping[str, Any]
    ) -> None:
        self.name, self.space, self.module, self.encoding = name, space, module, encoding
        self.spread, self.told = spread, told
        self.weights = self.law = self.test = Nothing()
        self.remarks = (
            f"accuracies are predicted, as learnt from {told.get('rows', '?')} rows of {name}; nothing is trained, so "
            "the weights of what is found are random",
        )
        self._known: dict[Architecture, float] = {}

    @property
    def inputs(self) -> tuple[Input, ...]:
        return (Input((0,)),)

    @property
    def output(self) -> Output:
        return Output("classes", 1)

    def fitted(self, space: SearchSpace) -> Task:
        """Return the task itself: it looks at no image."""
        return self

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return how far accuracies ``(b,)`` in per cent are below 100, in units of what those learnt from spread."""
        return (100 - outputs.mean()) / self.spread

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, float]:
        return {self.metric.name: float(outputs.mean()) / 100}

    def predict(self, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        """Return ``(n,)`` accuracies as shares; what was asked once is remembered."""
        new = [a for a in dict.fromkeys(architectures) if a not in self._known]
        if new:
            with torch.no_grad():
                rows = torch.from_numpy(self.space.encode(new, self.encoding))
                like = next(self.module.parameters(), next(self.module.buffers(), rows))
                values = self.module(rows.to(like.dtype)).double().clamp(0, 100) / 100
            self._known.update(zip(new, values.tolist(), strict=True))
        return np.array([self._known[a] for a in architectures], float)

    def known(self, architecture: Architecture) -> float:
        """Return the predicted accuracy of a network, as a share: it need not be built."""
        return float(self.predict([self.space.from_key(architecture.key)])[0])
