"""Gradients come in the order of their maps; values are untouched."""

import pytest
import torch

from tempograd.spaces.channels_last import ordered


@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format])
def test_the_gradient_has_the_order_of_the_map_and_its_values(order):
    x = torch.randn(2, 3, 4, 4).contiguous(memory_format=order).requires_grad_()
    seen = []
    y = ordered(x)
    y.register_hook(seen.append)
    inside = x * 1.0
    inside.register_hook(lambda gradient: seen.append(gradient))
    ordered(inside).mean(dim=(2, 3)).sum().backward()
    assert seen[-1].is_contiguous(memory_format=order)
    assert torch.allclose(x.grad, torch.full_like(x, 1 / 16))


def test_what_needs_no_gradient_is_itself():
    x = torch.randn(1, 2, 3, 3)
    assert ordered(x) is x
