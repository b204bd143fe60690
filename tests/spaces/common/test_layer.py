"""Every layer of common networks: torch equals ONNX Runtime, its work is what a hand counts, its weights torch's."""

import inspect
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import tempograd
from tempograd.spaces.common.convolution import (
    Convolution,
    Pad,
    PixelShuffle,
    Pooling,
    TransposedConvolution,
    Upsample,
)
from tempograd.spaces.common.elementwise import ACTIVATIONS, Activation, Arithmetic, ByWeight, Learnt, Scalar
from tempograd.spaces.common.layer import Layer
from tempograd.spaces.common.normalisation import GroupNorm, LayerNorm, Normalisation
from tempograd.spaces.common.reshaping import Input, Join, Outputs, Permute, Reduce, Reshape, Slice, Softmax
from tempograd.spaces.common.sequence import Attention, Dense, Embedding, MatMul, MultiHead, Recurrent
from tempograd.spaces.export import WeightPool, to_onnx
from tempograd.spaces.graph import INPUT, GraphBuilder, ports
from tempograd.spaces.network import Network

MAP, ROW, STEPS, TOKENS = (4, 6, 8), (4, 9), (7, 6), (5, 8)
GIVEN = {"leaky_relu": (0.1,), "elu": (1.0,), "hardtanh": (0.0, 6.0)}
# layer, shapes of its inputs, its multiply-accumulates counted by hand
LAYERS = [
    (Convolution(6, (3, 3), (1, 1), (1, 1), (1, 1)), [MAP], 6 * 4 * 9 * 48),
    (Convolution(6, (1, 5), (1, 2), (0, 2), (1, 1), 2, False), [MAP], 6 * 2 * 5 * 24),
    (Convolution(4, (3, 3), (2, 2), (0, 1), (1, 2), 4), [MAP], 4 * 9 * (2 * 3)),
    (Convolution(5, (3,), (2,), (1,), (1,)), [ROW], 5 * 4 * 3 * 5),
    (TransposedConvolution(3, (2, 2), (2, 2), (0, 0), (0, 0), (1, 1)), [MAP], 4 * 3 * 4 * 48),
    (TransposedConvolution(4, (3, 4), (2, 1), (1, 0), (1, 0), (1, 1), 2, False), [MAP], 4 * 2 * 12 * 48),
    (Pooling("max", (3, 2), (2, 2), (1, 0)), [MAP], 0),
    (Pooling("avg", (3, 3), (2, 2), (1, 1), padded=True), [MAP], 0),
    (Pooling("avg", (2,), (2,), (0,)), [ROW], 0),
    (Pooling("max", (3, 3), (2, 2), (0, 0), ceil=True), [(4, 8, 7)], 0),
    (Upsample((12, 16)), [MAP], 0),
    (Upsample((12, 16), "bilinear"), [MAP], 0),
    (Upsample((9, 13), "bilinear", corners=True), [MAP], 0),
    (Upsample((3, 4)), [MAP], 0),
    (Pad((1, 0), (2, 3)), [MAP], 0),
    (Pad((1, 2), (2, 3), "reflect"), [MAP], 0),
    (Pad((1, 2), (2, 3), "replicate"), [MAP], 0),
    (PixelShuffle(2), [(8, 3, 3)], 0),
    *[(Activation(kind, GIVEN.get(kind, ())), [MAP], 0) for kind in ACTIVATIONS],
    *[(Arithmetic(kind), [MAP, (4, 1, 1)], 0) for kind in ("add", "sub", "mul", "div")],
    (Arithmetic("mul"), [(1, 6, 8), MAP], 0),
    (Scalar("sub", 1.0, first=True), [MAP], 0),
    (Scalar("div", 2.0), [MAP], 0),
    (Scalar("pow", 2.0), [MAP], 0),
    (ByWeight("mul", (4, 1, 1)), [MAP], 0),
    (ByWeight("add", TOKENS), [TOKENS], 0),
    (ByWeight("mul", (8,)), [TOKENS], 0),
    (Learnt((1, 8)), [TOKENS], 0),
    (Normalisation(1e-3), [MAP], 0),
    (Normalisation(1e-5, affine=False), [MAP], 0),
    (Normalisation(1e-5), [ROW], 0),
    (Normalisation(1e-5), [(6,)], 0),
    (LayerNorm((8,), 1e-6), [TOKENS], 0),
    (LayerNorm((5, 8), 1e-5, affine=False), [TOKENS], 0),
    (GroupNorm(2, 1e-5), [MAP], 0),
    (GroupNorm(4, 1e-5, affine=False), [ROW], 0),
    (Reshape((24, 8)), [MAP], 0),
    (Permute((1, 2, 0)), [MAP], 0),
    (Slice(1, 1, 6, 2), [MAP], 0),
    (Slice(0, 2, 3, single=True), [MAP], 0),
    (Join(1), [MAP, (4, 3, 8)], 0),
    *[(Reduce(kind, (0,), keep), [TOKENS], 0) for kind in ("mean", "sum", "max") for keep in (False, True)],
    (Softmax(1), [TOKENS], 0),
    (Softmax(0, logarithm=True), [TOKENS], 0),
    (Dense(3), [TOKENS], 3 * 8 * 5),
    (Dense(3), [(8,)], 3 * 8),
    (Dense(3, bias=False), [(2, 5, 8)], 3 * 8 * 10),
    (MatMul(), [(2, 5, 8), (2, 8, 3)], 2 * 5 * 8 * 3),
    (Attention(), [(2, 5, 4), (2, 6, 4), (2, 6, 3)], 2 * 5 * 6 * (4 + 3)),
    (Attention(0.3, causal=True), [(2, 5, 4)] * 3, 2 * 5 * 5 * 8),
    (MultiHead(2), [TOKENS] * 3, 4 * 5 * 64 + 2 * 25 * 8),
    (MultiHead(4, bias=False), [TOKENS, (3, 8), (3, 8)], (2 * 5 + 2 * 3) * 64 + 2 * 15 * 8),
    (Embedding(11, 4), [(7,)], 0),
    (Recurrent("LSTM", 5), [STEPS], 7 * 4 * 5 * (6 + 5)),
    (Recurrent("LSTM", 5, layers=2, both=True), [STEPS], 7 * 2 * 20 * (6 + 5 + 10 + 5)),
    (Recurrent("GRU", 5, layers=2), [STEPS], 7 * 15 * (6 + 5 + 5 + 5)),
    (Recurrent("GRU", 4, bias=False), [STEPS], 7 * 12 * (6 + 4)),
]  # fmt: skip


def told(value):
    return str(value)[:70] if isinstance(value, Layer) else ""


def network_of(layer, shapes):
    """The layer alone, behind as many inputs as it takes; a list of one shape is the first input."""
    builder = GraphBuilder(shapes[0])
    more = [builder.add(f"in{i}", Input(f"in{i}", shape)) for i, shape in enumerate(shapes[1:])]
    graph = builder.graph(builder.add("layer", layer, INPUT, *more))
    network = Network(graph)
    torch.manual_seed(1)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            value.uniform_(0.3, 1) if name.endswith("var") else value.uniform_(-1, 1)
    values = []
    for shape, whole in ports(graph).values():
        torch.manual_seed(2)
        values.append(torch.randint(0, 11, (2, *shape)) if whole else torch.rand(2, *shape) + 0.1)
    return network.eval(), values


def run(network, values, weights=None):
    model = to_onnx(network.graph, weights or network.arrays(), batch=2)
    if weights is None:
        onnx.checker.check_model(model, full_check=True)
    names = [one.name for one in model.graph.input]
    feed = {name: value.numpy() for name, value in zip(names, values, strict=True)}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [torch.from_numpy(found) for found in session.run(None, feed)]


@pytest.mark.parametrize(("layer", "shapes", "macs"), LAYERS, ids=told)
def test_onnx_runtime_equals_torch_and_work_is_what_a_hand_counts(layer, shapes, macs):
    network, values = network_of(layer, shapes)
    with torch.no_grad():
        expected = network(values)
    assert network.graph.shape == tuple(expected.shape[1:])
    (found,) = run(network, values)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert network.graph.macs() == macs
    assert network.graph.parameters() == sum(p.numel() for p in network.parameters())
    pool = WeightPool.of(network.graph, 3)
    assert set(pool.weights(network.graph)) == set(network.graph.weights)


def test_every_layer_is_tested():
    folder, found = Path(tempograd.__file__).parent / "spaces" / "common", set()
    for path in folder.glob("[!_]*.py"):
        module = import_module(f"tempograd.spaces.common.{path.stem}")
        found |= {v for v in vars(module).values() if inspect.isclass(v) and issubclass(v, Layer) and v is not Layer}
    assert found == {type(layer) for layer, _, _ in LAYERS} | {Input, Outputs}


@pytest.mark.parametrize(
    ("layer", "reference", "shapes", "names"),
    [
        (Recurrent("LSTM", 5, 2, both=True), nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True), [STEPS], {}),
        (Recurrent("GRU", 5), nn.GRU(6, 5, batch_first=True), [STEPS], {}),
        (MultiHead(2), nn.MultiheadAttention(8, 2, batch_first=True), [TOKENS, (3, 8), (3, 8)],
         {"in_weight": "in_proj_weight", "in_bias": "in_proj_bias", "out_weight": "out_proj.weight",
          "out_bias": "out_proj.bias"}),
        (Normalisation(1e-3), nn.BatchNorm2d(4, 1e-3), [MAP], {}),
        (TransposedConvolution(3, (3, 3), (2, 2), (1, 1), (1, 1), (1, 1)), nn.ConvTranspose2d(4, 3, 3, 2, 1, 1), [MAP],
         {}),
    ],
    ids=told,
)  # fmt: skip
def test_the_weights_are_those_of_torchs_own_layer(layer, reference, shapes, names):
    network, values = network_of(layer, shapes)
    reference = reference.eval()
    given = reference.state_dict()
    own = network.layers["layer"]
    own.load_state_dict({key: given[names.get(key, key)] for key in own.state_dict()})
    expected = reference(*values)
    with torch.no_grad():
        assert torch.allclose(network(values), expected[0] if isinstance(expected, tuple) else expected, atol=1e-5)


def test_a_recurrent_layer_learns():
    network, values = network_of(Recurrent("LSTM", 5), [STEPS])
    network.train()(values).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


@pytest.mark.parametrize(
    "conv", [Convolution(6, (3, 3), (1, 1), (1, 1), (1, 1)), Convolution(6, (3,), (1,), (0,), (1,))]
)
@pytest.mark.parametrize("pooled", [False, True])
def test_a_normalisation_is_merged_into_the_convolution_before_it(conv, pooled):
    builder = GraphBuilder((4, 6, 8)[: len(conv.kernel) + 1])
    network = Network(builder.graph(builder.add("bn", Normalisation(1e-3), builder.add("conv", conv, INPUT)))).eval()
    pool = WeightPool.of(network.graph, 0)
    if pooled:
        network.load_arrays(pool.weights(network.graph))
    else:
        for _, value in network.named_buffers():
            value.uniform_(0.5, 1.5) if value.is_floating_point() else value
    x = torch.randn(2, *network.graph.input_shape)
    arrays = network.arrays()
    model = to_onnx(network.graph, arrays, batch=2)
    assert [node.op_type for node in model.graph.node] == ["Conv"]
    with torch.no_grad():
        assert torch.allclose(run(network, [x])[0], network(x), rtol=1e-4, atol=1e-5)


def test_several_outputs_leave_by_their_names():
    builder = GraphBuilder(MAP)
    small, large = (
        builder.add("small", Pooling("max", (2, 2), (2, 2), (0, 0)), INPUT),
        builder.add("large", Upsample((12, 16)), INPUT),
    )
    network = Network(builder.graph(builder.add("out", Outputs(), small, large, small))).eval()
    x = torch.randn(2, *MAP)
    expected, found = network(x), run(network, [x])
    assert [tuple(one.shape) for one in found] == [(2, 4, 3, 4), (2, 4, 12, 16), (2, 4, 3, 4)]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    names = [one.name for one in to_onnx(network.graph, network.arrays()).graph.output]
    assert names == ["output", "output1", "output2"]


def test_rectified_numbers_are_those_of_numpy():
    network, values = network_of(Activation("gelu"), [(3,)])
    x = values[0].numpy().astype(float)
    from math import erf

    expected = np.vectorize(lambda v: 0.5 * v * (1 + erf(v / 2**0.5)))(x)
    assert np.allclose(network(values).numpy(), expected, atol=1e-6)
