"""Layers of sequences: torch equals ONNX Runtime, work is what a hand counts, weights are torch's."""

import pytest
import torch
from torch import nn

from tempograd.spaces.common import sequence
from tempograd.spaces.common.sequence import Attention, Dense, Embedding, MatMul, MultiHead, Recurrent

from .alone import STEPS, TOKENS, as_torchs_own, layers_of, readings_agree, told

# layer, shapes of its inputs, its multiply-accumulates counted by hand
LAYERS = [
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


@pytest.mark.parametrize(("layer", "shapes", "macs"), LAYERS, ids=told)
def test_onnx_runtime_equals_torch_and_work_is_what_a_hand_counts(layer, shapes, macs):
    readings_agree(layer, shapes, macs)


def test_every_layer_of_the_file_is_tested():
    assert layers_of(sequence) == {type(layer) for layer, _, _ in LAYERS}


@pytest.mark.parametrize(
    ("layer", "reference", "shapes", "names"),
    [
        (Recurrent("LSTM", 5, 2, both=True), nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True), [STEPS], {}),
        (Recurrent("GRU", 5), nn.GRU(6, 5, batch_first=True), [STEPS], {}),
        (MultiHead(2), nn.MultiheadAttention(8, 2, batch_first=True), [TOKENS, (3, 8), (3, 8)],
         {"in_weight": "in_proj_weight", "in_bias": "in_proj_bias", "out_weight": "out_proj.weight",
          "out_bias": "out_proj.bias"}),
    ],
    ids=told,
)  # fmt: skip
def test_the_weights_are_those_of_torchs_own_layer(layer, reference, shapes, names):
    as_torchs_own(layer, reference, shapes, names)


def test_causal_attention_sees_nothing_ahead():
    x = torch.rand(1, 5, 4)
    changed = x.clone()
    changed[:, 3:] += 1
    before, after = (Attention(causal=True).run(value, value, value) for value in (x, changed))
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3:], after[:, 3:])
