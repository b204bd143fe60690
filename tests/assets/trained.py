"""Networks as they come out of a training: nothing in them is marked."""

from collections import OrderedDict

import torch
from torch import nn

from tempograd.spaces.tracing.shrink import shrink


class Block(nn.Module):
    def __init__(self, inputs, out, stride=1):
        super().__init__()
        self.a, self.b = nn.Conv2d(inputs, out, 3, stride, 1, bias=False), nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(out), nn.BatchNorm2d(out)])
        self.short = nn.Identity() if stride == 1 and inputs == out else nn.Conv2d(inputs, out, 1, stride)

    def forward(self, x):
        y = torch.relu(self.norms[0](self.a(x)))
        return torch.relu(self.norms[1](self.b(y)) + self.short(x))


class ResNet(nn.Module):
    def __init__(self, width=8, blocks=2):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, 1, 1), nn.ReLU(inplace=True))
        self.one = nn.Sequential(*[Block(width, width) for _ in range(blocks)])
        later = [Block(2 * width, 2 * width) for _ in range(blocks - 1)]
        named = {"first": Block(width, 2 * width, 2)} | {f"block-{i}": block for i, block in enumerate(later)}
        self.two = nn.Sequential(OrderedDict(named))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(2 * width * 16, 10))

    def forward(self, x):
        return self.head(self.two(self.one(self.stem(x))))


class Inverted(nn.Module):
    def __init__(self, inputs, out, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6(inplace=True),
            nn.Conv2d(16, 16, 3, stride, 1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU6(inplace=True),
            nn.Conv2d(16, out, 1, bias=False), nn.BatchNorm2d(out),
        )  # fmt: skip
        self.adds = stride == 1 and inputs == out

    def forward(self, x):
        return x + self.body(x) if self.adds else self.body(x)


class MobileNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.body = nn.Sequential(Inverted(8, 8, 2), Inverted(8, 8, 1), Inverted(8, 8, 1))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(8, 10))

    def forward(self, x):
        return self.head(self.body(self.stem(x)))


def trained(kind):
    """A network whose weights and statistics are nothing like those at the start."""
    torch.manual_seed(1)
    network = kind()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.weight, module.running_var):
                nn.init.uniform_(value, 0.5, 1.5)
            for value in (module.bias, module.running_mean):
                nn.init.normal_(value, 0, 0.2)
    return network.eval()


def resnet():
    return shrink(trained(ResNet), torch.zeros(1, 1, 8, 8), options=3, least=0.5, step=2)


def network():
    """As a user may give it: the trained network and an example."""
    return trained(lambda: ResNet(16)), torch.zeros(1, 1, 8, 8)


def narrow():
    """One whose widths are all of eight channels."""
    return trained(lambda: plain(5)), torch.zeros(1, 1, 8, 8)


def tiny():
    """One of a single width."""
    return trained(lambda: plain(1)), torch.zeros(1, 1, 8, 8)


def plain(layers):
    inside = [nn.Sequential(nn.Conv2d(1 if i == 0 else 8, 8, 3, padding=1), nn.ReLU()) for i in range(layers)]
    return nn.Sequential(*inside, nn.Flatten(), nn.Linear(512, 10))


def mobilenet():
    return shrink(trained(MobileNet), torch.zeros(1, 1, 8, 8), options=2, least=0.5, step=4)
