"""What a network becomes when it is quantised; how it then runs is in the tests of ONNX Runtime's engine."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from tempograd.devices.runtime.int8 import CALIBRATION_RUNS, is_integer, kernels_of, quantised
from tempograd.errors import InputRefusedError


@pytest.fixture
def model():
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in (("w", (4, 3, 3, 3)), ("b", (4,)))
    ]
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], kernel_shape=[3, 3], pads=[1] * 4)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 8, 8))], weights,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def opened(model, folder, ran=None, level=""):
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    basic, none = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC, ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.graph_optimization_level = basic if level == "basic" else none
    if ran is not None:
        options.optimized_model_filepath = str(ran)
    return ort.InferenceSession(model if isinstance(model, bytes) else str(model), options)


def draw(session, rng):
    return {"x": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)}


@pytest.mark.parametrize("precision", ["int8-static", "int8-dynamic"])
def test_weights_become_integers_and_are_embedded(model, tmp_path, precision):
    content = quantised(model, tmp_path, precision, opened, draw)
    kinds = {tensor.data_type for tensor in onnx.load_from_string(content).graph.initializer}
    assert kinds & {TensorProto.INT8, TensorProto.UINT8}
    assert len(onnx.load_from_string(content).graph.node) > 1


def test_ranges_are_found_on_so_many_seeded_inputs(model, tmp_path):
    drawn = []

    def noted(session, rng):
        drawn.append(draw(session, rng)["x"])
        return {"x": drawn[-1]}

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first = quantised(model, tmp_path / "one", "int8-static", opened, noted)
    second = quantised(model, tmp_path / "two", "int8-static", opened, noted)
    assert first == second
    assert len(drawn) == 2 * CALIBRATION_RUNS
    assert np.array_equal(drawn[0], drawn[CALIBRATION_RUNS])


def test_for_tensorrt_everything_is_signed(model, tmp_path):
    content = quantised(model, tmp_path, "int8-static", opened, draw, for_tensorrt=True)
    kinds = {tensor.data_type for tensor in onnx.load_from_string(content).graph.initializer}
    assert TensorProto.INT8 in kinds
    assert not kinds & {TensorProto.UINT8, TensorProto.INT32}


def test_what_the_tools_cannot_do_is_refused_with_their_reason(model, tmp_path):
    def broken(model, folder, ran=None, level=""):
        raise RuntimeError("no such kernel\nand more")

    with pytest.raises(InputRefusedError, match=r"cannot be quantised to int8-static: .*no such kernel"):
        quantised(model, tmp_path, "int8-static", broken, draw)


def test_kernels_are_counted_by_operator(model, tmp_path):
    onnx.save(model, tmp_path / "ran.onnx")
    assert kernels_of(tmp_path / "ran.onnx") == {"Conv": 1}
    assert [is_integer(kind) for kind in ("QLinearConv", "MatMulInteger", "QGemm", "Conv")] == [True, True, True, False]
