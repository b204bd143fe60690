"""Queries: each different network counts once, none more than the budget is answered, and draws keep the target."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import TargetError, UsageError
from tempograd.search.evaluator import train
from tempograd.search.queries import Queries
from tempograd.search.training import Training
from tempograd.tasks.load import load_task

from .tables import SPACE, latencies, linear, problem


def test_a_known_network_is_free_and_one_more_than_the_budget_is_an_error():
    asked = problem(queries=3)
    queries = Queries(asked, 100)
    drawn = list(islice(queries.draws(np.random.default_rng(0)), 4))
    answers = [queries(a).score for a in drawn[:3]]
    assert answers == [asked.task.accuracies[a] for a in drawn[:3]]
    assert (queries.left, queries(drawn[0]).score, queries.left) == (0, answers[0], 0)
    with pytest.raises(UsageError, match="budget of 3"):
        queries(drawn[3])
    queries.ask([drawn[3]])
    assert list(queries.known) == drawn[:3]


def test_the_budget_is_the_methods_own_where_the_problem_states_none():
    assert Queries(replace(problem(), queries=None), 7).budget == 7
    with pytest.raises(UsageError, match="queries=0"):
        problem(queries=0)


def test_draws_are_different_within_the_target_and_all_there_are():
    asked = problem(target_ms=3.0)
    drawn = list(Queries(asked, 1).draws(np.random.default_rng(0)))
    everything = list(asked.task.accuracies)
    predicted = dict(zip(everything, latencies(SPACE, asked.price.cost, everything), strict=True))
    fitting = {a for a in everything if predicted[a] <= 3.0}
    assert len(drawn) == len(set(drawn))
    assert set(drawn) < fitting  # those that are cut in two are left out
    assert len(drawn) > 0.5 * len(fitting)


def test_only_a_tables_networks_are_there():
    members = SPACE.sample(50, np.random.default_rng(0))
    queries = Queries(problem(members=members, target_ms=100.0), 10)
    assert queries.members() == members
    assert set(queries.draws(np.random.default_rng(1))) <= set(members)
    (other,) = [a for a in SPACE.sample(51, np.random.default_rng(0)) if a not in members]
    assert not queries.may_ask(other)
    with pytest.raises(UsageError, match="lacks"):
        queries(other)


@pytest.mark.slow
def test_the_best_within_the_target_is_found_and_candidates_fall_in_accuracy():
    asked = problem(target_ms=3.5, queries=30)
    queries = Queries(asked, 1)
    with pytest.raises(TargetError, match=r"no network is predicted within 3\.5 ms; the fastest found is predicted at"):
        queries.found(0.0)
    queries.ask(SPACE.sample(30, np.random.default_rng(3)))
    found = queries.found(1.0)
    fits = [q for q in found.queries if q.predicted_ms <= 3.5]
    assert 0 < len(fits) < 30
    assert asked.task.accuracies[found.architecture] == max(q.score for q in fits)
    ranked = [asked.task.accuracies[a] for a in found.candidates]
    assert ranked == sorted(ranked, reverse=True)


def test_a_weight_of_latency_is_part_of_the_merit():
    asked = problem(target_ms=None, lam=0.5, queries=5)
    queries = Queries(asked, 1)
    queries.ask(SPACE.sample(5, np.random.default_rng(3)))
    best = max(queries.known.values(), key=lambda q: q.score - 0.5 * q.predicted_ms / 4.0)
    assert queries.found(0.0).architecture == best.architecture


def test_images_are_answered_by_training():
    task, space = load_task("digits,limit=150"), registry.create("space", SPACE.spec)
    training = Training(epochs=1, batch=32)
    asked = replace(problem(queries=1), task=task, training=training)
    queries = Queries(asked, 1)
    (architecture,) = islice(queries.draws(np.random.default_rng(0)), 1)
    with torch.random.fork_rng():
        expected = train(architecture, space, task.fitted(space), training, seed=0)
    assert queries(architecture).score == expected.validation_score
    assert queries.passes == expected.passes > 0


def test_a_target_below_every_network_of_a_table_is_refused_with_the_fastest_that_connects():
    members = SPACE.sample(60, np.random.default_rng(0))
    least = min(ms for a, ms in zip(members, latencies(SPACE, linear(SPACE), members), strict=True) if has_path(a))
    asked = problem(members=members, target_ms=0.99 * least)
    for name in ("random_search", "evolution", "surrogate_search"):
        with pytest.raises(TargetError, match=f"predicted at {least:.4g} ms, ask for at least that"):
            registry.create("method", name).find(asked)


def has_path(architecture):
    a, b, c, d, e, f = (choice != 0 for choice in architecture.choices)
    return d or (a and e) or ((b or (a and c)) and f)


def test_a_network_is_asked_about_once_whatever_it_is_called():
    space = registry.create("space", "nasbench201:cells=1,width=4,size=8,channels=1")
    asked = replace(problem(queries=1, target_ms=100.0), task=load_task("digits,limit=150"), space=space, proxy=space)
    queries = Queries(asked, 1, lambda architectures: [0.5 for _ in architectures])
    drawn = list(islice(queries.draws(np.random.default_rng(0)), 60))
    assert len(set(space.groups(drawn).tolist())) == 60
    through, other = (space.parse(f"|{a}~0|+|none~0|{b}~1|+|none~0|none~1|nor_conv_3x3~2|") for a, b in (
        ("skip_connect", "nor_conv_1x1"), ("nor_conv_1x1", "skip_connect")))  # fmt: skip
    assert queries.may_ask(other)
    assert not queries.may_ask(other, [through])
    queries.ask([through])
    assert not queries.is_new(other)
