"""The set {a distribution at every site, cost <= T}, and linear programmes over it.

A circuit's cost is linear in the probabilities of sites that are never multiplied with each other. The sites fall into
such blocks, and with the other blocks held, a block's part of the set is a polytope.

References:
    Nayman et al., *HardCoRe-NAS*, arXiv:2102.11646.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog
from torch import Tensor

from ..errors import TargetError, UsageError
from ..spaces.space import SearchSpace
from .cost import CostModel

Rows = list[NDArray[np.float64]]  # one distribution a site
_HALVINGS = 50
_SLACK = 1e-9  # relative: what solvers and rounding leave of a budget


def blocks(space: SearchSpace, cost: CostModel) -> list[list[int]]:
    """Return the sites, by index, in groups in whose probabilities the cost is linear.

    Raises:
        UsageError: the cost is no polynomial in the gates.
    """
    if cost.pairs is None:
        raise UsageError(
            "a predictor's cost is not linear in the probabilities of single sites, which a hard constraint needs; "
            "use a table, or flops or parameters (tempograd search --cost table)"
        )
    found: list[list[int]] = []
    names = [site.name for site in space.sites]
    for i, name in enumerate(names):
        free = (block for block in found if all(frozenset({name, names[j]}) not in cost.pairs for j in block))
        block = next(free, None)
        found.append([i]) if block is None else block.append(i)
    return found


class Budget:
    """The set {a distribution at every site, cost <= budget}.

    Args:
        space: whose sites.
        cost: in ms, a polynomial in the gates.
        budget_ms: T.
    """

    def __init__(self, space: SearchSpace, cost: CostModel, budget_ms: float) -> None:
        self.space, self.cost, self.budget_ms = space, cost, budget_ms
        self.blocks = blocks(space, cost)

    def cost_ms(self, rows: Rows) -> float:
        """Return the expected cost of distributions."""
        return float(self.cost(self._gates(rows)))

    def slopes(self, rows: Rows) -> tuple[float, Rows]:
        """Return the expected cost, and its derivative by every probability."""
        gates = {name: gate.requires_grad_() for name, gate in self._gates(rows).items()}
        with torch.enable_grad():
            value = self.cost(gates)
        found = torch.autograd.grad(value, list(gates.values()), materialize_grads=True)
        slopes = [gradient.double().numpy() for gradient in found]
        return float(value.detach()), slopes

    def vertex(self, rows: Rows, gradient: Rows, block: Sequence[int]) -> Rows | None:
        """Return the rows with the sites of a block where a linear function of them is least within the budget.

        At most one site of the block is not at a single option. None if the others leave no budget.
        """
        cost_ms, slopes = self.slopes(rows)
        here = sum(float(slopes[i] @ rows[i]) for i in block)
        sizes = [len(rows[i]) for i in block]
        simplices = np.zeros((len(block), sum(sizes)))
        for n, end in enumerate(np.cumsum(sizes)):
            simplices[n, end - sizes[n] : end] = 1
        flat = np.concatenate([gradient[i] for i in block])
        scale = max(float(np.abs(flat).max()), np.finfo(float).tiny)
        found: Any = linprog(
            flat / scale,
            A_ub=np.concatenate([slopes[i] for i in block])[None],
            b_ub=[self.budget_ms - cost_ms + here],
            A_eq=simplices,
            b_eq=np.ones(len(block)),
            bounds=(0, 1),
            method="highs-ds",  # the simplex method: it ends at a vertex
        )
        if found.x is None:
            return None
        moved = list(rows)
        for i, part in zip(block, np.split(found.x, np.cumsum(sizes)[:-1]), strict=True):
            moved[i] = np.clip(part, 0, None) / np.clip(part, 0, None).sum()
        return moved

    def cheapest(self, rows: Rows) -> Rows:
        """Return where no block alone can be cheaper, from given rows on."""
        current, least = rows, np.inf
        while (cost_ms := self.cost_ms(current)) < least - _SLACK * abs(cost_ms):
            least = cost_ms
            for block in self.blocks:
                _, slopes = self.slopes(current)
                for i in block:
                    current = [*current[:i], np.eye(len(slopes[i]))[slopes[i].argmin()], *current[i + 1 :]]
        return current

    def inside(self, rows: Rows) -> Rows:
        """Return the rows, or, if they cost too much, the first point within the budget on the way to the cheapest.

        Raises:
            TargetError: there is none.
        """
        if self.cost_ms(rows) <= self.budget_ms:
            return rows
        cheap = self.cheapest(rows)
        if (least := self.cost_ms(cheap)) > self.budget_ms:
            raise TargetError(
                f"target {self.budget_ms:.4g} ms is below the cheapest network by this cost, {least:.4g} ms; ask for "
                "at least that"
            )
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            share = (low + high) / 2
            fits = self.cost_ms(towards(rows, cheap, share)) <= self.budget_ms
            low, high = (low, share) if fits else (share, high)
        return towards(rows, cheap, high)

    def _gates(self, rows: Rows) -> dict[str, Tensor]:
        return {site.name: torch.from_numpy(row.copy()) for site, row in zip(self.space.sites, rows, strict=True)}


def towards(rows: Rows, other: Rows, share: float) -> Rows:
    """Return the point at a share of the way from rows to others."""
    return [(1 - share) * a + share * b for a, b in zip(rows, other, strict=True)]


def flows(space: SearchSpace, rows: Rows) -> Rows:
    """Return the probability that a site decides something and takes an option, of rows given that it decides."""
    found: dict[str, NDArray[np.float64]] = {}
    for site, row in zip(space.sites, rows, strict=True):
        found[site.name] = row * (sum(found[name][option] for name, option in site.when) if site.when else 1.0)
    return list(found.values())


def advantages(space: SearchSpace, rows: Rows, gradient: Rows) -> Rows:
    """Return what every option adds to a loss, against the distribution at which the gradient was taken.

    Summed over what an architecture decides, it is what the architecture adds: exactly, where the loss adds up over
    options, also along routes, and to first order elsewhere (Kakade and Langford, *Approximately optimal approximate
    reinforcement learning*, ICML 2002: the difference of two policies).

    Args:
        space: Space of the sites.
        rows: the distribution; every site is reached.
        gradient: Gradient of the loss by the rows.
    """
    reached = (flow.sum() for flow in flows(space, rows))
    return [(g - g @ row) / reach for g, row, reach in zip(gradient, rows, reached, strict=True)]
