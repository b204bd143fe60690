"""A recurrent layer's module: its parameters are the layer's own, by torch's names."""

import pytest
import torch

from tempograd.spaces.common.recurrent import LastOf
from tempograd.spaces.common.sequence import Recurrent

from .alone import STEPS, network_of


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("bias", [True, False])
def test_parameters_are_named_and_shaped_as_the_layer_says(kind, bias):
    layer = Recurrent(kind, 5, layers=2, bias=bias, both=True)
    held = {name: tuple(value.shape) for name, value in LastOf(layer, 6).named_parameters()}
    assert held == layer.weights((STEPS,))


def test_outputs_are_those_of_the_last_layer_along_the_sequence():
    module = LastOf(Recurrent("GRU", 5, both=True), 6)
    assert module(torch.rand(2, 7, 6)).shape == (2, 7, 10)
    with torch.no_grad():
        for value in module.parameters():
            value.zero_()
        assert not module(torch.rand(2, 7, 6)).any()  # it runs with the parameters that it shows


def test_a_recurrent_layer_learns():
    network, values = network_of(Recurrent("LSTM", 5), [STEPS])
    network.train()(values).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())
