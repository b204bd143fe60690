"""Convolutions, pooling and resizing: torch equals ONNX Runtime, and work is what a hand counts."""

import pytest
from torch import nn

from tempograd.spaces.common import convolution
from tempograd.spaces.common.convolution import (
    Convolution,
    Pad,
    PixelShuffle,
    Pooling,
    TransposedConvolution,
    Upsample,
    pointwise,
)

from .alone import MAP, ROW, as_torchs_own, layers_of, readings_agree, told

# layer, shapes of its inputs, its multiply-accumulates counted by hand
LAYERS = [
    (Convolution(6, (3, 3), (1, 1), (1, 1), (1, 1)), [MAP], 6 * 4 * 9 * 48),
    (Convolution(6, (1, 5), (1, 2), (0, 2), (1, 1), 2, False), [MAP], 6 * 2 * 5 * 24),
    (Convolution(4, (3, 3), (2, 2), (0, 1), (1, 2), 4), [MAP], 4 * 9 * (2 * 3)),
    (Convolution(5, (3,), (2,), (1,), (1,)), [ROW], 5 * 4 * 3 * 5),
    (pointwise(5), [MAP], 5 * 4 * 48),
    (Convolution(6, (1, 1), (2, 3), (0, 0), (1, 1), 2), [MAP], 6 * 2 * 9),
    (TransposedConvolution(3, (2, 2), (2, 2), (0, 0), (0, 0), (1, 1)), [MAP], 4 * 3 * 4 * 48),
    (TransposedConvolution(4, (3, 4), (2, 1), (1, 0), (1, 0), (1, 1), 2, False), [MAP], 4 * 2 * 12 * 48),
    (Pooling("max", (3, 2), (2, 2), (1, 0)), [MAP], 0),
    (Pooling("avg", (3, 3), (2, 2), (1, 1), padded=True), [MAP], 0),
    (Pooling("avg", (2,), (2,), (0,)), [ROW], 0),
    (Pooling("max", (3, 3), (2, 2), (0, 0), ceil=True), [(4, 8, 7)], 0),
    (Upsample((12, 16)), [MAP], 0),
    (Upsample((12, 16), "bilinear"), [MAP], 0),
    (Upsample((9, 13), "bilinear", corners=True), [MAP], 0),
    (Upsample((3, 4)), [MAP], 0),
    (Pad((1, 0), (2, 3)), [MAP], 0),
    (Pad((1, 2), (2, 3), "reflect"), [MAP], 0),
    (Pad((1, 2), (2, 3), "replicate"), [MAP], 0),
    (PixelShuffle(2), [(8, 3, 3)], 0),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "shapes", "macs"), LAYERS, ids=told)
def test_onnx_runtime_equals_torch_and_work_is_what_a_hand_counts(layer, shapes, macs):
    readings_agree(layer, shapes, macs)


def test_every_layer_of_the_file_is_tested():
    assert layers_of(convolution) == {type(layer) for layer, _, _ in LAYERS}


def test_the_weights_are_those_of_torchs_own_layer():
    layer = TransposedConvolution(3, (3, 3), (2, 2), (1, 1), (1, 1), (1, 1))
    as_torchs_own(layer, nn.ConvTranspose2d(4, 3, 3, 2, 1, 1), [MAP], {})
