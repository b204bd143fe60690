"""The meta-graph: what answers teach it, and families pruned from it without another answer."""

import itertools

import numpy as np
import pytest

from tempograd import registry
from tempograd.errors import TargetError, UsageError
from tempograd.search.searchers.meta_graph import MetaGraphSearcher

from ..planted import additive, edges, graphs, problem

HELPFUL = {(0, 1), (0, 2), (1, 3), (2, 4)}  # a mask without dead edges


def worth():
    return np.array([0.03 if edge in HELPFUL else -0.03 for edge in graphs().edges])


def learnt(searcher, asked):
    graph = searcher.graph(asked)
    graph.train(None, asked.progress)
    return graph


LONG = MetaGraphSearcher(sweeps=250, still=250)


@pytest.mark.slow
def test_helpful_edges_are_found_from_noisy_answers_and_not_from_shuffled_ones():
    helpful = {i for i, edge in enumerate(graphs().edges) if edge in HELPFUL}
    told, right, shuffled, above = worth(), 0, [], []
    for seed in range(5):
        graph = learnt(LONG, problem(additive(told, noise=0.01, seed=seed), seed=seed))
        right += edges(graph.law.best()) == helpful
        weights = graph.law.weights
        assert ((weights >= 0) & (weights <= 1)).all()
        assert float(graph.law.entropy()) < 10 * np.log(2)
        rng = np.random.default_rng(seed)
        drawn = [graph.law.sweep(graph.generator) for _ in range(40)]
        uniform = graphs().sample(40, rng)
        values = [np.mean([told[list(edges(a))].sum() for a in many]) for many in (drawn, uniform)]
        above.append(values[0] > values[1])
        blind = additive(told)
        blind.answer = lambda a, rng=rng: 0.5 + 0.05 * rng.standard_normal()
        shuffled.append(np.corrcoef(learnt(LONG, problem(blind, seed=seed)).law.weights, told)[0, 1])
    assert right >= 4
    assert all(above)
    assert abs(np.mean(shuffled)) < 0.5


@pytest.mark.slow
def test_latency_is_in_the_score():
    """Edges that are worth nothing become unlikely where latency has a weight, and stay as they are without."""
    heavy = learnt(LONG, problem(additive(np.zeros(10)), lam=0.5))
    assert float(heavy.law.weights.mean()) < 0.35
    flat = learnt(LONG, problem(additive(np.zeros(10)), lam=0.0))
    assert np.allclose(flat.law.weights, 0.5)  # equal answers teach nothing: the usual is taken off


def test_the_usual_answer_follows_the_answers():
    """One better than the first is news; after a hundred like it, another tells hardly anything."""
    graph, told = MetaGraphSearcher(sweeps=9, still=9).graph(problem(additive(worth()))), []
    for score in (0.3, *[0.5] * 100):
        told.append(graph.advantage(score))
        graph.rounds_done += 1
    assert told[:2] == pytest.approx([0.0, 1.0])
    assert told[1] > told[10] > told[30] > told[100] > 0
    assert told[100] < 0.2


def targets(space, shares):
    ms = np.sort(problem(additive(worth())).predict()(list(space.enumerate())))
    return [float(ms[int(share * (len(ms) - 1))]) for share in shares]


@pytest.mark.slow
def test_further_targets_cost_no_answer_and_give_a_nested_family_that_gets_faster(tmp_path):
    space, path = graphs(), tmp_path / "meta.safetensors"
    found, asked, lengths = [], [], []
    for target_ms in targets(space, (0.9, 0.5, 0.2)):
        answers = additive(worth(), noise=0.01)
        one = problem(answers, target_ms=target_ms, supernet=path)
        found.append(LONG(one))
        asked.append(len(answers.asked))
        graph = LONG.graph(one)
        graph.train(path, one.progress)
        family = tuple(graph.family(target_ms))
        lengths.append(len(family))
        predicted = one.predict()(family)
        assert predicted[0] <= target_ms
        assert (np.diff(predicted) < 0).all()
        for larger, smaller in itertools.pairwise(family):
            assert edges(smaller) < edges(larger)
        leaves_room = predicted[0] < 0.95 * target_ms  # then repair uses it; else members are measured in turn
        assert found[-1].architecture == family[0]
        assert found[-1].candidates == (() if leaves_room else family[:12])
    assert asked[0] > 20
    assert asked[1:] == [0, 0]
    kept = [each.architecture for each in found]
    assert edges(kept[0]) > edges(kept[1]) > edges(kept[2])
    assert (np.diff(problem(additive(worth())).predict()(kept)) < 0).all()
    assert found[0].queries == found[1].queries
    assert lengths[0] > 1  # where one is measured above its target, the next is tried


@pytest.mark.slow
def test_edges_go_by_rising_probability():
    searcher = MetaGraphSearcher(sweeps=250, still=250)
    graph = learnt(searcher, problem(additive(worth()), target_ms=1.0))
    weights, space = graph.law.weights.tolist(), graphs()
    (largest, *_) = targets(space, (1.0,))
    members = list(graph.family(largest))
    assert len(members) > 3
    for larger, smaller in itertools.pairwise(members):
        left = edges(larger)
        while left != edges(smaller):
            clean = {
                i for i in left if edges(space.architecture([int(j in left - {i}) for j in range(10)])) == left - {i}
            }
            left = left - {min(sorted(clean), key=lambda i: weights[i])}
            assert left >= edges(smaller)
    with pytest.raises(TargetError, match="no edge can be dropped"):
        next(graph.family(1e-4))


def test_it_is_stopped_and_goes_on_to_the_same_end(tmp_path):
    path, searcher = tmp_path / "meta.safetensors", MetaGraphSearcher(sweeps=40, still=40)
    whole = searcher(problem(additive(worth())))

    class StoppedError(Exception):
        pass

    def stop(stage, done, total, numbers):
        if stage == "meta-graph" and done == 15:
            raise StoppedError

    with pytest.raises(StoppedError):
        searcher(problem(additive(worth()), checkpoint=path, progress=stop))
    resumed = searcher(problem(additive(worth()), checkpoint=path))
    assert resumed.queries == whole.queries
    assert np.array_equal(resumed.scores, whole.scores)
    assert resumed.architecture == whole.architecture


def test_another_seed_draws_other_graphs():
    first, again, other = (
        [query.architecture for query in MetaGraphSearcher(sweeps=8)(problem(additive(worth()), seed=seed)).queries]
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_it_ends_when_the_likely_edges_stay_and_after_as_many_sweeps_as_allowed():
    still = learnt(MetaGraphSearcher(sweeps=1000, still=15), problem(additive(np.full(10, 0.01))))
    assert still.done < 1000
    assert learnt(MetaGraphSearcher(sweeps=7, still=50), problem(additive(worth()))).done == 7
    assert len(MetaGraphSearcher(sweeps=90)(problem(additive(worth()), queries=5)).queries) == 5
    with pytest.raises(UsageError, match="sweeps=0"):
        MetaGraphSearcher(sweeps=0)


def test_the_recipe_passes_on_what_it_is_told():
    method = registry.create("method", "gram:shared=false,spread=0.5,eta=0.2")
    law = method.find.graph(problem(additive(worth()))).law
    assert (law.eta, law.spread) == (0.2, 0.5)
    assert registry.create("method", "gram").find.spread > 0
    assert registry.create("method", "gram").find.schedule is not None


def test_how_much_better_an_answer_was_is_told_by_moving_means_of_scores_and_of_their_squares():
    """By hand: the first two answers begin them, each later one moves them by a twentieth."""
    graph, mean, square = MetaGraphSearcher(sweeps=99, still=99).graph(problem(additive(worth()))), 0.0, 0.0
    for number, score in enumerate([*np.random.default_rng(0).normal(0.5, 0.1, 30)]):
        mean = score if number == 0 else mean
        apart = score - mean
        square = apart**2 if number <= 1 else 0.95 * square + 0.05 * apart**2
        assert graph.advantage(score) == pytest.approx(apart / square**0.5 if number else 0.0)
        mean += 0.05 * apart
        graph.rounds_done += 1
