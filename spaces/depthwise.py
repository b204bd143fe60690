"""A depthwise convolution with large or dilated kernels that learns several times faster on a CPU.

Forward, oneDNN runs one at full speed; for the way back it has fast code for undilated kernels of at most three columns
only, on maps no smaller than the kernel. So the gradient of a map is the convolution with the kernel turned round, and
the gradient of a kernel is computed three columns at a time, on every second row and column where it is dilated by two.
Where the map is smaller than the kernel, it is the product of the positions out with those in, which a matrix product
computes at once. A stride equal to the dilation is looked at as none on every so manieth row and column. The numbers
are those of ``nn.Conv2d``, added up in another order. Where the calls cost more than the work, torch's own way is
taken.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

_COLUMNS = 3  # of a kernel, that oneDNN differentiates at full speed
_SMALL = 4_096  # numbers in a batch of maps below which the calls cost more than the work
_FEW = 64  # positions of a map up to which all pairs of them are looked at, where the kernel is larger than the map


class DepthwiseConv2d(nn.Conv2d):
    """One square kernel a channel, ``(b, C, H, W) -> (b, C, H', W')``, no bias; parameters as in ``nn.Conv2d``."""

    def __init__(self, channels: int, kernel: int, stride: int, padding: int, dilation: int) -> None:
        super().__init__(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the name is torch's)
        """Return the convolution ``(b, C, H', W')`` of ``(b, C, H, W)``."""
        slow = input.numel() > _SMALL and (self.kernel_size[0] > _COLUMNS or self.dilation[0] > 1)
        if slow and torch.is_grad_enabled() and input.device.type == "cpu":
            x, weight = input, self.weight
            if torch.is_autocast_enabled("cpu"):  # which sees no operators of the way back
                x, weight = (each.to(torch.get_autocast_dtype("cpu")) for each in (x, weight))
            return _Depthwise.apply(x, weight, self.stride[0], self.padding[0], self.dilation[0])
        return super().forward(input)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.shape = stride, padding, dilation
        return F.conv2d(x, weight, None, stride, padding, dilation, len(weight))

    @staticmethod
    @torch.autograd.function.once_differentiable
    # torch declares backward for any number of gradients; this forward has one output
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        of_x = _of_map(gradient, x, weight, *ctx.shape) if ctx.needs_input_grad[0] else None
        of_weight = _of_kernel(gradient, x, weight, *ctx.shape) if ctx.needs_input_grad[1] else None
        return of_x, of_weight, None, None, None


def _of_map(gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, dilation: int) -> Tensor:
    if stride == dilation > 1 and padding % dilation == 0:
        seen = _of_map(gradient, x[:, :, ::stride, ::stride], weight, 1, padding // dilation, 1)
        found = torch.zeros_like(x)
        found[:, :, ::stride, ::stride] = seen
        return found
    around = dilation * (weight.shape[2] - 1) - padding
    if stride > 1 or around < 0:
        return _builtin(gradient, x, weight, stride, (padding, padding), dilation, 0)
    return F.conv2d(gradient, weight.flip(2, 3), None, 1, around, dilation, len(weight))


def _of_kernel(gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, dilation: int) -> Tensor:
    if dilation > 1 and padding % dilation == 0 and stride in (1, dilation):
        whole = stride == 1
        x = _interleaved(x, dilation) if whole else x[:, :, ::dilation, ::dilation]
        gradient = _interleaved(gradient, dilation) if whole else gradient
        stride, padding, dilation = 1, padding // dilation, 1
    kernel = weight.shape[3]
    if stride == dilation == 1 and min(x.shape[2:]) < kernel and x[0, 0].numel() <= _FEW:
        return _of_kernel_by_positions(gradient, x, weight, padding)
    if dilation > 1 or kernel <= _COLUMNS:
        return _builtin(gradient, x, weight, stride, (padding, padding), dilation, 1)
    x, parts = F.pad(x, [padding] * 2), list[Tensor]()
    for start in range(0, kernel, _COLUMNS):
        part = weight[..., start : start + _COLUMNS]
        end = start + (gradient.shape[3] - 1) * stride + part.shape[3]
        parts.append(_builtin(gradient, x[..., start:end], part, stride, (padding, 0), 1, 1))
    return torch.cat(parts, dim=3)


def _of_kernel_by_positions(gradient: Tensor, x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """Sum, over the images, what each position out has to do with each position in; then over those a kernel joins."""
    of_pairs = _by_position(gradient) @ _by_position(x).mT  # (C, positions out, positions in)
    joined = _joined(tuple(gradient.shape[2:]), tuple(x.shape[2:]), weight.shape[3], padding)
    return (of_pairs.flatten(1) @ joined.to(x.dtype)).view_as(weight)


def _by_position(x: Tensor) -> Tensor:
    """Return maps ``(b, C, H, W)`` as ``(C, H * W, b)``."""
    rows = x.permute(0, 2, 3, 1).flatten(1).T.contiguous()
    return rows.view(-1, x.shape[1], x.shape[0]).transpose(0, 1)


@cache
def _joined(out: tuple[int, int], inside: tuple[int, int], kernel: int, padding: int) -> Tensor:
    """Return ``(positions out * positions in, kernel * kernel)``: 1 where a weight of the kernel joins the two."""
    rows, columns = (
        torch.arange(size)[None, :, None] == torch.arange(to)[:, None, None] + torch.arange(kernel) - padding
        for to, size in zip(out, inside, strict=True)
    )
    return torch.einsum("hia,wjb->hwijab", rows.float(), columns.float()).reshape(-1, kernel * kernel)


def _interleaved(x: Tensor, by: int) -> Tensor:
    """Return the maps of every ``by``-th row and column as a batch ``by * by`` as large, with zeros where they end."""
    x = F.pad(x, (0, -x.shape[3] % by, 0, -x.shape[2] % by))
    return torch.cat([x[:, :, row::by, column::by] for row in range(by) for column in range(by)])


def _builtin(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: tuple[int, int], dilation: int, which: int
) -> Tensor:
    """Return torch's own gradient of the map (0) or of the kernel (1)."""
    mask = [which == 0, which == 1, False]
    shape = [stride] * 2, [*padding], [dilation] * 2, False, [0, 0], len(weight)
    return torch.ops.aten.convolution_backward(gradient, x, weight, None, *shape, mask)[which]
