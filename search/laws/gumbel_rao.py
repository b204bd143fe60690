"""Gumbel straight-through with less variance: the soft gradient averaged over noises that give the same choice.

References:
    Paulus et al., *Rao-Blackwellizing the straight-through Gumbel-softmax gradient estimator*, arXiv:2010.04838.
"""

from __future__ import annotations

from collections.abc import Collection

import torch

from ...arguments import Count, NonNegative
from ...errors import UsageError
from ...spaces.space import SearchSpace
from ..law import Gates, gumbel, one_hot, straight_through
from .softmax import NEVER, Softmax


class GumbelRao(Softmax):
    """As ``Gumbel`` in what the supernet runs and in the mean gradient.

    Args:
        space: whose sites and rules the law has.
        generator: draws the first logits.
        noise: their standard deviation.
        averaged: noises per draw, K.
        sites: those that it is a law over; None for all.
    """

    def __init__(
        self,
        space: SearchSpace,
        generator: torch.Generator | None = None,
        *,
        noise: NonNegative = 1e-3,
        averaged: Count = 8,
        sites: Collection[str] | None = None,
    ) -> None:
        super().__init__(space, generator, noise=noise, sites=sites)
        if averaged < 1:
            raise UsageError(f"averaged={averaged}; allowed: a whole number from 1")
        self.averaged = averaged
        self.settings = {**self.settings, "averaged": averaged}

    def draw(self, generator: torch.Generator, *, tau: float) -> Gates:
        """Given winner w, ``Z_w = -log E_w`` and ``Z_i = -log(E_i / p_i + E_w)``, all E standard exponential."""
        log_p = torch.log_softmax(self._masked(), dim=-1)
        taken = (log_p + gumbel(tuple(log_p.shape), generator, log_p.dtype)).argmax(dim=-1)
        winner = one_hot(taken, log_p)
        noise = torch.empty((self.averaged, *log_p.shape), dtype=log_p.dtype).exponential_(generator=generator)
        least = torch.finfo(noise.dtype).tiny
        first = (noise * winner).sum(dim=-1, keepdim=True).clamp_min(least)
        others = noise / log_p.detach().exp().clamp_min(least) + first
        noisy = -torch.where(winner.bool(), first, others).log()
        noisy = log_p + (noisy - log_p.detach())  # the noise is a constant: only the logits have a gradient
        soft = torch.softmax(noisy.masked_fill(self._absent, NEVER) / tau, dim=-1).mean(dim=0)
        return self._gates(straight_through(winner, soft))


LAW = GumbelRao
