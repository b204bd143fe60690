"""A layer's weights as a module: how they begin, and that they learn."""

import torch

from tempograd.spaces.common.elementwise import ByWeight, Learnt
from tempograd.spaces.common.module import Weighted
from tempograd.spaces.common.normalisation import LayerNorm
from tempograd.spaces.common.sequence import Dense


def test_scales_begin_at_one_and_shifts_at_zero():
    held = dict(LayerNorm((8,), 1e-5).module(((5, 8),)).named_parameters())
    assert torch.equal(held["weight"], torch.ones(8))
    assert torch.equal(held["bias"], torch.zeros(8))


def test_matrices_begin_as_kaiming_has_them():
    torch.manual_seed(0)
    weight = Dense(400, bias=False).module(((900,),)).get_parameter("weight")
    assert weight.shape == (400, 900)
    assert abs(weight.std().item() / (2 / 900) ** 0.5 - 1) < 0.02
    assert abs(weight.mean().item()) < 1e-3


def test_the_layer_is_run_with_the_weights_that_are_held():
    module = Weighted(ByWeight("mul", (3,)), {"weight": (3,)})
    x = torch.rand(2, 3)
    assert torch.equal(module(x), x)
    module(x).sum().backward()
    assert torch.allclose(module.get_parameter("weight").grad, x.sum(0))


def test_a_layer_of_weights_alone_takes_the_batch_of_its_input():
    module = Learnt((1, 4)).module(((5, 4),))
    assert module(torch.zeros(3, 5, 4)).shape == (3, 1, 4)
