"""Marks in a module that is not searched: an ordinary module, and marks that say nothing are refused."""

import copy

import pytest
import torch
from torch import nn

import tempograd as tg
from tempograd.errors import UsageError
from tempograd.spaces.tracing.marks import Choice, Depth, Width

CONV = nn.Conv2d(4, 4, 1)


def test_marks_that_are_not_searched_are_an_ordinary_module():
    net = nn.Sequential(Choice({"k": nn.Conv2d(3, 4, 1), "l": nn.Conv2d(3, 4, 3, padding=1)}), Depth([CONV, CONV]))
    x = torch.rand(2, 3, 4, 4)
    assert torch.equal(net(x), CONV(CONV(net[0].options["k"](x))))
    clone = copy.deepcopy(net)
    clone.load_state_dict(net.state_dict())
    net(x).sum().backward()


def test_a_width_runs_with_all_its_channels():
    assert torch.equal(Width(CONV, (2, 4))(x := torch.rand(2, 4, 3, 3)), CONV(x))
    assert Width(CONV, (4, 2, 4)).sizes == (2, 4)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: Choice({"a": CONV}), "a Choice of 1 option; allowed: two or more"),
        (lambda: Choice({"a b": CONV, "c": CONV}), "the name 'a b'; allowed: letters, digits"),
        (lambda: Choice({"a": CONV, "c": CONV}, name="x=y"), "the name 'x=y'"),
        (lambda: Width(CONV, (4,)), r"a Width of \[4\]; allowed: two or more"),
        (lambda: Width(CONV, (0, 4)), r"a Width of \[0, 4\]"),
        (lambda: Width(CONV, (2, 4), name="x/y"), "the name 'x/y'"),
        (lambda: Depth([CONV], least=1), "a Depth of 1 block with least=1; allowed: from 0 to 0"),
        (lambda: Depth([CONV, CONV], name="a;b"), "the name 'a;b'"),
    ],
)
def test_marks_that_leave_no_choice_or_bear_an_impossible_name_are_refused(wrong, told):
    with pytest.raises(UsageError, match=told):
        wrong()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: Choice([CONV, CONV]), "a Choice of a list; allowed: two or more, as"),
        (lambda: Choice({1: CONV, 2: CONV}), "the name 1; allowed: letters"),
        (lambda: Choice({"a": CONV, "b": torch.relu}), "a Choice with 'b', which is a builtin"),
        (lambda: Choice({"a": CONV, "keys": CONV}), "has a name that no ModuleDict takes: .*keys"),
        (lambda: Choice({"a": CONV, "k3.5": CONV}), "has a name that no ModuleDict takes: .*k3.5"),
        (lambda: Width(CONV, 4), "a Width of 4; allowed: two or more"),
        (lambda: Width(CONV, (2.5, 4)), r"a Width of \[2.5, 4\]"),
        (lambda: Width(torch.relu, (2, 4)), "a Width with 'layer', which is a builtin"),
        (lambda: Depth([CONV, "conv"]), "a Depth with 1, which is a str"),
        (lambda: Depth([CONV, CONV], least=0.5), "with least=0.5; allowed: from 0 to 1"),
    ],
)
def test_marks_of_what_is_no_module_are_refused(wrong, told):
    with pytest.raises(UsageError, match=told):
        wrong()


def test_a_place_that_no_spec_can_hold_is_named_otherwise():
    net = nn.Sequential(nn.ModuleDict({"3x3=a;b": Choice({"a": nn.ReLU(), "b": nn.Tanh()})}))
    net.forward = lambda x: net[0]["3x3=a;b"](x)
    space = tg.space_from(net, torch.rand(1, 4))
    assert [site.name for site in space.sites] == ["0.3x3-a-b"]
    assert all(space.parse(space.format(one)) == one for one in space.enumerate())
