"""Convolutions of any form, pooling, resizing and padding."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

from ..layers import Shape
from .layer import Layer

if TYPE_CHECKING:
    from torch import Tensor

Sides = tuple[int, ...]  # one number for every axis of the map


@dataclass(frozen=True)
class Convolution(Layer):
    """Convolution of a map or a sequence, with any sides, padding and bias: ``(C, *sides)`` to ``(out, *sides)``."""

    out: int
    kernel: Sides
    stride: Sides
    padding: Sides
    dilation: Sides
    groups: int = 1
    bias: bool = True

    mixes: ClassVar[int | None] = 0
    follows: ClassVar[bool] = True

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (self.out, *_window(inputs[0][1:], self.kernel, self.stride, self.padding, self.dilation))

    def weights(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        bias = {"bias": (self.out,)} if self.bias else {}
        return {"weight": (self.out, inputs[0][0] // self.groups, *self.kernel)} | bias

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        return prod(self.weights(inputs)["weight"]) * prod(self.shape(inputs)[1:])

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        from torch.nn import functional

        convolve: Any = (functional.conv1d, functional.conv2d, functional.conv3d)[len(self.kernel) - 1]
        taken, stride = x[0], self.stride
        if self.kernel == (1, 1) and self.padding == (0, 0) and max(stride) > 1:
            from ..pointwise import every

            taken, stride = every(taken, *stride), (1, 1)
        form = stride, self.padding, self.dilation, self.groups
        return convolve(taken, weights["weight"], weights.get("bias"), *form)

    def emit(self, emitter: Any, node: Any) -> None:
        names = [emitter.weight(f"{node.name}.{part}") for part in self.weights(((self.groups,),))]
        self.emit_with(emitter, node, *names)

    def emit_with(self, emitter: Any, node: Any, *weights: str) -> None:
        """Append the convolution with weights that the emitter holds already."""
        emitter.add(
            "Conv", node, node.inputs[0], *weights, kernel_shape=list(self.kernel), strides=list(self.stride),
            pads=list(self.padding) * 2, dilations=list(self.dilation), group=int(self.groups),
        )  # fmt: skip


@dataclass(frozen=True)
class Pointwise(Convolution):
    """A 1x1 convolution with a bias; in an elastic supernet the options of a choice share it."""


def pointwise(out: int) -> Pointwise:
    """Return a 1x1 convolution of a map to so many channels."""
    return Pointwise(out, (1, 1), (1, 1), (0, 0), (1, 1))


@dataclass(frozen=True)
class TransposedConvolution(Layer):
    """Transposed convolution, ``(C, *sides)`` to ``(out, *larger sides)``."""

    out: int
    kernel: Sides
    stride: Sides
    padding: Sides
    extra: Sides  # rows and columns added at the end, torch's output_padding
    dilation: Sides
    groups: int = 1
    bias: bool = True

    mixes: ClassVar[int | None] = 0
    follows: ClassVar[bool] = True

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        forms = zip(inputs[0][1:], self.kernel, self.stride, self.padding, self.extra, self.dilation, strict=True)
        return (self.out, *((side - 1) * s - 2 * p + d * (k - 1) + e + 1 for side, k, s, p, e, d in forms))

    def weights(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        bias = {"bias": (self.out,)} if self.bias else {}
        return {"weight": (inputs[0][0], self.out // self.groups, *self.kernel)} | bias

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        return prod(self.weights(inputs)["weight"]) * prod(inputs[0][1:])

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        from torch.nn import functional

        convolve: Any = (functional.conv_transpose1d, functional.conv_transpose2d)[len(self.kernel) - 1]
        form = self.stride, self.padding, self.extra, self.groups, self.dilation
        return convolve(x[0], weights["weight"], weights.get("bias"), *form)

    def emit(self, emitter: Any, node: Any) -> None:
        names = [emitter.weight(f"{node.name}.{part}") for part in (["weight", "bias"] if self.bias else ["weight"])]
        emitter.add(
            "ConvTranspose", node, node.inputs[0], *names, kernel_shape=list(self.kernel), strides=list(self.stride),
            pads=list(self.padding) * 2, output_padding=list(self.extra), dilations=list(self.dilation),
            group=int(self.groups),
        )  # fmt: skip


@dataclass(frozen=True)
class Pooling(Layer):
    """Pooling, ``max`` or ``avg``; ``padded``: padded cells count in an average; ``ceil``: windows may hang over."""

    kind: str
    kernel: Sides
    stride: Sides
    padding: Sides
    padded: bool = True
    ceil: bool = False

    follows: ClassVar[bool] = True

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        ends = inputs[0][1:]
        if self.ceil:
            forms = zip(ends, self.kernel, self.stride, strict=True)
            return (inputs[0][0], *(-(-(side - k) // s) + 1 for side, k, s in forms))
        return (inputs[0][0], *_window(ends, self.kernel, self.stride, self.padding, (1,) * len(self.kernel)))

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        from torch.nn import functional

        form = list(self.kernel), list(self.stride), list(self.padding)
        if self.kind == "max":
            most: Any = (functional.max_pool1d, functional.max_pool2d)[len(self.kernel) - 1]
            return most(x[0], *form, ceil_mode=self.ceil)
        mean: Any = (functional.avg_pool1d, functional.avg_pool2d)[len(self.kernel) - 1]
        return mean(x[0], *form, False, self.padded)

    def emit(self, emitter: Any, node: Any) -> None:
        form = {"kernel_shape": list(self.kernel), "strides": list(self.stride), "pads": list(self.padding) * 2}
        counted = {"ceil_mode": int(self.ceil)} if self.kind == "max" else {"count_include_pad": int(self.padded)}
        emitter.add("MaxPool" if self.kind == "max" else "AveragePool", node, node.inputs[0], **form, **counted)


@dataclass(frozen=True)
class Upsample(Layer):
    """Resizes a map to ``size``: ``nearest`` or ``bilinear``, the latter with corners kept or not."""

    size: Sides
    kind: str = "nearest"
    corners: bool = False

    keeps_zeros: ClassVar[bool] = True
    follows: ClassVar[bool] = True

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (inputs[0][0], *self.size)

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        from torch.nn import functional

        corners = self.corners if self.kind == "bilinear" else None
        return functional.interpolate(x[0], size=list(self.size), mode=self.kind, align_corners=corners)

    def emit(self, emitter: Any, node: Any) -> None:
        if self.kind == "nearest":
            form = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        else:
            place = "align_corners" if self.corners else "half_pixel"
            form = {"mode": "linear", "coordinate_transformation_mode": place}
        sizes = emitter.numbers(node, "sizes", (emitter.batch, *node.shape))
        emitter.add("Resize", node, node.inputs[0], "", "", sizes, **form)


@dataclass(frozen=True)
class Pad(Layer):
    """Adds cells ``before`` and ``after`` on the last axes: ``constant``, ``reflect`` or ``replicate``."""

    before: Sides
    after: Sides
    kind: str = "constant"
    value: float = 0.0

    follows: ClassVar[bool] = True

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        still = len(inputs[0]) - len(self.before)
        ends = zip(inputs[0][still:], self.before, self.after, strict=True)
        return (*inputs[0][:still], *(side + a + b for side, a, b in ends))

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        from torch.nn import functional

        around = [n for pair in zip(reversed(self.before), reversed(self.after), strict=True) for n in pair]
        return functional.pad(x[0], around, self.kind, self.value if self.kind == "constant" else None)

    def emit(self, emitter: Any, node: Any) -> None:
        still = (0,) * (1 + len(node.shape) - len(self.before))
        pads = emitter.numbers(node, "pads", (*still, *self.before, *still, *self.after))
        value = [emitter.number(node, "value", self.value)] if self.kind == "constant" else []
        kind = "edge" if self.kind == "replicate" else self.kind
        emitter.add("Pad", node, node.inputs[0], pads, *value, mode=kind)


@dataclass(frozen=True)
class PixelShuffle(Layer):
    """Channels become pixels: ``(C r r, H, W)`` to ``(C, H r, W r)``."""

    factor: int

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        channels, height, width = inputs[0]
        return (channels // self.factor**2, height * self.factor, width * self.factor)

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.pixel_shuffle(x[0], self.factor)

    def emit(self, emitter: Any, node: Any) -> None:
        emitter.add("DepthToSpace", node, node.inputs[0], blocksize=self.factor, mode="CRD")


def _window(sides: Sides, kernel: Sides, stride: Sides, padding: Sides, dilation: Sides) -> Sides:
    forms = zip(sides, kernel, stride, padding, dilation, strict=True)
    return tuple((side + 2 * p - d * (k - 1) - 1) // s + 1 for side, k, s, p, d in forms)
