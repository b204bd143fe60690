"""Sums of options by their gates, against torch's own operators."""

import pytest
import torch

from tempograd.spaces.graph import INPUT, GraphBuilder
from tempograd.spaces.layers import Conv, Identity, Zero
from tempograd.spaces.mixture import weighted_sum
from tempograd.spaces.network import Network

LAST = torch.channels_last


@pytest.mark.parametrize("order", [LAST, torch.contiguous_format])
@pytest.mark.parametrize("gates_type", [torch.float32, torch.float64])
def test_values_and_gradients_are_those_of_torch(order, gates_type):
    torch.manual_seed(0)
    gates = torch.tensor([0.5, 9.0, 0.0, -2.0], dtype=gates_type, requires_grad=True)
    values = [torch.randn(2, 3, 4, 5).contiguous(memory_format=order).requires_grad_() for _ in range(3)]
    places = [3, 0, 2]
    found = weighted_sum(gates, {place: float(gates[place].detach()) for place in places}, values)
    expected = sum(gates[place] * value for place, value in zip(places, values, strict=True))
    assert torch.allclose(found, expected)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=order)
    gradient = torch.randn(2, 3, 4, 5)
    ours = torch.autograd.grad(found, (gates, *values), gradient)
    for mine, theirs in zip(ours, torch.autograd.grad(expected, (gates, *values), gradient), strict=True):
        assert mine.dtype == theirs.dtype
        assert torch.allclose(mine, theirs, atol=1e-5)


def test_only_what_is_needed_is_differentiated_and_kept():
    value = torch.randn(4, 6, requires_grad=True)
    found = weighted_sum(torch.tensor([2.0, 3.0]), {1: 3.0, 0: 2.0}, [value, torch.randn(4, 6)])
    assert len(found.grad_fn.saved_tensors) == 1
    found.sum().backward()
    assert torch.equal(value.grad, torch.full((4, 6), 3.0))


def test_a_choice_is_such_a_sum_and_runs_all_options_as_it_does_some():
    builder = GraphBuilder((3, 4, 4))
    options = {
        "none": lambda b, x: b.add("zero", Zero(1), x),
        "skip": lambda b, x: b.add("identity", Identity(), x),
        "conv": lambda b, x: b.add("conv", Conv(3, 3), x),
    }
    network = Network(builder.graph(builder.choice("edge", "site", options, INPUT)))
    gates, x = {"site": torch.tensor([0.2, 0.3, 0.5], requires_grad=True)}, torch.randn(2, 3, 4, 4)
    found = network(x, gates)
    assert "WeightedSum" in found.grad_fn.name()
    assert torch.allclose(found, network(x, gates, every=True))
