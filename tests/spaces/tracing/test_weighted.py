"""Functions with weights, read off a line: it computes the same with the user's weights."""

import pytest
import torch
from torch import nn

import tempograd as tg
from tempograd.errors import UsageError

from .lines import read, refused


@pytest.mark.parametrize(
    ("part", "shape", "layer"),
    [
        (nn.Conv2d(4, 6, 3, 2, 1, bias=False), (4, 8, 8), "Conv"),
        (nn.Conv2d(4, 6, 3, 2, 1), (4, 8, 8), "Convolution"),
        (nn.Conv2d(4, 6, (1, 5), padding="same", groups=2), (4, 8, 8), "Convolution"),
        (nn.Conv2d(4, 6, 3, padding="valid", bias=False), (4, 8, 8), "Convolution"),
        (nn.Conv1d(4, 6, 3), (4, 9), "Convolution"),
        (nn.ConvTranspose2d(4, 6, 3, 2, 1, 1), (4, 8, 8), "TransposedConvolution"),
        (nn.Linear(8, 3), (8,), "Linear"),
        (nn.Linear(8, 3), (5, 8), "Dense"),
        (nn.Linear(8, 3, bias=False), (8,), "Dense"),
        (nn.BatchNorm2d(4), (4, 8, 8), "BatchNorm"),
        (nn.BatchNorm2d(4, eps=1e-3), (4, 8, 8), "Normalisation"),
        (nn.BatchNorm1d(4, affine=False), (4, 9), "Normalisation"),
        (nn.LayerNorm(8), (5, 8), "LayerNorm"),
        (nn.LayerNorm((5, 8), bias=False), (5, 8), "LayerNorm"),
        (nn.GroupNorm(2, 4), (4, 8, 8), "GroupNorm"),
        (nn.InstanceNorm2d(4, affine=True), (4, 8, 8), "GroupNorm"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_module_is_read_as_a_layer_with_its_weights(part, shape, layer):
    for value in part.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.2, 1)
    assert [type(one).__name__ for one in read(lambda x, part: part(x), shape, part=part)] == [layer]


def test_recurrent_layers_and_attention_are_one_layer_each():
    lstm = nn.LSTM(8, 5, 2, batch_first=True, bidirectional=True)
    (layer,) = read(lambda x, lstm: lstm(x)[0], (6, 8), lstm=lstm)
    assert (layer.kind, layer.hidden, layer.layers, layer.both) == ("LSTM", 5, 2, True)
    heads = nn.MultiheadAttention(8, 2, batch_first=True)
    (layer,) = read(lambda x, heads: heads(x, x, x, need_weights=False)[0], (6, 8), heads=heads)
    assert (layer.heads, layer.bias) == (2, True)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (lambda net, x: nn.LSTM(64, 4)(x.flatten(2))[0], "a LSTM that is not batch_first"),
        (lambda net, x: nn.LSTM(64, 4, batch_first=True, proj_size=2)(x.flatten(2))[0], "a LSTM with projections"),
        (lambda net, x: nn.GRU(64, 4, batch_first=True)(x.flatten(2), torch.zeros(1, 2, 4))[0], "a given state"),
        (lambda net, x: nn.MultiheadAttention(64, 2, batch_first=True, add_zero_attn=True)(*[x.flatten(2)] * 3)[0],
         "an attention with bias_k, zero attention"),
        (lambda net, x: nn.Conv2d(4, 4, 2, padding="same")(x), "padding='same' around an even kernel"),
        (lambda net, x: nn.BatchNorm2d(4, track_running_stats=False)(x), "a BatchNorm without running statistics"),
        (lambda net, x: torch.group_norm(x, 2, torch.ones(4), torch.zeros(4), 1e-5, True), "an argument further=True"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:LSTM with projections", "ignore:Using padding")
def test_forms_without_a_reading_are_refused_with_the_way_out(line, told):
    refused(line, told)


def test_statistics_that_are_the_mean_of_all_batches_stay_so():
    (layer,) = read(lambda x, norm: norm(x), norm=nn.BatchNorm2d(4, momentum=None))
    assert layer.momentum is None


def test_an_embedding_that_changes_its_weight_is_refused():
    net = nn.Sequential(nn.Embedding(9, 4, max_norm=1.0), tg.Choice({"a": nn.Linear(4, 4), "b": nn.Identity()}))
    with pytest.raises(UsageError, match="0: an embedding that scales the rows it meets, by max_norm cannot be traced"):
        tg.space_from(net, torch.zeros(1, 6, dtype=torch.long))
