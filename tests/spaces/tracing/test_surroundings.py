"""What a tracer needs around it leaves everything as it was, and tells blocks apart by what they compute."""

import pytest
import torch
from torch import nn

from tempograd.spaces.graph import INPUT, GraphBuilder
from tempograd.spaces.layers import Conv, Relu
from tempograd.spaces.tracing.surroundings import calls_seen, content_of, evaluated, tensors, users_line, users_place


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
