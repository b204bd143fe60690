"""Blocks that several spaces are made of; a block builds from a value and returns its output."""

from __future__ import annotations

from ..errors import UsageError
from .common.convolution import pointwise
from .graph import Block, GraphBuilder
from .layers import (
    Add,
    BatchNorm,
    Conv,
    GlobalPool,
    HardSigmoid,
    Mask,
    Operation,
    Relu,
    Scale,
    Shuffle,
    TransformedConv,
    Width,
    same_width,
)

_SQUEEZE = 4  # the squeezed vector has a quarter of the hidden channels


def divisible(channels: float, by: int = 8) -> int:
    """Return the nearest multiple, at least one, but no less than nine tenths of what it was.

    >>> divisible(19.2), divisible(134.4)
    (24, 136)
    """
    nearest = max(by, int(channels + by / 2) // by * by)
    return nearest + by if nearest < 0.9 * channels else nearest


def relu_conv_bn(out: int, kernel: int = 1, stride: int = 1) -> Block:
    """Rectify, convolve, normalise: the order of cell spaces."""

    def build(builder: GraphBuilder, x: str) -> str:
        x = builder.add("relu", Relu(), x)
        x = builder.add("conv", Conv(out, kernel, stride), x)
        return builder.add("bn", BatchNorm(), x)

    return build


def conv_bn(conv: Conv, activation: Operation | None = None, *, mask: bool = True, residual: bool = False) -> Block:
    """Convolve, normalise, activate, mask if the width is chosen.

    The mask comes last: then the wide layer equals the narrow one, while before the normalisation its shift would leak
    into the masked channels. It can be left out where a depthwise convolution follows, which does not mix channels.
    ``residual`` is for what will be added to its input, see `BatchNorm`.
    """

    def build(builder: GraphBuilder, x: str) -> str:
        x = builder.add("bn", BatchNorm(residual), builder.add("conv", conv, x))
        x = x if activation is None else builder.add("act", activation, x)
        return builder.add("mask", Mask(conv.out), x) if mask and isinstance(conv.out, Width) else x

    return build


def inverted_residual(
    out: int,
    hidden: int | None,
    kernel: int,
    stride: int = 1,
    *,
    groups: int = 1,
    activation: Operation = Relu(),  # noqa: B008  (a frozen value)
    squeeze: bool = False,
    published: bool = False,
) -> Block:
    """Expand 1x1, convolve depthwise, project 1x1; with the input added where shapes are equal.

    Args:
        out: channels.
        hidden: channels inside; None for those of the input, and no first 1x1.
        kernel: Kernel of the depthwise convolution.
        stride: Stride of the depthwise convolution.
        groups: Groups of both 1x1 convolutions; channels are shuffled between.
        activation: after the first and the depthwise convolution.
        squeeze: squeeze-and-excitation after the depthwise convolution and its mask, so that no masked channel is seen.
        published: kernels and squeeze as in Once-for-All's own supernet, see `families.Family`.

    References:
        Sandler et al., *MobileNetV2*, arXiv:1801.04381; Hu et al., arXiv:1709.01507; Wu et al., *FBNet*,
        arXiv:1812.03443 (grouped).
    """

    def build(builder: GraphBuilder, x: str) -> str:
        y, inside = x, builder.shape(x)[0] if hidden is None else hidden
        if hidden is not None:
            y = conv_bn(Conv(hidden, groups=groups), activation, mask=False)(builder.at("expand"), y)
        if groups > 1:
            y = builder.add("shuffle", Shuffle(groups), y)
        conv = (TransformedConv if published and hidden is not None else Conv)(inside, kernel, stride, groups=inside)
        y = conv_bn(conv, activation)(builder.at("depthwise"), y)
        if squeeze:
            y = (_biased_squeeze if published else _squeeze)(builder.at("squeeze"), y, inside)
        residual = stride == 1 and same_width(builder.shape(x)[0], out)
        y = conv_bn(Conv(out, groups=groups), residual=residual)(builder.at("project"), y)
        return builder.add("sum", Add(), x, y) if residual else y

    return build


def basic(out: int, stride: int = 1) -> Block:
    """Two 3x3 convolutions; with the input added, by a 1x1 convolution where shapes differ.

    References:
        He et al., *ResNet*, arXiv:1512.03385.
    """

    def build(builder: GraphBuilder, x: str) -> str:
        y = conv_bn(Conv(out, 3, stride), Relu())(builder.at("a"), x)
        y = conv_bn(Conv(out, 3), residual=True)(builder.at("b"), y)
        if stride > 1 or not same_width(builder.shape(x)[0], out):
            x = conv_bn(Conv(out, stride=stride))(builder.at("short"), x)
        return builder.add("relu", Relu(), builder.add("sum", Add(), x, y))

    return build


def _squeeze(builder: GraphBuilder, x: str, channels: int) -> str:
    """Weigh channels by a vector pooled from them; the squeezed width is the same whatever is chosen."""
    y = builder.add("pool", GlobalPool(keep_map=True), x)
    y = builder.add("reduce", Conv(max(1, int(channels) // _SQUEEZE)), y)
    y = builder.add("expand", Conv(channels), builder.add("relu", Relu(), y))
    return builder.add("scale", Scale(), x, builder.add("gate", HardSigmoid(), y))


def _biased_squeeze(builder: GraphBuilder, x: str, channels: int) -> str:
    """Weigh channels by a vector pooled from them, with biases; the squeezed width follows the channels chosen.

    References:
        Cai et al., *Once-for-All*, arXiv:1908.09791, as its published supernets have it.
    """
    y = builder.add("pool", GlobalPool(keep_map=True), x)
    narrow = divisible(channels // _SQUEEZE)
    if isinstance(channels, Width):
        narrow = Width(channels.sites, {o: divisible(size // _SQUEEZE) for o, size in channels.sizes.items()})
    y = builder.add("relu", Relu(), builder.add("reduce", pointwise(narrow), y))
    y = builder.add("mask", Mask(narrow), y) if isinstance(narrow, Width) else y
    y = builder.add("gate", HardSigmoid(), builder.add("expand", pointwise(channels), y))
    return builder.add("scale", Scale(), x, y)


def check_halvings(size: int, stages: int) -> None:
    """Refuse images whose map cannot be halved before every stage but the first.

    Raises:
        UsageError: the size is no multiple of a power of two that is large enough.
    """
    multiple = 2 ** (stages - 1)
    if size % multiple:
        raise UsageError(
            f"size={size}; allowed: a multiple of {multiple}, since {stages} stages halve the map {stages - 1} times"
        )
