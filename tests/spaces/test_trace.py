"""Ordinary networks with marks become spaces whose readings agree; what cannot be traced is named with its line."""

import copy
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

sys.path.append(str(Path(__file__).parents[1] / "assets"))
import marked

MAKERS = (
    marked.plain, marked.resnet, marked.unet, marked.mobilenet, marked.convnext, marked.vit, marked.tagger,
    marked.fusion, marked.detector, marked.upscale,
)  # fmt: skip


class TestTraced(SpaceContract):
    own = MAKERS


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


class Odd(nn.Module):
    """Marked so far as to be a space, with one line that is up to a test."""

    def __init__(self, line):
        super().__init__()
        self.mix = tg.Choice({"a": nn.Conv2d(3, 4, 3, padding=1), "b": nn.Conv2d(3, 4, 1)})
        self.wide, self.line = tg.Width(nn.Conv2d(4, 8, 1), options=(4, 8)), line

    def forward(self, x):
        return self.line(self, self.mix(x))


INNER = tg.Choice({"a": nn.Identity(), "b": nn.ReLU()})
CONV = nn.Conv2d(4, 4, 1)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (lambda net, x: net.wide(x).std(1), "the function std cannot be traced"),
        (lambda net, x: x if x.sum() > 0 else -x, "sum of everything"),
        (lambda net, x: torch.einsum("bchw->bc", x), "einsum cannot be traced; write it as matmul"),
        (lambda net, x: x.reshape(-1, 4), "mixes the batch with other axes cannot be traced; keep the batch"),
        (lambda net, x: x.flip(0), "the function flip"),
        (lambda net, x: net.wide(x), "an output of Odd has channels that a Width chooses"),
        (lambda net, x: functional.layer_norm(net.wide(x), (8, 8, 8)), "layernorm of channels that a Width chooses"),
        (lambda net, x: torch.cat([net.wide(x), x], 1), "a concatenation of channels that a Width chooses"),
        (lambda net, x: net.wide(x) + torch.cat([x, x], 1), r"Width\(..., name=\) of one name"),
        (lambda net, x: tg.Width(nn.Conv2d(4, 8, 1), (2, 4))(x).mean((2, 3)), "none of whose layers has as many"),
        (lambda net, x: tg.Width(nn.Conv2d(4, 8, 1, groups=2), (4, 8))(x), "around a grouped convolution"),
        (lambda net, x: tg.Choice({"a": nn.Identity(), "b": nn.MaxPool2d(2)}, name="c")(x), "let all options give one"),
        (lambda net, x: tg.Choice({"a": INNER, "b": nn.ReLU()}, name="c")(x), "a Choice within option 'a'"),
        (lambda net, x: tg.Depth([tg.Depth([CONV, CONV]), CONV], name="e", least=0)(x), "Depth within a Depth"),
        (lambda net, x: tg.Depth([nn.Conv2d(4, 6, 1), CONV], name="d", least=0)(x), "give the shape that"),
        (lambda net, x: CONV(CONV(x)), "the weight of one tensor used twice cannot be traced; give each place"),
        (lambda net, x: nn.LSTM(64, 4)(x.flatten(2))[0], "a LSTM that is not batch_first"),
        (lambda net, x: nn.LSTM(64, 4, batch_first=True)(x.flatten(2))[1][0], r"take output\[:, -1\] for a last state"),
        (lambda net, x: nn.Linear(3, 3)(x), "RuntimeError: mat1 and mat2 shapes"),
        (lambda net, x: x, "the mark wide was not met"),
        (lambda net, x: functional.interpolate(x, size=5, mode="bicubic"), "resizing by bicubic"),
    ],
)  # fmt: skip
def test_what_cannot_be_traced_is_named_with_its_line_and_the_way_out(line, told):
    with pytest.raises(UsageError, match=told) as caught:
        tg.space_from(Odd(line), torch.zeros(1, 3, 8, 8))
    if not told.startswith(("an output", "the mark")):
        assert "test_trace.py, line" in str(caught.value)


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


def test_a_module_without_marks_and_marks_without_a_choice_are_refused():
    with pytest.raises(UsageError, match="Conv2d holds no mark"):
        tg.space_from(nn.Conv2d(3, 4, 1), torch.zeros(1, 3, 8, 8))
    for wrong in (lambda: tg.Choice({"a": CONV}), lambda: tg.Width(CONV, (4,)), lambda: tg.Depth([CONV], least=1)):
        with pytest.raises(UsageError):
            wrong()


def test_marks_that_are_not_searched_are_an_ordinary_module():
    net = nn.Sequential(
        tg.Choice({"k": nn.Conv2d(3, 4, 1), "l": nn.Conv2d(3, 4, 3, padding=1)}), tg.Depth([CONV, CONV])
    )
    x = torch.rand(2, 3, 4, 4)
    assert torch.equal(net(x), CONV(CONV(net[0].options["k"](x))))
    clone = copy.deepcopy(net)
    clone.load_state_dict(net.state_dict())
    net(x).sum().backward()


def test_it_is_searched_from_the_command_line_and_in_python(tmp_path):
    file = Path(marked.__file__)
    done = collect(f"{file}:plain", tmp_path / "run.db", device="simulated", count=24, plan="quick")
    space = tg.space(marked.plain())
    assert done.document["space"] == space.spec
    assert tg.load(tmp_path / "run.db").space == space.spec
    assert len(tg.load(tmp_path / "run.db").keys) == 24
