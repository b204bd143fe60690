"""Shrinking: what is asked, what goes first, where it ends; by hand on planted tables."""

from dataclasses import replace
from math import log10

import numpy as np
import pytest

from tempograd import registry
from tempograd.errors import TargetError, UsageError
from tempograd.search.searchers.one_shot import OneShotSchedule
from tempograd.search.searchers.shrink import ShrinkSearcher, complete

from ..planted import SPEC, additive, edges, graphs, problem

EDGES = 10  # of five nodes


def worth(seed=0, scale=0.02):
    return np.random.default_rng(seed).uniform(-scale, scale, EDGES)


def walked(searcher, asked):
    walk = searcher.walk(asked)
    walk.train(None, asked.progress)
    return walk


@pytest.mark.parametrize("k", [1, 4, 100])
def test_a_round_asks_about_as_many_edges_as_k_and_no_more_than_there_are(k):
    asked = problem(additive(worth()))
    walk = walked(ShrinkSearcher(k=k), asked)
    assert walk.evaluations == sum(min(k, each.edges) for each in walk.rounds)
    for each in walk.rounds:
        assert len(set(each.tried)) == len(each.tried) == min(k, each.edges)
        assert len(each.dropped) == 1
    assert walk.rounds[0].edges == EDGES
    assert all(a.edges > b.edges for a, b in zip(walk.rounds, walk.rounds[1:], strict=False))
    assert not walk.on
    assert len(asked.task.accuracies.asked) == len(walk.queries.known)  # a graph asked about twice is looked up once


def score_of(asked, architecture, weight):
    (ms,) = asked.predict()([architecture])
    return asked.task.accuracies.answer(architecture) - weight * (log10(ms / 1e-3) - 6)


def greedy(asked, weight):
    """The edge that goes in every round, by trying all."""
    space, current, order = asked.space, complete(asked), []
    while edges(current):
        lighter = {i: space.changed(current, {i: 0}) for i in edges(current)}
        best = max(lighter, key=lambda i: score_of(asked, lighter[i], weight))
        order.append(best)
        current = lighter[best]
    return order


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_with_all_edges_tried_it_is_exact_greedy_removal_of_accuracy_and_latency(weight):
    for seed in range(3):
        asked = problem(additive(worth(seed)), lam=weight, seed=seed)
        walk = walked(ShrinkSearcher(k=EDGES), asked)
        assert [each.dropped[0] for each in walk.rounds] == greedy(asked, weight)
        for each in walk.rounds[:1]:
            lighter = [asked.space.changed(complete(asked), {i: 0}) for i in each.tried]
            assert each.scores == pytest.approx([score_of(asked, one, weight) for one in lighter])
    assert greedy(asked, 0.0) != greedy(asked, 0.3)  # so that latency in the score can be told


@pytest.mark.slow
def test_with_one_edge_tried_it_is_not_greedy_and_the_edges_are_drawn():
    orders = []
    for seed in range(4):
        asked = problem(additive(worth()), seed=seed)
        walk = walked(ShrinkSearcher(k=1), asked)
        orders.append([each.dropped[0] for each in walk.rounds])
        assert orders[-1] != greedy(asked, 0.0)
    assert len({tuple(order) for order in orders}) == 4
    assert len({order[0] for order in orders}) > 1


def test_an_edge_whose_removal_helps_goes_first_and_what_it_leaves_dead_goes_with_it():
    space = graphs()
    names = [site.name for site in space.sites]
    planted = np.full(EDGES, 0.01)
    planted[names.index("e0-1")] = -0.2  # the only way into node 1, which three edges leave
    walk = walked(ShrinkSearcher(k=EDGES), problem(additive(planted)))
    assert names[walk.rounds[0].dropped[0]] == "e0-1"
    assert walk.rounds[1].edges == EDGES - 4
    for query in walk.queries.known.values():
        assert space.architecture(query.architecture.choices) == query.architecture
        assert space.is_connected(query.architecture)


def test_at_a_weight_the_best_graph_asked_about_is_found_wherever_it_was_on_the_way():
    asked = problem(additive(np.where(np.arange(EDGES) % 2, 0.02, -0.02)), lam=0.01)
    found = ShrinkSearcher(k=EDGES)(asked)
    scores = {query.architecture: score_of(asked, query.architecture, 0.01) for query in found.queries}
    assert found.architecture == max(scores, key=scores.get)
    assert found.architecture != found.queries[-1].architecture
    again = ShrinkSearcher(k=EDGES, keep=0.5)(asked)
    assert min(len(edges(q.architecture)) for q in again.queries) >= 0.5 * EDGES - 4
    assert len(again.queries) < len(found.queries)


def test_under_a_target_the_walk_ends_when_it_is_met_as_predicted_and_nothing_above_it_is_found():
    space = graphs()
    asked = problem(additive(np.full(EDGES, 0.01)), target_ms=1.0)
    ms = np.sort(asked.predict()(list(space.enumerate())))
    target_ms = float(ms[len(ms) // 2])
    asked = problem(additive(np.full(EDGES, 0.01)), target_ms=target_ms)
    walk = walked(ShrinkSearcher(k=4), asked)
    predict = asked.predict()
    assert predict([walk.current])[0] <= target_ms
    found = ShrinkSearcher(k=4)(asked)
    assert predict([found.architecture])[0] <= target_ms
    fitting = [q for q in found.queries if q.predicted_ms <= target_ms]
    assert max(q.score for q in fitting) == next(q for q in fitting if q.architecture == found.architecture).score
    assert len(edges(walk.current)) > 1


def test_shared_weights_take_about_half_of_the_answers_for_the_same_score():
    """On an additive table the two best removals of a round are those of two rounds."""
    planted = np.array([0.1 if source == 0 else -0.01 * target for source, target in graphs().edges])
    asked = problem(additive(planted))
    alone, pair = (walked(ShrinkSearcher(k=EDGES, schedule=s), asked) for s in (None, OneShotSchedule()))
    assert all(len(each.dropped) == 2 for each in pair.rounds)
    assert pair.evaluations == sum(min(EDGES, each.edges) + 1 for each in pair.rounds) == 30 + 5
    assert alone.evaluations == 55
    best = [max(walk.queries.known.values(), key=lambda q: q.score).architecture for walk in (alone, pair)]
    assert edges(best[0]) == edges(best[1]) == {i for i, each in enumerate(planted) if each > 0}


@pytest.mark.parametrize("seed", range(3))
def test_at_every_size_what_is_left_is_better_than_most_random_graphs_of_as_many_edges(seed):
    """Though answers are noisy and but four edges are tried a round."""
    space, told = graphs(), worth(seed)
    walk = walked(ShrinkSearcher(k=4), problem(additive(told, noise=0.005, seed=seed), seed=seed))
    by_size = {}
    for graph in space.sample(400, np.random.default_rng(seed)):
        by_size.setdefault(len(edges(graph)), []).append(told[list(edges(graph))].sum())
    current, sizes = complete(problem(additive(told))), []
    for each in walk.rounds:
        current = space.changed(current, {each.dropped[0]: 0})
        others = by_size.get(len(edges(current)), [])
        if len(others) >= 20:
            sizes.append(len(edges(current)))
            assert told[list(edges(current))].sum() > np.median(others)
    assert len(sizes) >= 3


@pytest.mark.slow
def test_at_the_papers_size_too_shared_weights_take_little_more_than_half_of_the_answers():
    """Eight nodes, 28 edges, of which ten are tried a round."""
    space = graphs(SPEC.replace("n=5", "n=8"))
    planted = np.array([0.03 if source == 0 else -0.001 * target for source, target in space.edges])
    recipes = [registry.create("method", spec).find for spec in ("autoshrink", "autoshrink:shared=true")]
    alone, pair = (walked(recipe, problem(additive(planted), space=space)) for recipe in recipes)
    assert (alone.evaluations, pair.evaluations) == (235, 134)
    best = [max(walk.queries.known.values(), key=lambda q: q.score).architecture for walk in (alone, pair)]
    assert edges(best[0]) == edges(best[1]) == {i for i, each in enumerate(planted) if each > 0}


def test_it_is_stopped_and_goes_on_to_the_same_end_and_a_larger_target_costs_nothing(tmp_path):
    path = tmp_path / "walk.safetensors"
    whole = ShrinkSearcher(k=3)(problem(additive(worth())))

    class StoppedError(Exception):
        pass

    def stop(stage, done, total, numbers):
        if stage == "shrink" and done == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        ShrinkSearcher(k=3)(problem(additive(worth()), checkpoint=path, progress=stop))
    rest = additive(worth())
    resumed = ShrinkSearcher(k=3)(problem(rest, checkpoint=path))
    assert resumed.architecture == whole.architecture
    assert resumed.queries == whole.queries
    assert len(rest.asked) < len(whole.queries)
    space = graphs()
    ms = np.sort(problem(rest).predict()(list(space.enumerate())))
    kept, counts = tmp_path / "kept.safetensors", []
    for share in (0.4, 0.7):
        answers = additive(worth())
        target_ms = float(ms[int(share * len(ms))])
        found = ShrinkSearcher(k=3)(problem(answers, target_ms=target_ms, supernet=kept))
        counts.append(len(answers.asked))
        assert problem(rest).predict()([found.architecture])[0] <= target_ms
    assert counts[0] > counts[1] == 0


def test_a_budget_of_queries_holds_and_what_is_too_small_is_told():
    asked = problem(additive(worth()), queries=5)
    assert len(ShrinkSearcher(k=4)(asked).queries) == 5
    with pytest.raises(TargetError, match=r"none of 1 graphs.*--queries"):
        ShrinkSearcher(k=4)(problem(additive(worth()), target_ms=0.004, queries=1))
    with pytest.raises(UsageError, match="k=0"):
        ShrinkSearcher(k=0)


def test_the_recipe_is_this_searcher_with_the_papers_numbers():
    method = registry.create("method", "autoshrink")
    assert (method.find.k, method.find.keep, method.find.weight, method.find.schedule) == (10, 0.01, 0.1, None)
    shared = registry.create("method", "autoshrink:shared=true")
    assert shared.find.schedule is not None
    with pytest.raises(UsageError, match="shared=true"):
        method.find.walk(replace(problem(additive(worth())), proxy=graphs(SPEC.replace("width=4", "width=2"))))


class Supernet:
    """Epochs that do nothing."""

    def __init__(self, total):
        self.done, self.total = 0, total

    @property
    def told(self):
        return "supernet", self.done, self.total


@pytest.mark.parametrize("method", ["autoshrink", "gram:sweeps=3,still=3"])
def test_epochs_of_the_supernet_and_steps_are_told_each_by_themselves(method):
    asked = problem(additive(worth()))
    find = registry.create("method", method).find
    asking = find.walk(asked) if method == "autoshrink" else find.graph(asked)
    asking.shot, left, told = Supernet(2), asking.left, []
    for done in (1, 2):
        asking.shot.done = done
        told.append(asking.told)
    asking.step()
    asking.rounds_done += 1
    told.append(asking.told)
    assert told[:2] == [("supernet", 1, 2), ("supernet", 2, 2)]
    assert told[2] == (asking.stage, 1, 1 + asking.left)
    assert asking.left < left
