"""What moves numbers about: torch equals ONNX Runtime."""

import pytest
import torch

from tempograd.spaces.common import reshaping
from tempograd.spaces.common.convolution import Pooling, Upsample
from tempograd.spaces.common.reshaping import Input, Join, Outputs, Permute, Reduce, Reshape, Slice, Softmax
from tempograd.spaces.export import to_onnx
from tempograd.spaces.graph import INPUT, GraphBuilder
from tempograd.spaces.network import Network

from .alone import MAP, TOKENS, layers_of, readings_agree, run, told

# layer, shapes of its inputs, its multiply-accumulates counted by hand
LAYERS = [
    (Reshape((24, 8)), [MAP], 0),
    (Permute((1, 2, 0)), [MAP], 0),
    (Slice(1, 1, 6, 2), [MAP], 0),
    (Slice(0, 2, 3, single=True), [MAP], 0),
    (Join(1), [MAP, (4, 3, 8)], 0),
    *[(Reduce(kind, (0,), keep), [TOKENS], 0) for kind in ("mean", "sum", "max") for keep in (False, True)],
    (Softmax(1), [TOKENS], 0),
    (Softmax(0, logarithm=True), [TOKENS], 0),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "shapes", "macs"), LAYERS, ids=told)
def test_onnx_runtime_equals_torch_and_work_is_what_a_hand_counts(layer, shapes, macs):
    readings_agree(layer, shapes, macs)


def test_every_layer_of_the_file_is_tested():
    assert layers_of(reshaping) == {type(layer) for layer, _, _ in LAYERS} | {Input, Outputs}


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
