"""What a tracer needs around it leaves everything as it was, and tells blocks apart by what they compute."""

import pytest
import torch
from torch import nn

from tempograd.spaces.graph import INPUT, GraphBuilder
from tempograd.spaces.layers import Conv, Relu
from tempograd.spaces.tracing.surroundings import (
    calls_seen,
    close,
    content_of,
    evaluated,
    leaves_of,
    noise_like,
    outputs_of,
    overlap,
    tensors,
    users_line,
    users_place,
)


def row(names, *operations, shape=(4, 8, 8)):
    builder, x = GraphBuilder(shape), INPUT
    for name, operation in zip(names, operations, strict=True):
        x = builder.add(name, operation, x)
    return builder.graph(x)


def test_blocks_are_one_whatever_their_nodes_are_called():
    conv = Conv(4, 3)
    assert content_of(row("ab", conv, Relu())) == content_of(row("cd", conv, Relu()))
    assert content_of(row("ab", conv, Relu())) != content_of(row("ab", Conv(4, 5), Relu()))
    assert content_of(row("ab", conv, Relu())) != content_of(row("ab", conv, Relu(), shape=(4, 4, 4)))


def test_of_one_layer_the_channels_are_left_out():
    assert content_of(row("a", Conv(4, 3))) == content_of(row("a", Conv(8, 3)))
    assert content_of(row("a", Conv(4, 3, groups=4))) == content_of(row("a", Conv(8, 3, groups=8), shape=(8, 8, 8)))
    assert content_of(row("a", Conv(4, 3))) != content_of(row("a", Conv(4, 3, groups=4)))


def test_tensors_are_found_in_whatever_holds_them():
    a, b, c = torch.zeros(3)
    assert [id(one) for one in tensors({"x": [a, (b, 3)], "y": {"z": c}, "w": "text"})] == [id(a), id(b), id(c)]


def test_each_part_of_a_module_is_left_in_the_mode_it_was_in():
    net = nn.Sequential(nn.Dropout(), nn.Dropout().eval(), nn.Linear(3, 3))
    x = torch.ones(2, 3)
    with evaluated(net):
        assert torch.equal(net(x), net[2](x))
    with pytest.raises(RuntimeError, match="shapes"), evaluated(net):
        net(torch.zeros(2, 4))
    assert [one.training for one in net.modules()] == [True, True, False, True]


def test_calls_of_modules_are_seen_for_a_while_only():
    seen, before, part = [], nn.Module.__call__, nn.Linear(3, 3)

    def called(forward, module, args, kwargs):
        seen.append(module)
        return forward(module, *args, **kwargs)

    with pytest.raises(RuntimeError, match="shapes"), calls_seen(called):
        part(torch.zeros(2, 4))
    assert seen == [part]
    assert nn.Module.__call__ is before


def test_the_users_line_is_the_innermost_that_is_neither_ours_nor_torchs():
    assert users_line().startswith("test_surroundings.py, line ")
    assert "users_line()" in users_line()
    with pytest.raises(RuntimeError) as caught:
        nn.Linear(3, 3)(torch.zeros(2, 4))
    assert users_place(caught.value).startswith("test_surroundings.py, line ")


def test_tensors_overlap_where_they_share_numbers():
    x = torch.zeros(4, 6)
    first, second = x.chunk(2, 1)
    assert overlap(first, x)
    assert overlap(first, x.t())
    assert overlap(first, x[0].expand(3, 6))
    assert not overlap(first, second)
    assert not overlap(first, first.clone())
    assert not overlap(first, x[:, :0])


def test_a_weight_is_traced_to_the_parameters_it_is_computed_of():
    a, b = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    assert leaves_of(a * b.exp()) == {id(a), id(b)}
    assert leaves_of(a) == leaves_of(a.detach() * 2) == frozenset()


def test_outputs_are_close_but_for_rounding():
    x = torch.tensor([1.0, float("nan"), 100.0])
    assert close([x], [x + 0.01])
    assert not close([x], [x + 1])
    assert not close([x], [x, x])
    assert not close([x], [x[:2]])
    assert outputs_of(nn.Linear(3, 3), [torch.zeros(2, 4)]) is None
    assert torch.equal(noise_like([x])[0], noise_like([x])[0])
    assert torch.equal(noise_like([torch.arange(3)])[0], torch.arange(3))
