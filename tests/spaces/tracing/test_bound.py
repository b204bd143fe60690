"""Arguments of torch's functions in one form, whichever way they were given."""

import pytest
import torch

from tempograd.spaces.tracing.bound import bound, each_side, sides_of, weights_given

from .lines import refused

NAMES = "input weight bias=None stride=1 eps=0.00001 ceil=False mode=nearest"


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("x", "w", None, 2), {}),
        (("x",), {"stride": 2, "weight": "w"}),
        (("x", "w", None), {"stride": 2}),
    ],
)
def test_arguments_are_bound_by_place_name_or_default(args, kwargs):
    assert bound(None, NAMES, args, kwargs) == {
        "input": "x", "weight": "w", "bias": None, "stride": 2, "eps": 1e-5, "ceil": False, "mode": "nearest"
    }  # fmt: skip


def test_defaults_have_the_type_of_what_they_say():
    found = bound(None, "a=1 b=0.00001 c=None d=True e=nearest", (), {})
    assert [type(value) for value in found.values()] == [int, float, type(None), bool, str]


def test_an_argument_that_is_not_named_is_refused_unless_it_asks_for_nothing():
    assert bound(None, "input", ("x", None, False), {"antialias": False, "dtype": torch.float32}) == {"input": "x"}
    refused(lambda net, x: torch.clamp(x.detach(), 0.1, out=torch.rand(2, 4, 8, 8)),
            "an argument out cannot be traced; leave it out; allowed: input, min, max")  # fmt: skip
    refused(lambda net, x: torch.group_norm(x, 2, None, None, 1e-5, True), "an argument further=True")


def test_names_of_numpy_are_those_of_torch():
    assert bound(None, "input dim keepdim=False", (), {"x": "x", "axis": 1, "keepdims": True}) == {
        "input": "x", "dim": 1, "keepdim": True
    }  # fmt: skip


def test_one_number_or_one_of_a_tuple_serves_every_axis():
    assert sides_of(3, 2) == sides_of((3,), 2) == sides_of((3, 3), 2) == (3, 3)
    assert sides_of((1, 2), 2) == (1, 2)
    assert each_side(None, 2) == [None, None]
    assert each_side((2.0, 1.5), 2) == [2.0, 1.5]


def test_weights_that_are_not_there_are_left_out():
    weight = torch.ones(1)
    assert weights_given(weight=weight, bias=None) == {"weight": weight}


def test_the_batch_is_no_axis_to_work_along():
    refused(lambda net, x: x.softmax(0), "what works along the batch cannot be traced; let every input")
    refused(lambda net, x: x.softmax(-4), "what works along the batch")
