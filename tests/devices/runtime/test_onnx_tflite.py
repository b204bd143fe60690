"""What is written is run by LiteRT itself, against ONNX Runtime, over the shapes where the two differ in convention."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tempograd.errors import InputRefusedError

interpreter = pytest.importorskip(
    "ai_edge_litert.interpreter", reason="LiteRT is not installed: pip install 'tempograd[litert]'"
)

from tempograd.devices.runtime.onnx_tflite import layout, moved, moved_back, to_tflite  # noqa: E402  needs its schema

RNG = np.random.default_rng(0)


def model(nodes, shape, weights=()) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def both(asked: ModelProto, shape) -> tuple[np.ndarray, np.ndarray]:
    x = RNG.standard_normal(shape).astype(np.float32)
    expected = onnxruntime.InferenceSession(asked.SerializeToString()).run(None, {"x": x})[0]
    engine = interpreter.Interpreter(model_content=to_tflite(asked), num_threads=1)
    engine.allocate_tensors()
    engine.set_tensor(engine.get_input_details()[0]["index"], moved(x))
    engine.invoke()
    return moved_back(engine.get_tensor(engine.get_output_details()[0]["index"])), expected


def agree(nodes, shape, weights=()) -> None:
    found, expected = both(model(nodes, shape, weights), shape)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize(("kernel", "stride", "dilation", "groups"), [
    (1, 1, 1, 1), (1, 2, 1, 1), (3, 1, 1, 1), (3, 2, 1, 1), (5, 2, 1, 8), (3, 1, 2, 8), (5, 1, 2, 8), (3, 2, 2, 8),
    (3, 1, 1, 4),
])  # fmt: skip
def test_convolutions_at_every_stride_and_parity(size, kernel, stride, dilation, groups):
    weight = RNG.standard_normal((8, 8 // groups, kernel, kernel)).astype(np.float32)
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], pads=[dilation * (kernel - 1) // 2] * 4, strides=[stride] * 2,
        dilations=[dilation] * 2, group=groups,
    )  # fmt: skip
    agree([node], [2, 8, size, size], [("w", weight)])


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_pools_leave_padding_out(kind, stride, size):
    agree(
        [helper.make_node(kind, ["x"], ["y"], kernel_shape=[3, 3], pads=[1] * 4, strides=[stride] * 2)],
        [2, 4, size, size],
    )


def test_a_channel_shuffle_keeps_its_axes():
    shapes = [("split", np.array([2, 4, 3, 5, 7])), ("joined", np.array([2, 12, 5, 7]))]
    nodes = [
        helper.make_node("Reshape", ["x", "split"], ["a"]),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["b", "joined"], ["y"]),
    ]
    agree(nodes, [2, 12, 5, 7], shapes)


def test_a_relu_is_fused_only_where_nobody_else_reads_what_it_clips():
    weight = [("w", RNG.standard_normal((4, 4, 1, 1)).astype(np.float32))]
    conv, relu = helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["b"])
    agree([conv, relu, helper.make_node("Add", ["a", "b"], ["y"])], [1, 4, 4, 4], weight)
    agree([conv, relu, helper.make_node("Sigmoid", ["b"], ["y"])], [1, 4, 4, 4], weight)
    joined = helper.make_node("Concat", ["x", "x"], ["a"], axis=1)
    agree([joined, helper.make_node("Relu", ["a"], ["y"])], [1, 4, 4, 4])


def test_a_relu_that_is_the_output_beside_its_input_is_kept():
    nodes = [helper.make_node("Add", ["x", "x"], ["a"]), helper.make_node("Identity", ["a"], ["i"])]
    nodes += [helper.make_node("Relu", ["i"], ["r"]), helper.make_node("Sum", ["a", "r", "x"], ["y"])]
    agree(nodes, [1, 4, 4, 4])


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (2, 3, 4, 5, 7), (2, 3)])
def test_moving_axes_and_back(shape):
    x = RNG.standard_normal(shape)
    assert np.array_equal(moved_back(moved(x)), x)
    assert sorted(layout(len(shape))) == list(range(len(shape)))


@pytest.mark.parametrize(
    ("nodes", "weights", "reason"),
    [
        ([helper.make_node("Erf", ["x"], ["y"])], [], "no operator Erf; allowed: Add"),
        ([helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], pads=[0, 0, 1, 1])], [], "both sides"),
        ([helper.make_node("HardSigmoid", ["x"], ["y"])], [], "alpha 1/6"),
        ([helper.make_node("Flatten", ["x"], ["y"])], [], "with the image kept"),
        ([helper.make_node("Reshape", ["x", "s"], ["y"])], [("s", np.array([1, 2, 16, 8]))], "with the image kept"),
        (
            [helper.make_node("Add", ["x", "w"], ["y"])],
            [("w", np.ones((3, 3), np.float32))],
            "shapes cannot be inferred",
        ),
    ],
)
def test_what_it_would_compute_otherwise_is_refused(nodes, weights, reason):
    with pytest.raises(InputRefusedError, match=reason):
        to_tflite(model(nodes, [1, 4, 8, 8], weights))


def test_a_product_with_weights_and_the_functions_that_limits_are_measured_by():
    weight = RNG.standard_normal((6, 5)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Sin", ["a"], ["b"]),
        helper.make_node("Cos", ["b"], ["y"]),
    ]  # fmt: skip
    agree(nodes, [3, 6], [("w", weight)])
    with pytest.raises(InputRefusedError, match="no linear layer"):
        to_tflite(model([helper.make_node("MatMul", ["x", "x"], ["y"])], [3, 3]))
