"""A model without its weights' values: little to read, and the same kernels."""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from tempograd.graphs.light import lighten
from tempograd.graphs.network import key_of


def two_layers():
    """Two equal layers, and a bias that is too short to be taken away."""
    rng = np.random.default_rng(0)
    held = {name: rng.standard_normal((64, 64)).astype(np.float32) for name in ("a", "b")}
    held["c"] = rng.standard_normal(64).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["u"]), helper.make_node("MatMul", ["u", "b"], ["v"]),
        helper.make_node("Add", ["v", "c"], ["y"]),
    ]  # fmt: skip
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (2, 64)) for name in ("x", "y")]
    weights = [numpy_helper.from_array(array, name) for name, array in held.items()]
    graph = helper.make_graph(nodes, "two", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_large_weights_become_views_of_one_file_and_the_network_is_the_same(tmp_path):
    model = two_layers()
    before, short = key_of(model), model.graph.initializer[2].raw_data
    lighten(model, tmp_path, taken=["weights.bin"])
    assert key_of(model) == before
    assert model.graph.initializer[2].raw_data == short
    assert len(model.SerializeToString()) < 1000 < (tmp_path / "_weights.bin").stat().st_size
    places = [[e.value for e in t.external_data] for t in model.graph.initializer[:2]]
    assert places == [["_weights.bin", "0", "16384"], ["_weights.bin", "64", "16384"]], "no two are the same bytes"
    (tmp_path / "light.onnx").write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(tmp_path / "light.onnx", providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": np.ones((2, 64), np.float32)})
    assert np.isfinite(y).all()
    assert np.ptp(y) > 0
