"""How the sentinels were made: ``python -m tempograd.devices.sentinels.build`` writes the files beside this one.

What is there is not written again: another network would silently change what every reference refers to.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from . import KINDS, path

SMALL_SIZE = 10  # height and width of the images of the small ones
MIXED_SIZE, MIXED_SMALL_SIZE = 48, 16
TINY = (8, 8, 1, 1)  # the layer of which there are so many that they share their weights


def build(kind: str, *, small: bool = False) -> bytes:
    """Return the ONNX bytes of a sentinel, the same on every machine; see `read`."""
    match kind:
        case "mixed":
            size = MIXED_SMALL_SIZE if small else MIXED_SIZE
            shapes = [(32, 32, 3, 3), *[(32, 1, 3, 3)] * 4, (8, 32, size // 4, size // 4), *[TINY] * 160]
            return _chain(shapes, channels=32, size=size)
        case "convolution":
            shapes, channels, size = [(32, 32, 3, 3)] * 3, 32, 48
        case "depthwise":
            shapes, channels, size = [(64, 1, 3, 3)] * 3, 64, 64
        case _:
            return _chain([TINY] * 400, channels=8, size=4)
    return _chain(shapes, channels=channels, size=SMALL_SIZE if small else size)


def _chain(shapes: list[tuple[int, int, int, int]], *, channels: int, size: int) -> bytes:
    """Return convolutions and sigmoids in turn: outputs stay in (0, 1), so no value grows or becomes denormal.

    A kernel of even size moves by its size: it makes images smaller.
    """
    rng = np.random.Generator(np.random.PCG64(20240229))
    nodes: list[NodeProto] = []
    weights: list[TensorProto] = []
    name, entry = "x", [1, channels, size, size]
    for index, shape in enumerate(shapes):
        first = shapes.index(shape) if shape == TINY else index
        weight = f"w{first}"
        if first == index:
            scale = np.sqrt(2 / (shape[1] * shape[2] * shape[3]))
            # uniform, not normal: its bits do not depend on numpy's sampler
            values = ((rng.random(shape) - 0.5) * 2 * scale).astype(np.float32)
            weights.append(numpy_helper.from_array(values, weight))
        reduces = shape[2] % 2 == 0
        moves: dict[str, Any] = {"strides": [shape[2]] * 2} if reduces else {"pads": [shape[2] // 2] * 4}
        group = channels // shape[1]
        nodes.append(helper.make_node("Conv", [name, weight], [f"c{index}"], group=group, **moves))
        nodes.append(helper.make_node("Sigmoid", [f"c{index}"], [f"s{index}"]))
        name, channels, size = f"s{index}", shape[0], size // shape[2] if reduces else size
    graph = helper.make_graph(
        nodes,
        "sentinel",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, entry)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, size, size])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.producer_name = "tempograd"
    return model.SerializeToString(deterministic=True)


def main() -> None:
    """Write the files that are not there; one that is stays as it is."""
    for kind in KINDS:
        for small in (True, False):
            if not path(kind, small=small).exists():
                path(kind, small=small).write_bytes(build(kind, small=small))


if __name__ == "__main__":
    main()
