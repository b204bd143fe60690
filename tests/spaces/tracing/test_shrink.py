"""A trained network becomes a space of widths and depths, in which it is itself one of the networks."""

import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

import tempograd as tg
from tempograd.errors import UsageError
from tempograd.testing.spaces import SpaceContract

pytest.importorskip("torch_pruning")
sys.path.append(str(Path(__file__).parents[2] / "assets"))
import trained

KINDS = {trained.resnet: trained.ResNet, trained.mobilenet: trained.MobileNet}


class TestShrunk(SpaceContract):
    own = tuple(KINDS)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "kind"), KINDS.items())
def test_the_whole_network_computes_what_was_given_though_its_channels_are_sorted(make, kind):
    given, space = trained.trained(kind), make()
    x = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        expected = given(x)
        assert torch.allclose(space.to_torch(space.whole).eval()(x), expected, atol=1e-5)
        assert torch.allclose(space.teacher()(x), expected, atol=1e-5)
    assert not torch.equal(space.start[next(iter(space.start))], next(given.parameters()))


def test_the_channels_that_matter_most_come_first():
    net = nn.Sequential(nn.Conv2d(1, 8, 1, bias=False), nn.ReLU(), nn.Conv2d(8, 2, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([1.0, 5, 2, 8, 3, 7, 4, 6])[:, None, None, None])
        net[2].weight.fill_(1)
    space = tg.shrink(net, torch.zeros(1, 1, 4, 4), options=2, least=0.5, step=4)
    narrow = space.to_torch(space.architecture([0]))
    kept = next(value for value in narrow.parameters() if value.shape[1] == 1)
    assert sorted(kept.flatten().tolist(), reverse=True) == [8, 7, 6, 5]
    x = torch.rand(2, 1, 4, 4)
    assert torch.allclose(narrow(x)[:, :1], 26 * x)


def test_what_the_next_layer_makes_of_a_channel_matters_too():
    net = nn.Sequential(nn.Conv2d(1, 8, 1, bias=False), nn.ReLU(), nn.Conv2d(8, 2, 1, bias=False))
    with torch.no_grad():
        net[0].weight.fill_(1)
        net[2].weight.copy_(torch.tensor([1.0, 5, 2, 8, 3, 7, 4, 6])[None, :, None, None])
    space = tg.shrink(net, torch.zeros(1, 1, 4, 4), options=2, least=0.5, step=4)
    narrow = space.to_torch(space.architecture([0]))
    kept = next(value for value in narrow.parameters() if value.shape[1] == 4)
    assert kept[0].flatten().tolist() == [8, 7, 6, 5]


def test_widths_are_multiples_of_the_step_from_the_least_to_all_channels():
    net = nn.Sequential(nn.Conv2d(1, 20, 3), nn.ReLU(), nn.Flatten(), nn.Linear(20 * 36, 10))
    x = torch.zeros(1, 1, 8, 8)
    assert tg.shrink(net, x).sites[0].options == ("8", "16", "20")
    assert tg.shrink(net, x, step=1, least=0.5, options=3).sites[0].options == ("10", "15", "20")


def test_widths_are_what_belongs_together_and_depths_what_may_go():
    space = trained.resnet()
    sizes = {site.name: site.options for site in space.sites}
    assert sizes["one"] == ("1", "2")
    assert sizes["two"] == ("1", "2")
    assert sizes["stem-0"] == ("4", "6", "8")  # the stem and both blocks of the first row, joined by their sums
    assert sizes["one-0-a"] == ("4", "6", "8")
    assert [site.when for site in space.sites if site.name == "one-1-a"] == [(("one", 1),)]
    assert not any("head" in name for name in sizes)
    assert "ends" not in space.left_out
    assert space.left_out["head.1"] == "its channels are what the network gives"
    shallow = tg.shrink(trained.trained(trained.ResNet), torch.zeros(1, 1, 8, 8), depth=False, step=4)
    assert "one" not in {site.name for site in shallow.sites}


def test_of_a_row_those_blocks_may_go_that_give_the_shape_they_take():
    blocks = trained.Block(4, 4), trained.Block(4, 8, 2), trained.Block(8, 8), trained.Block(8, 8)
    net = nn.Sequential(
        OrderedDict(
            stem=nn.Conv2d(1, 4, 3, 1, 1), row=nn.Sequential(*blocks), flat=nn.Flatten(), head=nn.Linear(128, 10)
        )
    )
    space = tg.shrink(net, torch.zeros(1, 1, 8, 8))
    assert {site.name: site.options for site in space.sites} == {"row": ("2", "3", "4")}
    assert "row" not in space.left_out
    net.row = net.row[:2]
    net.head = nn.Linear(128, 10)
    with pytest.raises(UsageError, match="nothing of Sequential can go") as told:
        tg.shrink(net, torch.zeros(1, 1, 8, 8))
    assert "row:" not in str(told.value)


def test_the_network_given_is_not_touched():
    given = trained.trained(trained.ResNet).train()
    before = {name: value.clone() for name, value in given.state_dict().items()}
    tg.shrink(given, torch.zeros(1, 1, 8, 8), step=4)
    assert given.training
    assert all(torch.equal(value, before[name]) for name, value in given.state_dict().items())


def test_what_cannot_shrink_is_told(monkeypatch):
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))
    with pytest.raises(UsageError, match=r"nothing of Sequential can go: .*8 channels are too few for multiples of 16"):
        tg.shrink(net, torch.zeros(1, 1, 8, 8), step=16)
    with pytest.raises(UsageError, match=r"argument depth='maybe' of shrink; allowed: true or false"):
        tg.shrink(net, torch.zeros(1, 1, 8, 8), depth="maybe")
    with pytest.raises(UsageError, match=r"argument least=1\.5 of shrink"):
        tg.shrink(net, torch.zeros(1, 1, 8, 8), least=1.5)
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(UsageError, match=r"pip install 'tempograd\[shrink\]'"):
        tg.shrink(net, torch.zeros(1, 1, 8, 8))


def test_what_cannot_be_traced_is_told_once_with_its_line():
    class Odd(nn.Sequential):
        def forward(self, x):
            return super().forward(torch.fft.fft2(x).abs())

    layers = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(16 * 36, 10)
    with pytest.raises(UsageError, match=r"^test_shrink\.py, line \d+: return .*fft2.* cannot be traced") as told:
        tg.shrink(Odd(*layers), torch.zeros(1, 1, 8, 8))
    assert str(told.value).count("fft_fft2") == 1
    with pytest.raises(
        UsageError, match=r"does not run on the example of \(2, 3, 8, 8\), the first of yours taken twice: "
    ):
        tg.shrink(nn.Sequential(*layers), torch.zeros(1, 3, 8, 8))


class Decoder(nn.Module):
    """A transposed convolution reads channels, makes some, and is added to those of another layer."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(1, 16, 3, 2, 1), nn.ConvTranspose2d(16, 24, 2, 2)
        self.skip, self.end = nn.Conv2d(1, 24, 1), nn.Conv2d(24, 2, 3, padding=1)

    def forward(self, x):
        return self.end(torch.relu(self.up(torch.relu(self.down(x))) + self.skip(x)))


class Asking(nn.Module):
    """It asks what its parts are."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([nn.Conv2d(1, 16, 3), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(256, 4)])

    def forward(self, x):
        for part in self.parts:
            x = torch.relu(part(x)) if isinstance(part, nn.Conv2d) else part(x)
        return x


def whole_is(space, given):
    x = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        return torch.allclose(space.to_torch(space.whole).eval()(x), given.eval()(x), atol=1e-5)


def test_channels_of_transposed_convolutions_are_sorted_and_shrink():
    given = Decoder()
    space = tg.shrink(given, torch.zeros(1, 1, 8, 8), step=4)
    assert {site.name: site.options[-1] for site in space.sites} == {"down": "16", "up": "24"}
    assert not torch.equal(next(iter(space.start.values())), given.down.weight)
    assert whole_is(space, given)


def test_a_layer_that_a_network_asks_for_its_type_stays_as_it_is():
    with pytest.raises(UsageError, match=r"parts\.0: the network asks in forward what kind of module it is"):
        tg.shrink(Asking(), torch.zeros(1, 1, 8, 8), step=4)


def test_a_frozen_network_shrinks_too_and_without_gradients():
    given = trained.trained(trained.ResNet).requires_grad_(False)
    with torch.no_grad():
        assert tg.shrink(given, torch.zeros(1, 1, 8, 8), step=4).sites
    assert not any(parameter.requires_grad for parameter in given.parameters())
