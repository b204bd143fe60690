"""Small ONNX networks."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def make(nodes, inputs, outputs, weights=(), opset=17):
    """A model of these nodes; inputs and outputs are (name, type, shape), weights name -> array."""
    values = [[helper.make_tensor_value_info(*one) for one in told] for told in (inputs, outputs)]
    held = [numpy_helper.from_array(array, name) for name, array in dict(weights).items()]
    graph = helper.make_graph(nodes, "g", *values, initializer=held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def convolution(*, names="", scale=1.0, sizes=(1, 3, 8, 8), channels=4, pads=(1, 1, 1, 1)):
    """A convolution and a rectifier; `names` is put before every name."""
    node = helper.make_node("Conv", [f"{names}x", f"{names}w"], [f"{names}c"], f"{names}conv", pads=list(pads))
    relu = helper.make_node("Relu", [f"{names}c"], [f"{names}y"], f"{names}relu")
    weights = {f"{names}w": np.full((channels, 3, 3, 3), scale, np.float32)}
    out = (sizes[0], channels, "h", "w")
    return make(
        [node, relu], [(f"{names}x", TensorProto.FLOAT, sizes)], [(f"{names}y", TensorProto.FLOAT, out)], weights
    )
