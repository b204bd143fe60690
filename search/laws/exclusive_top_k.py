"""Several single paths at a time that share no option at any site.

References:
    Tan et al., *MSG-DAS*, arXiv:2107.04324; Luo et al., *LightNAS*, arXiv:2208.14446.
"""

from __future__ import annotations

import torch

from ...arguments import Count, NonNegative
from ...errors import UsageError
from ...spaces.space import SearchSpace
from ..law import Gates, gumbel, one_hot, straight_through
from .softmax import NEVER, Softmax


class ExclusiveTopK(Softmax):
    """The k most probable options under one Gumbel noise a site, one for each of k passes.

    The first pass alone is ``Gumbel``. Backward, a pass sees the softmax over the options that those before it left.

    Args:
        space: whose sites and rules the law has.
        generator: draws the first logits.
        noise: their standard deviation.
        paths: passes per step, k.

    Raises:
        UsageError: some site has fewer than ``paths`` options.
    """

    def __init__(
        self,
        space: SearchSpace,
        generator: torch.Generator | None = None,
        *,
        noise: NonNegative = 1e-3,
        paths: Count = 2,
    ) -> None:
        super().__init__(space, generator, noise=noise)
        if not 1 <= paths <= min(self.widths):
            raise UsageError(f"paths={paths}; allowed: 1..{min(self.widths)}, the fewest options of a site")
        self.paths = paths
        self.settings = {**self.settings, "paths": paths}

    def draw(self, generator: torch.Generator, *, tau: float) -> Gates:
        return self.draws(generator, tau=tau)[0]

    def draws(self, generator: torch.Generator, *, tau: float) -> tuple[Gates, ...]:
        log_p = torch.log_softmax(self._masked(), dim=-1)
        left = log_p + gumbel(tuple(log_p.shape), generator, log_p.dtype)
        found: list[Gates] = []
        for _ in range(self.paths):
            soft = torch.softmax(left / tau, dim=-1)
            hard = one_hot(left.argmax(dim=-1), soft)
            found.append(self._gates(straight_through(hard, soft)))
            left = left.masked_fill(hard.bool(), NEVER)
        return tuple(found)


LAW = ExclusiveTopK
