"""What moves numbers about, read off a line: it computes the same, and what would mix the batch is refused."""

import pytest
import torch
from torch import nn

from .lines import read, refused


@pytest.mark.parametrize(
    ("line", "layers"),
    [
        (lambda x: x.flatten(1), ["Reshape"]),
        (lambda x: x.reshape(-1, 4, 64).unsqueeze(1), ["Reshape", "Reshape"]),
        (lambda x: x.view(*x.shape).relu(), ["Relu"]),  # the same shape: nothing is done
        (lambda x: x.permute(0, 2, 3, 1), ["Permute"]),
        (lambda x: x.transpose(1, 3).flatten(2), ["Permute", "Reshape"]),
        (lambda x: x[:, 1:3, ..., 0], ["Slice", "Slice"]),
        (lambda x: x[:, :, ::2, -1], ["Slice", "Slice"]),
        (lambda x: x.select(2, -1), ["Slice"]),
        (lambda x: x.narrow(1, 1, 2), ["Slice"]),
        (lambda x: x.narrow(1, -3, 3), ["Slice"]),
        (lambda x: torch.cat([x, x.relu()], axis=1).mean(axis=(2, 3), keepdims=True), ["Relu", "Concat", "GlobalPool"]),
        (lambda x: x.mean((1, 2, 3), keepdim=True).reshape(-1), ["Reduce", "Reshape"]),
        (lambda x: torch.cat(x.chunk(2, 1)[::-1], 1), ["Slice", "Slice", "Concat"]),
        (lambda x: torch.cat(x.split([1, 3], dim=1), dim=2) if x.ndim == 3 else x.split([1, 3], 1)[1],
         ["Slice", "Slice"]),
        (lambda x: torch.cat([x, x.relu()], -1), ["Relu", "Join"]),
        (lambda x: torch.stack([x, x.relu()], 1), ["Relu", "Reshape", "Reshape", "Join"]),
        (lambda x: x.mean((2, 3)), ["GlobalPool"]),
        (lambda x: x.mean(1, keepdim=True), ["Reduce"]),
        (lambda x: x.amax((-1,)).sum(1), ["Reduce", "Reduce"]),
    ],
)  # fmt: skip
def test_a_line_is_read_as_layers_that_compute_the_same(line, layers):
    assert [type(one).__name__ for one in read(line)] == layers


def test_queries_keys_and_values_that_are_permuted_before_the_batch_are_taken_apart():
    def line(x, qkv):
        q, k, v = qkv(x).reshape(len(x), 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
        return nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    kinds = [type(one).__name__ for one in read(line, (5, 8), qkv=nn.Linear(8, 24))]
    assert kinds.count("Slice") == 3
    assert "Attention" in kinds


def test_a_class_token_is_learnt_numbers_beside_values():
    token = nn.Parameter(torch.rand(1, 1, 8))
    kinds = [type(one).__name__ for one in read(lambda x: torch.cat([token.expand(len(x), 1, 8), x], 1), (5, 8))]
    assert kinds == ["Learnt", "Join"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (lambda net, x: x if x.sum() > 0 else -x, "sum of everything"),
        (lambda net, x: x.reshape(-1, 4), "mixes the batch with other axes cannot be traced; keep the batch"),
        (lambda net, x: torch.cat([net.wide(x), x], 1), "a concatenation of channels that a Width chooses"),
        (lambda net, x: x.permute(1, 2, 0, 3).relu(), "a permutation of the batch"),
        (lambda net, x: x[:1], "a part of the batch"),
        (lambda net, x: x[:, [0, 2]], "indexing by tensors, lists or None"),
        (lambda net, x: torch.cat([torch.rand(2, 4, 8, 8), x], 1), "a weight of .* beside a batch"),
        (lambda net, x: net.wide(x).reshape(2, 4, 2, 64), "a reshape of chosen channels"),
    ],
)
def test_what_would_mix_the_batch_or_chosen_channels_is_refused(line, told):
    refused(line, told)
