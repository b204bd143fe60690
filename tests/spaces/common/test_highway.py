"""The gated edge of a recurrent cell: torch equals ONNX Runtime, and both a formula written out."""

import pytest
import torch

from tempograd.spaces.common import highway
from tempograd.spaces.common.highway import KINDS, Highway

from .alone import layers_of, network_of, readings_agree, told

LAYERS = [
    *[(Highway(kind), [(6,)], 2 * 6 * 6) for kind in KINDS],
    (Highway("tanh"), [(6,), (4,)], 2 * 6 * 10),
]


@pytest.mark.parametrize(("layer", "shapes", "macs"), LAYERS, ids=told)
def test_onnx_runtime_equals_torch_and_work_is_what_a_hand_counts(layer, shapes, macs):
    readings_agree(layer, shapes, macs)


def test_every_layer_of_the_file_is_tested():
    assert layers_of(highway) == {type(layer) for layer, _, _ in LAYERS}


def test_a_state_is_moved_as_far_as_its_gate_is_open():
    network, (state, symbol) = network_of(Highway("relu"), [(3,), (2,)])
    weight = network.layers["layer"].weight.detach()
    for row, given, more in zip(network([state, symbol]).detach(), state, symbol, strict=True):
        for i in range(3):
            numbers = [*given.tolist(), *more.tolist()]
            gate, made = (sum(w * x for w, x in zip(weight[k].tolist(), numbers, strict=True)) for k in (i, i + 3))
            expected = given[i] + torch.tensor(gate).sigmoid() * (max(made, 0) - given[i])
            assert float(row[i]) == pytest.approx(float(expected), rel=1e-5)
