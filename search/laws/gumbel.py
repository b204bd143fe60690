"""Gumbel-softmax, soft or straight-through.

References:
    Jang et al., arXiv:1611.01144; Dong and Yang, *GDAS*, arXiv:1910.04465 (one path at a time).
"""

from __future__ import annotations

import torch

from ...arguments import NonNegative
from ...spaces.graph import Choice
from ...spaces.space import SearchSpace
from ..law import Gates, gumbel, one_hot, straight_through
from .softmax import Softmax


class Gumbel(Softmax):
    """As ``Softmax``, but the supernet runs a draw: soft, or one option a site with the soft draw's gradient.

    Args:
        space, generator, noise, none: as for ``Softmax``.
        hard: one-hot gates, straight-through, so that a pass runs one option a site.
        one_copy: where gates are soft, they are hard all the same at sites whose options are one block once more each,
            such as a resolution: then a pass costs no more than one of them, however many there are.
    """

    def __init__(
        self,
        space: SearchSpace,
        generator: torch.Generator | None = None,
        *,
        noise: NonNegative = 1e-3,
        hard: bool = True,
        one_copy: bool = False,
        none: bool = True,
    ) -> None:
        super().__init__(space, generator, noise=noise, none=none)
        self.settings = {**self.settings, "hard": hard, "one_copy": one_copy}
        copied = {
            node.operation.site
            for node, _ in (space.graph.walk() if one_copy else ())
            if isinstance(node.operation, Choice) and node.operation.shared
        }
        self._hard = torch.tensor([hard or name in copied for name in self.names])

    def draw(self, generator: torch.Generator, *, tau: float) -> Gates:
        log_p = torch.log_softmax(self._masked(), dim=-1)
        noisy = log_p + gumbel(tuple(log_p.shape), generator, log_p.dtype)
        soft = torch.softmax(noisy / tau, dim=-1)
        one = straight_through(one_hot(noisy.argmax(dim=-1), soft), soft)
        return self._gates(torch.where(self._hard[:, None], one, soft))


LAW = Gumbel
