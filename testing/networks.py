"""Small networks as ONNX files, for devices and runtimes."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from ..devices.device import Model


class Zoo:
    """Writes networks into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, key: str, content: bytes) -> Model:
        path = self.folder / f"{key}.onnx"
        path.write_bytes(content)
        return Model(key, path, sha256(content).hexdigest())

    def conv(self, key: str, **shape) -> Model:
        return self.file(key, conv(**shape))

    def endless(self, key: str) -> Model:
        """A Loop of some 10^18 rounds."""
        return self.file(key, endless())


def conv(*, channels: int = 8, batch: int = 1, graph: str = "net", scale: float = 0.1, size: int = 8) -> bytes:
    weights = np.random.default_rng(0).normal(0, scale, (channels, 3, 3, 3)).astype(np.float32)
    return model_bytes(
        [helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4), helper.make_node("Relu", ["c"], ["y"])],
        [batch, 3, size, size],
        [batch, channels, size, size],
        [numpy_helper.from_array(weights, "w")],
        graph=graph,
    )


def model_bytes(nodes, x_shape, y_shape, weights=(), *, graph: str = "net", kind: int = TensorProto.FLOAT) -> bytes:
    made = helper.make_graph(
        nodes,
        graph,
        [helper.make_tensor_value_info("x", kind, x_shape)],
        [helper.make_tensor_value_info("y", kind, y_shape)],
        weights,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def endless() -> bytes:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_in"], ["go_out"]),
            helper.make_node("Sin", ["a"], ["b"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("a", TensorProto.FLOAT, [1, 4]),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("b", TensorProto.FLOAT, [1, 4]),
        ],
    )
    weights = [
        numpy_helper.from_array(np.array(2**60, np.int64), "trips"),
        numpy_helper.from_array(np.array(True), "go"),
    ]
    return model_bytes([helper.make_node("Loop", ["trips", "go", "x"], ["y"], body=body)], [1, 4], [1, 4], weights)
