"""How the sentinels were made: ``python -m tempograd.devices.sentinels.build`` writes the files beside this one.

Not run again: another network would silently change what every reference refers to.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from . import KINDS, path

SMALL_SIZE = 10  # height and width of the images of the small ones


def build(kind: str, *, small: bool = False) -> bytes:
    """Return the ONNX bytes of a sentinel, the same on every machine; see `read`."""
    match kind:
        case "convolution":
            shapes, channels, size = [(32, 32, 3, 3)] * 3, 32, 48
        case "depthwise":
            shapes, channels, size = [(64, 1, 3, 3)] * 3, 64, 64
        case _:
            return _chain([(8, 8, 1, 1)] * 400, channels=8, size=4, shared=True)
    return _chain(shapes, channels=channels, size=SMALL_SIZE if small else size)


def _chain(shapes: list[tuple[int, int, int, int]], *, channels: int, size: int, shared: bool = False) -> bytes:
    """Return convolutions and sigmoids in turn: outputs stay in (0, 1), so no value grows or becomes denormal."""
    rng = np.random.Generator(np.random.PCG64(20240229))
    nodes: list[NodeProto] = []
    weights: list[TensorProto] = []
    name = "x"
    for index, shape in enumerate(shapes):
        weight = "w0" if shared else f"w{index}"
        if not shared or not index:
            scale = np.sqrt(2 / (shape[1] * shape[2] * shape[3]))
            # uniform, not normal: its bits do not depend on numpy's sampler
            values = ((rng.random(shape) - 0.5) * 2 * scale).astype(np.float32)
            weights.append(numpy_helper.from_array(values, weight))
        pad, groups = [shape[2] // 2] * 4, channels // shape[1]
        nodes.append(helper.make_node("Conv", [name, weight], [f"c{index}"], pads=pad, group=groups))
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


def main() -> None:
    """Write every file."""
    for kind in KINDS:
        for small in (True, False):
            path(kind, small=small).write_bytes(build(kind, small=small))


if __name__ == "__main__":
    main()
