"""What is computed number by number: activations, arithmetic, weights that are added or multiplied."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..layers import Shape, sites_of
from .layer import Layer

if TYPE_CHECKING:
    from torch import Tensor

Emit = Callable[[Any, Any, tuple[float, ...]], None]


def _one(kind: str, *names: str) -> Emit:
    """Return what emits one ONNX node, its attributes called by these names."""

    def emit(emitter: Any, node: Any, given: tuple[float, ...]) -> None:
        emitter.add(kind, node, node.inputs[0], **dict(zip(names, map(float, given), strict=True)))

    return emit


def _clip(emitter: Any, node: Any, given: tuple[float, ...]) -> None:
    ends = [emitter.number(node, end, value) for end, value in zip(("low", "high"), given, strict=True)]
    emitter.add("Clip", node, node.inputs[0], *ends)


def _gelu(emitter: Any, node: Any, given: tuple[float, ...]) -> None:
    """Append the sum that runtimes know as one activation."""
    x, step = node.inputs[0], emitter.step
    inner = step("Div", f"{node.name}.scaled", x, emitter.number(node, "root", math.sqrt(2)))
    inner = step("Add", f"{node.name}.shifted", step("Erf", f"{node.name}.erf", inner), emitter.number(node, "one", 1))
    emitter.add("Mul", node, step("Mul", f"{node.name}.weighted", x, inner), emitter.number(node, "half", 0.5))


def _gelu_tanh(emitter: Any, node: Any, given: tuple[float, ...]) -> None:
    x, step, name = node.inputs[0], emitter.step, node.name
    cube = step("Mul", f"{name}.cube", step("Mul", f"{name}.square", x, x), x)
    inner = step("Add", f"{name}.sum", x, step("Mul", f"{name}.part", cube, emitter.number(node, "c", 0.044715)))
    inner = step("Mul", f"{name}.scaled", inner, emitter.number(node, "root", math.sqrt(2 / math.pi)))
    inner = step("Add", f"{name}.shifted", step("Tanh", f"{name}.tanh", inner), emitter.number(node, "one", 1))
    emitter.add("Mul", node, step("Mul", f"{name}.weighted", x, inner), emitter.number(node, "half", 0.5))


def _silu(emitter: Any, node: Any, given: tuple[float, ...]) -> None:
    x = node.inputs[0]
    emitter.add("Mul", node, x, emitter.step("Sigmoid", f"{node.name}.sigmoid", x))


def _mish(emitter: Any, node: Any, given: tuple[float, ...]) -> None:
    x = node.inputs[0]
    soft = emitter.step("Softplus", f"{node.name}.soft", x)
    emitter.add("Mul", node, x, emitter.step("Tanh", f"{node.name}.tanh", soft))


# kind -> torch's function of functional, or of torch itself, and the ONNX nodes
ACTIVATIONS: dict[str, tuple[str, Emit]] = {
    "relu": ("relu", _one("Relu")),
    "hardtanh": ("hardtanh", _clip),
    "leaky_relu": ("leaky_relu", _one("LeakyRelu", "alpha")),
    "elu": ("elu", _one("Elu", "alpha")),
    "softplus": ("softplus", _one("Softplus")),
    "gelu": ("gelu", _gelu),
    "gelu_tanh": ("gelu_tanh", _gelu_tanh),
    "silu": ("silu", _silu),
    "mish": ("mish", _mish),
    "sigmoid": ("sigmoid", _one("Sigmoid")),
    "tanh": ("tanh", _one("Tanh")),
    "hardsigmoid": ("hardsigmoid", lambda emitter, node, given: _one("HardSigmoid", "alpha", "beta")(
        emitter, node, (1 / 6, 0.5))),
    "hardswish": ("hardswish", _one("HardSwish")),
    "exp": ("exp", _one("Exp")),
    "log": ("log", _one("Log")),
    "sqrt": ("sqrt", _one("Sqrt")),
    "abs": ("abs", _one("Abs")),
    "neg": ("neg", _one("Neg")),
}  # fmt: skip
_ZERO_AT_ZERO = {"relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "mish", "tanh", "hardswish", "abs", "neg"}


@dataclass(frozen=True)
class Activation(Layer):
    """A function of one number, a key of ``ACTIVATIONS``, with its arguments in torch's order."""

    kind: str
    given: tuple[float, ...] = ()

    follows: ClassVar[bool] = True

    @property
    def keeps_zeros(self) -> bool:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return whether zeros in give zeros out."""
        return self.kind in _ZERO_AT_ZERO

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        import torch
        from torch.nn import functional

        name = ACTIVATIONS[self.kind][0]
        if name == "gelu_tanh":
            return functional.gelu(x[0], approximate="tanh")
        function: Any = getattr(functional, name, None) or getattr(torch, name)
        return function(x[0], *self.given)

    def emit(self, emitter: Any, node: Any) -> None:
        ACTIVATIONS[self.kind][1](emitter, node, self.given)


# kind -> torch's and ONNX's name of what is done to two numbers
ARITHMETIC = {"add": ("add", "Add"), "sub": ("sub", "Sub"), "mul": ("mul", "Mul"), "div": ("truediv", "Div")}


@dataclass(frozen=True)
class Arithmetic(Layer):
    """Two values, ``add``, ``sub``, ``mul`` or ``div``; where a side is 1 it is repeated."""

    kind: str

    follows: ClassVar[bool] = True

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return tuple(b if a == 1 and not sites_of(a) else a for a, b in zip(*inputs, strict=True))

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        return getattr(operator, ARITHMETIC[self.kind][0])(x[0], x[1])

    def emit(self, emitter: Any, node: Any) -> None:
        emitter.add(ARITHMETIC[self.kind][1], node, *node.inputs)


@dataclass(frozen=True)
class Scalar(Layer):
    """A value and a fixed number; ``first``: the number stands first, as in ``1 - x``."""

    kind: str
    value: float
    first: bool = False

    follows: ClassVar[bool] = True

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        if self.kind == "pow":
            return x[0] ** self.value
        pair = (self.value, x[0]) if self.first else (x[0], self.value)
        return getattr(operator, ARITHMETIC[self.kind][0])(*pair)

    def emit(self, emitter: Any, node: Any) -> None:
        number = emitter.number(node, "number", self.value)
        pair = (number, node.inputs[0]) if self.first else (node.inputs[0], number)
        emitter.add("Pow" if self.kind == "pow" else ARITHMETIC[self.kind][1], node, *pair)


@dataclass(frozen=True)
class ByWeight(Layer):
    """A value, and learnt numbers of ``sides`` that are added to it or multiply it, the last axes alike."""

    kind: str
    sides: Shape

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        full = (1,) * (len(inputs[0]) - len(self.sides)) + self.sides
        return tuple(b if a == 1 else a for a, b in zip(inputs[0], full, strict=True))

    def weights(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        return {"weight" if self.kind == "mul" else "bias": self.sides}

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        (weight,) = weights.values()
        return getattr(operator, ARITHMETIC[self.kind][0])(x[0], weight)

    def emit(self, emitter: Any, node: Any) -> None:
        (name,) = self.weights(())
        emitter.add(ARITHMETIC[self.kind][1], node, node.inputs[0], emitter.weight(f"{node.name}.{name}"))


@dataclass(frozen=True)
class Learnt(Layer):
    """Learnt numbers of ``sides``, the same for every input of a batch: a class token. Its input tells the batch."""

    sides: Shape

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return self.sides

    def weights(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        return {"bias": self.sides}

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        return weights["bias"].expand(x[0].shape[0], *self.sides)

    def emit(self, emitter: Any, node: Any) -> None:
        sizes = emitter.numbers(node, "sizes", (emitter.batch, *node.shape))
        emitter.add("Expand", node, emitter.weight(f"{node.name}.bias"), sizes)
