"""No preference: a random architecture each step, as one-shot training wants.

References:
    Guo et al., *Single path one-shot*, arXiv:1904.00420; Cai et al., *Once-for-All*, arXiv:1908.09791.
"""

from __future__ import annotations

import torch

from ...arguments import NonNegative
from ...spaces.space import SearchSpace
from ..law import Gates
from .softmax import Softmax


class Uniform(Softmax):
    """Every architecture that the rules allow, each site uniform; nothing to learn.

    Args:
        space: whose sites and rules the law has.
        generator: not used.
        noise: not used.
    """

    def __init__(
        self, space: SearchSpace, generator: torch.Generator | None = None, *, noise: NonNegative = 0.0
    ) -> None:
        super().__init__(space, generator, noise=0.0)
        logits = self.logits.detach()
        del self.logits
        self.register_buffer("logits", logits)

    def draw(self, generator: torch.Generator, *, tau: float) -> Gates:
        return {name: row[0] for name, row in self.sample(1, generator).items()}


LAW = Uniform
