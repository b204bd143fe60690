"""Branches, depths and fusions of ``multibranch``, and the heads that tasks ask for."""

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.spaces.circuit import counts
from tempograd.spaces.common.convolution import Upsample
from tempograd.spaces.layers import Conv, Relu
from tempograd.spaces.zoo.multibranch import Multibranch, depth_site, fusion_site
from tempograd.tasks.fit import fit_space
from tempograd.tasks.load import load_task
from tempograd.testing.spaces import random_weights


@pytest.fixture(scope="module")
def space():
    return Multibranch(modules="1-1", width=4, depth=3, size=16)


def taken(space, depth, fused, **changes):
    """An architecture of one depth and all or no fusions, but for some sites."""
    options = {site.name: depth - space.least if site.name.endswith("depth") else int(fused) for site in space.sites}
    return space.architecture([(options | changes)[site.name] for site in space.sites])


def convolutions(space, architecture):
    return sum(isinstance(node.operation, Conv) for node in space.network_graph(architecture).nodes)


def test_stages_add_branches_of_half_the_resolution_and_twice_the_width():
    space = Multibranch(modules="1-4-3", width=32, least=2, depth=5, size=512)
    assert space.branches == (2, 3, 3, 3, 3, 4, 4, 4)
    nodes = space.graph.shapes
    assert [nodes[f"m7/s0/b{b}/out" if f"m7/s0/b{b}/out" in nodes else f"m7/s0/b{b}/relu"] for b in range(4)] == [
        (32, 128, 128), (64, 64, 64), (128, 32, 32), (256, 16, 16)
    ]  # fmt: skip
    depths = [site for site in space.sites if site.name.endswith("depth")]
    assert len(depths) == sum(space.branches)
    assert all(site.options == ("d2", "d3", "d4", "d5") for site in depths)
    fusions = [site for site in space.sites if "/from" in site.name]
    assert len(fusions) == sum(5 * n * (n - 1) for n in space.branches)


def test_the_number_of_networks_is_that_of_depths_times_subsets(space):
    of_branch = {n: sum(2 ** ((n - 1) * depth) for depth in (1, 2, 3)) for n in (2, 3)}
    assert 10**space.size_log10 == pytest.approx(of_branch[2] ** 2 * of_branch[3] ** 3)


def test_every_block_is_two_convolutions_and_every_fusion_its_way(space):
    """From a finer branch one strided convolution a halving, from a coarser one a 1x1 and repetition."""
    plain = 1 + 2 + 5 * 2 * 2  # the stem, two new branches, and five branches of two blocks
    assert convolutions(space, taken(space, 2, fused=False)) == plain
    for other, branch, count in ((0, 1, 1), (0, 2, 2), (1, 0, 1), (2, 0, 1)):
        one = taken(space, 2, False, **{fusion_site(1, branch, 0, other): 1})
        assert convolutions(space, one) == plain + count
        enlarged = [n for n in space.network_graph(one).nodes if isinstance(n.operation, Upsample)]
        assert len(enlarged) == int(other > branch)


def test_nothing_is_rectified_twice(space):
    for architecture in [*space.sample(5, np.random.default_rng(0)), taken(space, 3, False), taken(space, 3, True)]:
        graph = space.network_graph(architecture)
        rectified = {node.name for node in graph.nodes if isinstance(node.operation, Relu)}
        assert not [n for n in graph.nodes if n.name in rectified and rectified.intersection(n.inputs)]


def test_what_is_chosen_past_a_depth_changes_neither_output_nor_cost_nor_encoding(space):
    supernet = random_weights(space.supernet())
    architecture = taken(space, 3, True, **{depth_site(1, 1): 0, depth_site(0, 0): 1})
    gates = {site: row[0] for site, row in space.gates([architecture]).items()}
    past = [s.name for s, live in zip(space.sites, space.live(architecture.choices), strict=True) if not live]
    assert past == [fusion_site(0, 0, 2, 1), *(fusion_site(1, 1, step, o) for step in (1, 2) for o in (0, 2))]
    table, x = counts(space.graph, space.operations, "macs"), torch.randn(2, 3, 16, 16)
    for option in (0, 1):
        other = gates | {site: torch.eye(2)[option] for site in past}
        with torch.no_grad():
            assert torch.equal(supernet(x, other), supernet(x, gates))
        assert torch.equal(space.circuit.cost(table, other), space.circuit.cost(table, gates))
        assert torch.equal(space.relax(other), torch.from_numpy(space.encode([architecture])[0]))


def test_a_shallower_branch_passes_on_what_others_take(space):
    """A fusion of a later step reads a branch that has ended: of the blocks of that branch it needs the first alone."""
    one = taken(space, 3, False, **{depth_site(1, 2): 0, fusion_site(1, 0, 2, 2): 1})
    names = {node.name for node in space.network_graph(one).nodes}
    assert any(name.startswith("m1/s2/b0/from2/") for name in names)
    assert any(name.startswith("m1/s0/b2/") for name in names)
    assert not any(name.startswith(("m1/s1/b2/basic", "m1/s2/b2/basic")) for name in names)


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        ("digits,limit=100", (10,)),
        ("shapes_segmentation,images=20", (4, 32, 32)),
        ("figures_keypoints,images=20", (5, 16, 16)),
    ],
)
def test_every_task_of_images_gets_its_head(task, shape):
    learnt = load_task(task)
    space = fit_space("multibranch:modules=1,width=4,depth=2", learnt)
    assert space.graph.shape == shape
    images, targets = learnt.fitted(space).weights.take(torch.arange(2))
    (architecture,) = space.sample(1, np.random.default_rng(0))
    assert bool(torch.isfinite(learnt.loss(space.to_torch(architecture)(images), targets)))


def test_images_of_any_size_will_do():
    space = Multibranch(modules="1-1", width=4, depth=1, output="map", side=29, size=29, classes=2)
    assert space.graph.shape == (2, 29, 29)
    assert Multibranch(modules="1", width=4, output="map", size=100).graph.shape == (10, 25, 25)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ("modules=0", "modules='0'; allowed: 1 to 5 numbers from 1 to 9"),
        ("modules=1-", "allowed: 1 to 5 numbers"),
        ("least=3,depth=2", "least=3, depth=2; allowed: a least depth up to the largest"),
        ("output=sequence", "output='sequence'; allowed: classes, map, heatmaps"),
        ("output=boxes", "output"),
    ],
)
def test_arguments_that_make_no_network_are_refused(arguments, match):
    with pytest.raises(UsageError, match=match):
        registry.create("space", f"multibranch:{arguments}")


def test_coarser_branches_are_repeated_in_fusions_and_enlarged_smoothly_in_the_head():
    space = Multibranch(modules="1-1", width=4, depth=1, size=16, output="map", classes=2, side=16)
    nodes = space.network_graph(taken(space, 1, fused=True)).nodes
    enlarged = [node for node in nodes if isinstance(node.operation, Upsample)]
    kinds = {(node.name.startswith("head/"), node.operation.kind) for node in enlarged}
    assert kinds == {(False, "nearest"), (True, "bilinear")}
