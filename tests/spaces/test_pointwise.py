"""1x1 convolutions against torch's own, and where torch's own writes past its buffer."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from tempograd.spaces import pointwise
from tempograd.spaces.graph import INPUT, GraphBuilder
from tempograd.spaces.layers import Conv
from tempograd.spaces.network import Network
from tempograd.spaces.pointwise import PointwiseConv2d, StridedPointwiseConv2d

CHECKED_HEAP = "libc_malloc_debug.so.0"
MANY_STEPS = """
import torch
from tempograd.spaces.common.convolution import Convolution
from tempograd.spaces.pointwise import StridedPointwiseConv2d
layer, kept = {layer}, []
for _ in range(6):
    layer(torch.randn(16, 4, 8, 8).contiguous(memory_format=torch.channels_last)).sum().backward()
    kept += [layer.weight.grad, *(torch.empty(n) for n in (1, 3, 9, 24, 33, 100, 250))]
    layer.weight.grad = None
"""


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (7, 4), (1, 1)])
def test_values_and_gradients_are_those_of_torch(groups, stride, rows, columns):
    torch.manual_seed(0)
    layer = StridedPointwiseConv2d(4, 6, stride, groups).double()
    theirs = nn.Conv2d(4, 6, 1, stride, groups=groups, bias=False).double()
    theirs.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, rows, columns, dtype=torch.float64, requires_grad=True)
    found, expected = layer(x), theirs(x)
    assert torch.allclose(found, expected)
    gradient = torch.randn_like(expected)
    ours = torch.autograd.grad(found, (x, layer.weight), gradient)
    for mine, reference in zip(ours, torch.autograd.grad(expected, (x, theirs.weight), gradient), strict=True):
        assert torch.allclose(mine, reference)


@pytest.mark.parametrize("channels", [4, 64])  # a product of matrices, and torch's own way
@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format])
def test_values_gradients_and_order_are_those_of_torch_without_a_stride(monkeypatch, channels, order):
    monkeypatch.setattr(pointwise, "_SMALL", 0)
    torch.manual_seed(0)
    layer, theirs = PointwiseConv2d(channels, 48).double(), nn.Conv2d(channels, 48, 1, bias=False).double()
    theirs.load_state_dict(layer.state_dict())
    x = torch.randn(2, channels, 5, 3, dtype=torch.float64).contiguous(memory_format=order).requires_grad_()
    found, expected = layer(x), theirs(x)
    assert torch.allclose(found, expected)
    assert found.is_contiguous(memory_format=order)
    gradient = torch.randn_like(expected)
    ours = torch.autograd.grad(found, (x, layer.weight), gradient)
    for mine, reference in zip(ours, torch.autograd.grad(expected, (x, theirs.weight), gradient), strict=True):
        assert torch.allclose(mine, reference)


def test_a_product_of_matrices_is_taken_where_weights_are_few_and_maps_many():
    few, many = PointwiseConv2d(8, 8), PointwiseConv2d(64, 64)
    images = [torch.randn(batch, 64, 8, 8).contiguous(memory_format=torch.channels_last) for batch in (1, 64)]
    taken = {
        (name, len(x)): "Convolution" not in layer(x[:, : layer.in_channels].contiguous(
            memory_format=torch.channels_last)).grad_fn.name()
        for name, layer in (("few", few), ("many", many)) for x in images
    }  # fmt: skip
    assert taken == {("few", 1): False, ("few", 64): True, ("many", 1): False, ("many", 64): False}


@pytest.mark.parametrize(("stride", "layer"), [(1, PointwiseConv2d), (2, StridedPointwiseConv2d)])
def test_networks_are_made_of_it(stride, layer):
    builder = GraphBuilder((4, 8, 8))
    network = Network(builder.graph(builder.add("conv", Conv(6, 1, stride), INPUT)))
    assert [type(made) for made in network.layers.values()] == [layer]


@pytest.mark.slow
@pytest.mark.parametrize(
    "layer",
    [
        "StridedPointwiseConv2d(4, 6, 2)",
        "Convolution(6, (1, 1), (2, 2), (0, 0), (1, 1)).module(((4, 8, 8),))",  # of a user's network, with a bias
    ],
)
def test_it_leaves_the_heap_alone_on_a_cpu_without_avx512(layer):
    """``nn.Conv2d(4, 6, 1, 2)`` in its place, with a bias or without, dies of signal 6 here (torch 2.13)."""
    if "malloc_debug" not in _with_checked_heap("print(open('/proc/self/maps').read())").stdout:
        pytest.skip(f"{CHECKED_HEAP}, the checked heap of GNU's C library, is not here")
    steps = MANY_STEPS.format(layer=layer)
    done = _with_checked_heap(steps, ONEDNN_MAX_CPU_ISA="AVX2", MALLOC_CHECK_="3", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr


def _with_checked_heap(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"LD_PRELOAD": CHECKED_HEAP} | environment, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
