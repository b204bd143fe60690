from __future__ import annotations

from collections import defaultdict
from itertools import product

import numpy as np
import pytest

from tempograd import registry
from tempograd.spaces.canonical import _merged, canonical
from tempograd.spaces.layers import Pool, Zero
from tempograd.spaces.zoo.nasbench201 import EDGES, OPTIONS

NONE, SKIP, CONV1, CONV3, POOL = range(len(OPTIONS))


@pytest.fixture(scope="module")
def space():
    return registry.create("space", "nasbench201:cells=1,width=4,size=8")


def form(space, *choices):
    return canonical(space.network_graph(space.architecture(choices)))


def test_dead_branches_and_identities_do_not_count(space):
    #                      01    02    12    03    13    23
    alone = form(space, NONE, NONE, NONE, CONV3, NONE, NONE)
    assert alone == form(space, CONV1, POOL, CONV3, CONV3, NONE, NONE)  # nothing of it reaches the output
    assert alone == form(space, SKIP, NONE, NONE, NONE, CONV3, NONE)  # the same convolution, one node later
    assert alone != form(space, NONE, NONE, NONE, CONV1, NONE, NONE)


def test_equal_work_on_equal_inputs_is_done_once_but_weights_are_their_own(space):
    # node 1 is the input itself, so the two pools of node 3 are one; two convolutions have weights of their own
    pools = space.network_graph(space.architecture((SKIP, NONE, NONE, POOL, POOL, NONE)))
    assert sum(isinstance(node.operation, Pool) for node in _merged(pools)[0]) == 5  # a cell each, and two reductions
    one = form(space, POOL, NONE, NONE, NONE, CONV1, NONE)
    assert form(space, POOL, POOL, NONE, NONE, CONV1, NONE) == one
    convolutions = form(space, CONV3, CONV3, NONE, NONE, POOL, POOL)
    assert convolutions != form(space, CONV3, NONE, NONE, NONE, POOL, NONE)


@pytest.mark.slow
def test_inner_nodes_may_trade_places(space):
    """Nodes 1 and 2 trade places wherever no edge joins them: brute force over all such cells of three options."""
    trade = {EDGES.index(a): EDGES.index(b) for a, b in (((0, 1), (0, 2)), ((1, 3), (2, 3)))}
    trade |= {b: a for a, b in trade.items()}
    for choices in product((NONE, CONV3, POOL), repeat=len(EDGES)):
        if choices[EDGES.index((1, 2))] == NONE:
            other = [choices[trade.get(i, i)] for i in range(len(EDGES))]
            assert form(space, *choices) == form(space, *other)


@pytest.mark.slow
def test_networks_of_one_form_cost_the_same(space):
    found = {}
    for architecture in space.sample(400, np.random.default_rng(0)):
        graph = space.network_graph(architecture)
        if any(isinstance(node.operation, Zero) for node in graph.nodes):
            continue  # what hangs on constants alone is computed when a network is loaded
        cost = graph.parameters(), graph.macs()
        assert found.setdefault(canonical(graph), cost) == cost


@pytest.mark.slow
def test_groups_keep_every_name_of_a_network_together(space):
    """Whatever is one network by its canonical form, or by what the cell computes, is in one group."""
    architectures = space.sample(600, np.random.default_rng(1))
    groups = space.groups(architectures).tolist()
    (cell,), names = space.compiled_cells, [site.name for site in space.sites]
    for same in (
        lambda a: canonical(space.network_graph(a)),
        lambda a: cell.canonical(dict(zip(names, a.choices, strict=True))),
    ):
        found = defaultdict(set)
        for architecture, group in zip(architectures, groups, strict=True):
            found[same(architecture)].add(group)
        assert all(len(numbers) == 1 for numbers in found.values())
        assert len(found) < 500  # there is something to keep together


@pytest.mark.slow
def test_groups_are_of_the_whole_space_at_any_size():
    full = registry.create("space", "nasbench201")
    architectures = list(full.enumerate())
    groups = full.groups(architectures)
    assert (len(groups), groups.max() + 1) == (15625, 5773)
    assert groups[0] == full.groups(architectures[:10])[0] == 0  # everything is cut off


def test_layers_that_are_skipped_leave_equal_networks():
    """In one stage it makes no difference which of two equal layers is the one that is skipped."""
    space = registry.create("space", "mbconv:family=fbnet,size=8,width=0.25,stages=2,layers=2")
    architectures = space.sample(400, np.random.default_rng(0))
    forms = [canonical(space.network_graph(a)) for a in architectures]
    groups = space.groups(architectures)
    assert len(set(forms)) == len(set(groups.tolist())) == len(set(zip(forms, groups.tolist(), strict=True)))


def test_cells_of_three_options_have_as_many_forms_as_were_counted(space):
    """The whole space has 6,366, which `benchmarks/distinct_networks.py` counts, and compares with a runtime's."""
    cells = product((NONE, SKIP, CONV3), repeat=len(EDGES))
    assert len({form(space, *choices) for choices in cells}) == 160
