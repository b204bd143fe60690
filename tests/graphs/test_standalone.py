"""Kernels as networks of their own, opened by ONNX Runtime."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import onnx
import onnxruntime
import pytest

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
