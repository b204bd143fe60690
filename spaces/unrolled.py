"""A network of one step of a recurrent cell, run along sequences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .graph import INPUT, ports
from .network import Beside, Gates, Network


class Unrolled(Network):
    """A network ``(symbol, state) -> (logits, state)`` that reads whole sequences: a step for each of their symbols.

    The state begins at zero. A gradient goes back through all steps of a sequence, so that its length is where
    back-propagation is truncated.

    Example:
        >>> from tempograd import registry
        >>> space = registry.create("space", "recurrent:n=2,hidden=4,classes=5")
        >>> network = space.to_torch(space.parse("0>1"))
        >>> tuple(network(torch.tensor([[1, 2, 3]])).shape)
        (1, 5, 3)
        >>> logits, state = network([torch.tensor([[1]]), torch.zeros(1, 4)])
        >>> tuple(logits.shape), tuple(state.shape)
        ((1, 5), (1, 4))
    """

    def forward(
        self,
        x: Tensor | Sequence[Tensor],
        gates: Gates | None = None,
        *,
        every: bool = False,
        beside: Beside | None = None,
    ) -> Tensor:
        """Return ``(b, classes, length)`` logits of sequences ``(b, length)``, int64; of a step its two outputs.

        Args:
            x: sequences; or the symbol ``(b, 1)`` and the state ``(b, H)`` of one step.
            gates: Gates of the choices, as in `Network`.
            every: run all options, as in `Network`.
            beside: options that are run at a gate of 0, as in `Network`.
        """
        if not isinstance(x, Tensor):
            return super().forward(x, gates, every=every, beside=beside)
        state, logits = self._begin(x), list[Tensor]()
        for place in range(x.shape[1]):
            told, state = super().forward((x[:, place : place + 1], state), gates, every=every, beside=beside)
            logits.append(told)
        return torch.stack(logits, dim=2)

    def _begin(self, x: Tensor) -> Tensor:
        (shape,) = (shape for name, (shape, _) in ports(self.graph).items() if name != INPUT)
        weight = next(self.parameters())
        return torch.zeros(x.shape[0], *shape, dtype=weight.dtype, device=x.device)
