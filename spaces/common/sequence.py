"""Layers of sequences ``(length, features)``: dense layers, products, attention, embeddings, recurrent cells."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod, sqrt
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..layers import Shape
from .layer import Layer

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Dense(Layer):
    """Fully connected along the last axis: ``(..., F)`` to ``(..., out)``."""

    out: int
    bias: bool = True

    mixes: ClassVar[int | None] = -1
    follows: ClassVar[bool] = True

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (*inputs[0][:-1], self.out)

    def weights(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        bias = {"bias": (self.out,)} if self.bias else {}
        return {"weight": (self.out, inputs[0][-1])} | bias

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        return prod(inputs[0]) * self.out

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.linear(x[0], weights["weight"], weights.get("bias"))

    def emit(self, emitter: Any, node: Any) -> None:
        if self.bias and len(node.shape) == 1:
            names = [emitter.weight(f"{node.name}.{part}") for part in ("weight", "bias")]
            emitter.add("Gemm", node, node.inputs[0], *names, transB=1)
            return
        turned = emitter.step("Transpose", f"{node.name}.turned", emitter.weight(f"{node.name}.weight"), perm=[1, 0])
        if not self.bias:
            emitter.add("MatMul", node, node.inputs[0], turned)
            return
        made = emitter.step("MatMul", f"{node.name}.product", node.inputs[0], turned)
        emitter.add("Add", node, made, emitter.weight(f"{node.name}.bias"))


@dataclass(frozen=True)
class MatMul(Layer):
    """Product of two values, ``(..., n, k)`` and ``(..., k, m)`` to ``(..., n, m)``."""

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        heads = tuple(max(a, b) for a, b in zip(inputs[0][:-2], inputs[1][:-2], strict=True))
        return (*heads, inputs[0][-2], inputs[1][-1])

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        return prod(self.shape(inputs)) * inputs[0][-1]

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        return x[0] @ x[1]

    def emit(self, emitter: Any, node: Any) -> None:
        emitter.add("MatMul", node, *node.inputs)


@dataclass(frozen=True)
class Attention(Layer):
    """Softmax of scaled products: queries, keys and values ``(..., length, d)``; ``causal``: no look ahead."""

    scale: float | None = None
    causal: bool = False

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (*inputs[0][:-1], inputs[2][-1])

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        queries, keys, values = inputs
        return prod(queries[:-1]) * keys[-2] * (queries[-1] + values[-1])

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.scaled_dot_product_attention(x[0], x[1], x[2], is_causal=self.causal, scale=self.scale)

    def emit(self, emitter: Any, node: Any) -> None:
        queries, keys = (emitter.graph.shapes[name] for name in node.inputs[:2])
        rank = len(queries) + 1
        weighed = attended(
            emitter, node, *node.inputs[:2], rank=rank, scale=self.scale or 1 / sqrt(queries[-1]),
            causal=(queries[-2], keys[-2]) if self.causal else None,
        )  # fmt: skip
        emitter.add("MatMul", node, weighed, node.inputs[2])


@dataclass(frozen=True)
class MultiHead(Layer):
    """Multi-head attention with its projections: queries, keys and values ``(length, width)``, as torch's own."""

    heads: int
    bias: bool = True

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return inputs[0]

    def weights(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        width = inputs[0][-1]
        biases = {"in_bias": (3 * width,), "out_bias": (width,)} if self.bias else {}
        return {"in_weight": (3 * width, width), "out_weight": (width, width)} | biases

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        (length, width), (keys, _), _ = inputs
        return 2 * (length + keys) * width * width + 2 * length * keys * width

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        from torch.nn import functional

        parts = zip(x, weights["in_weight"].chunk(3), self._thirds(weights), strict=True)
        projected = (functional.linear(value, weight, bias) for value, weight, bias in parts)
        queries, keys, values = (value.unflatten(-1, (self.heads, -1)).transpose(1, 2) for value in projected)
        found = functional.scaled_dot_product_attention(queries, keys, values)
        return functional.linear(found.transpose(1, 2).flatten(2), weights["out_weight"], weights.get("out_bias"))

    def _thirds(self, weights: dict[str, Tensor]) -> tuple[Any, ...]:
        return weights["in_bias"].chunk(3) if self.bias else (None, None, None)

    def emit(self, emitter: Any, node: Any) -> None:
        name, batch, (length, width) = node.name, emitter.batch, node.shape
        weights = emitter.parts(node, "in_weight", 3)
        biases = emitter.parts(node, "in_bias", 3) if self.bias else [""] * 3
        heads: list[str] = []
        for part, x, weight, bias in zip("qkv", node.inputs, weights, biases, strict=True):
            turned = emitter.step("Transpose", f"{name}.{part}.turned", weight, perm=[1, 0])
            value = emitter.step("MatMul", f"{name}.{part}.product", x, turned)
            value = emitter.step("Add", f"{name}.{part}", value, bias) if bias else value
            sides = emitter.numbers(node, f"{part}.sides", (batch, -1, self.heads, width // self.heads))
            value = emitter.step("Reshape", f"{name}.{part}.split", value, sides)
            heads.append(emitter.step("Transpose", f"{name}.{part}.heads", value, perm=[0, 2, 1, 3]))
        weighed = attended(emitter, node, heads[0], heads[1], rank=4, scale=1 / sqrt(width // self.heads), causal=None)
        value = emitter.step("MatMul", f"{name}.seen", weighed, heads[2])
        value = emitter.step("Transpose", f"{name}.seen.back", value, perm=[0, 2, 1, 3])
        value = emitter.step("Reshape", f"{name}.joined", value, emitter.numbers(node, "sides", (batch, length, width)))
        turned = emitter.step("Transpose", f"{name}.out.turned", emitter.weight(f"{name}.out_weight"), perm=[1, 0])
        if self.bias:
            value = emitter.step("MatMul", f"{name}.out.product", value, turned)
            emitter.add("Add", node, value, emitter.weight(f"{name}.out_bias"))
        else:
            emitter.add("MatMul", node, value, turned)


def attended(
    emitter: Any, node: Any, queries: str, keys: str, *, rank: int, scale: float, causal: tuple[int, int] | None
) -> str:
    """Append the softmax of the scaled products of queries and keys."""
    axes = list(range(rank))
    turned = emitter.step("Transpose", f"{node.name}.keys", keys, perm=[*axes[:-2], axes[-1], axes[-2]])
    found = emitter.step("MatMul", f"{node.name}.scores", queries, turned)
    found = emitter.step("Mul", f"{node.name}.scaled", found, emitter.number(node, "scale", scale))
    if causal is not None:
        ahead = np.triu(np.full(causal, -1e9, np.float32), 1)
        found = emitter.step("Add", f"{node.name}.masked", found, emitter.constant(f"{node.name}.ahead", ahead))
    return emitter.step("Softmax", f"{node.name}.weights", found, axis=-1)


@dataclass(frozen=True)
class Embedding(Layer):
    """A learnt row for each whole number: ``(...)`` to ``(..., width)``."""

    count: int
    width: int

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (*inputs[0], self.width)

    def weights(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        return {"weight": (self.count, self.width)}

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.embedding(x[0], weights["weight"])

    def emit(self, emitter: Any, node: Any) -> None:
        emitter.add("Gather", node, emitter.weight(f"{node.name}.weight"), node.inputs[0], axis=0)


_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}  # torch's gates in the order of ONNX: i o f c, and z r h


@dataclass(frozen=True)
class Recurrent(Layer):
    """``LSTM`` or ``GRU`` over a sequence, ``(length, F)`` to ``(length, hidden)``; ``both`` ways: twice as wide."""

    kind: str
    hidden: int
    layers: int = 1
    bias: bool = True
    both: bool = False

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (inputs[0][0], self.hidden * (1 + self.both))

    def weights(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        gates, found = len(_GATES[self.kind]) * self.hidden, dict[str, Shape]()
        for layer, way in self._cells():
            width = inputs[0][1] if layer == 0 else self.hidden * (1 + self.both)
            end = f"l{layer}{way}"
            found |= {f"weight_ih_{end}": (gates, width), f"weight_hh_{end}": (gates, self.hidden)}
            if self.bias:
                found |= {f"bias_ih_{end}": (gates,), f"bias_hh_{end}": (gates,)}
        return found

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        return inputs[0][0] * sum(prod(shape) for shape in self.weights(inputs).values() if len(shape) > 1)

    def module(self, inputs: tuple[Shape, ...]) -> nn.Module:
        from .recurrent import LastOf

        return LastOf(self, int(inputs[0][1]))

    def emit(self, emitter: Any, node: Any) -> None:
        name, length = node.name, node.shape[0]
        x = emitter.step("Transpose", f"{name}.first", node.inputs[0], perm=[1, 0, 2])
        for layer in range(self.layers):
            ways = [way for number, way in self._cells() if number == layer]
            sides = [self._stacked(emitter, node, part, layer, ways) for part in ("weight_ih", "weight_hh")]
            sides += [self._biases(emitter, node, layer, ways)] if self.bias else []
            form = {"hidden_size": self.hidden, "direction": "bidirectional" if self.both else "forward"}
            form |= {"linear_before_reset": 1} if self.kind == "GRU" else {}
            x = emitter.step(self.kind, f"{name}.layer{layer}", x, *sides, **form)
            x = emitter.step("Transpose", f"{name}.layer{layer}.turned", x, perm=[0, 2, 1, 3])
            joined = emitter.numbers(node, f"layer{layer}.sides", (length, emitter.batch, node.shape[1]))
            x = emitter.step("Reshape", f"{name}.layer{layer}.joined", x, joined)
        emitter.add("Transpose", node, x, perm=[1, 0, 2])

    def _cells(self) -> list[tuple[int, str]]:
        return [(layer, way) for layer in range(self.layers) for way in ("", "_reverse")[: 1 + self.both]]

    def _ordered(self, emitter: Any, node: Any, weight: str) -> str:
        """Append one direction's weights with their gates in the order of ONNX, and an axis for the direction."""
        rows = [gate * self.hidden + row for gate in _GATES[self.kind] for row in range(self.hidden)]
        index = emitter.numbers(node, f"{weight}.rows", rows)
        found = emitter.step("Gather", f"{node.name}.{weight}.ordered", emitter.weight(f"{node.name}.{weight}"), index)
        axis = emitter.numbers(node, f"{weight}.axis", (0,))
        return emitter.step("Unsqueeze", f"{node.name}.{weight}.way", found, axis)

    def _stacked(self, emitter: Any, node: Any, part: str, layer: int, ways: list[str]) -> str:
        found = [self._ordered(emitter, node, f"{part}_l{layer}{way}") for way in ways]
        return found[0] if len(found) == 1 else emitter.step("Concat", f"{node.name}.{part}{layer}", *found, axis=0)

    def _biases(self, emitter: Any, node: Any, layer: int, ways: list[str]) -> str:
        ends = [self._stacked(emitter, node, part, layer, ways) for part in ("bias_ih", "bias_hh")]
        return emitter.step("Concat", f"{node.name}.bias{layer}", *ends, axis=1)
