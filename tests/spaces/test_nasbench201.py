import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import InvalidArchitectureError, UsageError

# Published: index -> string, from the NAS-Bench-201 release.
PUBLISHED = {
    0: "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
    1: "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|",
}


@pytest.fixture(scope="module")
def space():
    return registry.create("space", "nasbench201")


@pytest.mark.parametrize(("index", "text"), PUBLISHED.items())
def test_published_index_and_string_are_interchangeable(space, index, text):
    assert space.format(space.parse(str(index))) == text
    assert space.index(space.parse(text)) == index


@pytest.mark.slow
def test_index_is_a_bijection(space):
    assert len({space.from_index(i) for i in range(15625)}) == 15625
    assert len(list(space.enumerate())) == 15625


def test_published_counts(space):
    """NATS-Bench lists 1.531546 M parameters for six 3x3 convolutions on CIFAR-10."""
    graph = space.network_graph(space.architecture([3] * 6))
    assert graph.parameters() == 1_531_546
    assert graph.macs() / 1e6 == pytest.approx(220.12, abs=0.001)


def test_pruned_encoding_drops_what_does_not_reach_the_output(space):
    dead = space.architecture([4, 0, 0, 2, 4, 3])  # the last edge starts at a node without input
    alive = space.architecture([4, 0, 0, 2, 4, 0])
    assert np.array_equal(space.encode([dead], "pruned"), space.encode([alive], "pruned"))
    assert not np.array_equal(space.encode([dead]), space.encode([alive]))


def test_pruned_encoding_counts_the_networks_that_differ(space):
    """Of the 15,625 strings, the pruned ones are those left after dropping dead edges; a one-hot row sums to 1."""
    pruned = space.encode(list(space.enumerate()), "pruned")
    assert np.allclose(pruned.reshape(-1, 6, 5).sum(axis=2), 1)
    assert set(np.unique(pruned)) == {0.0, 1.0}
    assert 6466 < len({row.tobytes() for row in pruned}) < 15625  # 6,466 are known to be unique up to isomorphism


def test_a_disconnected_network_still_runs(space):
    network = space.to_torch(space.architecture([0] * 6)).eval()
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("text", ["|nor_conv_3x3~0|", "|x~0|+|a~0|b~1|+|a~0|b~1|c~2|", "15625", "1.2"])
def test_malformed_text_is_refused(space, text):
    with pytest.raises(InvalidArchitectureError):
        space.parse(text)


@pytest.mark.parametrize(
    "spec", ["nasbench201:width=0", "nasbench201:cells=1.5", "nasbench201:depth=3", "nasbench201:x"]
)
def test_wrong_arguments_are_refused(spec):
    with pytest.raises(UsageError):
        registry.create("space", spec)
