"""What a kernel does, whatever runtime it is of: by operator and shapes, without names, packing or what is fused.

Runtimes name, pack and fuse the same convolution differently. ONNX Runtime rounds channels up to its blocks and calls
it ``nchwc.Conv`` or ``FusedConv``; OpenVINO names it after the node, with a ``Relu`` fused. Times of one say much of
the other's, if the same work is recognised.
"""

from __future__ import annotations

from math import prod

from .kernels import Array, Kernel

BLOCK = 16  # channels that blocked layouts are rounded up to, at the most
_CONVOLUTIONS = ("convolution", "pointwise", "depthwise", "grouped")
_ONE = {"GlobalAveragePool": "ReduceMean", "Pooling": "AveragePool", "Gemm": "MatMul"}
"""Operator -> the one that it is a special case of."""


def operator_of(kernel: Kernel) -> str:
    """Return a kernel's operator, see `bare`."""
    return bare(kernel.op)


def bare(op: str) -> str:
    """Return an operator without its runtime's domain, and without what says that others are fused into it.

    >>> bare("nchwc.Conv"), bare("FusedConv"), bare("GlobalAveragePool")
    ('Conv', 'Conv', 'ReduceMean')
    """
    name = op.rpartition(".")[2].removeprefix("Fused")
    return _ONE.get(name, name)


def work_of(kernel: Kernel) -> str | None:
    """Return what is equal for kernels of any runtime that do the same work; None for what only one runtime needs.

    Convolutions are equal by shapes of their maps, channels rounded up to blocks, window, strides and groups; products
    by the sizes of their factors; others by operator and shapes. Changes of layout are no work, and not told.
    """
    maps = [array for n, array in enumerate(kernel.inputs) if n not in kernel.constants]
    if not maps or not kernel.outputs or kernel.family == "layout":
        return None
    first, out = maps[0], kernel.outputs[0]
    told = kernel.attributes
    if kernel.family in _CONVOLUTIONS:
        sizes = [*_map(first), "to", *_map(out)]
        window = [told.get("kernel_shape") or [1], told.get("strides") or [1]]
        return _text(kernel.family, sizes, window, int(told.get("group", 1) or 1) if kernel.family == "grouped" else 1)
    if kernel.family == "matmul":
        columns = out.shape[-1] if out.shape else 1
        numbers = max(prod(out.shape), 1)
        return _text("matmul", numbers // max(columns, 1), columns, kernel.macs // numbers, bool(kernel.constants))
    if kernel.family == "pool":
        return _text(operator_of(kernel), *_map(first), "to", *_map(out), told.get("kernel_shape") or [])
    return _text(operator_of(kernel), *sorted(_map(array) for array in maps), "to", *_map(out))


def _map(array: Array) -> list[int]:
    """Return a map's sizes, channels rounded up, sizes of 1 at its end left out."""
    sizes = list(array.shape)
    while len(sizes) > 2 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) > 1:
        sizes[1] = -(-sizes[1] // BLOCK) * BLOCK
    return sizes


def _text(*parts: object) -> str:
    return " ".join(str(part).replace(" ", "") for part in parts)
