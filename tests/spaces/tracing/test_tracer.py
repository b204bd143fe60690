"""Ordinary networks with marks become spaces whose readings agree; what cannot be traced is named with its line."""

import inspect
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import tempograd as tg
from tempograd.errors import UsageError
from tempograd.testing.spaces import SpaceContract, whole
from tempograd.verbs.collect import collect

sys.path.append(str(Path(__file__).parents[2] / "assets"))
import marked

from .lines import Odd, One, refused

MAKERS = (
    marked.plain, marked.resnet, marked.unet, marked.mobilenet, marked.convnext, marked.vit, marked.tagger,
    marked.fusion, marked.detector, marked.upscale,
)  # fmt: skip


@pytest.mark.slow
class TestTraced(SpaceContract):
    own = MAKERS


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_the_fullest_network_is_the_users_own_with_his_weights(make, monkeypatch):
    kept, examples = [], []
    trace = marked.space_from
    monkeypatch.setattr(marked, "space_from", lambda net, example: (kept.append(net), examples.append(example),
                                                                    trace(net, example))[2])  # fmt: skip
    torch.manual_seed(3)
    space = make()
    (net,) = kept
    assert net.training  # it is left as it was
    values = examples[0] if isinstance(examples[0], list) else [examples[0]]
    values = [
        torch.randint(0, 20, (2, *value.shape[1:]))
        if not value.is_floating_point()
        else torch.rand(2, *value.shape[1:])
        for value in values
    ]
    net.eval()
    network = space.to_torch(space.whole).eval()
    gates = {site: gate[0] for site, gate in space.gates([space.whole]).items()}
    with torch.no_grad():
        expected = whole(net(*values))
        assert torch.allclose(whole(network(values)), expected, atol=1e-5)
        assert torch.allclose(whole(space.supernet().eval()(values, gates)), expected, atol=1e-5)
    if make is not marked.tagger:  # torch does not count recurrent layers
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(*values)
        assert space.network_graph(space.whole).macs() == counter.get_total_flops() / 2 / 2  # of a batch of two
    assert len(inspect.getsource(type(net)).splitlines()) <= 20


INNER = tg.Choice({"a": nn.Identity(), "b": nn.ReLU()})
CONV = nn.Conv2d(4, 4, 1)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (lambda net, x: tg.Width(nn.Conv2d(4, 8, 1), (2, 4))(x).mean((2, 3)), "none of whose layers has as many"),
        (lambda net, x: tg.Choice({"a": nn.Identity(), "b": nn.MaxPool2d(2)}, name="c")(x), "let all options give one"),
        (lambda net, x: tg.Choice({"a": INNER, "b": nn.ReLU()}, name="c")(x), "a Choice within option 'a'"),
        (lambda net, x: tg.Depth([tg.Depth([CONV, CONV]), CONV], name="e", least=0)(x), "Depth within a Depth"),
        (lambda net, x: tg.Depth([nn.Conv2d(4, 6, 1), CONV], name="d", least=0)(x), "give the shape that"),
        (lambda net, x: nn.Linear(3, 3)(x), "RuntimeError: mat1 and mat2 shapes"),
    ],
)  # fmt: skip
def test_what_cannot_be_traced_is_named_with_its_line_and_the_way_out(line, told):
    refused(line, told)


def test_outputs_and_marks_that_are_not_as_they_must_be_are_named():
    refused(lambda net, x: net.wide(x), "an output of Odd has channels that a Width chooses", placed=False)
    last = nn.LSTM(64, 4, batch_first=True)
    refused(lambda net, x: last(x.flatten(2))[1][0], r"take output\[:, -1\] for a last state", placed=False)
    refused(lambda net, x: x, "the mark wide was not met", placed=False)


def test_what_an_option_may_not_reach_is_named():
    class Reaching(nn.Module):
        def forward(self, x):
            return x + kept[0]

    kept = []

    def line(net, x):
        kept.append(torch.relu(x))
        return tg.Choice({"a": nn.Identity(), "b": Reaching()}, name="c")(CONV(x))

    with pytest.raises(UsageError, match="a value from outside of option 'b' of c"):
        tg.space_from(Odd(lambda net, x: line(net, x)), torch.zeros(1, 3, 8, 8))


def test_a_module_without_marks_is_refused():
    with pytest.raises(UsageError, match="Conv2d holds no mark"):
        tg.space_from(nn.Conv2d(3, 4, 1), torch.zeros(1, 3, 8, 8))


@pytest.mark.slow
def test_it_is_searched_from_the_command_line_and_in_python(tmp_path):
    file = Path(marked.__file__)
    done = collect(f"{file}:plain", tmp_path / "run.db", device="simulated", count=24, plan="quick")
    space = tg.space(marked.plain())
    assert done.document["space"] == space.spec
    assert tg.load(tmp_path / "run.db").space == space.spec
    assert len(tg.load(tmp_path / "run.db").keys) == 24


def test_a_module_that_does_what_no_function_of_torch_shows_is_refused():
    class Hiding(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = tg.Choice({"a": nn.Identity(), "b": nn.ReLU()})
            self.bias = nn.Parameter(torch.rand(4, 1, 1))

        def forward(self, x):
            kept = self.mix(x) + self.bias
            with torch._C.DisableTorchFunction():  # what no function of torch shows
                return kept.mul_(2)

    with pytest.raises(UsageError, match="Hiding does not compute what the functions of torch say that it calls"):
        tg.space_from(Hiding(), torch.zeros(1, 4, 8, 8))


def test_a_module_that_is_random_itself_is_taken_as_it_was_read():
    assert tg.space_from(One(lambda x: functional.dropout(x, 0.5), {}), torch.rand(1, 4, 8, 8)).sites
