"""The depthwise convolution against torch's own: values, gradients, and where each is taken from."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tempograd.spaces import depthwise
from tempograd.spaces.depthwise import DepthwiseConv2d


@pytest.fixture(autouse=True, scope="module")
def no_map_is_small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(depthwise, "_SMALL", 0)
        yield


@pytest.mark.slow
@settings(deadline=None)
@given(
    channels=st.sampled_from([1, 3, 8, 17]), kernel=st.sampled_from([1, 2, 3, 5, 7]), stride=st.integers(1, 3),
    dilation=st.integers(1, 3), rows=st.integers(1, 9), columns=st.integers(1, 9), data=st.data(),
)  # fmt: skip
def test_values_and_gradients_are_those_of_torch(channels, kernel, stride, dilation, rows, columns, data):
    reach = dilation * (kernel - 1)
    padding = data.draw(st.integers(max(0, -(-(reach + 1 - min(rows, columns)) // 2)), max(reach, 1)), "padding")
    torch.manual_seed(0)
    layer = DepthwiseConv2d(channels, kernel, stride, padding, dilation).double()
    theirs = nn.Conv2d(channels, channels, kernel, stride, padding, dilation, channels, bias=False).double()
    theirs.load_state_dict(layer.state_dict())
    x = torch.randn(2, channels, rows, columns, dtype=torch.float64, requires_grad=True)
    found, expected = layer(x), theirs(x)
    assert torch.allclose(found, expected)
    gradient = torch.randn_like(expected)
    ours = torch.autograd.grad(found, (x, layer.weight), gradient)
    for mine, reference in zip(ours, torch.autograd.grad(expected, (x, theirs.weight), gradient), strict=True):
        assert mine.shape == reference.shape
        assert torch.allclose(mine, reference)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "side"), [(5, 1, 1, 8), (7, 2, 1, 8), (3, 2, 2, 8), (7, 1, 1, 3)]
)
def test_under_autocast_values_and_gradients_are_those_of_torch(kernel, stride, dilation, side, precision):
    padding = dilation * (kernel // 2)
    torch.manual_seed(0)
    layer = DepthwiseConv2d(4, kernel, stride, padding, dilation)
    theirs = nn.Conv2d(4, 4, kernel, stride, padding, dilation, 4, bias=False)
    theirs.load_state_dict(layer.state_dict())
    x, found = torch.randn(2, 4, side, side, requires_grad=True), []
    for one in (layer, theirs):
        with torch.autocast("cpu", precision):
            made = one(x)
        found.append((made.detach(), *torch.autograd.grad(made.float().square().sum(), (x, one.weight))))
    for mine, reference in zip(*found, strict=True):
        assert mine.dtype == reference.dtype
        assert torch.allclose(mine.float(), reference.float(), rtol=0.05, atol=0.05 * float(reference.abs().max()))


@pytest.mark.parametrize(("learns", "takes"), [(True, False), (False, True)])
def test_only_what_is_needed_is_differentiated(learns, takes):
    layer = DepthwiseConv2d(4, 5, 1, 2, 1).requires_grad_(learns)
    x = torch.randn(2, 4, 6, 6, requires_grad=takes)
    layer(x).sum().backward()
    assert (layer.weight.grad is not None) == learns
    assert (x.grad is not None) == takes


@pytest.mark.parametrize(("kernel", "dilation", "ours"), [(5, 1, True), (7, 1, True), (3, 2, True), (3, 1, False)])
def test_large_and_dilated_kernels_take_it_on_large_maps(monkeypatch, kernel, dilation, ours):
    layer, x = DepthwiseConv2d(4, kernel, 1, 3, dilation), torch.randn(2, 4, 9, 9)
    assert ("_Depthwise" in layer(x).grad_fn.name()) == ours
    monkeypatch.setattr(depthwise, "_SMALL", x.numel())
    assert "_Depthwise" not in layer(x).grad_fn.name()


def test_without_gradients_it_is_torch_s_own_layer():
    layer, x = DepthwiseConv2d(4, 3, 2, 1, 1), torch.randn(1, 4, 5, 5)
    with torch.no_grad():
        found = layer(x)
    assert found.grad_fn is None
    assert torch.equal(found, nn.functional.conv2d(x, layer.weight, None, 2, 1, 1, 4))
