"""Functions without weights, read off a line: it computes the same, and what has no reading is refused."""

import pytest
import torch
from torch.nn import functional

from .lines import read, refused


@pytest.mark.parametrize(
    ("line", "layers"),
    [
        (lambda x: functional.relu6(x * 9), ["Scalar", "Activation"]),
        (lambda x: functional.gelu(x, approximate="tanh"), ["Activation"]),
        (lambda x: functional.leaky_relu(x - 0.5, 0.3), ["Scalar", "Activation"]),
        (lambda x: functional.elu(x - 0.5, alpha=2.0), ["Scalar", "Activation"]),
        (lambda x: x.clamp(min=0.4), ["Activation"]),
        (lambda x: x.clamp(0.2, 0.6), ["Activation"]),
        (lambda x: functional.dropout(x.contiguous(), 0.5, training=False).relu(), ["Relu"]),
        (lambda x: functional.max_pool2d(x, 2), ["Pool"]),
        (lambda x: functional.avg_pool2d(x, 3, 2, 1), ["Pooling"]),
        (lambda x: functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False), ["Pool"]),
        (lambda x: functional.max_pool2d(x, 3, 2, ceil_mode=True), ["Pooling"]),
        (lambda x: functional.adaptive_avg_pool2d(x, 1), ["GlobalPool"]),
        (lambda x: functional.adaptive_max_pool2d(x, (2, None)), ["Pooling"]),
        (lambda x: functional.interpolate(x, scale_factor=2.0), ["Upsample"]),
        (lambda x: functional.interpolate(x, size=5, mode="bilinear", align_corners=True), ["Upsample"]),
        (lambda x: functional.pad(x, (1, 2, 0, 1), value=3.0), ["Pad"]),
        (lambda x: functional.pixel_shuffle(x, 2), ["PixelShuffle"]),
        (lambda x: 1 - x / 2, ["Scalar", "Scalar"]),
        (lambda x: 1 / x, ["Scalar"]),
        (lambda x: (x + 0) * 1 / 1 - 0 + x.relu(), ["Relu", "Add"]),  # what changes nothing is left out
        (lambda x: x * functional.adaptive_avg_pool2d(x, 1), ["GlobalPool", "Scale"]),
        (lambda x: x * x.mean(1, keepdim=True), ["Reduce", "Arithmetic"]),
        (lambda x: x**3 + x.square(), ["Scalar", "Scalar", "Add"]),
        (lambda x: (x @ x.transpose(2, 3)).softmax(-1), ["Permute", "MatMul", "Softmax"]),
        (lambda x: x.log_softmax(1), ["Softmax"]),
        (
            lambda x: (x.flatten(2) @ x.flatten(2).mT).softmax(axis=-1),
            ["Reshape", "Reshape", "Permute", "MatMul", "Softmax"],
        ),
        (lambda x: x + x.data.relu(), ["Relu", "Add"]),
        (lambda x: torch.add(input=x, other=2.0), ["Scalar"]),
        (lambda x: functional.scaled_dot_product_attention(x, x, x, is_causal=True, scale=0.3), ["Attention"]),
    ],
)
def test_a_line_is_read_as_layers_that_compute_the_same(line, layers):
    assert [type(one).__name__ for one in read(line)] == layers


def test_a_product_with_a_matrix_is_a_dense_layer_without_shift():
    matrix = torch.nn.Parameter(torch.rand(8, 3))
    (dense,) = read(lambda x: x @ matrix, (5, 8))
    assert (type(dense).__name__, dense.out, dense.bias) == ("Dense", 3, False)


def test_one_learnt_number_is_an_axis_of_one():
    scale = torch.nn.Parameter(torch.tensor(0.3))
    assert [one.sides for one in read(lambda x: x * scale + scale.exp())] == [(1,), (1,)]


def test_learnt_numbers_are_added_and_multiplied():
    scale, place = torch.nn.Parameter(torch.rand(4, 1, 1)), torch.nn.Parameter(torch.rand(1, 4, 8, 8))
    assert [(one.kind, one.sides) for one in read(lambda x: x * scale + place)] == [
        ("mul", (4, 1, 1)), ("add", (4, 8, 8))
    ]  # fmt: skip


WEIGHT = torch.nn.Parameter(torch.ones(4, 1, 1))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (lambda net, x: functional.interpolate(x, size=5, mode="bicubic"), "resizing by bicubic"),
        (lambda net, x: functional.interpolate(x, scale_factor=1.3), "resizing 8 by 1.3 .*; give the size"),
        (lambda net, x: functional.adaptive_avg_pool2d(x, 3), "choose sizes that divide the map"),
        (lambda net, x: functional.max_pool2d(x, 2, dilation=2), "use plain pooling with a padding"),
        (lambda net, x: functional.pad(x, (1, 1, 1, 1), "circular"), "padding by circular"),
        (lambda net, x: x.to(torch.float64), "a change of type to torch.float64"),
        (lambda net, x: functional.softplus(x, 2), "softplus with a beta"),
        (lambda net, x: functional.softplus(x, threshold=1.0), "softplus with a beta or a threshold"),
        (lambda net, x: functional.avg_pool2d(x, 2, divisor_override=3), "an average over another number"),
        (lambda net, x: functional.softmax(x.flatten(1), None), "softmax along no axis"),
        (lambda net, x: torch.add(x, x, alpha=2), "add with alpha or rounding"),
        (lambda net, x: x - WEIGHT, "sub by a weight"),
        (lambda net, x: x[:, :2] + x[:, 0], "add of values of 4 and 3 axes"),
        (lambda net, x: functional.scaled_dot_product_attention(x, x, x, torch.zeros(8, 8)), "attention with a mask"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Implicit dimension")
def test_what_has_no_reading_is_refused(line, told):
    refused(line, told)
