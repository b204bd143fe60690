"""A module whose ``forward`` ends in one line that is up to a test: what the tracer makes of it."""

import pytest
import torch
from torch import nn

import tempograd as tg
from tempograd.errors import UsageError


class One(nn.Module):
    """A choice, then the line; parts are modules that it calls."""

    def __init__(self, line, parts):
        super().__init__()
        self.mix = tg.Choice({"a": nn.Identity(), "b": nn.ReLU()})
        self.line, self.parts = line, nn.ModuleDict(parts)

    def forward(self, x):
        return self.line(self.mix(x), **self.parts)


class Odd(nn.Module):
    """Marked so far as to be a space, with one line that is up to a test."""

    def __init__(self, line):
        super().__init__()
        self.mix = tg.Choice({"a": nn.Conv2d(3, 4, 3, padding=1), "b": nn.Conv2d(3, 4, 1)})
        self.wide, self.line = tg.Width(nn.Conv2d(4, 8, 1), options=(4, 8)), line

    def forward(self, x):
        return self.line(self, self.mix(x))


def read(line, shape=(4, 8, 8), **parts):
    """The layers that a line is read as, whose network computes what the line does."""
    torch.manual_seed(0)
    module = One(line, parts).eval()
    space = tg.space_from(module, torch.rand(1, *shape))
    network, x = space.to_torch(space.whole).eval(), torch.rand(3, *shape) + 0.1
    with torch.no_grad():
        assert torch.allclose(network(x), module(x), atol=1e-5)
    return [node.operation for node in space.build().nodes if node.name != "mix"]


def refused(line, told, *, placed=True):
    """A line that cannot be traced is named, with the way out and its place in the file that the test stands in."""
    with pytest.raises(UsageError, match=told) as caught:
        tg.space_from(Odd(line), torch.zeros(1, 3, 8, 8))
    if placed:
        code = line.__code__
        assert f"{code.co_filename.rpartition('/')[2]}, line " in str(caught.value)
