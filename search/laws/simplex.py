"""The probabilities themselves as parameters, for steps that never leave a set of them.

References:
    Nayman et al., *HardCoRe-NAS*, arXiv:2102.11646.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...arguments import NonNegative, Share
from ...errors import UsageError
from ...spaces.space import SearchSpace
from ..law import Gates
from ..need import FREE
from .softmax import Softmax

_LEAST = 1e-12  # a probability of 0 has no logarithm


class Simplex(Softmax):
    """A distribution at every site, moved by an optimiser that keeps it one, such as ``FrankWolfe``.

    The supernet runs the mixture with a little of every option: one that is not run would never get a gradient.

    Args:
        space: without rules that tie sites together.
        generator: draws the first probabilities, the softmax of ``noise * N(0, 1)``.
        noise: see there.
        explore: share of the uniform distribution in what the supernet runs.

    Raises:
        UsageError: the space has such rules, or a share outside [0, 1).
    """

    moves = "frank_wolfe"
    needs = FREE

    def __init__(
        self,
        space: SearchSpace,
        generator: torch.Generator | None = None,
        *,
        noise: NonNegative = 1e-3,
        explore: Share = 0.1,
    ) -> None:
        if not 0 <= explore < 1:
            raise UsageError(f"explore={explore}; allowed: from 0 to below 1")
        super().__init__(space, generator, noise=noise)
        self.explore = explore
        self.settings = {**self.settings, "explore": explore}
        first = torch.softmax(super()._masked().detach(), dim=-1)
        del self.logits
        self.probabilities = nn.Parameter(first)
        self.register_buffer("added", torch.zeros_like(first))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.added: Tensor
        self.steps: Tensor

    def draw(self, generator: torch.Generator, *, tau: float) -> Gates:
        return self._gates(self.explored())

    def explored(self) -> Tensor:
        """Return ``(sites, K)``, the probabilities that the supernet runs."""
        there = (~self._absent).to(self.probabilities)
        uniform = there / there.sum(dim=-1, keepdim=True)
        return (1 - self.explore) * self.probabilities + self.explore * uniform

    def marginals(self) -> Gates:
        return self._gates(self.probabilities)

    def learn(self, added: Sequence[NDArray[np.float64]]) -> None:
        """Take note of what each option of each site adds to the loss: a mean over the steps, late ones foremost."""
        share = 2 / (float(self.steps) + 2)
        for row, own in zip(self.added, added, strict=True):
            row[: len(own)] += share * (torch.from_numpy(own).to(row) - row[: len(own)])
        self.steps += 1

    def scores(self) -> Tensor:
        """Return what each option takes off the loss as far as it is learnt, before that its log-probability.

        A law within a budget ends between two networks, and what lies within the budget near both is not told by how
        much it has of either.
        """
        log_p = self._masked().detach()
        log_p = torch.where(self._relative[:, None], log_p - log_p.amax(dim=-1, keepdim=True), log_p)
        return torch.where(self.steps > 0, -self.added, log_p).masked_fill(self._absent, -torch.inf)

    def _masked(self) -> Tensor:
        return self.probabilities.clamp_min(_LEAST).log().masked_fill(self._absent, -1e9)


LAW = Simplex
