"""Ten ordinary networks with marks, each as its author might have written it."""

import torch
from torch import nn
from torch.nn import functional

from tempograd.spaces.tracing.marks import Choice, Depth, Width
from tempograd.spaces.tracing.tracer import space_from


def conv(inputs, out, kernel=3, stride=1, groups=1):
    return nn.Sequential(
        nn.Conv2d(inputs, out, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(out), nn.ReLU()
    )


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            Width(conv(3, 8), options=(4, 6, 8)),
            Choice({"max": nn.MaxPool2d(2), "avg": nn.AvgPool2d(2)}),
            Choice({"k3": nn.Conv2d(8, 12, 3, padding=1), "k5": nn.Conv2d(8, 12, 5, padding=2)}),
            nn.LeakyReLU(0.1),
        )
        self.head = nn.Sequential(
            nn.Flatten(), Width(nn.Linear(192, 16), options=(8, 16)), nn.ReLU(), nn.Dropout(), nn.Linear(16, 10)
        )

    def forward(self, x):
        return self.head(self.features(x))


class Residual(nn.Module):
    def __init__(self, inputs, out, stride=1, name=None):
        super().__init__()
        self.a = Width(nn.Conv2d(inputs, out, 3, stride, 1, bias=False), options=(out // 2, out))
        self.norm, self.b, self.last = nn.BatchNorm2d(out), nn.Conv2d(out, out, 3, 1, 1), nn.BatchNorm2d(out)
        self.short = nn.Identity() if stride == 1 and inputs == out else nn.Conv2d(inputs, out, 1, stride)

    def forward(self, x):
        y = functional.relu(self.norm(self.a(x)), inplace=True)
        return torch.relu(self.last(self.b(y)) + self.short(x))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = conv(3, 8)
        self.one = Depth([Residual(8, 8) for _ in range(3)], least=1)
        self.two = nn.Sequential(Residual(8, 12, 2), Depth([Residual(12, 12), Residual(12, 12)], least=0))
        self.head = nn.Linear(12, 10)

    def forward(self, x):
        return self.head(self.two(self.one(self.stem(x))).mean(dim=(2, 3)))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.deep = conv(3, 6), Choice({"k3": conv(6, 12, 3), "k5": conv(6, 12, 5)})
        self.inner = nn.Sequential(Width(conv(12, 16), options=(8, 12, 16)), conv(16, 12))
        self.up, self.last = nn.ConvTranspose2d(12, 6, 2, 2), Choice({"a": conv(12, 6), "b": conv(12, 6, 1)})
        self.out = nn.Conv2d(6, 2, 1)

    def forward(self, x):
        early = self.down(x)
        late = self.up(self.inner(self.deep(functional.max_pool2d(early, 2))))
        return self.out(self.last(torch.cat([early, late], dim=1)))


class Squeeze(nn.Module):
    def __init__(self, width, name):
        super().__init__()
        self.less, self.more = nn.Conv2d(width, 4, 1), Width(nn.Conv2d(4, width, 1), (width // 2, width), name=name)

    def forward(self, x):
        weights = functional.adaptive_avg_pool2d(x, 1)
        return x * functional.hardsigmoid(self.more(functional.relu(self.less(weights))))


class MobileNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8, eps=1e-3), nn.Hardswish())
        self.expand = nn.Sequential(Width(nn.Conv2d(8, 24, 1, bias=False), (12, 24), name="w"), nn.BatchNorm2d(24))
        self.depthwise = nn.Sequential(nn.ReLU6(), conv(24, 24, 3, groups=24), Squeeze(24, "w"))
        self.project = Choice({"plain": nn.Conv2d(24, 8, 1, bias=False), "normed": conv(24, 8, 1)})
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))

    def forward(self, x):
        x = self.stem(x)
        return self.head(x + self.project(self.depthwise(self.expand(x))))


class ConvNeXtBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.mix = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm, self.gamma = nn.LayerNorm(width, eps=1e-6), nn.Parameter(0.5 * torch.ones(width))
        self.mlp = nn.Sequential(
            Width(nn.Linear(width, 4 * width), (16, 24, 32)), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x):
        y = self.norm(self.mix(x).permute(0, 2, 3, 1))
        return x + (self.gamma * self.mlp(y)).permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, 8, 2, 2), nn.Sequential(ConvNeXtBlock(8), ConvNeXtBlock(8))
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head(self.block(self.stem(x)).mean([-2, -1]))


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        x = (q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5).softmax(dim=-1) @ v
        return self.out(x.transpose(1, 2).reshape(batch, length, width))


class VitBlock(nn.Module):
    def __init__(self, width=12):
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.attention = Choice({"h2": Attention(width, 2), "h3": Attention(width, 3)})
        self.mlp = nn.Sequential(Width(nn.Linear(width, 32), (16, 32)), nn.GELU(), nn.Linear(32, width))

    def forward(self, x):
        x = x + self.attention(self.norms[0](x))
        return x + self.mlp(self.norms[1](x))


class Vit(nn.Module):
    def __init__(self, width=12):
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, width, 4, 4), nn.Parameter(torch.randn(1, 1, width))
        self.places, self.blocks = nn.Parameter(torch.randn(1, 5, width)), Depth([VitBlock(), VitBlock()], least=1)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.places
        return self.head(self.norm(self.blocks(x))[:, 0])


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.cell = nn.Embedding(30, 8), nn.LSTM(8, 6, batch_first=True, bidirectional=True)
        self.mix = Choice(
            {"conv": Turned(nn.Conv1d(12, 12, 3, padding=1)), "gru": First(nn.GRU(12, 12, batch_first=True))}
        )
        self.tags = nn.Sequential(Width(nn.Linear(12, 16), (8, 16)), nn.SiLU(), nn.Linear(16, 5))

    def forward(self, words):
        states, _ = self.cell(self.embed(words))
        return self.tags(self.mix(states))


class First(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, x):
        return self.cell(x)[0]


class Turned(First):
    def forward(self, x):
        return self.cell(x.transpose(1, 2)).transpose(1, 2)


class Fusion(nn.Module):
    def __init__(self):
        super().__init__()
        self.eye, self.ear = conv(3, 8, 3, 2), nn.Sequential(nn.Conv1d(2, 8, 5, 2), nn.BatchNorm1d(8), nn.Tanh())
        self.join = Choice(
            {"deep": nn.Sequential(nn.Linear(16, 24), nn.ELU(), nn.Linear(24, 16)), "none": nn.Identity()}
        )
        self.head = nn.Sequential(Width(nn.Linear(16, 12), (6, 12)), nn.Softplus(), nn.Linear(12, 4))

    def forward(self, image, sound):
        both = torch.cat([self.eye(image).mean((2, 3)), self.ear(sound).amax(2)], dim=1)
        return self.head(self.join(both)).log_softmax(-1)


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.low, self.high = conv(3, 8, 3, 2), Choice({"k3": conv(8, 12, 3, 2), "k5": conv(8, 12, 5, 2)})
        self.narrow = nn.ModuleList([nn.Conv2d(8, 8, 1), nn.Conv2d(12, 8, 1)])
        self.boxes = nn.ModuleList([nn.Sequential(Width(conv(8, 8), (4, 8)), nn.Conv2d(8, 4, 1)) for _ in range(2)])
        self.classes = nn.ModuleList([nn.Conv2d(8, 3, 1) for _ in range(2)])

    def forward(self, x):
        low = self.low(x)
        deep = self.narrow[1](self.high(low))
        levels = [self.narrow[0](low) + functional.interpolate(deep, scale_factor=2), deep]
        return [head(x) for i, x in enumerate(levels) for head in (self.boxes[i], self.classes[i])]


class Upscale(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode = nn.Sequential(conv(3, 8, 3, 2, groups=1), conv(8, 8, 3, 2, groups=8), nn.Conv2d(8, 12, 1))
        self.middle = Depth(
            [nn.Sequential(conv(12, 12, 3, groups=12), nn.Conv2d(12, 12, 1)) for _ in range(3)], least=1
        )
        self.up = Choice(
            {"bilinear": nn.Upsample(scale_factor=2, mode="bilinear"), "nearest": nn.Upsample(scale_factor=2)}
        )
        self.out = nn.Sequential(nn.GroupNorm(3, 12), nn.Sigmoid(), nn.Conv2d(12, 12, 1), nn.PixelShuffle(2))

    def forward(self, x):
        return self.out(self.up(self.middle(self.encode(x))))


def plain():
    return space_from(Plain(), torch.zeros(1, 3, 8, 8))


def resnet():
    return space_from(ResNet(), torch.zeros(1, 3, 8, 8))


def unet():
    return space_from(UNet(), torch.zeros(1, 3, 8, 8))


def mobilenet():
    return space_from(MobileNet(), torch.zeros(1, 3, 8, 8))


def convnext():
    return space_from(ConvNeXt(), torch.zeros(1, 3, 8, 8))


def vit():
    return space_from(Vit(), torch.zeros(1, 3, 8, 8))


def tagger():
    return space_from(Tagger(), torch.zeros(1, 7, dtype=torch.long))


def fusion():
    return space_from(Fusion(), [torch.zeros(1, 3, 8, 8), torch.zeros(1, 2, 20)])


def detector():
    return space_from(Detector(), torch.zeros(1, 3, 16, 16))


def upscale():
    return space_from(Upscale(), torch.zeros(1, 3, 16, 16))
