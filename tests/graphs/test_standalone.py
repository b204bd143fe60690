"""Kernels as networks of their own, opened by ONNX Runtime."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import tempograd as tg
from tempograd.devices.device import Model
from tempograd.graphs.kernels import Array, Kernel
from tempograd.graphs.standalone import alone


@pytest.mark.real
def test_every_kernel_of_a_real_network_runs_alone_on_shapes_of_its_own():
    path = Path(onnx.__path__[0], "backend/test/data/light/light_shufflenet.onnx")
    watched = Model("net", path, sha256(path.read_bytes()).hexdigest(), own_batch=True)
    kernels = {one.signature: one for one in tg.device("local").profile(watched, seconds=0.0).kernels}.values()
    assert {"nchwc.Conv", "Gemm", "Reshape", "Transpose", "FusedConv"} <= {one.op for one in kernels}
    for kernel in kernels:
        session = onnxruntime.InferenceSession(alone(kernel).SerializeToString(), providers=["CPUExecutionProvider"])
        told = [tuple(one.shape) for one in session.get_outputs()]
        assert told == [one.shape for one in kernel.outputs], kernel.op


@pytest.mark.real
@pytest.mark.parametrize(("opset", "axes_as"), [(13, "attribute"), (18, "input")])
def test_a_kernel_alone_is_written_in_its_networks_opset(tmp_path, opset, axes_as):
    """From opset 18 on a norm's axes are an input: in another opset the runtime refuses the very node."""
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", (2, 8, 4)), ("y", (2, 1, 4)))
    ]
    held = [numpy_helper.from_array(np.array([1]), "axes")] if axes_as == "input" else []
    given = {} if held else {"axes": [1]}
    node = helper.make_node("ReduceL2", ["x", "axes"][: 1 + len(held)], ["y"], **given)
    graph = helper.make_graph([node], "norm", ends[:1], ends[1:], held)
    path = tmp_path / "norm.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    watched = Model("net", path, sha256(path.read_bytes()).hexdigest(), own_batch=True)
    (kernel,) = tg.device("local").profile(watched, seconds=0.0).kernels
    assert kernel.opset == opset
    session = onnxruntime.InferenceSession(alone(kernel).SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.get_outputs()[0].shape == [2, 1, 4]
    assert alone(replace(kernel, opset=0)) is not None, "kept before kernels told their opset"


def test_what_is_not_known_in_full_cannot_be_had_alone():
    array = Array("float32", (1, 4))
    known = Kernel("a", "Relu", "elementwise", (array,), (array,), slots=(0,))
    assert alone(known) is not None
    unknown = [
        Kernel("a", "Relu", "elementwise", (array,), (array,)),
        Kernel("a", "x.Relu", "elementwise", (array,), (array,), domain="mine", slots=(0,)),
        Kernel("a", "Relu", "elementwise", (Array("float32", (0, 4)),), (array,), slots=(0,)),
        Kernel("a", "Relu", "elementwise", (array,), (array,), slots=(0,), constants=(0,)),
    ]
    assert [alone(one) for one in unknown] == [None] * 4


def test_activations_that_were_fused_follow_the_node():
    array = Array("float32", (1, 4))
    known = Kernel("a", "Softmax", "attention", (array,), (array,), {"fused": ["Relu", "Clip"]}, slots=(0,))
    model = alone(known)
    assert [node.op_type for node in model.graph.node] == ["Softmax", "Relu", "Clip"]
    onnx.checker.check_model(model, full_check=True)
    assert onnxruntime.InferenceSession(model.SerializeToString()).get_outputs()[0].shape == [1, 4]
    assert alone(replace(known, attributes={"fused": ["Add"]})) is None, "its other value is not known"
