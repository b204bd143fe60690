"""Random search: an honest baseline under the same budget."""

import itertools
from math import inf

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import TargetError, UsageError
from tempograd.search.method import Problem
from tempograd.search.neighbourhood import within
from tempograd.search.price import Price
from tempograd.search.searchers.random import RandomSearcher, best, random_search
from tempograd.search.training import Training
from tempograd.tasks.load import load_task

NB201 = registry.create("space", "nasbench201:cells=1,width=4,size=8,channels=1")
DARTS = registry.create("space", "darts:layers=2,width=4,size=8")


def additive(space, seed=0):
    values = np.random.default_rng(seed).random((len(space.sites), max(space.widths)))
    return lambda many: values[np.arange(len(values)), np.array([a.choices for a in many])].sum(axis=1)


def module(space):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        linear = torch.nn.Linear(sum(space.widths), 1)
    torch.nn.init.constant_(linear.bias, 3.0)
    return torch.nn.Sequential(linear, torch.nn.Flatten(0))


def problem(**kwargs):
    fixed = {"target_ms": 3.0, "lam": None, "reference_ms": 3.0, "training": Training(epochs=1, batch=16)}
    task = load_task("digits,limit=150")
    return Problem(NB201, NB201, Price(module(NB201), NB201), task, **(fixed | kwargs))


@pytest.mark.parametrize("space", [NB201, DARTS], ids=lambda space: space.name)
def test_networks_within_a_limit_are_all_different_connected_and_within_it(space):
    predict = additive(space)
    limit_ms = float(np.quantile(predict(space.sample(500, np.random.default_rng(1))), 0.3))
    found = list(itertools.islice(within(space, predict, limit_ms, np.random.default_rng(0)), 40))
    assert len({a for a, _ in found}) == 40
    assert all(ms <= limit_ms and ms == predict([a])[0] and space.is_connected(a) for a, ms in found)


@pytest.mark.slow
def test_networks_within_a_limit_are_uniform_among_those():
    """Against all of them: every option at every site in its share."""
    predict = additive(NB201)
    every = [a for a in NB201.enumerate() if NB201.is_connected(a)]
    limit_ms = float(np.median(predict(every)))
    allowed = np.array([a.choices for a in every if predict([a])[0] <= limit_ms])
    found = np.array(
        [a.choices for a, _ in itertools.islice(within(NB201, predict, limit_ms, np.random.default_rng(0)), 1500)]
    )
    for site, option in itertools.product(range(6), range(5)):
        share = (allowed[:, site] == option).mean()
        assert abs((found[:, site] == option).mean() - share) < 5 * np.sqrt(share * (1 - share) / 1500) + 1e-9


@pytest.mark.slow
def test_a_limit_that_hardly_any_network_keeps_is_walked_down_to():
    predict = additive(DARTS)
    floor = min(predict(DARTS.sample(2000, np.random.default_rng(1))))
    found = list(itertools.islice(within(DARTS, predict, 0.75 * floor, np.random.default_rng(0)), 3))
    assert len(found) == 3
    assert all(ms <= 0.75 * floor for _, ms in found)
    assert list(within(NB201, lambda many: np.full(len(many), 2.0), 1.0, np.random.default_rng(0))) == []


@pytest.mark.slow
def test_the_number_of_networks_is_kept_and_the_seed_decides():
    one, two, other = (random_search(problem(seed=seed), 3.0, networks=2) for seed in (0, 0, 1))
    assert len(one) == 2
    assert [t.architecture for t in one] == [t.architecture for t in two] != [t.architecture for t in other]
    assert [t.trained.score for t in one] == [t.trained.score for t in two]
    assert all(trial.predicted_ms <= 3.0 for trial in one)


def test_a_time_already_spent_still_trains_one_network():
    assert len(random_search(problem(), 3.0, seconds=0.0)) == 1
    with pytest.raises(UsageError, match="number of networks or a time"):
        random_search(problem(), 3.0)


@pytest.mark.slow
def test_the_searcher_answers_with_the_best_by_validation_not_by_test():
    told = []
    found = RandomSearcher(4)(problem(progress=lambda *call: told.append(call)))
    trials = random_search(problem(), 3.0, networks=4)
    assert found.architecture == best(trials).architecture
    assert best(trials).trained.validation_score == max(t.trained.validation_score for t in trials)
    assert [call[:3] for call in told] == [("queries", i, 4) for i in (1, 2, 3, 4)]
    assert found.passes == sum(t.trained.passes for t in trials)
    assert not found.scores.any()


@pytest.mark.slow
def test_without_a_target_every_network_is_allowed_and_none_is_an_error():
    assert RandomSearcher(1)(problem(target_ms=None, lam=0.1)).passes > 0
    with pytest.raises(TargetError, match="no random network"):
        best(random_search(problem(), -inf, networks=1))
