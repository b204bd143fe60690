import numpy as np
import pytest

from tempograd import registry
from tempograd.errors import InvalidArchitectureError, UsageError
from tempograd.spaces.layers import Conv
from tempograd.testing.spaces import SpaceContract


@pytest.fixture(scope="module")
def space():
    return registry.create("space", "darts:layers=6,width=8")


def test_the_encoding_is_two_cells_of_fourteen_edges_of_eight_operations(space):
    assert space.widths == (8,) * 28
    assert sum(space.widths) == 224


def test_the_number_of_architectures_is_the_published_one(space):
    assert 10**space.size_log10 == pytest.approx(1.08e18, rel=0.01)


def test_every_node_keeps_two_inputs(space):
    for architecture in space.sample(200, np.random.default_rng(0)):
        kept = np.array(architecture.choices).reshape(2, 14) != 0
        for node, edges in enumerate(np.split(kept, [2, 5, 9], axis=1)):
            assert (edges.sum(axis=1) == 2).all(), node


def test_in_edges_are_uniform(space):
    kept = np.array([a.choices for a in space.sample(20_000, np.random.default_rng(1))]) != 0
    expected = np.concatenate([np.full(n, 2 / n) for n in (2, 3, 4, 5)] * 2)
    assert np.abs(kept.mean(axis=0) - expected).max() < 4 * np.sqrt(0.25 / 20_000)


def test_two_cells_halve_the_map_and_double_the_channels(space):
    shapes = space.graph.shapes
    assert [shapes[f"cells/{i}/concat"] for i in range(6)] == [
        (32, 32, 32),
        (32, 32, 32),
        (64, 16, 16),
        (64, 16, 16),
        (128, 8, 8),
        (128, 8, 8),
    ]


def test_a_separable_convolution_is_applied_twice(space):
    block = next(graph for key, graph in space.operations.items() if key.startswith("sep_conv_5x5@8x32x32>8x32"))
    convs = [n.operation for n in block.nodes if isinstance(n.operation, Conv)]
    assert [(c.kernel, c.groups) for c in convs] == [(5, 8), (1, 1), (5, 8), (1, 1)]


def test_three_kept_inputs_are_refused(space):
    choices = list(space.sample(1, np.random.default_rng(0))[0].choices)
    choices[2:5] = [3, 3, 3]
    with pytest.raises(InvalidArchitectureError, match="exactly 2"):
        space.architecture(choices)


@pytest.mark.parametrize("spec", ["darts:size=30", "darts:layers=-1", "darts:nodes=5"])
def test_wrong_arguments_are_refused(spec):
    with pytest.raises(UsageError):
        registry.create("space", spec)


# the genotype of the second order, as its authors print it
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)
IMAGENET = "darts:layers=14,width=48,classes=1000,size=224,stem=imagenet"


@pytest.mark.parametrize(
    ("spec", "parameters", "pool_bn", "macs_m"),
    [
        ("darts:layers=20,width=36", 3_349_342, 2_160, 528.4),  # 3.3 M in the paper
        (IMAGENET, 4_718_752, 2_880, 529.9),  # 4.7 M in the paper
    ],
)
def test_the_published_network_has_its_size(spec, parameters, pool_bn, macs_m):
    """Parameters are those of the authors' code, and of the BatchNorm that follows pooling here in built networks, too.

    Their paper says 574 M multiply-adds at 224 pixels; who counts convolutions and classifier of their code finds, as
    here, 523 to 545 M (https://github.com/quark0/darts/issues/46).
    """
    space = registry.create("space", spec)
    graph = space.network_graph(space.parse(DARTS_V2))
    assert graph.parameters() == parameters + pool_bn
    assert graph.macs() / 1e6 == pytest.approx(macs_m, rel=0.01)


def test_the_stem_is_said_in_a_spec_only_where_it_is_not_that_of_every_older_one():
    assert "stem" not in registry.create("space", "darts").spec
    assert registry.create("space", IMAGENET).spec.endswith("channels=3,stem=imagenet")
    assert registry.create("space", registry.create("space", IMAGENET).spec).spec.endswith("stem=imagenet")
    with pytest.raises(UsageError, match="multiple of 32, since stem and cells halve the map"):
        registry.create("space", f"{IMAGENET},size=48".replace("size=224,", ""))
    with pytest.raises(UsageError, match=r"stem='resnet'.*allowed: cifar or imagenet"):
        registry.create("space", "darts:stem=resnet")


@pytest.mark.slow
def test_the_stem_of_imagenet_halves_three_times_and_the_supernet_is_the_built_network():
    space = registry.create("space", "darts:layers=3,width=4,size=32,stem=imagenet")
    assert space.graph.shapes["stem0/bn_b"] == (4, 8, 8)
    assert space.graph.shapes["stem1/bn"] == (4, 4, 4)
    contract = SpaceContract()
    sample = space.sample(2, np.random.default_rng(0))
    contract.test_supernet_at_one_hot_gates_equals_the_built_network(space, sample)
    contract.test_onnx_runtime_equals_torch_on_random_weights(space, sample, folded=True)


# -- cells of each stage, as in H-DAS ----------------------------------------------------------------------------------

STAGED = "darts:layers=8,width=4,size=8,stages=3"


@pytest.fixture(scope="module")
def staged():
    return registry.create("space", STAGED)


def test_plain_cells_are_named_and_encoded_as_ever(space):
    assert space.spec == "darts:layers=6,width=8,classes=10,size=32,channels=3"
    assert [site.name for site in space.sites] == [f"{kind}/e{i}" for kind in ("normal", "reduce") for i in range(14)]
    assert space.parse(DARTS_V2).key == "4.4.4.4.0.3.4.0.0.3.0.6.0.0.1.1.0.1.3.1.0.3.0.0.1.3.0.0"


def test_five_cells_are_searched_where_each_stage_has_its_own(staged):
    kinds = ("normal0", "reduce0", "normal1", "reduce1", "normal2")
    assert [site.name for site in staged.sites] == [f"{kind}/e{i}" for kind in kinds for i in range(14)]
    assert staged.size_log10 == pytest.approx(5 / 2 * registry.create("space", "darts").size_log10)
    assert staged.spec.endswith("channels=3,stages=3")
    assert registry.create("space", staged.spec) == staged


def test_the_same_cells_in_every_stage_are_the_plain_network(staged):
    plain = registry.create("space", STAGED.replace(",stages=3", ""))
    for architecture in plain.sample(5, np.random.default_rng(0)):
        normal, reduce = architecture.choices[:14], architecture.choices[14:]
        alike = staged.architecture(normal + reduce + normal + reduce + normal)
        assert staged.network_graph(alike) == plain.network_graph(architecture)


@pytest.mark.parametrize(("kind", "cells"), [("normal0", {0, 1}), ("reduce0", {2}), ("normal1", {3, 4}),
                                             ("reduce1", {5}), ("normal2", {6, 7})])  # fmt: skip
def test_a_cell_is_that_of_its_stage_alone(staged, kind, cells):
    one, other = staged.sample(2, np.random.default_rng(0))
    own = {i for i, site in enumerate(staged.sites) if site.name.startswith(f"{kind}/")}
    both = zip(one.choices, other.choices, strict=True)
    changed = staged.architecture(b if i in own else a for i, (a, b) in enumerate(both))
    before, after = ({n.name: n.operation for n in staged.raw_graph(a).nodes} for a in (one, changed))
    moved = before.keys() ^ after.keys()
    assert {int(name.split("/")[1]) for name in moved} == cells


def test_cells_of_stages_are_written_and_read(staged):
    for architecture in staged.sample(5, np.random.default_rng(0)):
        for notation in staged.notations:
            assert staged.parse(notation.write(architecture)) == architecture
    with pytest.raises(InvalidArchitectureError, match="expected normal0: or reduce0: or normal1:"):
        staged.parse("normal:|sep_conv_3x3~0|")


def test_a_stage_without_a_cell_is_refused():
    with pytest.raises(UsageError, match=r"layers=4 with stages=3; allowed: from 5"):
        registry.create("space", "darts:layers=4,stages=3")
    with pytest.raises(UsageError, match=r"stages=2.*allowed: 1 or 3"):
        registry.create("space", "darts:stages=2")


@pytest.mark.slow
def test_the_supernet_and_the_circuit_of_cells_of_stages_are_the_built_network():
    space, contract = registry.create("space", "darts:layers=5,width=4,size=8,stages=3"), SpaceContract()
    sample = space.sample(2, np.random.default_rng(0))
    contract.test_supernet_at_one_hot_gates_equals_the_built_network(space, sample)
    contract.test_circuit_at_one_hot_gates_equals_the_counter_of_the_network(space, sample, "macs")
    contract.test_onnx_runtime_equals_torch_on_random_weights(space, sample, folded=True)


def test_with_any_number_of_edges_a_cell_gives_its_last_node_and_its_edges_are_free():
    free = registry.create("space", "darts:layers=3,width=4,size=8,in_edges=any")
    assert not free.rules
    assert [len(node) for node in free.nodes] == [2, 3, 4, 5] * 2
    assert free.size_log10 == pytest.approx(28 * np.log10(8))
    nothing = [0] * 28
    assert not free.is_connected(free.architecture(nothing))
    for edges in ((9,), (0, 11), (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)):  # of the normal cell: to its last node
        choices = list(nothing)
        for edge in (*edges, 14 + 9):
            choices[edge] = 4
        architecture = free.architecture(choices)
        assert free.is_connected(architecture)
        assert free.parse(free.format(architecture)) == architecture
    dead = list(nothing)
    for edge in (0, 9, 14 + 9):  # edge 0 goes to a node that nothing reads
        dead[edge] = 4
    alive = [0 if place == 0 else choice for place, choice in enumerate(dead)]
    assert free.network_graph(free.architecture(dead)).macs() == free.network_graph(free.architecture(alive)).macs()
    assert free.raw_graph(free.architecture(dead)).macs() > free.raw_graph(free.architecture(alive)).macs()
    with pytest.raises(InvalidArchitectureError, match="no notation"):
        free.parse("Genotype(normal=[], normal_concat=[], reduce=[], reduce_concat=[])")
