"""Normalisations besides the BatchNorm of published spaces."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..layers import Shape
from .layer import Layer

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Normalisation(Layer):
    """Batch normalisation of maps, sequences or vectors, with any ``eps``; ``momentum`` is that of its statistics."""

    eps: float
    momentum: float | None = 0.1
    affine: bool = True

    follows: ClassVar[bool] = True

    def weights(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        names = (("weight", "bias") if self.affine else ()) + ("running_mean", "running_var")
        return dict.fromkeys(names, inputs[0][:1])

    def module(self, inputs: tuple[Shape, ...]) -> nn.Module:
        from torch import nn

        kind = nn.BatchNorm2d if len(inputs[0]) == 3 else nn.BatchNorm1d
        return kind(int(inputs[0][0]), self.eps, self.momentum, self.affine)

    def emit(self, emitter: Any, node: Any) -> None:
        channels = int(node.shape[0])
        if self.affine:
            scale, shift = (emitter.weight(f"{node.name}.{part}") for part in ("weight", "bias"))
        else:
            scale = emitter.constant(f"{node.name}.scale", np.ones(channels, np.float32))
            shift = emitter.constant(f"{node.name}.shift", np.zeros(channels, np.float32))
        told = [emitter.weight(f"{node.name}.running_{part}") for part in ("mean", "var")]
        emitter.add("BatchNormalization", node, node.inputs[0], scale, shift, *told, epsilon=float(self.eps))


@dataclass(frozen=True)
class LayerNorm(Layer):
    """Normalises over the last axes, those of ``sides``."""

    sides: Shape
    eps: float
    affine: bool = True

    def weights(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        return {"weight": self.sides, "bias": self.sides} if self.affine else {}

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.layer_norm(x[0], list(self.sides), weights.get("weight"), weights.get("bias"), self.eps)

    def emit(self, emitter: Any, node: Any) -> None:
        if self.affine:
            names = [emitter.weight(f"{node.name}.{part}") for part in ("weight", "bias")]
        else:
            names = [emitter.constant(f"{node.name}.scale", np.ones(self.sides, np.float32))]
        emitter.add("LayerNormalization", node, node.inputs[0], *names, axis=-len(self.sides), epsilon=float(self.eps))


@dataclass(frozen=True)
class GroupNorm(Layer):
    """Normalises over groups of channels; as many groups as channels is instance normalisation."""

    groups: int
    eps: float
    affine: bool = True

    def weights(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        return {"weight": inputs[0][:1], "bias": inputs[0][:1]} if self.affine else {}

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.group_norm(x[0], self.groups, weights.get("weight"), weights.get("bias"), self.eps)

    def emit(self, emitter: Any, node: Any) -> None:
        """Append an instance normalisation of the groups: ONNX has had one of its own only since opset 18."""
        name, batch = node.name, emitter.batch
        each = emitter.numbers(node, "groups", (batch, self.groups, prod(node.shape) // self.groups))
        x = emitter.step("Reshape", f"{name}.grouped", node.inputs[0], each)
        ones = emitter.constant(f"{name}.ones", np.ones(self.groups, np.float32))
        zeros = emitter.constant(f"{name}.zeros", np.zeros(self.groups, np.float32))
        x = emitter.step("InstanceNormalization", f"{name}.normed", x, ones, zeros, epsilon=float(self.eps))
        whole = emitter.numbers(node, "whole", (batch, *node.shape))
        if not self.affine:
            emitter.add("Reshape", node, x, whole)
            return
        x = emitter.step("Reshape", f"{name}.back", x, whole)
        sides = emitter.numbers(node, "sides", (node.shape[0], *[1] * (len(node.shape) - 1)))
        scale, shift = (
            emitter.step("Reshape", f"{name}.{part}.map", emitter.weight(f"{name}.{part}"), sides)
            for part in ("weight", "bias")
        )
        emitter.add("Add", node, emitter.step("Mul", f"{name}.scaled", x, scale), shift)
