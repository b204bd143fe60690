"""Kernels of a network that was written for LiteRT: nodes with what was fused, who runs them, and what nobody sees."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from tempograd.errors import InputRefusedError

from ...graphs.models import make

pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed: pip install 'tempograd[litert]'")

from tempograd.devices.runtime.onnx_tflite import converted
from tempograd.devices.runtime.tflite_kernels import kernels_of, timed


@pytest.fixture(scope="module")
def network():
    """A convolution of stride 2 whose padding LiteRT cannot say, a rectifier, an identity and a mean."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Identity", ["r"], ["i"], "same"),
        helper.make_node("GlobalAveragePool", ["i"], ["y"], "mean"),
    ]
    weights = {"w": np.ones((4, 3, 3, 3), np.float32)}
    return make(nodes, [("x", TensorProto.FLOAT, (1, 3, 8, 8))], [("y", TensorProto.FLOAT, (1, 4, 1, 1))], weights)


@pytest.fixture(scope="module")
def kernels(network):
    return kernels_of(network, converted(network)[1], {1})


def test_a_kernel_is_a_node_with_what_was_written_into_it(kernels):
    conv, mean = kernels
    assert (conv.op, conv.family, conv.origin, conv.attributes["fused"]) == (
        "Conv", "convolution", ("conv", "relu"), ["Relu"],
    )  # fmt: skip
    assert conv.macs == 4 * 4 * 4 * 27
    assert conv.provider == "built-in PAD, XNNPACK CONV_2D"
    assert (mean.op, mean.provider, mean.origin) == ("GlobalAveragePool", "built-in MEAN", ("mean",))


def test_each_different_kernel_is_run_alone(kernels):
    run = []
    profile = timed([*kernels, kernels[0]], [5.0], 1e-6, lambda model: lambda: run.append(model.graph.node[0].op_type))
    assert profile.alone
    assert profile.unseen == ()
    assert set(run) == {"Conv", "GlobalAveragePool"}
    assert all(kernel.ms > 0 for kernel in profile.kernels)
    assert profile.kernels[2].ms == profile.kernels[0].ms
    assert timed(kernels, [5.0], 0.0, lambda model: pytest.fail("nothing is asked for")).kernels[0].ms == 0


def test_one_that_is_refused_alone_is_named_and_has_what_is_left(kernels):
    def refuses(model):
        if model.graph.node[0].op_type == "Conv":
            raise InputRefusedError("no")
        return lambda: None

    profile = timed(kernels, [5.0], 1e-6, refuses)
    assert profile.unseen == ("conv",)
    assert sum(kernel.ms for kernel in profile.kernels) == pytest.approx(5.0)
