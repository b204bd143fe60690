"""A recurrent layer as a module: torch's own, of which the outputs along the sequence are taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from .sequence import Recurrent


class LastOf(nn.Module):
    """Runs an ``nn.LSTM`` or ``nn.GRU`` whose parameters are its own: ``(b, length, F)`` to ``(b, length, hidden)``."""

    def __init__(self, layer: Recurrent, width: int) -> None:
        super().__init__()
        kind: Any = {"LSTM": nn.LSTM, "GRU": nn.GRU}[layer.kind]
        cell = kind(width, layer.hidden, layer.layers, layer.bias, batch_first=True, bidirectional=layer.both)
        self.__dict__["cell"] = cell  # no module of this one: its parameters are named as those of the layer
        for name, parameter in cell.named_parameters():
            self.register_parameter(name, parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of the last layer; on a CPU, whose library has none in half precision, in single."""
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return self._run(x.float())
        return self._run(x)

    def _run(self, x: Tensor) -> Tensor:
        from torch.func import functional_call

        found: Any = functional_call(self.__dict__["cell"], dict(self.named_parameters()), (x,))
        return found[0]
