"""Groups of sizes: which they are, that each has its turn, and that sizes spread wider than uniform ones."""

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import UnknownNameError
from tempograd.search.laws.grouped import Grouped, by_size
from tempograd.search.laws.uniform import Uniform
from tempograd.spaces.circuit import counts
from tempograd.spaces.zoo.multibranch import Multibranch

PAPERS = Multibranch(modules="1", width=4, least=2, depth=5, size=16)
SPACE = Multibranch(modules="1-1", width=4, depth=3, size=16)


def rows_of(group, space):
    """The depths that a group draws from, and its share of fusions; the same at all of its sites."""
    depths = {tuple(np.flatnonzero(group[s.name]).tolist()) for s in space.sites if s.name.endswith("depth")}
    shares = {tuple(group[s.name]) for s in space.sites if "/from" in s.name}
    assert len(depths) == len(shares) == 1
    return depths.pop(), round(shares.pop()[1], 6)


def test_the_papers_groups_are_three_windows_of_depth_by_three_shares_and_both_ends():
    found = [rows_of(group, PAPERS) for group in by_size(PAPERS)]
    between = [((i, i + 1), share) for share in (0.2, 0.5, 0.8) for i in range(3)]
    assert found == [((0,), 0.1), *between, ((3,), 1.0)]


def test_fewer_depths_make_fewer_groups_and_without_any_there_are_shares_alone():
    assert len(by_size(SPACE)) == 3 * 2 + 2
    edges = registry.create("space", "nodedag:n=4,stages=1,width=4,size=8")
    assert [{round(row[1], 6) for row in group.values()} for group in by_size(edges)] == [
        {0.1},
        {0.2},
        {0.5},
        {0.8},
        {1},
    ]


def test_groups_are_drawn_in_turn_and_so_exactly_equally_often():
    law, generator, groups = Grouped(PAPERS, groups=by_size(PAPERS)), torch.Generator().manual_seed(0), by_size(PAPERS)
    seen = set()
    for turn in range(5 * len(groups)):
        gates, group = law.draw(generator, tau=1.0), groups[turn % len(groups)]
        for site in PAPERS.sites:
            assert group[site.name][int(gates[site.name].argmax())] > 0
            assert float(gates[site.name].sum()) == 1.0
        if turn % len(groups) == 5:  # one of the middle
            seen.add(tuple(int(gates[site.name].argmax()) for site in PAPERS.sites))
    assert len(seen) == 5
    again = Grouped(PAPERS, groups=groups)
    again.load_state_dict(law.state_dict())  # where it was in its turn is kept
    assert int(again.turn) == 5 * len(groups)


def test_sizes_spread_half_as_wide_again_as_uniform_ones():
    """Of the prototype on a like space 2.1 times; by multiply-accumulates, each law's own draws."""
    table, generator = counts(SPACE.graph, SPACE.operations, "macs"), torch.Generator().manual_seed(0)
    spread = [
        float(SPACE.circuit.cost(table, law.sample(600, generator)).std())
        for law in (Grouped(SPACE, groups=by_size(SPACE)), Uniform(SPACE))
    ]
    assert spread[0] > 1.5 * spread[1]


def test_a_group_of_a_site_that_is_not_there_is_refused():
    with pytest.raises(UnknownNameError, match="site of a group"):
        Grouped(SPACE, groups=[{"m9/b0/depth": (1.0,)}])
