"""Normalisations: torch equals ONNX Runtime, and a convolution takes one in."""

import pytest
import torch
from torch import nn

from tempograd.spaces.common import normalisation
from tempograd.spaces.common.convolution import Convolution
from tempograd.spaces.common.normalisation import GroupNorm, LayerNorm, Normalisation
from tempograd.spaces.export import WeightPool, to_onnx
from tempograd.spaces.graph import INPUT, GraphBuilder
from tempograd.spaces.network import Network

from .alone import MAP, ROW, TOKENS, as_torchs_own, layers_of, readings_agree, run, told

# layer, shapes of its inputs, its multiply-accumulates counted by hand
LAYERS = [
    (Normalisation(1e-3), [MAP], 0),
    (Normalisation(1e-5, affine=False), [MAP], 0),
    (Normalisation(1e-5), [ROW], 0),
    (Normalisation(1e-5), [(6,)], 0),
    (LayerNorm((8,), 1e-6), [TOKENS], 0),
    (LayerNorm((5, 8), 1e-5, affine=False), [TOKENS], 0),
    (GroupNorm(2, 1e-5), [MAP], 0),
    (GroupNorm(4, 1e-5, affine=False), [ROW], 0),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "shapes", "macs"), LAYERS, ids=told)
def test_onnx_runtime_equals_torch_and_work_is_what_a_hand_counts(layer, shapes, macs):
    readings_agree(layer, shapes, macs)


def test_every_layer_of_the_file_is_tested():
    assert layers_of(normalisation) == {type(layer) for layer, _, _ in LAYERS}


def test_the_weights_are_those_of_torchs_own_layer():
    as_torchs_own(Normalisation(1e-3), nn.BatchNorm2d(4, 1e-3), [MAP], {})


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
