"""What is written down: names as in the module, weights once, widths as far as they may go."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional

import tempograd as tg
from tempograd.errors import UsageError
from tempograd.spaces.graph import ports
from tempograd.spaces.layers import Width

from .lines import One, refused

CONV = nn.Conv2d(4, 4, 1)
STATISTICS = torch.zeros(4), torch.ones(4)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (lambda net, x: CONV(CONV(x)), "the weight of one tensor used twice cannot be traced; give each place"),
        (lambda net, x: functional.layer_norm(net.wide(x), (8, 8, 8)), "layernorm of channels that a Width chooses"),
        (lambda net, x: net.wide(x) + torch.cat([x, x], 1), r"Width\(..., name=\) of one name"),
        (lambda net, x: tg.Width(nn.Conv2d(4, 8, 1, groups=2), (4, 8))(x), "around a grouped convolution"),
        (lambda net, x: nn.Conv2d(8, 8, 1, groups=4)(net.wide(x)), "a grouped convolution of chosen channels"),
        (lambda net, x: x + torch.rand(2, 4, 8, 8).relu(), "a weight of"),
        (lambda net, x: functional.pad(net.wide(x), (0, 0, 0, 0, 1, 1)), "pad of channels that a Width chooses"),
        (lambda net, x: torch.stack([net.wide(x)] * 2, 1), "reshape of channels that a Width chooses"),
        (lambda net, x: functional.linear(x.mean((2, 3)), x.amax((2, 3))), "dense with a weight that is computed from"),
        (lambda net, x: x.mean((2, 3)) @ x.amax((2, 3)).t(), "a permutation of the batch"),
        (lambda net, x: x.mean((2, 3)) @ x.amax((2, 3)).T, "a permutation of the batch"),
        (lambda net, x: x * x.type(torch.float64).mean(0), "what type gives of a value"),
        (lambda net, x: functional.batch_norm(x, *STATISTICS, torch.ones(4)), "normalisation with .*; give it"),
        (
            lambda net, x: (x.double() if x.ndim < 4 else x).softmax(1, torch.float64),
            "a change of type from torch.float32",
        ),
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


def halves(net, x):
    half = x[:, :2]
    half.relu_()
    return x + 1


def added(net, x):
    seen = x.flatten(2)
    x += 1.0
    return seen.relu()


RECTIFYING = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1))


@pytest.mark.parametrize(
    "line",
    [
        halves,
        added,
        lambda net, x: x + tg.Depth([RECTIFYING, nn.Identity()], name="d", least=0)(x),
        lambda net, x: x + tg.Choice({"a": RECTIFYING, "b": nn.Identity()}, name="c")(x),
    ],
)
def test_a_value_that_was_changed_under_another_name_is_refused_where_it_is_read(line):
    refused(line, r"a value that was changed in place since it was made cannot be traced; make another")


def test_what_is_changed_in_place_is_read_as_what_it_becomes():
    def line(x, conv):
        made = conv(x).relu_()
        first, second = made[:, :2], made[:, 2:]
        return functional.relu(first.flatten(1), inplace=True) * second.add_(1.0).flatten(1)

    module = One(line, {"conv": nn.Conv2d(4, 4, 1)}).eval()
    space, x = tg.space_from(module, torch.rand(1, 4, 8, 8)), torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        assert torch.allclose(space.to_torch(space.whole).eval()(x), module(x), atol=1e-6)


NORMED = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))
TIED = nn.Linear(4, 4, bias=False)


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ({"one": CONV}, lambda x, one: tg.Depth([one, one, one], name="d")(x)),
        ({"one": CONV}, lambda x, one: one(tg.Choice({"a": one, "b": nn.Identity()}, name="c")(x))),
        ({"one": NORMED}, lambda x, one: one(one(x))),
        ({"one": TIED}, lambda x, one: one(x.mean((2, 3))) @ one.weight.t()),
    ],
)
def test_a_weight_that_stands_twice_is_named_wherever_it_stands(parts, line):
    with pytest.raises(UsageError, match="used twice cannot be traced; give each place a module of its own"):
        tg.space_from(One(line, parts), torch.rand(1, 4, 8, 8))


def test_parts_of_one_weight_are_two():
    weight = nn.Parameter(torch.rand(8, 4))
    module = One(lambda x: x.mean((2, 3)) @ weight[:4] + x.mean((2, 3)) @ weight[4:], {})
    assert tg.space_from(module, torch.rand(1, 4, 8, 8)).start


@pytest.mark.parametrize("name", ["output", "keys", "values", "update", "input"])
def test_a_part_may_be_called_what_exported_networks_and_torch_call_something_else(name, tmp_path):
    module = nn.Sequential()
    module.add_module("stem", tg.Choice({"a": nn.Conv2d(3, 4, 1), "b": nn.Conv2d(3, 4, 3, padding=1)}))
    module.add_module(name, nn.Conv2d(4, 2, 1))
    module.add_module("last", nn.Softmax(1))
    space = tg.space_from(module, torch.rand(1, 3, 4, 4))
    path, _ = space.write_onnx(space.whole, tmp_path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": np.zeros((1, 3, 4, 4), np.float32)})
    assert np.allclose(found.sum(1), 1)
    assert space.to_torch(space.whole)(torch.rand(2, 3, 4, 4)).shape == (2, 2, 4, 4)


def test_whole_numbers_are_indices_and_nothing_else():
    words = torch.zeros(1, 6, dtype=torch.long)
    mix = tg.Choice({"a": nn.Linear(5, 4), "b": nn.Linear(5, 4)})

    class Words(nn.Module):
        def __init__(self, line):
            super().__init__()
            self.embed, self.mix, self.line = nn.Embedding(9, 5), mix, line

        def forward(self, x, *more):
            return self.mix(self.embed(self.line(x, *more)))

    space = tg.space_from(Words(lambda x: x[:, :3]), words)
    assert ports(space.graph) == {"input": ((6,), True)}
    with pytest.raises(UsageError, match="scalar of whole numbers cannot be traced; give what is no index as float32"):
        tg.space_from(Words(lambda x: x + 1), words)
    with pytest.raises(UsageError, match=r"takes torch.int64 and indexes no embedding with it; give the example as"):
        tg.space_from(Words(lambda x, y: y), [words, words])


def test_the_first_input_is_told_from_a_second_one_that_an_option_indexes():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = tg.Choice({"a": nn.Embedding(9, 4), "b": nn.Sequential(nn.Embedding(9, 5), nn.Linear(5, 4))})

        def forward(self, image, words):
            return image.mean((2, 3)) + self.mix(words).mean(1)

    space = tg.space_from(Both(), [torch.zeros(1, 4, 3, 3), torch.zeros(1, 6, dtype=torch.long)])
    assert [whole for _, whole in ports(space.graph).values()] == [False, True]
