"""Two levels: networks of a library of blocks by evolution, within a target, and a search that goes on where it was."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from tempograd import registry
from tempograd.search.archive import Archive
from tempograd.search.method import Problem
from tempograd.search.price import Price
from tempograd.search.searchers.two_level import Library, OfBlocks, alone
from tempograd.search.trace import Query
from tempograd.search.training import Training
from tempograd.tasks.load import load_task
from tempograd.tasks.table import TableTask
from tempograd.testing.methods import priced

SPACE = registry.create("space", "chained:blocks=3,n=1,stages=3,copies=3,width=4,size=8,channels=1")
SMALL = registry.create("space", "chained:blocks=2,n=1,stages=1,copies=2,width=4,size=8,channels=1")
PRICE = Price(priced(SPACE), SPACE)
FREE = [i for i, site in enumerate(SPACE.sites) if site.name.startswith("s")]
EGDAS = registry.create("method", "egdas").find


def base(seed):
    return SPACE.sample(1, np.random.default_rng(seed))[0]


def table(seed):
    """Accuracies of all 729 networks of one library: stages and copies add up, neighbouring blocks matter."""
    rng, blocks = np.random.default_rng(seed), base(seed)
    worth, copies, pairs = rng.normal(size=(3, 3)), rng.random((3, 3)).cumsum(axis=1), rng.normal(size=(3, 3))
    found = {}
    for genome in itertools.product(range(3), repeat=len(FREE)):
        taken, more = genome[::2], genome[1::2]
        value = sum(worth[s, taken[s]] + 0.7 * copies[s, more[s]] for s in range(3))
        value += 0.3 * (pairs[taken[0], taken[1]] + pairs[taken[1], taken[2]])
        found[SPACE.changed(blocks, dict(zip(FREE, genome, strict=True)))] = float(1 / (1 + np.exp(-0.4 * value)))
    return found


def problem(answers, seed=0, *, target_ms=None, queries=100):
    lam = 0.0 if target_ms is None else None
    return Problem(
        SPACE, SPACE, PRICE, TableTask("planted", answers), target_ms=target_ms, lam=lam, reference_ms=1.0,
        training=Training(), seed=seed, queries=queries,
    )  # fmt: skip


def library(seed):
    return Library(base(seed), np.zeros((len(SPACE.sites), max(SPACE.widths))), {})


@pytest.mark.slow
def test_its_front_is_nearly_the_true_one_and_random_networks_are_not():
    """729 networks, 100 queries: 97.5 % of the true hypervolume in nine of ten seeds, at random in three at most."""
    evolved = drawn = 0
    for seed in range(10):
        answers = table(seed)
        ms = PRICE.predict(list(answers)).tolist()
        everything = [Query(a, own_ms, answers[a]) for a, own_ms in zip(answers, ms, strict=True)]
        end = min(answers.values()), max(ms)
        whole = Archive.of(everything).hypervolume(*end)
        asked = EGDAS.networks(problem(answers, seed), library(seed))
        some = np.random.default_rng(seed).permutation(len(everything))[:100]
        assert len(asked.known) == 100
        evolved += asked.archive.hypervolume(*end) >= 0.975 * whole
        drawn += Archive.of([everything[i] for i in some]).hypervolume(*end) >= 0.975 * whole
    assert evolved >= 9
    assert drawn <= 3


def test_under_a_target_none_above_it_is_asked_about_and_the_archive_is_measured_best_first(monkeypatch):
    answers = table(1)
    target_ms = float(np.quantile(PRICE.predict(list(answers)), 0.3))
    given = problem(answers, 1, target_ms=target_ms, queries=30)
    monkeypatch.setattr(type(EGDAS), "library", lambda self, problem: library(1))
    found = EGDAS(given)
    assert len(found.queries) == 30
    assert all(query.predicted_ms <= target_ms for query in found.queries)
    assert found.architecture == found.candidates[0]
    assert [answers[a] for a in found.candidates] == sorted((answers[a] for a in found.candidates), reverse=True)
    assert set(found.candidates) == {query.architecture for query in Archive.of(found.queries).members}
    slow = EGDAS(replace(given, target_ms=1.01 * float(max(PRICE.predict(list(answers))))))
    assert slow.candidates == ()  # no network of these blocks uses the target: repair, which may change blocks, is next


def test_where_no_network_of_the_blocks_is_within_the_target_the_fastest_is_asked_about():
    answers = table(2)
    least_ms = float(min(PRICE.predict(list(answers))))
    asked = EGDAS.networks(problem(answers, 2, target_ms=0.9 * least_ms), library(2))
    (query,) = asked.known.values()
    assert query.predicted_ms == least_ms


def test_what_evolution_comes_to_keeps_the_blocks_of_the_library():
    queries = OfBlocks(problem(table(3), 3), 5, base(3))
    for other in SPACE.sample(20, np.random.default_rng(4)):
        settled = queries.settled(other)
        kept = [settled.choices[i] == (other if i in FREE else base(3)).choices[i] for i in range(len(SPACE.sites))]
        assert all(kept)
    made = list(queries.made())
    assert len(made) == len(set(made)) == 729


@pytest.mark.parametrize("share", [0.4, 1.0])
def test_the_first_networks_are_fast_and_slow_alike_whatever_number_is_asked_about(share):
    answers = table(3)
    target_ms = float(np.quantile(PRICE.predict(list(answers)), share))
    queries = OfBlocks(problem(answers, 3, target_ms=target_ms), 5, base(3))
    drawn = PRICE.predict(list(queries.draws(np.random.default_rng(0))))
    fitting = np.sort([ms for ms in PRICE.predict(list(answers)) if ms <= target_ms])
    assert np.array_equal(np.sort(drawn), fitting)  # each once
    for count in (4, 8, 24):
        ranks = np.searchsorted(fitting, np.sort(drawn[:count])) / len(fitting)
        assert max(np.diff([0, *ranks, 1])) < 2.7 / count  # of random ones it is about twice as much
    other = PRICE.predict(list(queries.draws(np.random.default_rng(1))))
    assert not np.array_equal(drawn, other)


@pytest.mark.parametrize("slot", ["b0", "b2"])
def test_alone_a_slot_is_in_every_stage_twice(slot):
    taken = SPACE.taken(alone(SPACE, base(5), slot))
    assert {taken[f"s{stage}/block"] for stage in range(3)} == {int(slot[1])}
    assert {taken[f"s{stage}/copies"] for stage in range(3)} == {1}


@pytest.mark.slow
def test_a_search_that_was_stopped_in_a_later_slot_goes_on_bit_for_bit(tmp_path):
    class StoppedError(Exception):
        pass

    def stop(stage, done, total, numbers):
        if stage == "search of b1" and done == 2:
            raise StoppedError

    method = registry.create("method", "egdas:epochs=3,batch=32,queries=2,population=2,train_epochs=1").find
    given = Problem(
        SMALL, SMALL, Price(priced(SMALL), SMALL), load_task("digits,limit=100"), target_ms=None, lam=0.1,
        reference_ms=0.05, training=Training(epochs=9, batch=32),
    )  # fmt: skip
    whole, path = method(given), tmp_path / "search.safetensors"
    with pytest.raises(StoppedError):
        method(replace(given, checkpoint=path, progress=stop))
    resumed = method(replace(given, checkpoint=path))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["search-b0.safetensors", "search-b1.safetensors"]
    assert resumed.architecture == whole.architecture
    assert [q.score for q in resumed.queries] == [q.score for q in whole.queries]
    assert np.array_equal(resumed.scores, whole.scores)
    assert resumed.passes == whole.passes
    assert [epoch.epoch for epoch in whole.trace.epochs] == list(range(6))
