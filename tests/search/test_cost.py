"""Costs of gates: a table is exact in expectation, a sum is the sum, a predictor is shown a law in three ways."""

import itertools

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import UnknownNameError
from tempograd.search.cost import FEEDS, PredictorCost, TableCost, WeightedSum
from tempograd.search.laws.softmax import Softmax

SPACE = registry.create("space", "nasbench201:cells=1,width=4,size=8")


def table(seed=0):
    values = np.random.default_rng(seed).uniform(0.1, 1, len(SPACE.circuit.keys))
    return TableCost(SPACE.circuit, dict(zip(sorted(SPACE.circuit.keys), values, strict=True)))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def law():
    return Softmax(SPACE, generator(1), noise=1.0)


def linear():
    module = torch.nn.Sequential(torch.nn.Linear(sum(SPACE.widths), 1), torch.nn.Flatten(0))
    with torch.no_grad():
        module[0].weight.uniform_(0.1, 1.0, generator=generator(2))
    return module


def test_a_table_prices_the_law_as_its_networks_by_their_probabilities(law):
    architectures = list(itertools.islice(SPACE.enumerate(), None))
    p = torch.stack([law.marginals()[name].detach() for name in law.names])
    weight = torch.stack([p[i, [a.choices[i] for a in architectures]] for i in range(len(law.names))]).prod(dim=0)
    each = table()(SPACE.gates(architectures))
    assert float(weight.sum()) == pytest.approx(1.0, rel=1e-4)
    assert float(table().expected(law, generator()).detach()) == pytest.approx(float((weight * each).sum()), rel=1e-4)


def test_a_sum_is_the_weighted_sum_and_a_constant(law):
    one, other = table(1), table(2)
    both = WeightedSum(((0.3, one), (2.0, other)), 0.5)
    gates = SPACE.gates(SPACE.sample(5, np.random.default_rng(0)))
    assert torch.allclose(both(gates), 0.5 + 0.3 * one(gates) + 2.0 * other(gates))
    expected = 0.5 + 0.3 * one.expected(law, generator()) + 2.0 * other.expected(law, generator())
    assert torch.allclose(both.expected(law, generator()), expected)


@pytest.mark.parametrize("feed", FEEDS)
def test_a_linear_predictor_says_the_same_however_it_is_fed_and_has_a_slope(law, feed):
    module = linear()
    cost = PredictorCost(module, SPACE, "raw", feed=feed)
    drawn = law.draw(generator(), tau=1.0)
    found = cost.expected(law, generator(3), drawn)
    shown = drawn if feed == "draw" else law.marginals()
    if feed != "sampled":
        assert float(found.detach()) == pytest.approx(
            float(module(SPACE.relax(shown, "raw")[None])[0].detach()), rel=1e-5
        )
    (slope,) = torch.autograd.grad(found, [law.logits], retain_graph=True)
    (exact,) = torch.autograd.grad(module(SPACE.relax(shown, "raw")[None])[0], [law.logits])
    assert torch.allclose(slope, exact, rtol=1e-3, atol=1e-5)


def test_one_that_is_fed_otherwise_is_refused():
    with pytest.raises(UnknownNameError, match="feed"):
        PredictorCost(linear(), SPACE, "raw", feed="guessed")


def test_equal_costs_are_told_and_others_are_told_apart():
    assert table().identity() == table().identity() != table(1).identity()
    one = WeightedSum(((1.0, table()),))
    assert one.identity() == WeightedSum(((1.0, table()),)).identity() != WeightedSum(((2.0, table()),)).identity()
    module = linear()
    assert PredictorCost(module, SPACE, "raw").identity() == PredictorCost(module, SPACE, "raw").identity()
    before = PredictorCost(module, SPACE, "raw").identity()
    with torch.no_grad():
        module[0].bias += 1
    assert PredictorCost(module, SPACE, "raw").identity() != before
