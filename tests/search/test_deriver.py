"""Derivers against brute force, and the walks that feasibility and repair are made of."""

import itertools

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import TargetError
from tempograd.search.deriver import as_scores, derive, draws, network_scores, ranked, score
from tempograd.search.feasibility import feasibility
from tempograd.search.laws.markov_route import MarkovRoute
from tempograd.search.laws.softmax import Softmax
from tempograd.search.neighbourhood import descend, neighbours
from tempograd.spaces.architecture import Architecture
from tempograd.testing.small import small_specs

NB201 = registry.create("space", "nasbench201:cells=1,width=4,size=8")
DARTS = registry.create("space", "darts:layers=2,width=4,size=8")
STAGED = registry.create("space", small_specs("staged")[1])
SPACES = pytest.mark.parametrize("space", [NB201, DARTS], ids=lambda space: space.name)


def law_of(space, seed=0):
    return Softmax(space, torch.Generator().manual_seed(seed), noise=1.0)


def has_path(choices):
    """A path from node 0 to node 3 in edges (0,1) (0,2) (1,2) (0,3) (1,3) (2,3), by hand."""
    a, b, c, d, e, f = (choice != 0 for choice in choices)
    return d or (a and e) or ((b or (a and c)) and f)


def test_connected_is_a_path_of_the_cell_for_every_network():
    for choices in itertools.product((0, 1, 3), repeat=6):
        assert NB201.is_connected(NB201.architecture(choices)) == has_path(choices)


@pytest.mark.parametrize("seed", range(20))
def test_the_derived_network_is_the_best_connected_one_by_brute_force(seed):
    law = law_of(NB201, seed)
    with torch.no_grad():
        law.logits[:, 0] += seed % 4  # so that the most probable choices often are no network
    scores = as_scores(law.scores())
    choices = np.array([c for c in itertools.product(range(5), repeat=6) if has_path(c)])
    totals = scores[np.arange(6), choices].sum(axis=1)
    assert derive(law, NB201).choices == tuple(choices[totals.argmax()])


def test_networks_are_ranked_by_falling_score_each_once():
    scores = as_scores(law_of(NB201).scores())
    found = list(itertools.islice(ranked(scores, NB201), 2000))
    totals = [score(scores, architecture) for architecture in found]
    assert len(set(found)) == 2000
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(totals))
    every = sorted((scores[np.arange(6), c].sum() for c in itertools.product(range(5), repeat=6)), reverse=True)
    assert np.allclose(totals, every[:2000])


@SPACES
def test_the_score_of_a_network_is_that_of_its_name_without_what_lies_on_no_path(space):
    scores = as_scores(law_of(space).scores())
    drawn = space.sample(30, np.random.default_rng(0))
    pruned = space.decode(space.pruned.encode(space, drawn))
    assert np.allclose(network_scores(scores, space, drawn), [score(scores, a) for a in pruned])
    assert (drawn == pruned) == (space is DARTS)


def test_a_walk_up_gains_nothing_by_edges_that_lead_nowhere():
    """The law likes a convolution on every edge; a network that leads through one of them is the best it can reach."""
    scores = np.full((6, 5), -4.0)
    scores[:, 3] = -0.1
    start = NB201.from_key("0.0.0.1.0.0")  # node 2 has no way on
    cost = np.array([0.0, 1.0, 3.0, 4.0, 2.0])

    def predict(many):
        return NB201.encode(many, "pruned").reshape(len(many), 6, 5).sum(axis=1) @ cost + 1

    walk = [a for a, _ in descend(NB201, start, predict, scores, sign=-1, limit_ms=6.0)]
    assert walk[-1].key == "0.0.0.3.0.0"
    idle = NB201.from_key("3.3.3.1.0.0")
    assert network_scores(scores, NB201, [idle])[0] == network_scores(scores, NB201, [start])[0] < score(scores, idle)


@pytest.mark.parametrize("seed", range(5))
def test_top_edges_are_the_best_of_a_cell_by_brute_force(seed):
    """Nodes are independent: for each, all pairs of in-edges and all operations."""
    law = law_of(DARTS, seed)
    found = derive(law, DARTS)
    scores = as_scores(law.scores())
    names = [site.name for site in DARTS.sites]
    for rule in DARTS.rules:
        sites = [names.index(name) for name in rule.sites]
        best = max(
            (
                (scores[a, x] + scores[b, y], {a: x, b: y})
                for a, b in itertools.combinations(sites, 2)
                for x, y in itertools.product(range(1, 8), repeat=2)
            ),
            key=lambda item: item[0],
        )[1]
        assert {site: found.choices[site] for site in sites if found.choices[site]} == best


@SPACES
def test_a_law_that_is_nearly_certain_samples_what_is_derived(space):
    law = law_of(space)
    (wanted,) = itertools.islice((a for a in space.sample(9, np.random.default_rng(0)) if space.is_connected(a)), 1)
    with torch.no_grad():
        law.logits[torch.arange(len(space.sites)), torch.tensor(wanted.choices)] += 40
    assert derive(law, space) == wanted
    sample = law.sample(20, torch.Generator().manual_seed(1))
    rows = torch.cat([sample[site.name] for site in space.sites], dim=1).numpy()
    assert set(space.decode(rows)) == {wanted}


@pytest.mark.slow
def test_draws_of_routes_are_as_long_as_those_of_the_law():
    """The best of noise summed along a route would lie on the longest one."""
    space = registry.create("space", "routed:blocks=4-6/8-10/12-16,reach=3,layers=1,head=16,size=8")
    law = MarkovRoute(space, torch.Generator().manual_seed(0), noise=0.5)
    sampled = law.sample(4000, torch.Generator().manual_seed(1))
    wanted = space.decode(torch.cat([sampled[site.name] for site in space.sites], dim=1).numpy())
    found = [*itertools.islice(draws(as_scores(law.scores()), space, np.random.default_rng(2)), 4000)]
    decided = [
        np.array([[choice >= 0 for choice in a.choices] for a in drawn]).mean(axis=0) for drawn in (found, wanted)
    ]
    assert np.abs(decided[0] - decided[1]).max() < 4 * np.sqrt(0.5 / 4000)


@pytest.mark.parametrize("seed", range(5))
def test_where_a_rule_holds_at_some_lengths_only_the_best_is_that_by_brute_force(seed):
    """Longer stages have more edges; these weigh by what they have beyond their best."""
    law = law_of(STAGED, seed)
    scores, every = as_scores(law.scores()), list(STAGED.enumerate())
    assert derive(law, STAGED) == max(every, key=lambda architecture: score(scores, architecture))
    best = [max(score(scores, a) for a in every if a.choices[0] == length) for length in range(2)]
    log_p = torch.log_softmax(law.logits[0, :2].detach(), dim=0)
    assert best[1] - best[0] == pytest.approx(float(log_p[1] - log_p[0]), abs=1e-5)  # as likely as its length


def test_draws_under_a_rule_hold_it_at_every_length():
    found = [*itertools.islice(draws(np.zeros((6, 4)), STAGED, np.random.default_rng(0)), 400)]
    assert all(STAGED.architecture(a.choices) == a for a in found)
    longer = np.mean([a.choices[0] for a in found])
    assert abs(longer - 0.5) < 4 * 0.5 / 400**0.5
    ends = [*descend(STAGED, found[0], lambda many: -np.array([len(a.key) + a.choices[0] * 9 for a in many], float),
                     np.zeros((6, 4)))]  # fmt: skip
    assert ends[-1][0].choices[0] == 1


def test_draws_end_where_nothing_is_connected():
    scores = np.full((6, 5), -50.0)
    scores[:, 0] = 0.0  # none everywhere
    assert not [*draws(scores, NB201, np.random.default_rng(0))]


@SPACES
def test_neighbours_are_all_networks_one_change_away(space):
    (start,) = space.sample(1, np.random.default_rng(0))
    found = neighbours(space, start)
    assert len(set(found)) == len(found)
    for other in found:
        assert space.architecture(other.choices) == other
        changed = sum(a != b for a, b in zip(start.choices, other.choices, strict=True))
        assert changed == 1 or (space.rules and changed == 2)
    per_cell = 48 + 14 * (0 + 1 + 2 + 3)  # operations of 8 kept edges, and kept edges given up for unused ones
    assert len(found) == (24 if space is NB201 else 2 * per_cell)


def additive(space, seed=1):
    """A latency that is a sum over choices, so that the cheapest network is known."""
    values = np.random.default_rng(seed).random((len(space.sites), max(space.widths)))

    def predict(architectures):
        choices = np.array([a.choices for a in architectures])
        return 1 + values[np.arange(values.shape[0]), choices].sum(axis=1)

    return values, predict


def test_a_greedy_walk_reaches_the_cheapest_connected_network():
    values, predict = additive(NB201)
    every = np.array([c for c in itertools.product(range(5), repeat=6) if has_path(c)])
    totals = 1 + values[np.arange(6), every].sum(axis=1)
    table = feasibility(NB201, predict, np.random.default_rng(0), target_ms=float(np.median(totals)))
    assert table.smallest_ms == pytest.approx(totals.min())
    assert table.largest_ms == pytest.approx(totals.max())
    assert abs(table.share_within_target - 0.5) < 0.05
    assert NB201.is_connected(table.smallest)
    table.check()


@SPACES
def test_walks_go_strictly_one_way(space):
    _, predict = additive(space)
    (start,) = [a for a in space.sample(20, np.random.default_rng(3)) if space.is_connected(a)][:1]
    for sign in (1, -1):
        walk = list(descend(space, start, predict, np.zeros((len(space.sites), max(space.widths))), sign=sign))
        assert walk[0][0] == start
        assert all(sign * (a[1] - b[1]) > 0 for a, b in itertools.pairwise(walk))


def test_a_walk_gives_up_little_score_for_much_latency():
    """Two changes save the same; the one that the law minds less comes first."""
    scores = np.zeros((6, 5))
    scores[0, 4], scores[1, 4] = -5.0, -0.1

    def predict(architectures):
        return np.array([3.0 - (a.choices[0] == 4) - (a.choices[1] == 4) for a in architectures])

    walk = list(descend(NB201, Architecture(NB201.spec, (3,) * 6), predict, scores))
    assert walk[1][0].choices == (3, 4, 3, 3, 3, 3)
    assert [ms for _, ms in walk] == [3.0, 2.0, 1.0]


def test_a_target_below_the_smallest_network_stops_and_names_it():
    _, predict = additive(NB201)
    table = feasibility(NB201, predict, np.random.default_rng(0), target_ms=0.5)
    with pytest.raises(TargetError, match=rf"0\.5 ms.*{table.smallest.key}.*at least"):
        table.check()
