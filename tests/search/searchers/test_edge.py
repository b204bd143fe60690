"""At the edge of the target: what is asked about uses it, and one lucky answer does not decide."""

import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import wilcoxon

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.metric import ACCURACY
from tempograd.search.method import Problem
from tempograd.search.price import Price
from tempograd.search.queries import Queries
from tempograd.search.searchers.edge import Edge, line
from tempograd.search.trace import Query
from tempograd.search.training import Training

from ..tables import SPACE, problem

pytest.importorskip("torch_pruning")
sys.path.append(str(Path(__file__).parents[2] / "assets"))
import trained

TARGET_MS = 0.5


@cache
def space():
    return trained.resnet()


def planted(seed):
    """What every option costs in ms, a whole 1 ms, and what it is worth: more channels are, ever less of it."""
    rng, widths = np.random.default_rng(seed), space().widths
    ms, worth = (np.concatenate([rng.random() * np.linspace(0.2, 1, k) ** power for k in widths]) for power in (1, 0.5))
    return ms / sum(np.split(ms, np.cumsum(widths)[:-1])[i][-1] for i in range(len(widths))), worth


def linear(weights):
    layer = torch.nn.Linear(len(weights), 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights[None]).float())
    return torch.nn.Sequential(layer, torch.nn.Flatten(0))


def queries_of(seed, noise=0.0, **mode):
    """Return queries whose answers are what a network is worth and noise, and the truth."""
    ms, worth = planted(seed)
    rng = np.random.default_rng(seed)

    def truth(networks):
        return space().encode(networks, "raw").astype(float) @ worth

    given = {"target_ms": TARGET_MS, "lam": None, "queries": 40} | mode
    task = SimpleNamespace(metric=ACCURACY, name="planted")
    asked = Problem(
        space(), space(), Price(linear(ms), space()), task, training=Training(), reference_ms=1.0, seed=seed, **given
    )  # type: ignore[arg-type]
    return Queries(asked, 1, lambda many: (truth(many) + noise * rng.normal(size=len(many))).tolist()), truth


def test_the_budget_is_used_by_networks_that_use_the_target_and_none_is_above_it():
    queries, again = (queries_of(0, queries=12)[0] for _ in range(2))
    Edge().ask(queries, queries.merit)
    Edge().ask(again, again.merit)
    drawn = queries.draws(np.random.default_rng(0))
    plain = queries.problem.predict()([next(drawn) for _ in range(40)])
    used = np.array([query.predicted_ms for query in queries.known.values()])
    assert len(queries.known) == 12
    assert used.max() <= TARGET_MS
    assert np.median(used) > 0.85 * TARGET_MS > np.median(plain)
    assert list(queries.known.values()) == list(again.known.values())


@pytest.mark.slow
def test_it_beats_random_draws_at_equal_queries_though_answers_are_noisy():
    found, drawn = [], []
    for seed in range(8):
        queries, truth = queries_of(seed, noise=0.1)
        Edge().ask(queries, queries.merit)
        others, _ = queries_of(seed, noise=0.1)
        draws = others.draws(np.random.default_rng(seed))
        others.ask(next(draws) for _ in range(40))
        for asked, to in ((queries, found), (others, drawn)):
            known = list(asked.known.values())
            _, likely = line(space(), known, asked.merit)
            to.append(truth([known[int(likely.argmax())].architecture])[0])
    assert wilcoxon(found, drawn, alternative="greater").pvalue < 0.05


def test_without_a_target_it_asks_about_what_is_worth_most():
    queries, truth = queries_of(0, target_ms=None, lam=0.0)
    Edge().ask(queries, queries.merit)
    worth = truth(list(queries.known))
    assert len(worth) == 40
    assert worth[20:].mean() > worth[:20].mean()


def test_a_small_table_is_asked_about_until_nothing_is_left():
    members = SPACE.sample(12, np.random.default_rng(0))
    queries = Queries(problem(members=members, target_ms=100.0), 1)
    Edge().ask(queries, queries.merit)
    assert set(queries.known) <= set(members)


def test_of_noisy_answers_the_best_smoothed_is_better_in_truth():
    by_told, by_smoothed = [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        networks, worth = SPACE.sample(60, rng), rng.normal(size=sum(SPACE.widths))
        truth = SPACE.encode(networks, "raw") @ worth
        told = truth + truth.std() * rng.normal(size=60)
        queries = [Query(a, 1.0, float(score)) for a, score in zip(networks, told, strict=True)]
        by_told.append(truth[told.argmax()])
        by_smoothed.append(truth[line(SPACE, queries, lambda query: query.score)[1].argmax()])
    assert wilcoxon(by_smoothed, by_told, alternative="greater").pvalue < 0.05


def test_parts_of_a_network_that_nobody_trained_are_not_asked_about():
    with pytest.raises(UsageError, match="epochs=0 asks about parts of a trained network"):
        registry.create("method", "slim").check(SPACE, target_ms=1.0, lam=None)
    registry.create("method", "slim:epochs=1").check(SPACE, target_ms=1.0, lam=None)
    registry.create("method", "slim").check(space(), target_ms=1.0, lam=None)
