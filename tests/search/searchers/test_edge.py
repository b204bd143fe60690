"""At the edge of the target: what is asked about uses it, and one lucky answer does not decide."""

import sys
from functools import cache
from itertools import islice, repeat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import wilcoxon

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.metric import ACCURACY
from tempograd.search.deriver import network_scores
from tempograd.search.method import Problem
from tempograd.search.neighbourhood import neighbours
from tempograd.search.price import Price
from tempograd.search.queries import Queries
from tempograd.search.repair import MARGIN
from tempograd.search.searchers import edge
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


@pytest.mark.parametrize("start", ["whole", "smallest"])
def test_a_walk_ends_a_margin_below_the_target_where_nothing_larger_fits(start):
    queries, rng = queries_of(0)[0], np.random.default_rng(0)
    begin = space().whole if start == "whole" else space().architecture(0 for _ in space().sites)
    predict, limit_ms = queries.problem.predict(), (1 - MARGIN) * TARGET_MS
    assert (float(predict([begin])[0]) > limit_ms) is (start == "whole")
    for _ in range(4):
        end = Edge()._walked(queries, begin, edge._random(space(), rng))
        (own_ms,) = predict([end])
        near = predict(neighbours(space(), end))
        assert own_ms <= limit_ms
        assert not ((near > own_ms) & (near <= limit_ms)).any()


def test_walks_from_one_network_end_at_several(monkeypatch):
    queries, _ = queries_of(0, queries=8)
    smallest = space().architecture(0 for _ in space().sites)
    monkeypatch.setattr(Edge, "_starts", lambda self, queries: repeat(smallest))
    Edge(first=1.0).ask(queries, queries.merit)
    assert len(queries.known) == 8


def test_networks_of_one_share_of_the_options_come_first_and_then_random_ones():
    queries, _ = queries_of(0, target_ms=None, lam=0.0)
    Edge().ask(queries, queries.merit)
    widths, known = space().widths, list(queries.known)
    even = [space().architecture(round(share * (width - 1)) for width in widths) for share in (0, 0.5, 1)]
    assert known[:3] == even
    drawn = (a for a in queries.draws(np.random.default_rng(0)) if a not in even)
    assert known[3:20] == list(islice(drawn, 17))


def test_half_is_asked_about_before_any_line_and_a_line_is_learnt_four_times(monkeypatch):
    """Each time walks begin at mutants of the best quarter and go along it, four for every network asked about."""
    queries, _ = queries_of(0, target_ms=None, lam=0.0, queries=32)
    learnt, walked, parents = [], [], []
    draw = edge.mutated

    def noted(space, known, worth):
        scores, likely = line(space, known, worth)
        order = sorted(known, key=worth, reverse=True)
        learnt.append((len(known), scores, [query.architecture for query in order[: round(len(known) / 4)]]))
        return scores, likely

    def mutate(space, parent, rng, *, rate):
        parents.append((len(learnt) - 1, parent, rate))
        return draw(space, parent, rng, rate=rate)

    def stay(self, queries, start, scores):
        walked.append((len(learnt) - 1, scores))
        return start

    monkeypatch.setattr(edge, "line", noted)
    monkeypatch.setattr(edge, "mutated", mutate)
    monkeypatch.setattr(Edge, "_walked", stay)
    Edge().ask(queries, queries.merit)
    assert [count for count, _, _ in learnt] == [16, 20, 24, 28]
    assert [sum(at == number for at, _ in walked) for number in range(4)] == [4 * 4] * 4
    assert all(scores is learnt[at][1] for at, scores in walked if at >= 0)
    assert all(parent in learnt[at][2] and rate == 0.2 for at, parent, rate in parents)
    assert len({parent for at, parent, _ in parents if at == 3}) > 2


def test_of_the_ends_of_walks_those_are_asked_about_that_the_line_says_most_of(monkeypatch):
    queries, _ = queries_of(0, queries=8)
    pools, scores, new = [], [], edge._new

    def noted(queries, networks):
        pools.append([])
        for network in new(queries, networks):
            pools[-1].append(network)
            yield network

    monkeypatch.setattr(edge, "_new", noted)
    monkeypatch.setattr(edge, "line", lambda *asked: scores.append(line(*asked)) or scores[-1])
    monkeypatch.setattr(Edge, "_walked", lambda self, queries, start, scores: start)  # an end each
    Edge(rounds=1).ask(queries, queries.merit)
    (_, pool), ((along, _),) = pools, scores
    said = dict(zip(pool, network_scores(along, space(), pool), strict=True))
    asked = list(queries.known)[4:]
    assert len(pool) > len(asked) == 4
    assert min(said[a] for a in asked) >= max(said[a] for a in pool if a not in asked)


def test_where_walks_end_at_nothing_new_neighbours_of_the_best_are_asked_about(monkeypatch):
    queries, _ = queries_of(0, target_ms=None, lam=0.0, queries=12)
    monkeypatch.setattr(edge, "_relatives", lambda space, known, *_: iter([known[0].architecture]))
    before = []
    monkeypatch.setattr(
        edge, "line", lambda space, known, worth: before.append(list(known)) or line(space, known, worth)
    )
    Edge().ask(queries, queries.merit)
    assert len(queries.known) == 12
    for known, after in zip(before, [*before[1:], list(queries.known.values())], strict=True):
        best = max(known, key=queries.merit).architecture
        assert {query.architecture for query in after[len(known) :]} <= set(neighbours(space(), best))


def test_a_network_is_asked_about_once():
    queries, _ = queries_of(0, target_ms=None, lam=0.0)
    one, other = space().sample(2, np.random.default_rng(0))
    assert list(edge._new(queries, iter([one, one, other, one]))) == [one, other]


def test_a_line_is_in_units_of_what_it_leaves_open_and_what_is_likely_lies_between_it_and_what_was_told():
    rng = np.random.default_rng(0)
    networks = SPACE.sample(30, rng)
    queries = [Query(a, 1.0, float(score)) for a, score in zip(networks, rng.normal(size=30), strict=True)]
    queries.append(Query(networks[0], 1.0, queries[0].score + 3.0))  # the same network, told otherwise
    scores, likely = line(SPACE, queries, lambda query: query.score)
    tenfold, _ = line(SPACE, queries, lambda query: 10 * query.score)
    assert np.abs(scores).max() > 0
    assert np.allclose(scores, tenfold)
    assert likely[-1] - likely[0] == pytest.approx(1.5)


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
