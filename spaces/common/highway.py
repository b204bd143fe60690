"""The edge of a recurrent cell: a gate between the state it is given and what is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..layers import Shape
from .layer import Layer

if TYPE_CHECKING:
    from torch import Tensor

KINDS = ("relu", "sigmoid", "tanh", "identity")
_ONNX = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}


@dataclass(frozen=True)
class Highway(Layer):
    """``s + sigmoid(c) (f(k) - s)`` with ``(c, k) = W [s; x]``: a state ``(H,)``, and further inputs if there are any.

    Attributes:
        kind: f, one of ``KINDS``.

    References:
        Zilly et al., *Recurrent Highway Networks*, arXiv:1607.03474; Pham et al., *ENAS*, arXiv:1802.03268.
    """

    kind: str

    def weights(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        return {"weight": (2 * inputs[0][0], sum(shape[0] for shape in inputs))}

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        (rows, columns) = self.weights(inputs)["weight"]
        return rows * columns

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        import torch
        from torch.nn import functional

        given = x[0] if len(x) == 1 else torch.cat(x, dim=1)
        gate, made = functional.linear(given, weights["weight"]).chunk(2, dim=1)
        if self.kind != "identity":
            made = getattr(torch, self.kind)(made)
        return torch.lerp(x[0], made.to(x[0].dtype), gate.sigmoid().to(x[0].dtype))  # autocast knows no lerp

    def emit(self, emitter: Any, node: Any) -> None:
        name, step = node.name, emitter.step
        given = node.inputs[0] if len(node.inputs) == 1 else step("Concat", f"{name}.given", *node.inputs, axis=1)
        turned = step("Transpose", f"{name}.turned", emitter.weight(f"{name}.weight"), perm=[1, 0])
        product = step("MatMul", f"{name}.product", given, turned)
        gate, made = emitter.split(product, [f"{name}.gate", f"{name}.made"], axis=1)
        gate = step("Sigmoid", f"{name}.open", gate)
        if self.kind != "identity":
            made = step(_ONNX[self.kind], f"{name}.{self.kind}", made)
        change = step("Sub", f"{name}.change", made, node.inputs[0])
        emitter.add("Add", node, node.inputs[0], step("Mul", f"{name}.weighted", gate, change))
