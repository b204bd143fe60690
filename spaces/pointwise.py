"""1x1 convolutions: small ones that learn twice as fast on a CPU, strided ones that do not write where they must not.

Laid out channels last, a 1x1 convolution is one product of matrices. With few channels a call of oneDNN costs more than
its work, and the product is faster by itself, forward and back.

oneDNN's gradient of a strided one with fewer than eight channels, laid out channels last, writes past its buffer on
CPUs without AVX-512 (oneDNN 3.12): the process dies later, anywhere. Taken apart, into every second row and column and
a convolution without a stride, it is the same numbers by other code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from .channels_last import ordered

_FEW = 1_024  # weights up to which the product is faster
_SMALL = 8_192  # numbers in a batch of maps below which it takes no less


class PointwiseConv2d(nn.Conv2d):
    """One 1x1 kernel, ``(b, C, H, W) -> (b, K, H, W)``, no bias; parameters as in ``nn.Conv2d``."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out, 1, bias=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the name is torch's)
        """Return the convolution ``(b, K, H, W)`` of ``(b, C, H, W)``."""
        costly = self.weight.numel() > _FEW or input.numel() <= _SMALL or input.device.type != "cpu"
        if costly or not input.is_contiguous(memory_format=torch.channels_last):
            return super().forward(input)
        return F.linear(input.permute(0, 2, 3, 1), self.weight.flatten(1)).permute(0, 3, 1, 2)


class StridedPointwiseConv2d(nn.Conv2d):
    """One 1x1 kernel on every ``stride``-th row and column, ``(b, C, H, W) -> (b, K, H', W')``, no bias."""

    def __init__(self, channels: int, out: int, stride: int, groups: int = 1) -> None:
        super().__init__(channels, out, 1, groups=groups, bias=False)
        self.every = stride

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the name is torch's)
        """Return the convolution ``(b, K, H', W')`` of ``(b, C, H, W)``."""
        return super().forward(every(input, self.every, self.every))


def every(x: Tensor, rows: int, columns: int) -> Tensor:
    """Return every so many rows and columns of maps ``(b, C, H, W)``, the first ones among them."""
    return ordered(x)[:, :, ::rows, ::columns]
