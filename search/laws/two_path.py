"""Two options of every site at a time: as much memory as two paths, whatever the number of options.

References:
    Cai et al., *ProxylessNAS*, arXiv:1812.00332 (one of the two on, rescaling); Fang et al., *DenseNAS*,
    arXiv:1906.09607 (both mixed).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from ...arguments import NonNegative
from ...spaces.space import SearchSpace
from ..law import Gates, gumbel, one_hot, straight_through
from .softmax import Softmax


class TwoPath(Softmax):
    """Two options by their probabilities, without replacement, weighed by the softmax of their two logits.

    After a step their logits are shifted by one constant, so that they keep their probability together: what was not
    drawn is as probable as before.

    Args:
        space: whose sites and rules the law has.
        generator: draws the first logits.
        noise: their standard deviation.
        sites: those that it is a law over; None for all.
        hard: one of the two is on, straight-through; else both are mixed. A law step runs the other one too, whose gate
            is 0, for the gradient of a binary gate is the product of the loss' gradient with what its path gives.
    """

    def __init__(
        self,
        space: SearchSpace,
        generator: torch.Generator | None = None,
        *,
        noise: NonNegative = 1e-3,
        sites: Collection[str] | None = None,
        hard: bool = False,
    ) -> None:
        super().__init__(space, generator, noise=noise, sites=sites)
        self.hard = hard
        self.settings = {**self.settings, "hard": hard}
        self._pair: tuple[Tensor, Tensor] | None = None

    def draw(self, generator: torch.Generator, *, tau: float) -> Gates:
        logits = self._masked()
        log_p = torch.log_softmax(logits, dim=-1)
        pair = (log_p + gumbel(tuple(log_p.shape), generator, log_p.dtype)).topk(2, dim=-1).indices
        two = logits.gather(-1, pair)
        self._pair = pair, two.detach().clone()
        soft = torch.softmax(two / tau, dim=-1)
        if self.hard:
            on = soft.detach().multinomial(1, generator=generator)[:, 0]
            soft = straight_through(one_hot(on, soft), soft)
        return self._gates(torch.zeros_like(log_p).scatter(-1, pair, soft))

    def beside(self) -> Mapping[str, Collection[int]]:
        if not self.hard or self._pair is None:
            return {}
        pairs = zip(self.names, self.widths, self._pair[0].tolist(), strict=True)
        return {name: [option for option in pair if option < width] for name, width, pair in pairs}

    def stepped(self) -> None:
        if self._pair is not None:
            pair, before = self._pair
            with torch.no_grad():
                two = self.logits.gather(-1, pair)
                shift = torch.logsumexp(before, dim=-1, keepdim=True) - torch.logsumexp(two, dim=-1, keepdim=True)
                self.logits.scatter_(-1, pair, two + shift)


LAW = TwoPath
