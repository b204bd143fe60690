"""The law of edges: Gibbs sweeps draw masks without dead edges, answers move it by hand-worked steps."""

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.search.laws.bernoulli import Bernoulli

from ..planted import graphs

SMALL = "nodedag:n=4,stages=1,width=4,size=8"


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.slow
def test_long_run_frequencies_of_sweeps_are_the_law_of_masks_without_dead_edges():
    """By enumeration of all 64 masks: independent edges, given that none is dead."""
    space = graphs(SMALL)
    law = Bernoulli(space, generator(1), noise=1.0)
    on = law.weights.clamp(0.05, 0.95).double().numpy()
    every = list(space.enumerate())
    masks = np.array([a.choices for a in every])
    expected = np.prod(np.where(masks == 1, on, 1 - on), axis=1)
    expected /= expected.sum()
    rng, index, counts = generator(2), {a: i for i, a in enumerate(every)}, np.zeros(len(every))
    for _ in range(6000):
        counts[index[law.sweep(rng)]] += 1
    assert np.abs(counts / counts.sum() - expected).sum() / 2 < 0.05  # total variation; of independent draws .03
    independent = np.zeros(len(every))
    for row in (torch.rand((6000, 6), generator=rng) < torch.tensor(on)).long().tolist():
        independent[index[space.architecture(row)]] += 1
    assert np.abs(independent / independent.sum() - expected).sum() / 2 > 0.1  # so that the coupling can be told


def test_an_answer_moves_every_edge_by_the_step_and_the_edges_beside_it_by_a_share():
    space = graphs(SMALL)  # edges 0>1, 0>2, 1>2, 0>3, 1>3, 2>3
    drawn = space.architecture([1, 0, 1, 0, 0, 1])  # a chain
    alone, spread = Bernoulli(space, eta=0.1), Bernoulli(space, eta=0.1, spread=0.5)
    for law in (alone, spread):
        law.learn(drawn, 2.0)
    step = 0.1 * 2.0 * 0.5
    signs = np.array([1, -1, 1, -1, -1, 1])
    assert np.allclose(alone.weights, 0.5 + step * signs)
    # the ends of the chain have one neighbour, the middle two: it gets half of both steps and gives a quarter to each
    assert np.allclose(spread.weights - alone.weights, [step / 4, 0, step, 0, 0, step / 4], atol=1e-6)
    alone.learn(drawn, 100.0)
    assert alone.weights.tolist() == [1, 0, 1, 0, 0, 1]
    assert alone.best() == drawn
    still = Bernoulli(space)
    still.learn(drawn, 0.0)
    assert np.allclose(still.weights, 0.5)


def test_no_edge_is_drawn_always_or_given_up():
    """However sure the law is of it, so that a later answer may still speak for or against it."""
    law, rng = Bernoulli(graphs(SMALL)), generator(3)
    law.weights.copy_(torch.tensor([1.0, 1, 0, 1, 0, 0]))  # all edges out of node 0: none needs another
    drawn = torch.tensor([law.sweep(rng).choices for _ in range(800)]).float().mean(dim=0)
    assert ((drawn > 0.005) & (drawn < 0.995)).all()
    assert ((drawn - law.weights).abs() < 0.15).all()  # drawn as if nearly sure, not at random


def test_a_worse_answer_moves_the_other_way():
    space = graphs(SMALL)
    law = Bernoulli(space)
    law.learn(space.architecture([1] * 6), -1.0)
    assert (law.weights < 0.5).all()


def test_what_it_needs_of_a_space_is_told():
    with pytest.raises(UsageError, match=r"edges to choose.*nodedag"):
        Bernoulli(registry.create("space", "nasbench201:cells=1,width=4,size=8"))
    with pytest.raises(UsageError, match="spread=2"):
        Bernoulli(graphs(SMALL), spread=2.0)


def test_every_sweep_goes_through_all_edges_in_an_order_of_its_own(monkeypatch):
    law, rng, orders = Bernoulli(graphs(SMALL)), generator(4), []
    for _ in range(5):
        order = []
        monkeypatch.setattr(law, "_is_clean", lambda mask, order=order: bool(order.append(mask.index(1))))
        law.sweep(rng)  # none is clean, so that the edge asked about is the one that is on
        orders.append(tuple(order))
    assert all(sorted(order) == list(range(6)) for order in orders)
    assert len(set(orders)) > 1


def test_the_likely_edges_are_those_that_are_likelier_than_not():
    space = graphs(SMALL)
    law = Bernoulli(space)
    law.weights.copy_(torch.tensor([0.55, 0.45, 0.55, 0.5, 0.55, 0.45]))
    assert law.best() == space.architecture([1, 0, 1, 0, 1, 0])
