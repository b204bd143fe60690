"""Steps of a law that never leave a budget.

One block of sites moves at a time, towards the vertex that the gradient likes best; since the segment between two
feasible points of a block is feasible, so is every iterate.

References:
    Nayman et al., *HardCoRe-NAS*, arXiv:2102.11646; Lacoste-Julien et al., *Block-coordinate Frank-Wolfe*,
    arXiv:1207.4747 (step length).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import UsageError
from ...spaces.space import SearchSpace
from ..budget import Budget, Rows, advantages, towards
from ..cost import CostModel
from ..laws.simplex import Simplex


class FrankWolfe(torch.optim.Optimizer):
    """Block-coordinate Frank-Wolfe as an optimiser of a ``Simplex`` law: every iterate costs at most T.

    Step k moves one block of n by ``2n/(k + 2n)`` towards its best vertex; the law begins within the budget.

    Args:
        law: moved in place.
        space: Space of the law.
        cost: a polynomial in the gates.
        budget_ms: T.

    Raises:
        UsageError: another law, or a cost that is no polynomial.
        TargetError: nothing is within the budget.
    """

    def __init__(self, law: object, space: SearchSpace, cost: CostModel, budget_ms: float) -> None:
        if not isinstance(law, Simplex):
            raise UsageError(f"a hard constraint moves probabilities; use the law simplex, not {type(law).__name__}")
        self.law, self.budget = law, Budget(space, cost, budget_ms)
        super().__init__(law.parameters(), {})
        self.state[law.probabilities] = {"step": torch.zeros(())}
        self._write(self.budget.inside(self._rows(law.probabilities.detach())))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move one block along the gradient that the law's parameters hold."""
        parameter = self.law.probabilities
        assert parameter.grad is not None
        number, count = int(self.state[parameter]["step"]), len(self.budget.blocks)
        rows, ran, gradient = (self._rows(value) for value in (parameter, self.law.explored(), parameter.grad))
        self.law.learn(advantages(self.budget.space, ran, gradient))
        best = self.budget.vertex(rows, gradient, self.budget.blocks[number % count])
        if best is not None:
            self._write(towards(rows, best, 2 * count / (number + 2 * count)))
        self.state[parameter]["step"] += 1

    def _rows(self, value: Tensor) -> Rows:
        return [row[:k].double().numpy() for row, k in zip(value, self.law.widths, strict=True)]

    def _write(self, rows: Rows) -> None:
        with torch.no_grad():
            for target, row in zip(self.law.probabilities, rows, strict=True):
                target[: len(row)] = torch.from_numpy(row).to(target)
