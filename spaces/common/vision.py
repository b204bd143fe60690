"""Attention of a vision transformer: queries, keys and values of a few heads, which may know where a patch lies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..layers import Shape
from .layer import Layer
from .sequence import attended

if TYPE_CHECKING:
    from torch import Tensor

_TABLES = ("rows", "columns")


@dataclass(frozen=True)
class TokenAttention(Layer):
    """Self-attention ``(1 + side^2, E)`` of a class token and a square of patches, with its projections.

    Queries, keys and values have ``heads`` times ``head`` numbers, whatever E is; the bias of all three is one vector.
    Weights are such that fewer heads are the first rows of more, and a smaller E the first columns.

    Attributes:
        heads, head: how many, and the numbers of each.
        how: ``relative``: keys and values have learnt terms for how many rows and columns apart two patches are;
            ``plain``: they have none; ``fused``: so too, and exported as one operator of ONNX Runtime.
        reach: rows and columns apart, beyond which terms are the same.

    References:
        Shaw et al., arXiv:1803.02155 (relative terms); Chen et al., *AutoFormer*, arXiv:2107.00651 (in two dimensions).
    """

    heads: int
    head: int
    how: Literal["relative", "plain", "fused"] = "plain"
    reach: int = 14

    @property
    def wide(self) -> int:
        """Return the numbers of all heads."""
        return self.heads * self.head

    def weights(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        width, wide = inputs[0][1], self.wide
        found = {f"{part}_weight": (wide, width) for part in "qkv"}
        found |= {"in_bias": (3 * wide,), "out_weight": (width, wide), "out_bias": (width,)}
        tables = [f"{part}_{way}" for part in "kv" for way in _TABLES] if self.how == "relative" else []
        return found | dict.fromkeys(tables, (2 * self.reach + 2, self.head))

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        length, width = inputs[0]
        terms = 4 * (2 * self.reach + 2) if self.how == "relative" else 0
        return length * self.wide * (4 * width + 2 * length + terms)

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        from torch.nn import functional

        parts = zip("qkv", weights["in_bias"].chunk(3), strict=True)
        projected = [functional.linear(x[0], weights[f"{part}_weight"], bias) for part, bias in parts]
        queries, keys, values = (value.unflatten(-1, (self.heads, self.head)).transpose(1, 2) for value in projected)
        if self.how == "relative":
            found = self._related(queries, keys, values, weights)
        else:
            found = functional.scaled_dot_product_attention(queries, keys, values, scale=self.head**-0.5)
        return functional.linear(found.transpose(1, 2).flatten(2), weights["out_weight"], weights["out_bias"])

    def _related(self, queries: Tensor, keys: Tensor, values: Tensor, weights: dict[str, Tensor]) -> Tensor:
        """Return ``(b, heads, n, head)``; instead of a term for every pair, one for every distance is computed."""
        import torch

        scores = queries @ keys.mT
        apart = [
            torch.from_numpy(each).to(scores.device).expand_as(scores)
            for each in distances(scores.shape[-1], self.reach)
        ]
        for way, index in zip(_TABLES, apart, strict=True):
            scores = scores + (queries @ weights[f"k_{way}"].mT).gather(3, index)
        seen = (scores * self.head**-0.5).softmax(dim=-1)
        found = seen @ values
        for way, index in zip(_TABLES, apart, strict=True):
            table = weights[f"v_{way}"]
            empty = seen.new_zeros((*seen.shape[:-1], len(table)))
            found = found + empty.scatter_add(3, index, seen) @ table
        return found

    def emit(self, emitter: Any, node: Any) -> None:
        name, step = node.name, emitter.step
        products = [self._times(emitter, node, node.inputs[0], part) for part in "qkv"]
        if self.how == "fused":
            bias = emitter.weight(f"{name}.in_bias")
            found = step("MultiHeadAttention", f"{name}.seen", *products, bias, domain="com.microsoft",
                         num_heads=self.heads, scale=self.head**-0.5)  # fmt: skip
        else:
            found = self._seen(emitter, node, products)
        emitter.add("Add", node, self._times(emitter, node, found, "out"), emitter.weight(f"{name}.out_bias"))

    def _times(self, emitter: Any, node: Any, value: str, part: str) -> str:
        weight = emitter.weight(f"{node.name}.{part}_weight")
        turned = emitter.step("Transpose", f"{node.name}.{part}.turned", weight, perm=[1, 0])
        return emitter.step("MatMul", f"{node.name}.{part}.product", value, turned)

    def _seen(self, emitter: Any, node: Any, products: list[str]) -> str:
        name, step, (batch, length) = node.name, emitter.step, (emitter.batch, node.shape[0])
        sides = emitter.numbers(node, "sides", (batch, length, self.heads, self.head))
        heads: list[str] = []
        for part, product, bias in zip("qkv", products, emitter.parts(node, "in_bias", 3), strict=True):
            value = step("Reshape", f"{name}.{part}.split", step("Add", f"{name}.{part}", product, bias), sides)
            heads.append(step("Transpose", f"{name}.{part}.heads", value, perm=[0, 2, 1, 3]))
        if self.how == "relative":
            found = self._emit_related(emitter, node, heads)
        else:
            seen = attended(emitter, node, heads[0], heads[1], rank=4, scale=self.head**-0.5, causal=None)
            found = step("MatMul", f"{name}.seen", seen, heads[2])
        found = step("Transpose", f"{name}.seen.back", found, perm=[0, 2, 1, 3])
        return step("Reshape", f"{name}.joined", found, emitter.numbers(node, "whole", (batch, length, self.wide)))

    def _emit_related(self, emitter: Any, node: Any, heads: list[str]) -> str:
        """Append scores with a term for every distance, their softmax, and values with terms of their own."""
        name, step, (queries, keys, values) = node.name, emitter.step, heads
        length, count = node.shape[0], 2 * self.reach + 2
        full = emitter.numbers(node, "pairs", (emitter.batch, self.heads, length, length))
        turned = step("Transpose", f"{name}.keys", keys, perm=[0, 1, 3, 2])
        scores = step("MatMul", f"{name}.scores", queries, turned)
        apart: dict[str, str] = {}
        for way, index in zip(_TABLES, distances(length, self.reach), strict=True):
            known = emitter.once(f"{way}_apart_{length}_{self.reach}", index[None, None])
            apart[way] = step("Expand", f"{name}.{way}", known, full)
            table = step("Transpose", f"{name}.k_{way}.turned", emitter.weight(f"{name}.k_{way}"), perm=[1, 0])
            told = step("MatMul", f"{name}.k_{way}.each", queries, table)
            told = step("GatherElements", f"{name}.k_{way}.told", told, apart[way], axis=3)
            scores = step("Add", f"{name}.k_{way}.added", scores, told)
        scaled = step("Mul", f"{name}.scaled", scores, emitter.number(node, "scale", self.head**-0.5))
        seen = step("Softmax", f"{name}.weights", scaled, axis=-1)
        found = step("MatMul", f"{name}.seen", seen, values)
        empty = step("ConstantOfShape", f"{name}.empty",
                     emitter.numbers(node, "sizes", (emitter.batch, self.heads, length, count)))  # fmt: skip
        for way in _TABLES:
            share = step("ScatterElements", f"{name}.v_{way}.share", empty, apart[way], seen, axis=3, reduction="add")
            told = step("MatMul", f"{name}.v_{way}.told", share, emitter.weight(f"{name}.v_{way}"))
            found = step("Add", f"{name}.v_{way}.added", found, told)
        return found


@cache
def distances(length: int, reach: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ``(length, length)`` rows and columns apart, as places in tables of ``2 reach + 2``.

    The class token comes first and is 0 from everywhere; the others are a square. What lies level is at ``reach + 1``.

    >>> [each.tolist() for each in distances(5, 14)][0][1]
    [0, 15, 15, 16, 16]
    """
    side = round((length - 1) ** 0.5)
    places = np.arange(length - 1)
    found: list[NDArray[np.int64]] = []
    for along in (places // side, places % side):
        apart = np.clip(along[None, :] - along[:, None], -reach, reach) + reach + 1
        found.append(np.pad(apart, ((1, 0), (1, 0))).astype(np.int64))
    return found[0], found[1]
