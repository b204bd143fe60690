"""What a network's layers add up to: how many there are of each kind, and what they compute, read, write and hold.

A kind's layers are counted once in all, and once by how their channels divide: runtimes work on blocks of channels,
and a convolution of 12 channels may well be faster than one of 11. On ONNX Runtime, where four must divide them, this
is most of what tells networks of chosen widths apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import prod

import numpy as np
import torch

from .circuit import SKELETON
from .common.convolution import Convolution
from .common.elementwise import Activation
from .common.normalisation import Normalisation
from .common.reshaping import Input, Outputs
from .graph import Choice, Graph, Mix
from .layers import BatchNorm, Conv, Identity, Mask, Operation, Pool, Shape, Zero

_FREE = (
    BatchNorm,
    Choice,
    Identity,
    Input,
    Mask,
    Mix,
    Normalisation,
    Outputs,
    Zero,
)  # folded into others, or not there
_MOST = 32  # channels in a block


def layer_totals(graph: Graph, blocks: Mapping[str, Graph]) -> tuple[dict[str, int], torch.Tensor]:
    """Return the rows of a table, by the keys of a space's circuit, and the table ``(keys + 1, f)`` of it.

    Its last row is 0.

    Args:
        graph: Graph of the space, what is there whatever is chosen among it.
        blocks: by key, each decided.
    """
    found = {SKELETON: _totals(graph)} | {key: _totals(block) for key, block in blocks.items()}
    names = sorted(set().union(*found.values()))
    column = {name: n for n, name in enumerate(names)}
    table = np.zeros((len(found) + 1, len(names)), np.float32)
    for row, totals in enumerate(found.values()):
        table[row, [column[name] for name in totals]] = list(totals.values())
    return {key: row for row, key in enumerate(found)}, torch.from_numpy(table)


def _totals(graph: Graph) -> Counter[str]:
    found: Counter[str] = Counter()
    for node, inputs in graph.nodes_with_shapes():
        operation = node.operation
        if isinstance(operation, _FREE):
            continue
        kind = _kind(operation, inputs)
        amounts = {
            "layers": 1,
            "macs": operation.macs(inputs),
            "read": sum(map(prod, inputs)),
            "written": prod(node.shape),
            "weights": sum(map(prod, operation.weights(inputs).values())),
        }
        block = _block(shape[0] for shape in (*inputs, node.shape))
        for what, amount in amounts.items():
            found[f"{kind} {what}"] += amount
            found[f"{kind} in blocks of {block} {what}"] += amount
    return found


def _kind(operation: Operation, inputs: tuple[Shape, ...]) -> str:
    name = type(operation).__name__
    if isinstance(operation, Pool):
        return f"{operation.kind} {name} {operation.kernel}"
    if isinstance(operation, Activation):
        return operation.kind
    if not isinstance(operation, Conv | Convolution):
        return name
    kernel, dilation = operation.kernel, operation.dilation
    grouped = {1: "", inputs[0][0]: "depthwise "}.get(operation.groups, "grouped ")
    dilated = "dilated " if (max(dilation) if isinstance(dilation, tuple) else dilation) > 1 else ""
    sides = "x".join(map(str, kernel)) if isinstance(kernel, tuple) else kernel
    return f"{grouped}{dilated}{name} {sides}"


def _block(channels: Iterable[int]) -> int:
    """Return the largest power of two, up to 32, that divides all of them."""
    size = _MOST
    for count in channels:
        while count % size:
            size //= 2
    return size
