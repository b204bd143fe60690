"""Routes as a Markov chain: every block's own distribution over the blocks that may follow, beside one over operations.

References:
    Fang et al., *DenseNAS*, arXiv:1906.09607.
"""

from __future__ import annotations

import torch

from ...arguments import NonNegative
from ...spaces.space import SearchSpace
from ..law import Product
from ..need import FREE, ROUTES
from .softmax import Softmax
from .two_path import TwoPath


class MarkovRoute(Product):
    """``softmax`` over a block's successors, or a stage's depths; two operations at a time at all other sites.

    Args:
        space: some of whose sites decide which others there are.
        generator: draws the first logits.
        noise: their standard deviation.
        hard: Whether one of the two operations is on, straight-through.

    Raises:
        UsageError: no site of the space depends on another.
    """

    needs = ROUTES & FREE

    def __init__(
        self,
        space: SearchSpace,
        generator: torch.Generator | None = None,
        *,
        noise: NonNegative = 1e-3,
        hard: bool = False,
    ) -> None:
        self.check(space)  # before its parts are made
        routes = {name for site in space.sites for name, _ in site.when}
        others = [site.name for site in space.sites if site.name not in routes]
        operations = TwoPath(space, generator, noise=noise, sites=others, hard=hard)
        super().__init__(space, [Softmax(space, generator, noise=noise, sites=routes), operations])


LAW = MarkovRoute
