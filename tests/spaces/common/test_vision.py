"""Attention of vision transformers: torch equals ONNX Runtime in every form, fused or not."""

import pytest
import torch

from tempograd.spaces.common import vision
from tempograd.spaces.common.vision import TokenAttention, distances
from tempograd.spaces.export import to_onnx

from .alone import layers_of, network_of, readings_agree, run, told

TOKENS = (10, 6)
LAYERS = [
    (TokenAttention(2, 4, "plain"), [TOKENS], 4 * 10 * 6 * 8 + 2 * 100 * 8),
    (TokenAttention(2, 4, "fused"), [TOKENS], 4 * 10 * 6 * 8 + 2 * 100 * 8),
    (TokenAttention(3, 2, "relative"), [TOKENS], 4 * 10 * 6 * 6 + 2 * 100 * 6 + 4 * 30 * 10 * 6),
    (TokenAttention(1, 2, "relative", reach=1), [TOKENS], 4 * 10 * 6 * 2 + 2 * 100 * 2 + 4 * 4 * 10 * 2),
]


@pytest.mark.parametrize(("layer", "shapes", "macs"), LAYERS, ids=told)
def test_onnx_runtime_equals_torch_and_work_is_what_a_hand_counts(layer, shapes, macs):
    readings_agree(layer, shapes, macs)


def test_every_layer_of_the_file_is_tested():
    assert layers_of(vision) == {type(layer) for layer, _, _ in LAYERS}


def test_fused_attention_is_one_operator_that_gives_what_the_plain_one_gives():
    fused, values = network_of(TokenAttention(2, 4, "fused"), [TOKENS])
    plain, _ = network_of(TokenAttention(2, 4, "plain"), [TOKENS])
    plain.load_state_dict(fused.state_dict())
    (one,), (other,) = (run(network, values) for network in (fused, plain))
    assert torch.allclose(one, other, atol=1e-5)
    model = to_onnx(fused.graph, fused.arrays())
    assert [node.op_type for node in model.graph.node].count("MultiHeadAttention") == 1
    assert "Softmax" not in {node.op_type for node in model.graph.node}


def test_terms_are_the_same_beyond_their_reach_and_tell_a_pair_from_its_reverse():
    rows, columns = distances(1 + 16, reach=2)
    assert rows[1].tolist() == [0, *[3] * 4, *[4] * 4, *[5] * 4, *[5] * 4]
    assert columns[1].tolist() == [0, *[3, 4, 5, 5] * 4]
    assert rows[13].tolist() == [0, *[1] * 4, *[1] * 4, *[2] * 4, *[3] * 4]
    assert (rows[0] == 0).all()
