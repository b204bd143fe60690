"""The weights of a layer of this folder, as a module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..layers import Shape

if TYPE_CHECKING:
    from .layer import Layer


class Weighted(nn.Module):
    """Holds a layer's weights by their names, and runs it with them.

    Args:
        layer: whose ``run`` is called.
        shapes: Shapes of its weights. Those of one axis begin at 1 for scales and 0 for shifts, others as in torch.
    """

    def __init__(self, layer: Layer, shapes: Mapping[str, Shape]) -> None:
        super().__init__()
        self.layer, self.names = layer, tuple(shapes)
        for name, shape in shapes.items():
            value = torch.empty(shape)
            if len(shape) > 1:
                nn.init.kaiming_normal_(value, nonlinearity="relu")
            else:
                nn.init.constant_(value, float(name == "weight"))
            self.register_parameter(name, nn.Parameter(value))

    def forward(self, *x: Tensor) -> Tensor:
        """Return what the layer makes of its inputs."""
        return self.layer.run(*x, **{name: getattr(self, name) for name in self.names})
