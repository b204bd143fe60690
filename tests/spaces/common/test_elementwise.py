"""Activations and arithmetic: torch equals ONNX Runtime, and they are what mathematics says."""

from math import erf

import numpy as np
import pytest
import torch

from tempograd.spaces.common import elementwise
from tempograd.spaces.common.elementwise import ACTIVATIONS, Activation, Arithmetic, ByWeight, Learnt, Scalar

from .alone import MAP, TOKENS, layers_of, network_of, readings_agree, told

GIVEN = {"leaky_relu": (0.1,), "elu": (1.0,), "hardtanh": (0.0, 6.0)}
# layer, shapes of its inputs, its multiply-accumulates counted by hand
LAYERS = [
    *[(Activation(kind, GIVEN.get(kind, ())), [MAP], 0) for kind in ACTIVATIONS],
    *[(Arithmetic(kind), [MAP, (4, 1, 1)], 0) for kind in ("add", "sub", "mul", "div")],
    (Arithmetic("mul"), [(1, 6, 8), MAP], 0),
    (Scalar("sub", 1.0, first=True), [MAP], 0),
    (Scalar("div", 2.0), [MAP], 0),
    (Scalar("pow", 2.0), [MAP], 0),
    (ByWeight("mul", (4, 1, 1)), [MAP], 0),
    (ByWeight("add", TOKENS), [TOKENS], 0),
    (ByWeight("mul", (8,)), [TOKENS], 0),
    (Learnt((1, 8)), [TOKENS], 0),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "shapes", "macs"), LAYERS, ids=told)
def test_onnx_runtime_equals_torch_and_work_is_what_a_hand_counts(layer, shapes, macs):
    readings_agree(layer, shapes, macs)


def test_every_layer_of_the_file_is_tested():
    assert layers_of(elementwise) == {type(layer) for layer, _, _ in LAYERS}


def test_rectified_numbers_are_those_of_mathematics():
    network, values = network_of(Activation("gelu"), [(3,)])
    x = values[0].numpy().astype(float)
    expected = np.vectorize(lambda v: 0.5 * v * (1 + erf(v / 2**0.5)))(x)
    assert np.allclose(network(values).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_zeros_stay_zeros_where_an_activation_says_so(kind):
    layer = Activation(kind, GIVEN.get(kind, ()))
    stays = not layer.run(torch.zeros(1)).any()
    assert stays or not layer.keeps_zeros
    if not GIVEN.get(kind):  # a clip keeps zeros or not by its ends, and never says so
        assert layer.keeps_zeros == stays or kind == "sqrt"


def test_a_value_of_one_channel_is_repeated_over_one_of_more():
    assert Arithmetic("add").shape(((1, 6, 8), MAP)) == Arithmetic("add").shape((MAP, (4, 1, 1))) == MAP
    assert ByWeight("add", (4, 1, 1)).weights((MAP,)) == {"bias": (4, 1, 1)}
