"""Programmes and prunings against brute force."""

import itertools

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import TargetError, UsageError
from tempograd.search.cost import TableCost, WeightedSum
from tempograd.search.deriver import as_scores, score, viterbi
from tempograd.search.forms import Hard
from tempograd.search.objective import CostTerm
from tempograd.search.projection import project, prune, within_target
from tempograd.spaces.circuit import counts

NB201 = registry.create("space", "nasbench201:cells=1,width=4,size=8")
ROUTED = registry.create("space", "routed:base=resnet,blocks=2/3-4/5-6,reach=3,layers=1,head=8,size=8,classes=5")
DEPTHS = registry.create("space", "mbconv:family=ofa,size=8,classes=5,width=0.25,stages=1,layers=3")
MASKED = registry.create("space", "mbconv:family=fbnetv2,size=8,classes=5,width=0.5,stages=1,layers=1,width_options=2")


def scores_of(space, seed, law="softmax"):
    generator = torch.Generator().manual_seed(seed)
    return as_scores(registry.create("law", law, space=space, generator=generator, noise=1.0).scores())


def chain(n):
    """A depth of 2 or 3 over free layers: small enough to list, and its cost is linear."""
    return list(itertools.islice(n.enumerate(), 20_000))


@pytest.mark.parametrize("space", [ROUTED, DEPTHS], ids=["routes", "depths"])
def test_viterbi_is_the_best_of_all_architectures(space):
    every = chain(space)
    for seed in range(20):
        scores = np.random.default_rng(seed).normal(size=(len(space.sites), max(space.widths)))
        best = max(every, key=lambda architecture: score(scores, architecture))
        assert viterbi(scores, space) == best


def test_the_route_derived_from_a_law_is_the_most_probable_one():
    """Operations do not count: a route through more blocks is not the less probable for its choices there."""
    names = [site.name for site in ROUTED.sites]
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        law = registry.create("law", "markov_route", space=ROUTED, generator=generator, noise=1.0)
        p = {name: row.detach() for name, row in law.marginals().items()}

        def probability(architecture, p=p):
            taken = zip(names, architecture.choices, strict=True)
            return np.prod([float(p[n][c]) for n, c in taken if n.endswith("/next") and c >= 0])

        found = viterbi(as_scores(law.scores()), ROUTED)
        assert probability(found) == pytest.approx(max(map(probability, ROUTED.enumerate())))
        for name, choice in zip(names, found.choices, strict=True):
            assert choice in (-1, int(p[name].argmax())) or name.endswith("/next")


@pytest.mark.parametrize("unit", ["macs", "parameters"])
def test_a_linear_cost_is_that_of_the_circuit(unit):
    for space in (NB201, ROUTED):
        table = counts(space.graph, space.operations, unit)
        constant, costs = space.circuit.linear(table)
        for architecture in space.sample(20, np.random.default_rng(0)):
            taken = zip(space.sites, architecture.choices, strict=True)
            total = constant + sum(costs.get((site.name, choice), 0.0) for site, choice in taken if choice >= 0)
            assert total == getattr(space.raw_graph(architecture), unit)()


def test_a_cost_that_is_no_sum_over_options_is_refused():
    with pytest.raises(UsageError, match="width"):
        MASKED.circuit.linear(dict.fromkeys(MASKED.circuit.keys, 1.0))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("space", [NB201, ROUTED], ids=lambda space: space.name)
def test_a_projection_is_the_best_of_all_architectures_within_the_budget(space, seed):
    rng, scores = np.random.default_rng(seed), scores_of(space, seed)
    costs = {(site.name, i): float(rng.uniform(0, 1)) for site in space.sites for i in range(len(site.options))}
    every = list(space.enumerate())
    if space is NB201:
        every = [every[i] for i in rng.permutation(len(every))[:3000]]

    def cost(architecture):
        return sum(costs.get((s.name, c), 0.0) for s, c in zip(space.sites, architecture.choices, strict=True))

    budget = float(np.quantile([cost(a) for a in every], 0.2))
    fitting = [a for a in every if cost(a) <= budget and space.is_connected(a)]
    found = project(scores, space, costs, budget)
    assert cost(found) <= budget + 1e-9
    assert space.is_connected(found)
    best = max(score(scores, a) for a in fitting)
    if space is NB201:  # the listed are a part of the space
        assert score(scores, found) >= best - 1e-6
    else:
        assert score(scores, found) == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_within_a_target_a_sum_counts_each_cost_by_its_weight_and_the_constant(share):
    """By brute force; without the constant, or with another weight, it would take more than there is."""
    tables = [
        TableCost(ROUTED.circuit, counts(ROUTED.graph, ROUTED.operations, unit)) for unit in ("macs", "parameters")
    ]
    sizes = [float(table(ROUTED.gates(chain(ROUTED)[:1]))) for table in tables]
    terms = tuple((weight / size, table) for weight, size, table in zip((0.7, 0.4), sizes, tables, strict=True))
    assert all(table.circuit.linear(table.table) for table in tables)  # costs that add up: a programme finds the best
    cost, every = WeightedSum(terms, 0.5), chain(ROUTED)
    law = registry.create("law", "softmax", space=ROUTED, generator=torch.Generator().manual_seed(0), noise=1.0)
    ms, scores = cost(ROUTED.gates(every)).double().numpy(), as_scores(law.scores())
    target_ms = float(np.quantile(ms, share)) + 1e-6
    found = within_target(law, ROUTED, CostTerm(cost, Hard(target_ms)))
    best = max(score(scores, a) for a, own_ms in zip(every, ms, strict=True) if own_ms <= target_ms)
    assert float(cost(ROUTED.gates([found]))) <= target_ms + 1e-5
    assert score(scores, found) == pytest.approx(best, abs=1e-6)


def test_a_projection_keeps_the_rules_of_a_cell():
    space = registry.create("space", "darts:layers=2,width=4,size=8")
    scores, table = scores_of(space, 1), counts(space.graph, space.operations, "macs")
    constant, costs = space.circuit.linear(table)
    totals = [space.raw_graph(a).macs() for a in space.sample(50, np.random.default_rng(0))]
    found = project(scores, space, costs, float(np.median(totals)) - constant)
    assert space.raw_graph(found).macs() <= np.median(totals)


def test_a_budget_that_nothing_meets_is_refused_with_the_least_cost():
    costs = {(site.name, i): 1.0 for site in NB201.sites for i in range(1, 5)}
    with pytest.raises(TargetError, match="least is 1"):  # no edge costs nothing, but joins nothing
        project(scores_of(NB201, 0), NB201, costs, 0.5)
    costs = {(site.name, i): 1.0 for site in NB201.sites for i in range(5)}
    with pytest.raises(TargetError, match="least is 6"):
        project(scores_of(NB201, 0), NB201, costs, 5.5)


def edges(architecture):
    return {i for i, choice in enumerate(architecture.choices) if choice}


def test_pruning_keeps_the_heaviest_edges_and_smaller_budgets_give_parts():
    """Every edge costs 1. Where the heaviest edges join input and output, brute force finds them too."""
    start, compared = NB201.architecture([3] * 6), 0
    for seed in range(10):
        weights = {f"e{i}": float(w) for i, w in enumerate(np.random.default_rng(seed).permutation(6))}
        family = {n: prune(start, weights, NB201, lambda a: len(edges(a)), n) for n in (6, 5, 4, 3)}
        assert all(NB201.is_connected(member) for member in family.values())
        for larger, smaller in itertools.pairwise(family.values()):
            assert edges(smaller) < edges(larger)
        for n, member in family.items():
            parts = [part for part in itertools.combinations(range(6), n) if joined(part)]
            best = max(parts, key=lambda part: sum(weights[f"e{i}"] for i in part))
            if min(weights[f"e{i}"] for i in best) == 6 - n:
                assert edges(member) == set(best)
                compared += 1
    assert compared > 20


def joined(subset):
    return NB201.is_connected(NB201.architecture([3 if i in subset else 0 for i in range(6)]))


def test_pruning_is_refused_where_it_has_no_meaning():
    darts = registry.create("space", "darts:layers=2,width=4,size=8")
    with pytest.raises(UsageError, match="how many edges"):
        prune(darts.sample(1, np.random.default_rng(0))[0], {}, darts, lambda a: 1.0, 0.0)
    with pytest.raises(UsageError, match="cannot be none"):
        prune(ROUTED.sample(1, np.random.default_rng(0))[0], {"b0/next": 1.0}, ROUTED, lambda a: 1.0, 0.0)
    with pytest.raises(TargetError, match="no edge"):
        prune(NB201.architecture([3] * 6), {"e0": 1.0}, NB201, lambda a: len(edges(a)), 0)
