"""What is written down: names as in the module, weights once, widths as far as they may go."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import tempograd as tg
from tempograd.spaces.layers import Width

from .lines import One, refused

CONV = nn.Conv2d(4, 4, 1)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (lambda net, x: CONV(CONV(x)), "the weight of one tensor used twice cannot be traced; give each place"),
        (lambda net, x: functional.layer_norm(net.wide(x), (8, 8, 8)), "layernorm of channels that a Width chooses"),
        (lambda net, x: net.wide(x) + torch.cat([x, x], 1), r"Width\(..., name=\) of one name"),
        (lambda net, x: tg.Width(nn.Conv2d(4, 8, 1, groups=2), (4, 8))(x), "around a grouped convolution"),
        (lambda net, x: nn.Conv2d(8, 8, 1, groups=4)(net.wide(x)), "a grouped convolution of chosen channels"),
        (lambda net, x: x + torch.rand(2, 4, 8, 8).relu(), "a weight of"),
    ],
)
def test_what_cannot_be_written_down_is_refused(line, told):
    refused(line, told)


def test_layers_are_called_as_their_modules_and_equal_names_are_counted():
    module = One(lambda x, conv: conv(x).relu() + x.relu(), {"conv": nn.Conv2d(4, 4, 1)})
    names = [node.name for node in tg.space_from(module, torch.rand(1, 4, 8, 8)).build().nodes]
    assert names == ["mix", "parts/conv", "relu", "relu2", "add"]


def test_a_depthwise_convolution_follows_the_channels_before_it():
    module = nn.Sequential(
        tg.Width(nn.Conv2d(3, 8, 1), (4, 8)), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Flatten(), nn.Linear(128, 2)
    )
    space = tg.space_from(module, torch.rand(1, 3, 4, 4))
    net = space.to_torch(space.architecture([0]))
    assert [tuple(value.shape) for value in net.parameters() if value.ndim > 1] == [
        (4, 3, 1, 1), (4, 1, 3, 3), (2, 64)
    ]  # fmt: skip
    assert any(isinstance(side, Width) for node in space.build().nodes for side in node.shape)
