"""Fronts and picks against brute force."""

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import TargetError, UsageError
from tempograd.search.cost import TableCost
from tempograd.search.deriver import as_scores, derive, score
from tempograd.search.forms import LearnedMultiplier, Linear, Ratio, Reject
from tempograd.search.front import front, front_pick, pick
from tempograd.search.objective import CostTerm

NB201 = registry.create("space", "nasbench201:cells=1,width=4,size=8")
ROUTED = registry.create("space", "routed:base=resnet,blocks=2/3-4/5-6,reach=3,layers=1,head=8,size=8,classes=5")


def candidates(seed, n=60, levels=9):
    """Few levels, so that there are ties in either and in both."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, levels, n).astype(float), rng.integers(0, levels, n).astype(float)


def beaten(i, quality, cost):
    no_worse = (quality >= quality[i]) & (cost <= cost[i])
    return bool((no_worse & ((quality > quality[i]) | (cost < cost[i]))).any())


@pytest.mark.parametrize("seed", range(20))
def test_a_front_is_what_no_other_beats_each_once_by_rising_cost(seed):
    quality, cost = candidates(seed)
    found = front(quality, cost)
    wanted = {(quality[i], cost[i]) for i in range(len(quality)) if not beaten(i, quality, cost)}
    assert [(quality[i], cost[i]) for i in found] == sorted(wanted, key=lambda pair: pair[1])


@pytest.mark.parametrize("seed", range(20))
def test_a_pick_is_the_best_within_the_budget_and_of_equals_the_cheapest(seed):
    quality, cost = candidates(seed)
    for budget in (cost.min(), 3.5, 6.0, np.inf):
        fitting = [i for i in range(len(cost)) if cost[i] <= budget]
        best = max(fitting, key=lambda i: (quality[i], -cost[i]))
        found = pick(quality, cost, budget)
        assert (quality[found], cost[found]) == (quality[best], cost[best])
    with pytest.raises(TargetError, match=f"none of 60 candidates is within -1, the cheapest {cost.min():.4g}"):
        pick(quality, cost, -1)
    with pytest.raises(TargetError, match="none of 0 candidates"):
        pick([], [], 1.0)


def law_of(space, seed, noise=1.0):
    return registry.create("law", "softmax", space=space, generator=torch.Generator().manual_seed(seed), noise=noise)


def cost_of(space):
    values = np.random.default_rng(0).uniform(0.1, 1, len(space.circuit.keys))
    return TableCost(space.circuit, dict(zip(sorted(space.circuit.keys), values.tolist(), strict=True)))


@pytest.mark.parametrize("seed", range(5))
def test_what_is_picked_of_a_small_space_is_the_best_of_all_within_the_target(seed):
    """There are 128 routes with their layers: samples of a flat law hold nearly all, and the best are among them."""
    law, cost, every = law_of(ROUTED, seed, noise=0.3), cost_of(ROUTED), list(ROUTED.enumerate())
    scores, price = as_scores(law.scores()), cost(ROUTED.gates(every)).double().numpy()
    for share in (0.1, 0.5):
        target_ms = float(np.quantile(price, share))
        for form in (Ratio(0.1, target_ms), Reject(target_ms)):
            found = front_pick(law, ROUTED, CostTerm(cost, form))
            assert float(cost(ROUTED.gates([found]))[0]) <= target_ms
            values = np.array([score(scores, a) for a in every])
            within = price <= target_ms
            assert (values[within] > score(scores, found) + 1e-9).sum() <= 0.03 * within.sum()


def test_where_the_derived_network_fits_it_is_the_pick():
    law, cost = law_of(NB201, 1), cost_of(NB201)
    assert front_pick(law, NB201, CostTerm(cost, Ratio(0.1, 1e3))) == derive(law, NB201)
    derived_ms = float(cost(NB201.gates([derive(law, NB201)]))[0])
    cheaper = front_pick(law, NB201, CostTerm(cost, Ratio(0.1, 0.99 * derived_ms)))
    assert NB201.is_connected(cheaper)
    assert float(cost(NB201.gates([cheaper]))[0]) <= 0.99 * derived_ms


def test_a_form_without_a_target_and_one_that_learns_from_what_is_derived_are_refused():
    law, cost = law_of(NB201, 0), cost_of(NB201)
    with pytest.raises(UsageError, match="Linear has no target"):
        front_pick(law, NB201, CostTerm(cost, Linear(0.1, 1.0)))
    with pytest.raises(UsageError, match="learns from what is derived"):
        front_pick(law, NB201, CostTerm(cost, LearnedMultiplier(5.0)))
    with pytest.raises(TargetError, match=r"cheapest \d"):
        front_pick(law, NB201, CostTerm(cost, Ratio(0.1, 1e-3)))
