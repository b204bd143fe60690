"""Searches on a table: regret against the exact optimum, every query and look-up counted, a miss called a miss."""

import json

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.data.result import read_result
from tempograd.errors import TargetError, UsageError
from tempograd.predictor.interval import Conformal
from tempograd.search.method import Found, Method
from tempograd.search.price import Price
from tempograd.search.tabular import search_table
from tempograd.search.trace import Trace
from tempograd.spaces.saved import load_network
from tempograd.tasks.predicted import PredictedTask
from tempograd.tasks.table import table_column

from .tables import SPACE, latencies, linear, table

EVERYTHING = list(table(SPACE).accuracies)
PREDICTED = dict(zip(EVERYTHING, latencies(SPACE, linear(SPACE), EVERYTHING), strict=True))
CONFORMAL = Conformal(tuple(np.linspace(0, 0.1, 100).tolist()))


def search(method="random_search", *, truth=None, target_ms=4.0, queries=30, **kwargs):
    recipe = registry.create("method", method)
    truth = truth or (lambda a: PREDICTED[a])
    known = {a: truth(a) for a in EVERYTHING}
    return search_table(
        SPACE,
        recipe,
        table(SPACE),
        known,
        Price(linear(SPACE), SPACE, conformal=CONFORMAL),
        target_ms=target_ms,
        queries=queries,
        **kwargs,
    )


def noisy(share):
    """A truth that the predictor misses by up to a share, either way, always alike."""
    factors = dict(zip(EVERYTHING, 1 + share * np.random.default_rng(5).uniform(-1, 1, len(EVERYTHING)), strict=True))
    return lambda a: PREDICTED[a] * factors[a]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["random_search", "evolution", "regularized_evolution", "surrogate_search"])
def test_what_is_found_is_told_beside_the_optimum(method):
    truth = noisy(0.1)
    result = search(method, truth=truth)
    accuracies = table(SPACE).accuracies
    within = [a for a in EVERYTHING if truth(a) <= 4.0]
    assert len(result.queries) == result.budget == 30
    assert result.verdict == "pass"
    assert result.found.latency_ms == truth(result.found.architecture) <= 4.0
    assert result.optimum.accuracy == max(accuracies[a] for a in within)
    assert result.regret_points == pytest.approx(100 * (result.optimum.accuracy - result.found.accuracy))
    assert result.regret_points >= 0
    fits = [q.score for q in result.queries if truth(q.architecture) <= 4.0]
    assert result.found.accuracy == max(fits)  # the best of those asked about, since look-ups were enough
    above = [entry for entry in result.lookups if entry.latency_ms > 4.0]
    assert [*above, result.found] == list(result.lookups)


@pytest.mark.slow
def test_a_surrogate_with_all_the_queries_it_wants_finds_the_optimum():
    assert search("surrogate_search", queries=120).regret_points == pytest.approx(0, abs=0.5)


def test_without_enough_look_ups_the_last_is_the_safest_and_a_miss_is_a_fail():
    slow = search(truth=lambda a: (1.4 if PREDICTED[a] > 3.2 else 1.0) * PREDICTED[a], lookups=2)
    first, last = slow.lookups
    assert first.latency_ms > 4.0 >= last.latency_ms
    safe = [q for q in slow.queries if 1.4 * q.predicted_ms <= 4.0]
    fastest = min(slow.queries, key=lambda q: q.predicted_ms)
    assert last.architecture == max(safe, key=lambda q: q.score, default=fastest).architecture
    assert slow.verdict == "pass"
    hopeless = search(truth=lambda a: 10 * PREDICTED[a], lookups=3)
    assert (hopeless.verdict, hopeless.regret_points, hopeless.optimum) == ("fail", None, None)
    assert len(hopeless.lookups) == 3


def test_of_predicted_accuracies_the_best_three_are_looked_up_and_the_best_that_fits_is_kept():
    known = table(SPACE).accuracies
    slow, *others = sorted((a for a in EVERYTHING if PREDICTED[a] <= 3.0), key=known.__getitem__)[:6]
    truth = PREDICTED | {slow: 5.0}
    found = Found(slow, np.zeros((6, 5)), Trace(), 0, 0.0, candidates=(slow, others[1], others[0], others[4]))
    accuracy = PredictedTask("t", SPACE, torch.nn.Identity(), "raw", 1.0, {})

    def looked_up(predicted, lookups):
        method = Method("told", lambda problem: found)
        price = Price(linear(SPACE), SPACE, conformal=CONFORMAL)
        return search_table(
            SPACE, method, table(SPACE), truth, price, target_ms=4.0, queries=1, lookups=lookups, accuracy=predicted
        )

    three = looked_up(accuracy, 10)
    assert [entry.architecture for entry in three.lookups] == [slow, others[1], others[0]]
    assert three.found.architecture == others[1]  # not the last, but the most accurate one within the target
    assert three.document().found.predicted_ms == pytest.approx(PREDICTED[others[1]], rel=1e-5)
    assert [entry.architecture for entry in looked_up(None, 10).lookups] == [slow, others[1]]
    assert len(looked_up(accuracy, 2).lookups) == 2


def test_an_infeasible_target_is_refused_before_any_query():
    told = []
    with pytest.raises(TargetError, match=r"smallest network .* Ask for at least"):
        search(target_ms=0.5, progress=lambda *call: told.append(call))
    assert not told


def test_methods_that_train_are_refused_with_where_the_others_stand():
    for method in ("la_darts", "ofa"):
        with pytest.raises(UsageError, match="asks for accuracies only, see tempograd methods"):
            search(method)


@pytest.mark.slow
def test_the_folder_tells_all_and_a_report_reads_it(tmp_path):
    result = search("surrogate_search", truth=noisy(0.1))
    result.save(tmp_path / "result", {"predictor": {"model": "linear"}, "predicted_interval_ms": (3.0, 4.0)})
    told = json.loads((tmp_path / "result" / "result.json").read_text())
    assert told["queries"]["budget"] == told["queries"]["used"] == len(told["queries"]["key"]) == 30
    assert told["latencies_looked_up"] == len(told["repairs"]) == len(result.lookups)
    assert told["regret_points"] == result.regret_points
    assert told["found"]["predicted_high_ms"] == 4.0
    page = read_result(tmp_path / "result")
    assert (page.verdict, page.found.accuracy) == ("pass", result.found.accuracy)
    network = load_network(tmp_path / "result", trained=False)
    assert sum(p.numel() for p in network.parameters()) == told["found"]["parameters"]
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


@pytest.mark.parametrize(
    ("spec", "file", "column"),
    [
        ("table:nb201.parquet:help:gold_6226", "nb201.parquet", "help:gold_6226"),
        ("table:a.b/c:d/nb.csv:ms", "a.b/c:d/nb.csv", "ms"),
        ("table:x.parquet:y.parquet:z", "x.parquet", "y.parquet:z"),
    ],
)
def test_a_column_may_hold_colons(spec, file, column):
    path, name = table_column(spec)
    assert (str(path), name) == (file, column)


def test_what_is_no_table_is_told_apart():
    assert table_column("digits") is None
    for bad in ("table:", "table:x.parquet", "table:x.parquet:", "table:x.txt:y"):
        with pytest.raises(UsageError, match="table:FILE:COLUMN"):
            table_column(bad)
