"""What moves numbers about: reshape, permute, slice, concatenate, and what sums them up along axes.

Axes count without the batch: axis 0 is the first after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..layers import Shape
from .layer import Layer

if TYPE_CHECKING:
    from torch import Tensor

_FAR = 2**31 - 1


@dataclass(frozen=True)
class Reshape(Layer):
    """The same numbers under another shape."""

    sides: Shape

    keeps_zeros: ClassVar[bool] = True
    mixes: ClassVar[int | None] = 0
    follows: ClassVar[bool] = True

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return self.sides

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        return x[0].reshape(x[0].shape[0], *map(int, self.sides))

    def emit(self, emitter: Any, node: Any) -> None:
        sides = emitter.numbers(node, "sides", (emitter.batch, *node.shape))
        emitter.add("Reshape", node, node.inputs[0], sides)


@dataclass(frozen=True)
class Permute(Layer):
    """The axes in another order."""

    axes: tuple[int, ...]

    keeps_zeros: ClassVar[bool] = True

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return tuple(inputs[0][axis] for axis in self.axes)

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        return x[0].permute(0, *(axis + 1 for axis in self.axes))

    def emit(self, emitter: Any, node: Any) -> None:
        emitter.add("Transpose", node, node.inputs[0], perm=[0, *(axis + 1 for axis in self.axes)])


@dataclass(frozen=True)
class Slice(Layer):
    """Rows ``start`` to ``stop``, every ``step``-th, along an axis; ``single``: the axis of one row is dropped."""

    axis: int
    start: int
    stop: int
    step: int = 1
    single: bool = False

    keeps_zeros: ClassVar[bool] = True

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        rows = () if self.single else (len(range(self.start, self.stop, self.step)),)
        return (*inputs[0][: self.axis], *rows, *inputs[0][self.axis + 1 :])

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        if self.single:
            return x[0].select(self.axis + 1, self.start)
        whole = (slice(None),) * (self.axis + 1)
        return x[0][(*whole, slice(self.start, self.stop, self.step))]

    def emit(self, emitter: Any, node: Any) -> None:
        if self.single:
            index = emitter.numbers(node, "index", self.start)
            emitter.add("Gather", node, node.inputs[0], index, axis=self.axis + 1)
            return
        parts = {"starts": self.start, "ends": self.stop, "axes": self.axis + 1, "steps": self.step}
        names = [emitter.numbers(node, key, (value,)) for key, value in parts.items()]
        emitter.add("Slice", node, node.inputs[0], *names)


@dataclass(frozen=True)
class Join(Layer):
    """Concatenation along any axis."""

    axis: int

    keeps_zeros: ClassVar[bool] = True

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        rows = sum(shape[self.axis] for shape in inputs)
        return (*inputs[0][: self.axis], rows, *inputs[0][self.axis + 1 :])

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        import torch

        return torch.cat(x, dim=self.axis + 1)

    def emit(self, emitter: Any, node: Any) -> None:
        emitter.add("Concat", node, *node.inputs, axis=self.axis + 1)


@dataclass(frozen=True)
class Reduce(Layer):
    """The ``mean``, ``sum`` or ``max`` along axes, which stay with one row where they are kept."""

    kind: str
    axes: tuple[int, ...]
    keep: bool = False

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        sides = [1 if axis in self.axes else side for axis, side in enumerate(inputs[0])]
        return tuple(side for axis, side in enumerate(sides) if self.keep or axis not in self.axes)

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        axes = [axis + 1 for axis in self.axes]
        if self.kind == "max":
            return x[0].amax(axes, keepdim=self.keep)
        return (x[0].mean if self.kind == "mean" else x[0].sum)(axes, keepdim=self.keep)

    def emit(self, emitter: Any, node: Any) -> None:
        axes = [axis + 1 for axis in self.axes]
        if self.kind == "sum":  # the one whose axes are an input since opset 13
            emitter.add("ReduceSum", node, node.inputs[0], emitter.numbers(node, "axes", axes), keepdims=int(self.keep))
            return
        emitter.add("ReduceMean" if self.kind == "mean" else "ReduceMax", node, node.inputs[0], axes=axes,
                    keepdims=int(self.keep))  # fmt: skip


@dataclass(frozen=True)
class Softmax(Layer):
    """Softmax along an axis, or its logarithm."""

    axis: int
    logarithm: bool = False

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        return (x[0].log_softmax if self.logarithm else x[0].softmax)(self.axis + 1)

    def emit(self, emitter: Any, node: Any) -> None:
        emitter.add("LogSoftmax" if self.logarithm else "Softmax", node, node.inputs[0], axis=self.axis + 1)


@dataclass(frozen=True)
class Input(Layer):
    """A further input of the network, called ``name`` in its ONNX file; ``whole``: it holds whole numbers."""

    name: str
    sides: Shape
    whole: bool = False

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return self.sides

    def emit(self, emitter: Any, node: Any) -> None:
        """Append nothing: the model declares its inputs."""


@dataclass(frozen=True)
class Outputs(Layer):
    """Ends a network of several outputs: they are its inputs, in order; its shape is that of the first."""

    def emit(self, emitter: Any, node: Any) -> None:
        """Append nothing: the model declares its outputs."""
