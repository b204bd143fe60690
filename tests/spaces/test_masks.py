"""Masks of edges: dead edges are none, and two masks that differ in these alone are one network."""

from itertools import product

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.spaces.graph import resolve, simplify
from tempograd.spaces.masks import deal
from tempograd.spaces.network import inherit


@pytest.fixture(scope="module")
def cell():
    return registry.create("space", "recurrent:n=5,hidden=4,classes=3")


@pytest.fixture(scope="module")
def free():
    return registry.create("space", "recurrent:n=3,hidden=4,classes=3,free=true")


def test_clean_up_ends_at_a_fixed_point_for_every_mask_of_five_nodes(cell):
    masks = np.array([*product((0, 1), repeat=10)])
    clean = cell.cleaned(masks)
    assert np.array_equal(cell.cleaned(clean), clean)
    assert (clean <= masks).all()
    listed = {a.choices for a in cell.enumerate()}
    assert {tuple(row) for row in clean.tolist()} == listed
    assert len(listed) == round(10**cell.size_log10)


def test_what_is_cleaned_away_carried_nothing(cell):
    """The supernet under a mask with dead edges gives what the network without them gives."""
    torch.manual_seed(0)
    supernet, x = cell.supernet().eval(), [torch.tensor([[1], [2]]), torch.randn(2, 4)]
    masks = np.random.default_rng(0).integers(0, 2, (40, 10))
    assert (cell.cleaned(masks) != masks).any(axis=1).sum() > 10
    for mask in masks:
        gates = {site.name: torch.eye(2)[choice] for site, choice in zip(cell.sites, mask, strict=True)}
        network = inherit(cell.to_torch(cell.architecture(mask)), supernet).eval()
        unclean = simplify(resolve(cell.graph, dict(zip(gates, mask.tolist(), strict=True))))
        assert unclean.macs() == network.graph.macs()
        for found, expected in zip(supernet(x, gates), network(x), strict=True):
            assert torch.allclose(found, expected, atol=1e-6)


def test_the_operation_of_a_node_that_nothing_enters_is_its_first(free):
    alone = free.architecture([0, 1, 0, 3, 2])  # 0>2 only: node 1 is not there
    assert alone.choices == (0, 1, 0, 0, 2)
    assert free.architecture([0, 0, 1, 3, 2]).choices == (0, 0, 0, 0, 0)  # 1>2 of a node that is not there
    listed = [*free.enumerate()]
    every = {free.architecture(choices) for choices in product((0, 1), (0, 1), (0, 1), *[range(4)] * 2)}
    assert set(listed) == every
    assert len(listed) == len(every) == round(10**free.size_log10)
    assert (free.edges, free.nodes) == ((), ())


def test_operations_are_dealt_out_evenly_in_an_order_drawn_by_the_seed():
    dealt = deal("abc", 8, 3)
    assert sorted(dealt) == sorted("abcabcab")
    assert dealt == deal("abc", 8, 3) != deal("abc", 8, 4)
