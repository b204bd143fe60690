"""Kernels of a runtime that says which nodes each of them computes, as OpenVINO does."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from tempograd.graphs.fused import Ran, kernels_of
from tempograd.graphs.kernels import Array
from tempograd.graphs.standalone import alone

from .models import make


@pytest.fixture
def given():
    """A grouped convolution, BatchNormalization, a rectifier, a sum, and a product."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", group=2, kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("BatchNormalization", ["c", "s", "s", "s", "s"], ["b"], "norm"),
        helper.make_node("Relu", ["b"], ["r"], "relu"),
        helper.make_node("Add", ["r", "x"], ["a"], "add"),
        helper.make_node("Flatten", ["a"], ["f"], "flatten"),
        helper.make_node("MatMul", ["f", "m"], ["y"], "product"),
    ]
    weights = {"w": np.ones((4, 2, 3, 3), np.float32), "s": np.ones(4, np.float32), "m": np.ones((256, 5), np.float32)}
    inputs = [("x", TensorProto.FLOAT, (1, 4, 8, 8))]
    return make(nodes, inputs, [("y", TensorProto.FLOAT, (1, 5))], weights)


MAP = Array("float32", (1, 4, 8, 8))


def only(given, kind, origins, inputs=(MAP,), outputs=(MAP,), constants=()):
    (found,) = kernels_of([Ran("k", kind, origins, inputs, outputs, constants, "jit", 0.1)], given, "openvino")
    assert (found.name, found.provider, found.ms) == ("k", "jit", 0.1)
    return found


def test_a_convolution_has_its_operator_its_groups_and_what_was_fused_into_it(given):
    weights, bias = Array("float32", (2, 2, 2, 3, 3)), Array("float32", (4,))  # groups apart
    kernel = only(given, "Convolution", ("norm", "relu"), (MAP, weights, bias), constants=(1, 2))
    assert (kernel.op, kernel.family, kernel.attributes["fused"]) == ("Conv", "grouped", ["Relu"])
    assert kernel.inputs[1].shape == (4, 2, 3, 3)
    assert kernel.macs == 8 * 8 * 4 * 2 * 9
    assert kernel.origin == ("norm", "relu")
    assert [node.op_type for node in alone(kernel).graph.node] == ["Conv", "Relu"]
    named = only(given, "Convolution", ("conv", "norm", "relu"), (MAP, weights, bias), constants=(1, 2))
    assert named.signature == kernel.signature, "it is found where the runtime names what was folded"


def test_one_node_is_that_node_and_an_input_that_it_does_not_take_cannot_be_had_alone(given):
    kernel = only(given, "Eltwise", ("add",), (MAP, MAP))
    assert (kernel.op, kernel.family) == ("Add", "elementwise")
    assert alone(kernel) is not None
    assert alone(only(given, "Eltwise", ("add",), (MAP, MAP, MAP))) is None


@pytest.mark.parametrize(
    ("kind", "origins", "family"),
    [
        ("Reorder", (), "layout"),
        ("Reorder", ("conv",), "layout"),
        ("Subgraph", ("relu", "add"), "elementwise"),
        ("Strange", (), "rest"),
        ("Convolution", (), "convolution"),
    ],
)
def test_what_stands_for_no_single_node_has_the_runtimes_own_name(given, kind, origins, family):
    kernel = only(given, kind, origins)
    assert (kernel.op, kernel.family) == (f"openvino.{kind}", family)
    assert alone(kernel) is None


def test_a_product_with_numbers_for_shapes_is_not_had_alone(given):
    inputs = (Array("float32", (1, 256)), Array("float32", (256, 5)))
    kernel = only(given, "FullyConnected", ("product",), inputs, (Array("float32", (1, 5)),), (1,))
    assert (kernel.op, kernel.family, kernel.macs) == ("MatMul", "matmul", 1280)
    assert alone(kernel) is not None
    shape = (MAP, Array("int32", (2,)))
    assert alone(only(given, "Reshape", ("flatten",), shape, (Array("float32", (1, 256)),), (1,))) is None
