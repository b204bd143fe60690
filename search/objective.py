"""What a law step minimises: the task's loss with a cost in one of the forms, and regularisers.

A :class:`CostModel` (``cost.py``) prices a law, a :class:`Form` (``forms.py``) says how the price enters the loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UsageError
from .cost import CostModel
from .forms import Form
from .law import Gates, Law
from .regularisers import Distillation, Regulariser


@dataclass(frozen=True)
class CostTerm:
    """One cost in the objective."""

    model: CostModel
    form: Form

    def __call__(self, loss: Tensor, law: Law, generator: torch.Generator, drawn: Gates | None = None) -> Tensor:
        """Return what is minimised, a scalar, from the task's loss and the law's cost."""
        return self.form.combine(loss, self.model.expected(law, generator, drawn))


@dataclass(frozen=True)
class Objective:
    """Everything that a law step looks at beside the task.

    Attributes:
        term: the cost and its form.
        regularisers: what else is asked of the law.
        distillation: what paths learn from their mixture; weight steps look at it too.
    """

    term: CostTerm
    regularisers: tuple[Regulariser, ...] = ()
    distillation: Distillation | None = None

    def gradients(
        self, loss: Tensor, law: Law, generator: torch.Generator, drawn: Gates | None = None
    ) -> tuple[Tensor, ...]:
        """Return the direction against which the law's parameters are moved."""
        for regulariser in self.regularisers:
            loss = loss + regulariser.penalty(law)
        cost_ms = self.term.model.expected(law, generator, drawn)
        if not cost_ms.requires_grad:
            raise UsageError(
                f"{type(self.term.model).__name__} has no slope in the gates, and a gradient search would ignore it; "
                "give a cost that has, such as a predictor of model gp"
            )
        return self.term.form.gradients(loss, cost_ms, tuple(law.parameters()))
