"""The interpreter of graphs: built networks and supernets are run by one."""

from dataclasses import replace

import pytest
import torch

from tempograd import registry
from tempograd.spaces.graph import INPUT, GraphBuilder, resolve
from tempograd.spaces.layers import Conv, Identity, Relu, Width, Zero
from tempograd.spaces.network import Network, inherit


def _conv(builder, x):
    return builder.add("c", Conv(2), x)


def deep():
    """Two layers in a row, of which the second can be left out, and a block that is there only with it."""
    builder = GraphBuilder((2, 4, 4))
    first = builder.choice("a", "a", {"conv": _conv, "relu": lambda b, x: b.add("r", Relu(), x)}, INPUT)
    second = builder.choice("b", "b", {"conv": _conv, "relu": lambda b, x: b.add("r", Relu(), x)}, first)
    last = builder.block("last", "conv", _conv, second, when=(("depth", 1),))
    return builder.graph(builder.mix("end", {first: ("depth", 0), last: ("depth", 1)}))


def test_a_mix_runs_only_what_its_gates_take():
    network, calls = Network(deep()), []
    for name, layer in network.layers.items():
        layer.register_forward_hook(lambda *_, name=name: calls.append(name))
    half = {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([0.5, 0.5]), "depth": torch.tensor([1.0, 0.0])}
    x = torch.randn(1, 2, 4, 4)
    shallow = network(x, half)
    assert calls == ["a/conv/c"]
    both = network(x, half | {"depth": torch.tensor([0.25, 0.75])})
    deeper = network(x, half | {"depth": torch.tensor([0.0, 1.0])})
    assert torch.allclose(both, 0.25 * shallow + 0.75 * deeper, atol=1e-6)


SPACE = registry.create("space", "routed:base=resnet,blocks=2/3-4/5-6,reach=3,layers=1,head=8,size=8,classes=5")


@pytest.mark.slow
def test_options_are_parts_of_one_layer_and_learn_from_each_other():
    space, x = replace(SPACE, base="mbv2"), torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    supernet = space.supernet()
    name = "layers.b0/layer0/{}/depthwise/conv.weight".format
    small, large = (supernet.weights()[name(option)].clone() for option in ("k3_e3", "k7_e6"))
    assert torch.equal(small, large[: len(small), :, 2:5, 2:5])
    assert torch.equal(supernet.weights()[name("k5_e6")], large[:, :, 1:6, 1:6])
    gates = {
        s.name: torch.eye(len(s.options))[s.options.index("k7_e6") if "k7_e6" in s.options else 0] for s in space.sites
    }
    optimizer = torch.optim.SGD(supernet.parameters(), 0.1)
    for _ in range(2):  # the branch begins at scale 0
        optimizer.zero_grad()
        supernet(x, gates).square().sum().backward()
        optimizer.step()
    assert not torch.equal(supernet.weights()[name("k3_e3")], small)
    plain = Network(space.graph)
    assert not plain.shared
    assert name("k3_e3") in plain.state_dict()


def choice():
    builder = GraphBuilder((2, 4, 4))
    options = {
        "conv": _conv,
        "skip": lambda b, x: b.add("i", Identity(), x),
        "none": lambda b, x: b.add("z", Zero(), x),
    }
    return builder.graph(builder.choice("e", "e", options, INPUT))


def test_an_option_is_weighed_by_its_gate_and_none_is_nothing():
    network, x = Network(choice()), torch.randn(3, 2, 4, 4)
    conv = network.layers["e/conv/c"](x)
    assert torch.allclose(network(x, {"e": torch.tensor([0.3, 0.2, 0.5])}), 0.3 * conv + 0.2 * x, atol=1e-6)
    nothing = network(x, {"e": torch.tensor([0.0, 0.0, 1.0])})
    assert nothing.shape == (3, 2, 4, 4)
    assert not nothing.any()


def test_all_options_are_run_where_it_is_asked():
    network, calls = Network(choice()), []
    network.layers["e/conv/c"].register_forward_hook(lambda *_: calls.append(1))
    gates, x = {"e": torch.tensor([0.0, 1.0, 0.0])}, torch.randn(1, 2, 4, 4)
    assert torch.equal(network(x, gates), x)
    assert not calls
    assert torch.equal(network(x, gates, every=True), x)
    assert calls


def test_a_site_without_a_gate_is_named():
    with pytest.raises(ValueError, match="no gate for site 'e'; given: other"):
        Network(choice())(torch.zeros(1, 2, 4, 4), {"other": torch.ones(1)})


def test_weights_leave_and_return_as_arrays():
    one, other = Network(choice()), Network(choice())
    arrays = one.arrays()
    assert list(arrays) == ["e/conv/c.weight"]
    other.load_arrays(arrays)
    assert torch.equal(other.layers["e/conv/c"].weight, one.layers["e/conv/c"].weight)


def test_a_narrower_network_inherits_the_first_channels():
    builder = GraphBuilder((2, 4, 4))
    graph = builder.graph(builder.add("c", Conv(Width.of("w", (3, 6))), INPUT))
    whole, narrow = Network(graph), Network(resolve(graph, {"w": 0}))
    inherit(narrow, whole)
    assert torch.equal(narrow.layers["c"].weight, whole.layers["c"].weight[:3])


def test_what_training_does_to_skips_is_done_in_training_only():
    network, x = Network(resolve(choice(), {"e": 1})), torch.ones(1, 2, 4, 4)
    network.on_skip = lambda value: 5 * value
    assert torch.equal(network.train()(x), 5 * x)
    assert torch.equal(network.eval()(x), x)


@pytest.mark.parametrize("channels", [1, 3])
def test_maps_are_laid_out_channels_last_whatever_the_images_channels(channels):
    builder = GraphBuilder((channels, 8, 6))
    network, orders = Network(builder.graph(builder.add("c", Conv(4, 3), INPUT))), []
    network.layers["c"].register_forward_hook(
        lambda _, inputs, output: orders.extend(x.stride() for x in (inputs[0], output))
    )
    images = torch.randn(2, channels, 8, 6)
    for x in (images, images.contiguous(memory_format=torch.channels_last), images.mT.contiguous().mT):
        found = network(x)
        assert torch.allclose(found, network.layers["c"](images), atol=1e-5)
    assert orders[0] == (48 * channels, 1, 6 * channels, channels)
    assert orders[1] == (192, 1, 24, 4)
