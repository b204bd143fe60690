"""Every search that compares answers asks the metric: with all signs turned, and less better, it does the same."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tempograd import registry
from tempograd.metric import Metric
from tempograd.search.searchers.evolution import SURVIVALS, EvolutionSearcher
from tempograd.search.searchers.module_evolution import ModuleEvolution
from tempograd.search.searchers.one_shot import effects
from tempograd.search.trace import Query

from .. import planted, tables
from ..searchers.test_module_evolution import MIDDLE_MS, queries_of
from ..searchers.test_two_level import EGDAS, library, problem, table

LOSS = Metric("loss", higher_is_better=False, unit="")


def turned(given):
    """Return a problem whose answers are the same with the other sign, of which less is better."""
    answers = given.task.accuracies
    if isinstance(answers, planted.Formula):
        other = planted.Formula(lambda architecture: -answers.answer(architecture))
    else:
        other = {architecture: -score for architecture, score in answers.items()}
    return replace(given, task=replace(given.task, accuracies=other, metric=LOSS))


def assert_same(one, other):
    assert [query.architecture for query in one.queries] == [query.architecture for query in other.queries]
    assert [query.score for query in one.queries] == [-query.score for query in other.queries]
    assert one.architecture == other.architecture
    assert one.candidates == other.candidates
    assert np.allclose(one.scores, other.scores)


SEARCHERS = {
    **{survival: EvolutionSearcher(survival, population=6) for survival in SURVIVALS},
    "random": registry.create("method", "random_search").find,
    "surrogate": registry.create("method", "surrogate_search").find,
}


@pytest.mark.parametrize("limit", ["target", "weight"])
@pytest.mark.parametrize("spec", ["autoshrink:k=4", "gram:sweeps=40,still=40"])
def test_searches_over_edges_hear_the_metric(spec, limit):
    worth = np.random.default_rng(1).normal(0, 0.05, 10)
    ms = np.sort(planted.problem(planted.additive(worth)).predict()(list(planted.graphs().enumerate())))
    more = {"target_ms": float(ms[len(ms) // 2])} if limit == "target" else {"lam": 0.2}
    given, find = planted.problem(planted.additive(worth), **more), registry.create("method", spec).find
    assert_same(find(given), find(turned(given)))


def test_networks_of_blocks_are_asked_about_and_kept_by_the_metric():
    given = problem(table(1), 1, queries=24)
    one, other = (EGDAS.networks(each, library(1)) for each in (given, turned(given)))
    assert list(one.known) == list(other.known)
    assert [q.architecture for q in one.archive.members] == [q.architecture for q in other.archive.members]


def test_evolution_by_modules_hears_the_metric():
    asked = []
    for sign, metric in ((1, Metric()), (-1, LOSS)):
        queries, _ = queries_of(target_ms=MIDDLE_MS, queries=36)
        queries.problem = replace(queries.problem, task=SimpleNamespace(metric=metric))
        scores = queries._ask
        queries._ask = lambda architectures, scores=scores, sign=sign: [sign * s for s in scores(architectures)]
        ModuleEvolution(population=6).ask(queries)
        asked.append(list(queries.known))
    assert asked[0] == asked[1]


def test_what_options_add_is_merit():
    rng = np.random.default_rng(0)
    networks = tables.SPACE.sample(60, rng)
    scores = tables.accuracies(tables.SPACE, networks)
    one, other = (
        effects(tables.SPACE, [Query(a, 1.0, sign * s) for a, s in zip(networks, scores, strict=True)], metric)
        for sign, metric in ((1, Metric()), (-1, LOSS))
    )
    assert one.any()
    assert np.allclose(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [{"target_ms": 4.0}, {"target_ms": None, "lam": 0.3}], ids=["target", "weight"])
@pytest.mark.parametrize("name", SEARCHERS)
def test_searches_by_queries_hear_the_metric(name, limit):
    given = tables.problem(queries=16, **limit)
    assert_same(SEARCHERS[name](given), SEARCHERS[name](turned(given)))
