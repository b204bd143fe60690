"""Surrogate search: fewer queries for a better network, within the target, in spaces small and large."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import wilcoxon

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.metric import ACCURACY
from tempograd.predictor.interval import Conformal
from tempograd.search.queries import Queries
from tempograd.search.searchers.evolution import EvolutionSearcher
from tempograd.search.searchers.random import RandomSearcher
from tempograd.search.searchers.surrogate import SurrogateSearcher, _Surrogate

from ..tables import SPACE, accuracies, latencies, problem, table

OFA = registry.create("space", "mbconv:family=ofa,size=8,classes=5,width=0.25,stages=3,layers=4")


def best(searcher, asked):
    return max(q.score for q in searcher(asked).queries)


@pytest.mark.slow
def test_it_beats_random_draws_and_evolution_at_equal_queries():
    members = list(table(SPACE).accuracies)[::4]
    rivals = {"random": RandomSearcher(), "evolution": EvolutionSearcher("ageing", population=10, rate=None)}
    ours = [best(SurrogateSearcher(rounds=4), problem(seed=s, members=members)) for s in range(5)]
    for searcher in rivals.values():
        theirs = [best(searcher, problem(seed=s, members=members)) for s in range(5)]
        assert wilcoxon(ours, theirs, alternative="greater").pvalue < 0.05


@pytest.mark.slow
def test_the_budget_is_kept_and_what_is_likelier_above_the_target_is_not_asked_about():
    asked = problem(queries=20, target_ms=3.5, conformal=Conformal(tuple(np.linspace(0, 0.2, 50).tolist())))
    found = SurrogateSearcher(rounds=3)(asked)
    assert len({q.architecture for q in found.queries}) == len(found.queries) == 20
    assert all(q.predicted_ms <= 3.5 for q in found.queries)
    assert SurrogateSearcher(rounds=3)(asked).queries == found.queries


def test_the_gain_is_the_improvement_times_the_chance_to_be_within_and_what_is_likelier_above_is_left_out():
    members = list(table(SPACE).accuracies)[::40]
    tight, loose = (problem(members=members, queries=20, target_ms=ms, conformal=Conformal(tuple(
        np.linspace(0, 0.2, 50).tolist()))) for ms in (3.5, 100.0))  # fmt: skip
    chance, gains = tight.chance(tight.predict()(members)), []
    for asked in (tight, loose):
        queries = Queries(asked, 1)
        queries.ask(members[:10])
        gains.append(_Surrogate(asked).gain(queries, members[10:]))
        pool = SurrogateSearcher()._pool(asked, queries, members, np.random.default_rng(0))
        wanted = [a for a, p in zip(members[10:], chance[10:], strict=True) if asked is loose or p >= 0.5]
        assert pool == wanted
    assert ((chance > 0.5) & (chance < 0.95)).any()
    assert ((chance > 0.05) & (chance < 0.5)).any()
    nearly_sure = loose.chance(loose.predict()(members))
    assert np.allclose(gains[0] * nearly_sure[10:], gains[1] * chance[10:])
    assert nearly_sure.min() > 0.98


@pytest.mark.slow
def test_a_space_too_large_to_go_through_is_searched_among_relatives():
    """Accuracy by a formula in place of training: the space is far too large for a table."""
    from tempograd.search import queries as module

    def ask(self):
        return lambda architectures: [accuracies(OFA, [each, *reference])[0] for each in architectures]

    reference = OFA.sample(300, np.random.default_rng(9))
    everything = problem(OFA, members=reference)
    target_ms = float(np.median(latencies(OFA, everything.price.cost, reference)))
    asked = problem(OFA, members=reference, target_ms=target_ms, queries=30)
    object.__setattr__(asked, "task", SimpleNamespace(metric=ACCURACY))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.Queries, "_by_training", ask)
        found = SurrogateSearcher(rounds=4)(asked)
    assert OFA.size_log10 > 5
    assert len(found.queries) == 30
    assert all(q.predicted_ms <= target_ms for q in found.queries)
    first, later = found.queries[:6], found.queries[6:]
    assert np.mean([q.score for q in later]) > np.mean([q.score for q in first])


def test_no_network_is_trained_a_second_time_under_another_name():
    from tempograd.search import queries as module

    asked = problem(queries=14, target_ms=2.5)
    object.__setattr__(asked, "task", SimpleNamespace(metric=ACCURACY))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.Queries, "_by_training", lambda self: lambda many: accuracies(SPACE, many))
        found = SurrogateSearcher(rounds=2, first=0.1)(asked)
    first, later = found.queries[:2], found.queries[2:]
    networks = SPACE.groups([query.architecture for query in (*first, *later)])
    assert len(later) == 12
    assert len(set(networks[2:])) == 12
    assert not set(networks[2:]) & set(networks[:2])


def test_it_ends_where_no_network_is_left():
    members = SPACE.sample(12, np.random.default_rng(0))
    found = SurrogateSearcher(rounds=2)(problem(members=members, target_ms=100.0, queries=30))
    assert len(found.queries) <= 12


def test_bad_settings_are_refused():
    with pytest.raises(UsageError, match="rounds=0"):
        SurrogateSearcher(rounds=0)
