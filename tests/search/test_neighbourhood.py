"""Random changes keep the space's rules, and take what they take from the parents."""

import numpy as np
import pytest

from tempograd import registry
from tempograd.search.neighbourhood import crossed, mutated, neighbours

SPECS = [
    "nasbench201:cells=1,width=4,size=8",
    "darts:layers=2,width=4,size=8",
    "mbconv:family=ofa,size=8,classes=5,width=0.25,stages=2,layers=3,resolution_options=2",
]


@pytest.fixture(params=SPECS, ids=lambda spec: spec.partition(":")[0])
def space(request):
    return registry.create("space", request.param)


def test_children_are_architectures_of_the_space(space):
    rng = np.random.default_rng(0)
    one, other = space.sample(2, rng)
    for _ in range(50):
        for child in (crossed(space, one, other, rng), mutated(space, one, rng, rate=0.3)):
            assert space.architecture(max(c, 0) for c in child.choices) == child


def test_a_crossover_takes_every_option_from_a_parent(space):
    rng = np.random.default_rng(0)
    one, other = space.sample(2, rng)
    seen = set()
    for _ in range(50):
        child = crossed(space, one, other, rng)
        seen.add(child)
        pairs = zip(child.choices, one.choices, other.choices, strict=True)
        assert all(c in (a, b) or -1 in (a, b) for c, a, b in pairs)
    assert len(seen) > 10


@pytest.mark.slow
def test_a_mutation_without_a_rate_is_one_change_and_with_one_about_so_many(space):
    rng = np.random.default_rng(0)
    (one,) = space.sample(1, rng)
    assert all(mutated(space, one, rng) in neighbours(space, one) for _ in range(20))
    assert mutated(space, one, rng, rate=0.0) == one
    few, many = (
        np.mean([np.not_equal(mutated(space, one, rng, rate=r).choices, one.choices).sum() for _ in range(100)])
        for r in (0.1, 0.6)
    )
    assert 0 < few < many
