"""A 1x1 convolution with a stride that does not write where it must not.

oneDNN's gradient of one with fewer than eight channels, laid out channels last, writes past its buffer on CPUs without
AVX-512 (oneDNN 3.12): the process dies later, anywhere. Taken apart, into every second row and column and a convolution
without a stride, it is the same numbers by other code.
"""

from __future__ import annotations

from torch import Tensor, nn

from .channels_last import ordered


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
