"""Evolution: sorting as by hand, survivors by their rule, and better than random draws where options matter."""

from itertools import islice

import numpy as np
import pytest
from scipy.stats import wilcoxon

from tempograd import registry
from tempograd.errors import UnknownNameError, UsageError
from tempograd.search.neighbourhood import crossed, mutated
from tempograd.search.queries import Queries
from tempograd.search.searchers import evolution
from tempograd.search.searchers.evolution import SURVIVALS, EvolutionSearcher, by_fronts
from tempograd.search.searchers.random import RandomSearcher
from tempograd.search.trace import Query

from ..tables import SPACE, latencies, linear, problem

MBCONV = registry.create("space", "mbconv:family=ofa,size=8,classes=5,width=0.25,stages=2,layers=3")


def test_fronts_are_peeled_as_by_hand():
    rng = np.random.default_rng(0)
    architectures = SPACE.sample(40, rng)
    queries = [Query(a, float(ms), float(acc)) for a, ms, acc in zip(architectures, rng.integers(1, 9, 40),
                                                                     rng.integers(1, 9, 40), strict=True)]  # fmt: skip
    ordered, left, place = by_fronts(queries), list(queries), 0

    def beats(one, other):
        no_worse = one.score >= other.score and one.predicted_ms <= other.predicted_ms
        return no_worse and (one.score, one.predicted_ms) != (other.score, other.predicted_ms)

    while left:
        front = [q for q in left if not any(beats(other, q) for other in left)]
        part = ordered[place : place + len(front)]
        assert set(part) == set(front)
        ends = {max(front, key=lambda q: q.score).score, min(front, key=lambda q: q.predicted_ms).score}
        assert part[0].score in ends  # the ends of a front are the least crowded
        left = [q for q in left if q not in front]
        place += len(front)


def test_the_better_of_two_by_fronts_is_a_parent_and_children_are_crossed_and_then_mutated(monkeypatch):
    """By the recipe's name. Of ten the better one of two stands 2.7 places from the front, on average."""
    queries, now, made, places = Queries(problem(queries=60), 1), [], [], {"fronts": [], "scores": []}
    child = EvolutionSearcher._child

    def noted(self, queries, alive, rng, born):
        now[:] = [by_fronts(alive), sorted(alive, key=lambda query: -query.score)]
        return child(self, queries, alive, rng, born)

    def cross(space, one, other, rng):
        for order, found in zip(now, places.values(), strict=True):
            found += [[query.architecture for query in order].index(parent) for parent in (one, other)]
        made.append(crossed(space, one, other, rng))
        return made[-1]

    def mutate(space, parent, rng, *, rate):
        assert parent is made[-1]
        assert rate == 0.1
        return mutated(space, parent, rng, rate=rate)

    monkeypatch.setattr(EvolutionSearcher, "_child", noted)
    monkeypatch.setattr(evolution, "crossed", cross)
    monkeypatch.setattr(evolution, "mutated", mutate)
    registry.create("method", "evolution:population=10").find.ask(queries)
    assert len(queries.known) == 60
    assert 2.2 < np.mean(places["fronts"]) < 3.2
    assert np.mean(places["scores"]) > np.mean(places["fronts"]) + 0.3


@pytest.mark.slow
@pytest.mark.parametrize("survival", SURVIVALS)
@pytest.mark.parametrize("space", [SPACE, MBCONV], ids=lambda space: space.name)
def test_the_budget_is_used_and_nothing_above_the_target_is_asked_about(survival, space):
    members = space.sample(200, np.random.default_rng(0))
    target_ms = float(np.median(latencies(space, linear(space), members)))
    asked = problem(space, members=members, queries=30, target_ms=target_ms)
    found = EvolutionSearcher(survival, population=8)(asked)
    assert len({q.architecture for q in found.queries}) == len(found.queries) == 30
    assert all(q.predicted_ms <= target_ms for q in found.queries)
    again = EvolutionSearcher(survival, population=8)(asked)
    assert again.queries == found.queries


RECIPES = {
    "ageing": EvolutionSearcher("ageing", population=10, tournament=3, rate=None),
    "best": EvolutionSearcher("best", population=10),
    "nsga2": EvolutionSearcher("nsga2", population=10),
}


def front(found):
    """What NSGA-II is after: the best accuracy within each of several latencies, their mean."""
    limits = (2.5, 3.0, 3.5, 4.0, 4.5)
    return np.mean([max((q.score for q in found.queries if q.predicted_ms <= ms), default=0.0) for ms in limits])


@pytest.mark.slow
@pytest.mark.parametrize("survival", SURVIVALS)
def test_it_beats_random_draws_at_equal_queries(survival):
    def score(searcher, seed):
        found = searcher(problem(seed=seed, queries=80))
        return front(found) if survival == "nsga2" else max(q.score for q in found.queries)

    evolved = [score(RECIPES[survival], seed) for seed in range(8)]
    drawn = [score(RandomSearcher(), seed) for seed in range(8)]
    assert wilcoxon(evolved, drawn, alternative="greater").pvalue < 0.05


def test_of_the_youngest_the_best_of_three_has_one_child_a_turn_and_that_differs_by_one_change(monkeypatch):
    """By the recipe's name: a child is asked about before the next is made."""
    queries, now, places = Queries(problem(queries=50), 1), [], []
    child = EvolutionSearcher._child

    def noted(self, queries, alive, rng, born):
        assert not born
        assert alive == list(queries.known.values())[-10:]
        now[:] = sorted(alive, key=lambda query: -query.score)
        return child(self, queries, alive, rng, born)

    def mutate(space, parent, rng):
        places.append([query.architecture for query in now].index(parent))
        return mutated(space, parent, rng)

    monkeypatch.setattr(EvolutionSearcher, "_child", noted)
    monkeypatch.setattr(evolution, "mutated", mutate)
    registry.create("method", "regularized_evolution").find.ask(queries)
    assert len(queries.known) == 50
    assert max(places) <= 7
    assert np.mean(places) < 2.6  # 1.75 of three of ten


def test_the_oldest_die_however_good_they_are():
    queries = Queries(problem(queries=12), 1)
    queries.ask(islice(queries.draws(np.random.default_rng(0)), 12))
    known = list(queries.known.values())
    ageing = EvolutionSearcher("ageing", population=5)._survivors(queries, known[:5], known[5:7])
    assert ageing == known[2:7]
    elitist = EvolutionSearcher("best", population=5)._survivors(queries, known[:5], known[5:7])
    assert [q.score for q in elitist] == sorted((q.score for q in known[:7]), reverse=True)[:5]


@pytest.mark.slow
def test_it_ends_where_no_network_is_left():
    members = SPACE.sample(15, np.random.default_rng(0))
    found = EvolutionSearcher("best", population=4)(problem(members=members, target_ms=100.0, queries=40))
    assert len(found.queries) <= 15


def test_bad_settings_are_refused():
    with pytest.raises(UnknownNameError, match="nsga2"):
        EvolutionSearcher("nsga")
    with pytest.raises(UsageError, match="population=1"):
        EvolutionSearcher("best", population=1)
