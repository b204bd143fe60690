from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tempograd import registry
from tempograd.devices.runtime.onnx_torch import to_module
from tempograd.errors import InputRefusedError
from tempograd.spaces.export import to_onnx
from tempograd.spaces.graph import ports


def model(kind, weights=(), *, shape=(1, 4, 8, 8), opset=17, inputs=("x",), **attributes) -> ModelProto:
    nodes = [helper.make_node(kind, [*inputs, *(name for name, _ in weights)], ["y"], **attributes)]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def test_it_is_straight_line_code_without_a_loop_or_a_branch():
    weights = [("w", np.ones((4, 4, 3, 3), np.float32))]
    code = to_module(model("Conv", weights, pads=[1] * 4)).code
    assert "conv2d" in code
    assert not {"for", "while", "if"} & set(code.split())


def test_weights_are_kept_and_move_with_the_module():
    module = to_module(model("Conv", [("w", np.ones((4, 4, 1, 1), np.float32))]))
    assert [tuple(buffer.shape) for buffer in module.buffers()] == [(4, 4, 1, 1)]
    assert module.to(torch.float64)(torch.ones(1, 4, 2, 2, dtype=torch.float64)).dtype == torch.float64


def crop(steps=()):
    parts = [("starts", [1, 1]), ("ends", [2**63 - 1, -1]), ("axes", [2, 3])]
    return [(name, np.array(values, np.int64)) for name, values in (*parts, *steps)]


def test_a_crop_counts_from_both_ends_and_takes_steps():
    x = torch.arange(256.0).reshape(1, 4, 8, 8)
    assert torch.equal(to_module(model("Slice", crop()))(x), x[:, :, 1:, 1:-1])
    stepped = model("Slice", crop([("steps", [2, 1])]))
    assert torch.equal(to_module(stepped)(x), x[:, :, 1::2, 1:-1])


@pytest.mark.parametrize(
    "spec",
    [
        "recurrent:n=4,hidden=6,classes=5",
        "vit:layers=1,width=0.04,head=2,patch=4,size=8,classes=5",
        "vit:layers=1,width=0.04,head=2,attention=plain,patch=4,size=8,classes=5",
    ],
)
def test_it_is_the_network_of_the_space(spec):
    space = registry.create("space", spec)
    for architecture in space.sample(6, np.random.default_rng(0)):
        network = space.to_torch(architecture).eval()
        x = [torch.ones(1, *sides, dtype=torch.int64) if whole else torch.rand(1, *sides)
             for sides, whole in ports(network.graph).values()]  # fmt: skip
        with torch.no_grad():
            expected = network(x)
            found = to_module(to_onnx(network.graph, network.arrays()))(*x)
        assert torch.allclose(found, expected[0] if isinstance(expected, tuple) else expected, atol=1e-5)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (model("Asin"), "no operator Asin; allowed: Add"),
        (model("MaxPool", kernel_shape=[2, 2], pads=[0, 0, 1, 1]), "as much on both sides"),
        (model("MaxPool", kernel_shape=[2, 2], ceil_mode=1), "rounded down"),
        (model("Conv", [("w", np.ones((4, 4, 3, 3), np.float32))], auto_pad="SAME_UPPER"), "as much on both sides"),
        (model("HardSigmoid"), "alpha 1/6"),
        (model("Flatten", axis=2), "axis 2"),
        (model("Gemm", [("w", np.ones((4, 4), np.float32))], shape=(1, 4)), "linear layer"),
        (model("Gemm", [("w", np.ones((4, 4), np.float32)), ("b", np.ones(4, np.float32))], shape=(1, 4), transB=1,
               alpha=2.0), "alpha or beta"),
        (model("Reshape", inputs=("x", "shape")), "must be constants"),
        (model("Gather", inputs=("x", "i"), axis=1), "along axis 1"),
        (model("ScatterElements", inputs=("x", "i", "u")), "does not add"),
        (model("Split", inputs=("x", "sizes")), "equal parts"),
        (model("LayerNormalization", [("w", np.ones(8, np.float32))], axis=2), "axis 2"),
    ],
)  # fmt: skip
def test_what_it_would_compute_otherwise_is_refused(asked, reason):
    with pytest.raises(InputRefusedError, match=reason):
        to_module(asked)
