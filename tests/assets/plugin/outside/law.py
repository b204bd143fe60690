"""The mean of several Gumbel-softmax draws: less noise than one draw, more than the mixture."""

import torch

from tempograd.search.law import Gates, gumbel
from tempograd.search.laws.softmax import Softmax


class MeanGumbel(Softmax):
    """As ``Softmax``, but the supernet runs the mean of ``draws_averaged`` soft draws.

    Args:
        space, generator, noise: as for ``Softmax``.
        averaged: how many draws.
    """

    def __init__(self, space, generator=None, *, noise: float = 1e-3, averaged: int = 4) -> None:
        super().__init__(space, generator, noise=noise)
        self.averaged = averaged

    def draw(self, generator: torch.Generator, *, tau: float) -> Gates:
        log_p = torch.log_softmax(self._masked(), dim=-1)
        noise = gumbel((self.averaged, *log_p.shape), generator, log_p.dtype)
        return self._gates(torch.softmax((log_p + noise) / tau, dim=-1).mean(dim=0))
