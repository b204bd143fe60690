"""Published weights: sub-networks equal those of the package that trains them, and every other file is refused."""

import pickle
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tempograd import registry
from tempograd.errors import InputRefusedError
from tempograd.spaces.network import inherit
from tempograd.spaces.published import plain_name, read_weights, spec_of, supernet_of, their_name

from . import published_ofa

SPEC = "mbconv:family=ofa_mbv3,size=96,classes=10,width={}"


def published(space, seed=0):
    """Return random weights under published names."""
    torch.manual_seed(seed)
    found = {}
    for key, value in space.supernet().state_dict().items():
        name = their_name(key)
        if name is not None:
            found.setdefault(name, torch.rand(value.shape) + 0.5)
    return found


@pytest.fixture(scope="module")
def space():
    return registry.create("space", SPEC.format(1.0))


@pytest.fixture(scope="module")
def weights(space):
    return published(space)


@pytest.mark.parametrize("width", [1.0, 1.2])
def test_twenty_sub_networks_are_those_of_the_package(width):
    net = published_ofa.largest(width, classes=10)
    space = registry.create("space", SPEC.format(width))
    supernet = supernet_of(space, {plain_name(k): v for k, v in net.state_dict().items()}, Path("net"))
    images, rng = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1)), random.Random(0)
    for number in range(20):
        ks, e, d = published_ofa.settings(rng)
        net.set_active_subnet(ks=ks, e=e, d=d)
        architecture = space.parse(str({"ks": ks, "e": e, "d": d}))
        with torch.no_grad():
            theirs = net(images)
            own = inherit(space.to_torch(architecture), supernet).eval()(images)
            assert theirs.std() > 0.01
            assert (own - theirs).abs().max() < 1e-4
            if number < 2:
                gates = {site: gate[0] for site, gate in space.gates([architecture]).items()}
                assert (supernet(images, gates) - theirs).abs().max() < 1e-4


def test_weights_are_taken_over_by_name_and_statistics_for_every_option(space, weights):
    network = supernet_of(space, weights, Path("net"))
    state = network.state_dict()
    for kernel in (3, 5, 7):
        own = state[f"layers.s1l1/k{kernel}_se/depthwise/bn.running_var"]
        assert torch.equal(own, weights["blocks.6.conv.depth_conv.bn.running_var"])
    matrix = next(value for key, value in state.items() if key.startswith("shared.s1l1/depthwise") and "7to5" in key)
    assert torch.equal(matrix, weights["blocks.6.conv.depth_conv.conv.7to5_matrix"])


def test_a_smaller_kernel_is_the_middle_of_the_next_larger_one_times_its_matrix(space, weights):
    built = supernet_of(space, weights, Path("net")).weights()
    whole = weights["blocks.6.conv.depth_conv.conv.weight"]
    five = whole[:, :, 1:6, 1:6].reshape(-1, 25) @ weights["blocks.6.conv.depth_conv.conv.7to5_matrix"].T
    three = five.reshape(-1, 5, 5)[:, 1:4, 1:4].reshape(-1, 9) @ weights["blocks.6.conv.depth_conv.conv.5to3_matrix"].T
    assert torch.allclose(built["layers.s1l1/k5_se/depthwise/conv.weight"].flatten(1), five, atol=1e-4)
    assert torch.allclose(built["layers.s1l1/k3_se/depthwise/conv.weight"].flatten(1), three, atol=1e-3)


def test_the_matrices_learn_and_begin_as_if_they_were_not_there():
    space = registry.create("space", "mbconv:family=ofa_mbv3,size=8,classes=5,width=0.5,stages=1,layers=2")
    network = space.supernet()
    key = next(key for key in network.shared if key.startswith("s0l0") and "5to3" in key)
    assert torch.equal(network.shared[key], torch.eye(9))
    (architecture,) = [a for a in space.enumerate() if space.format(a).startswith("s0l0/op=k3")][:1]
    gates = {site: gate[0] for site, gate in space.gates([architecture]).items()}
    network(torch.rand(4, 3, 8, 8), gates).square().sum().backward()
    assert network.shared[key].grad.abs().sum() > 0


def test_the_squeezed_width_follows_the_channels_that_are_chosen(space):
    widths = set()
    for expand in (3, 4, 6):
        text = str({"ks": [3] * 20, "e": [expand] * 20, "d": [2] * 5})
        graph = space.network_graph(space.parse(text))
        widths.add((expand, graph.shapes["s1l1/k3_se/squeeze/reduce"][0]))
    assert widths == {(3, 32), (4, 40), (6, 64)}  # of 120, 160 and 240 channels


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("blocks.3.mobile_inverted_conv.inverted_bottleneck.conv.weight",
         "blocks.3.conv.inverted_bottleneck.conv.weight"),
        ("module.blocks.3.conv.point_linear.bn.bn.running_mean", "blocks.3.conv.point_linear.bn.running_mean"),
        ("classifier.linear.linear.weight", "classifier.linear.weight"),
        ("first_conv.conv.weight", "first_conv.conv.weight"),
    ],
)  # fmt: skip
def test_older_files_and_those_of_several_processes_have_the_same_names(old, new):
    assert plain_name(old) == new


def test_a_file_is_read_as_safetensors_and_as_torch_with_or_without_a_state_dict(tmp_path):
    tensors = {"first_conv.conv.weight": torch.ones(16, 3, 3, 3)}
    save_file(tensors, tmp_path / "a.safetensors")
    torch.save(tensors, tmp_path / "b.pth")
    torch.save({"state_dict": tensors}, tmp_path / "c")
    for name in ("a.safetensors", "b.pth", "c"):
        assert torch.equal(read_weights(tmp_path / name)["first_conv.conv.weight"], torch.ones(16, 3, 3, 3))


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_file_with_code_in_it_is_refused_and_nothing_is_run(tmp_path):
    mark = tmp_path / "ran"
    torch.save({"state_dict": {"a": torch.ones(1), "b": Bomb(mark)}}, tmp_path / "torch.pth")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Bomb(mark)))
    for name in ("torch.pth", "plain.pkl"):
        with pytest.raises(InputRefusedError, match="nothing in it was run"):
            read_weights(tmp_path / name)
    assert not mark.exists()


def test_what_holds_no_tensors_by_name_or_is_not_there_is_refused(tmp_path):
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    with pytest.raises(InputRefusedError, match="holds list, not tensors by name"):
        read_weights(tmp_path / "list.pth")
    with pytest.raises(InputRefusedError, match="cannot read"):
        read_weights(tmp_path / "absent.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputRefusedError, match="damaged or incomplete"):
        read_weights(tmp_path / "broken.safetensors")


@pytest.mark.slow
def test_another_network_is_refused_with_the_first_name_and_shape_that_differ(space, weights):
    wrong = weights | {"blocks.0.conv.point_linear.conv.weight": torch.ones(4, 4, 1, 1)}
    with pytest.raises(
        InputRefusedError,
        match=r"blocks\.0\.conv\.point_linear\.conv\.weight is \(4, 4, 1, 1\), expected \(16, 16, 1, 1\)",
    ):
        supernet_of(space, wrong, Path("net"))
    less = {name: value for name, value in weights.items() if name != "feature_mix_layer.conv.weight"}
    with pytest.raises(InputRefusedError, match=r"feature_mix_layer\.conv\.weight is not there"):
        supernet_of(space, less, Path("net"))
    with pytest.raises(InputRefusedError, match=r"blocks\.21\.conv\.x \(1,\) has no place there"):
        supernet_of(space, weights | {"blocks.21.conv.x": torch.ones(1)}, Path("net"))


def test_the_space_of_a_file_is_told_by_its_ends(weights):
    assert spec_of(weights, Path("net")) == "mbconv:family=ofa_mbv3,size=224,classes=10,width=1.0"
    with pytest.raises(InputRefusedError, match=r"20, 3, 3, 3.*16 channels"):
        spec_of(weights | {"first_conv.conv.weight": torch.ones(20, 3, 3, 3)}, Path("net"))
    with pytest.raises(InputRefusedError, match=r"it has no first_conv\.conv\.weight"):
        spec_of({}, Path("net"))
