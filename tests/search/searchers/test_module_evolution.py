"""Evolution by modules: who stays, what a child takes, and that nothing above the target is asked about."""

from itertools import islice, pairwise

import numpy as np
import pytest

from tempograd.errors import UsageError
from tempograd.metric import ACCURACY
from tempograd.search.method import Problem
from tempograd.search.neighbourhood import crossed
from tempograd.search.price import Price
from tempograd.search.queries import Queries
from tempograd.search.searchers import module_evolution
from tempograd.search.searchers.module_evolution import ModuleEvolution, flipped, peeled
from tempograd.search.trace import Query
from tempograd.search.training import Training
from tempograd.spaces.zoo.multibranch import Multibranch
from tempograd.tasks.load import load_task
from tempograd.testing.methods import priced

SPACE = Multibranch(modules="2-2", width=2, depth=3, size=16, channels=1)
SITES = [site.name for site in SPACE.sites]
MODULES = sorted({name.partition("/")[0] for name in SITES})


def part(architecture, module):
    return tuple(c for name, c in zip(SITES, architecture.choices, strict=True) if name.startswith(f"{module}/"))


PRICE = Price(priced(SPACE), SPACE)
MIDDLE_MS = float(np.median(PRICE.predict(SPACE.sample(200, np.random.default_rng(0)))))


def queries_of(seed=0, target_ms=100.0, queries=60):
    """Queries whose answers add up what options are worth, and what was asked, in batches."""
    worth, batches = np.random.default_rng(seed).random((len(SITES), 3)), []

    def ask(architectures):
        batches.append(list(architectures))
        return [sum(worth[i, choice] for i, choice in enumerate(a.choices) if choice >= 0) for a in architectures]

    problem = Problem(SPACE, SPACE, PRICE, load_task("digits,limit=100"), target_ms=target_ms, lam=None,
                      reference_ms=3.0, training=Training(epochs=1), queries=queries, seed=seed)  # fmt: skip
    return Queries(problem, queries, ask), batches


def asked(*, population=10, rate=0.2, **arguments):
    found, batches = queries_of(**arguments)
    ModuleEvolution(population=population, rate=rate).ask(found)
    return found, batches


def test_children_take_whole_modules_from_either_parent_a_quarter_of_them_from_the_other():
    one, other = SPACE.sample(2, np.random.default_rng(3))
    assert all(part(one, module) != part(other, module) for module in MODULES)
    rng, taken = np.random.default_rng(0), 0
    for _ in range(200):
        child = crossed(SPACE, one, other, rng, share=0.25, modules=True)
        for module in MODULES:
            assert part(child, module) in {part(one, module), part(other, module)}
            taken += part(child, module) == part(other, module)
    assert 0.2 < taken / (200 * len(MODULES)) < 0.3


def test_only_what_is_taken_or_left_flips_and_as_often_as_asked():
    (parent,) = SPACE.sample(1, np.random.default_rng(1))
    rng, flips, live, counts = np.random.default_rng(0), 0, 0, set()
    for _ in range(200):
        child, before_it = flipped(SPACE, parent, rng, 0.2), flips
        for name, before, after in zip(SITES, parent.choices, child.choices, strict=True):
            assert before == after or (name.rpartition("/")[2].startswith("from") and before + after == 1)
            flips += before != after
            live += before >= 0 and "/from" in name
        counts.add(flips - before_it)
    assert len(counts) > 3  # each by itself, not all at once
    assert 0.17 < flips / live < 0.23


def test_fronts_are_peeled_best_scores_first():
    rng = np.random.default_rng(0)
    queries = [Query(a, float(ms), float(score)) for a, ms, score in zip(
        SPACE.sample(40, rng), rng.integers(1, 20, 40), rng.random(40), strict=True)]  # fmt: skip
    order = peeled(queries, ACCURACY)
    assert sorted(map(id, order)) == sorted(map(id, queries))
    left, fronts = list(queries), 0
    while left:
        first = [q for q in left if not any(
            o.score >= q.score and o.predicted_ms <= q.predicted_ms and o is not q for o in left)]  # fmt: skip
        front, order, fronts = order[: len(first)], order[len(first) :], fronts + 1
        assert {id(q) for q in front} == {id(q) for q in first}
        assert all(a.predicted_ms > b.predicted_ms and a.score > b.score for a, b in pairwise(front))
        left = [q for q in left if q not in first]
    assert fronts > 3


@pytest.mark.slow
def test_each_of_the_first_peeled_has_one_child_of_a_quarter_of_modules_and_a_fifth_of_flips(monkeypatch):
    """As ScaleNAS' own: not the best scores are parents, but the fronts of score and latency, one after the other."""
    pairs, rates = {}, set()

    def cross(space, one, other, rng, **options):
        assert options == {"share": 0.25, "modules": True}
        pairs.setdefault(len(batches), []).append((one, other))
        return crossed(space, one, other, rng, **options)

    def flip(space, child, rng, rate):
        rates.add(rate)
        return flipped(space, child, rng, rate)

    monkeypatch.setattr(module_evolution, "crossed", cross)
    monkeypatch.setattr(module_evolution, "flipped", flip)
    found, batches = queries_of(queries=36)
    ModuleEvolution(population=4).ask(found)
    known, unlike = list(found.known.values()), 0
    assert rates == {0.2}
    for turn, tried in pairs.items():
        answered = known[: sum(map(len, batches[:turn]))]
        alive = [query.architecture for query in peeled(answered, ACCURACY)[:4]]
        assert [*dict.fromkeys(one for one, _ in tried)] == alive
        assert {other for _, other in tried} <= {*alive}
        unlike += {*alive} != {q.architecture for q in sorted(answered, key=lambda q: -q.score)[:4]}
    assert len(pairs) == 6
    assert unlike


@pytest.mark.slow
def test_without_mutation_every_module_of_a_child_is_that_of_a_parent():
    """Its own recipe: `crossed` by sites would make modules that no parent had."""
    _, batches = asked(rate=0.0)
    known = list(batches[0])
    assert len(batches) > 2
    for children in batches[1:]:
        for child in children:
            assert all(part(child, module) in {part(a, module) for a in known} for module in MODULES)
        known += children


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_it_finds_better_than_as_many_random_draws_and_asks_about_nothing_above_the_target(seed):
    found, batches = asked(seed=seed, target_ms=MIDDLE_MS, queries=150)
    assert len(found.known) == 150
    assert all(query.predicted_ms <= MIDDLE_MS for query in found.known.values())
    assert len(batches[0]) == 50  # a third is random
    drawn, _ = queries_of(seed=seed, target_ms=MIDDLE_MS, queries=150)
    drawn.ask(islice(drawn.draws(np.random.default_rng(seed)), 150))
    best, random = (max(query.score for query in each.known.values()) for each in (found, drawn))
    assert best > random


@pytest.mark.slow
def test_the_same_seed_asks_the_same():
    one, other = (asked(target_ms=MIDDLE_MS)[0] for _ in range(2))
    assert list(one.known) == list(other.known)


def test_a_population_of_one_is_refused():
    with pytest.raises(UsageError, match="population=1; allowed: from 2"):
        ModuleEvolution(population=1)
