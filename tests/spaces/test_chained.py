"""Blocks in slots and networks of them: what a slot is, how often it is there, and what is not taken costs nothing."""

from collections import Counter

import numpy as np
import pytest

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.spaces.circuit import counts
from tempograd.spaces.layers import Conv

SPACE = registry.create("space", "chained:blocks=3,n=2,stages=3,copies=3,width=4,size=8,channels=1")
INDEX = {site.name: i for i, site in enumerate(SPACE.sites)}


def network(base, stages):
    """The network of ``(slot, copies)`` for every stage."""
    taken = {f"s{stage}/block": slot for stage, (slot, _) in enumerate(stages)}
    taken |= {f"s{stage}/copies": copies - 1 for stage, (_, copies) in enumerate(stages)}
    return SPACE.changed(base, {INDEX[name]: option for name, option in taken.items()})


@pytest.fixture
def base():
    return SPACE.sample(1, np.random.default_rng(3))[0]


def kernels(graph, stage, copy):
    """Return how many convolutions of each size, depthwise or not, a copy has."""
    there = f"stages/{stage}/copy{copy}/"
    convolutions = [
        node.operation for node in graph.nodes if node.name.startswith(there) and isinstance(node.operation, Conv)
    ]
    return Counter((conv.kernel, conv.groups > 1) for conv in convolutions)


def test_a_stage_is_so_many_copies_of_the_block_it_takes(base):
    graph = SPACE.raw_graph(network(base, [(0, 1), (2, 3), (1, 2)]))
    names = {tuple(node.name.split("/")[:3]) for node in graph.nodes if node.name.startswith("stages/")}
    per_stage = Counter(stage for _, stage, copy in names if copy.startswith("copy"))
    assert per_stage == {"0": 1, "1": 3, "2": 2}
    slots = {
        (node.name.split("/")[1], node.name.split("/")[5]) for node in graph.nodes if node.name.startswith("stages/")
    }
    assert slots == {("0", "b0"), ("1", "b2"), ("2", "b1")}


def test_one_slot_is_the_same_block_wherever_it_is_taken(base):
    graph = SPACE.raw_graph(network(base, [(1, 2), (1, 1), (1, 3)]))
    blocks = [kernels(graph, stage, copy) for stage, copies in ((0, 2), (1, 1), (2, 3)) for copy in range(copies)]
    assert all(block == blocks[0] for block in blocks)
    other = SPACE.raw_graph(network(base, [(0, 1), (1, 1), (2, 1)]))
    assert len({tuple(sorted(kernels(other, stage, 0).items())) for stage in range(3)}) > 1


@pytest.mark.parametrize("unit", ["macs", "parameters"])
def test_each_copy_costs_alike_and_those_past_the_number_nothing(base, unit):
    table = counts(SPACE.graph, SPACE.operations, unit)
    cost = [
        float(SPACE.circuit.cost(table, SPACE.gates([network(base, [(0, 1), (1, n), (2, 1)])]))[0]) for n in (1, 2, 3)
    ]
    assert cost[1] > cost[0]
    assert cost[2] - cost[1] == pytest.approx(cost[1] - cost[0])


def test_what_is_in_a_slot_that_no_stage_takes_makes_no_other_network_and_no_other_features(base):
    taken = network(base, [(0, 1), (1, 2), (0, 3)])
    (other,) = SPACE.sample(1, np.random.default_rng(8))
    changed = SPACE.changed(taken, {INDEX[name]: other.choices[INDEX[name]] for name in SPACE.slots["b2"]})
    seen = SPACE.changed(taken, {INDEX[name]: other.choices[INDEX[name]] for name in SPACE.slots["b1"]})
    assert changed != taken
    groups = SPACE.groups([taken, changed, seen])
    assert groups[0] == groups[1] != groups[2]
    for name in ("used", "layers", "counts"):
        rows = SPACE.encode([taken, changed, seen], name)
        assert np.array_equal(rows[0], rows[1])
        assert not np.array_equal(rows[0], rows[2])


def test_its_slots_are_the_sites_of_blocks_and_an_option_where_a_stage_takes_one():
    assert list(SPACE.slots) == ["b0", "b1", "b2"]
    inside = [name for names in SPACE.slots.values() for name in names]
    outside = [site for site in SPACE.sites if site.name not in inside]
    assert sorted([*inside, *(site.name for site in outside)]) == sorted(INDEX)
    assert sum(site.options == tuple(SPACE.slots) for site in outside) == 3
    assert registry.create("space", "nasbench201").slots == {}


def test_a_size_that_its_stages_cannot_halve_is_refused():
    with pytest.raises(UsageError, match="size=10; allowed: a multiple of 4"):
        registry.create("space", "chained:size=10")
