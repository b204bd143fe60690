"""A model without its own weights' values: a runtime makes the same kernels of it, and little has to be read."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

LEAST = 1024  # numbers of a tensor from which it is weights, and no bound, scale or axis that a graph is rewritten by
_SHIFT = 64  # bytes between the views of two tensors, so that no runtime takes them for one
_BLOCK = 2**18  # numbers drawn; larger tensors see them again
_SIGMA = 0.05


@cache
def drawn() -> NDArray[np.float32]:
    """Return seeded normal numbers, which larger weights repeat: drawing millions of them takes longer than timing."""
    return np.random.default_rng(0).standard_normal(_BLOCK, dtype=np.float32)


def lighten(model: ModelProto, folder: Path, taken: Collection[str] = ()) -> None:
    """Replace a model's large float weights, in place, by shifted views of one file of seeded numbers in ``folder``.

    Latency does not depend on what weights are; kernels do only where one is all zeros or ones, or decides a shape.

    Args:
        model: whose weights may be embedded or external.
        folder: where the file is written.
        taken: names that the file may not have.
    """
    location = "weights.bin"
    while location in taken:
        location = f"_{location}"
    size = 0
    weights = [t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT and prod(t.dims) >= LEAST]
    for n, tensor in enumerate(weights):
        offset, length = n * _SHIFT, 4 * prod(tensor.dims)
        size = max(size, offset + length)
        for field in ("raw_data", "float_data", "external_data"):
            tensor.ClearField(field)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)
    block = (_SIGMA * drawn()).tobytes()
    if weights:
        (folder / location).write_bytes((block * -(-size // len(block)))[:size])
