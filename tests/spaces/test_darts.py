import numpy as np
import pytest

from tempograd import registry
from tempograd.errors import InvalidArchitectureError, UsageError
from tempograd.spaces.layers import Conv


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
