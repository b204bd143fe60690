"""Which layer a function of torch is, whatever way it was called."""

import operator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tempograd.spaces.tracing.functions import READ, TOLD, name_of, way_out

from .lines import refused


@pytest.mark.parametrize(
    ("functions", "name"),
    [
        ((torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__iadd__, operator.add), "add"),
        ((torch.true_divide, Tensor.div_, Tensor.__truediv__, torch.divide), "div"),
        ((Tensor.__rtruediv__,), "rdiv"),
        ((torch.multiply, Tensor.__imul__), "mul"),
        ((torch.concat, torch.concatenate, torch.cat), "cat"),
        ((torch.relu, torch.relu_, functional.relu), "relu"),
        ((torch.swapaxes, Tensor.transpose), "transpose"),
    ],
)
def test_functions_methods_and_those_in_place_are_one(functions, name):
    assert {name_of(one) for one in functions} == {name}
    assert name == "rdiv" or name in READ


def test_what_tells_of_a_tensor_computes_nothing():
    assert not TOLD & set(READ)


def test_a_function_without_a_reading_is_named_with_a_way_out():
    refused(lambda net, x: net.wide(x).std(1), "the function std cannot be traced; allowed: abs, ")
    refused(lambda net, x: x.flip(0), "the function flip")
    refused(lambda net, x: torch.einsum("bchw->bc", x), "einsum cannot be traced; write it as matmul")
    assert "move it out of forward" in way_out("item")
    assert all(name in way_out("fft") for name in READ)
