"""Sentinels: small fixed networks that tell the state of a device.

One is run by the same runtime, in the same process, milliseconds before and after a network is timed; what it takes
longer than usual, the network does too. Each is bound by another resource and takes 0.5-2 ms on one typical core.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ..errors import UnknownNameError

KINDS = ("convolution", "depthwise", "overhead")


def build(kind: str, *, precision: str = "fp32") -> bytes:
    """Return the ONNX bytes of a sentinel: the same bytes on every machine.

    Args:
        kind: ``convolution`` (arithmetic-bound), ``depthwise`` (bandwidth-bound) or ``overhead`` (many tiny nodes).
        precision: that the device runs in; images are smaller for ``int8-dynamic``, where activations quantised at run
            time make convolutions some ten times slower, and larger for ``int8-static``, where they are faster.

    Raises:
        UnknownNameError: no such kind.
    """
    dense, depthwise = {"int8-dynamic": (10, 10), "int8-static": (48, 64)}.get(precision, (32, 64))
    if kind == "convolution":
        return _chain([_layer(64, 64, 3) for _ in range(3)], channels=64, size=dense)
    if kind == "depthwise":
        return _chain([_layer(96, 96, 3, groups=96) for _ in range(4)], channels=96, size=depthwise)
    if kind == "overhead":
        return _chain([_layer(8, 8, 1) for _ in range(120)], channels=8, size=4)
    raise UnknownNameError("sentinel", kind, KINDS)


def _layer(inputs: int, outputs: int, kernel: int, groups: int = 1) -> tuple[tuple[int, int, int, int], int]:
    """Return a convolution's weight shape and its groups."""
    return (outputs, inputs // groups, kernel, kernel), groups


def _chain(layers: list[tuple[tuple[int, int, int, int], int]], *, channels: int, size: int) -> bytes:
    """Return convolutions and sigmoids in turn: outputs stay in (0, 1), so no value grows or becomes denormal."""
    rng = np.random.Generator(np.random.PCG64(20240229))
    nodes: list[NodeProto] = []
    weights: list[TensorProto] = []
    name = "x"
    for index, (shape, groups) in enumerate(layers):
        scale = np.sqrt(2 / (shape[1] * shape[2] * shape[3]))
        # uniform, not normal: its bits do not depend on numpy's sampler
        values = ((rng.random(shape) - 0.5) * 2 * scale).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{index}"))
        pad = [shape[2] // 2] * 4
        nodes.append(helper.make_node("Conv", [name, f"w{index}"], [f"c{index}"], pads=pad, group=groups))
        nodes.append(helper.make_node("Sigmoid", [f"c{index}"], [f"s{index}"]))
        name = f"s{index}"
    shape = [1, channels, size, size]
    graph = helper.make_graph(
        nodes,
        "sentinel",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.producer_name = "tempograd"
    return model.SerializeToString(deterministic=True)
