"""Each mechanism of AutoShrink, seen in the recipe of that name; the walk itself is in its searcher's tests."""

import copy
from dataclasses import replace
from math import log10

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import MismatchError
from tempograd.search import queries
from tempograd.search.evaluator import Trained
from tempograd.search.method import Problem
from tempograd.search.price import Price
from tempograd.search.searchers.one_shot import OneShot
from tempograd.search.training import Training
from tempograd.spaces.network import inherit
from tempograd.tasks.load import load_task

from ..planted import additive, edges, graphs, price, problem

SPEC = "nodedag:n=4,stages=1,width=4,size=8,channels=1"
WORTH = np.random.default_rng(0).uniform(-0.02, 0.02, 10)


def recipe(**changes):
    return registry.create("method", "autoshrink", **changes)


def on_images(target_ms=0.001):
    space = registry.create("space", SPEC)
    return Problem(
        space, space, Price(price(space), space), load_task("digits,limit=100"), target_ms=target_ms, lam=None,
        reference_ms=0.1, training=Training(epochs=9),
    )  # fmt: skip


def walked(method, asked):
    walk = method.find.walk(asked)
    walk.train(None, asked.progress)
    return walk


def test_it_begins_with_all_edges_and_tries_ten_a_round_of_which_one_goes():
    walk = walked(recipe(), problem(additive(WORTH)))
    assert walk.rounds[0].edges == len(walk.rounds[0].tried) == 10
    assert walk.rounds[0].tried != tuple(range(10))
    best = walk.rounds[0].tried[int(np.argmax(walk.rounds[0].scores))]
    assert walk.rounds[0].dropped == (best,)
    few = walked(recipe(k=3, keep=0.5), problem(additive(WORTH)))
    assert {len(each.tried) for each in few.rounds} == {3}
    assert few.rounds[-1].edges > 5 >= len(few.on)


@pytest.mark.parametrize("mode", [{"target_ms": 1.0}, {"lam": 0.3}])
def test_the_score_is_accuracy_less_a_tenth_of_the_logarithm_of_latency_or_the_weight_asked_for(mode):
    asked = problem(additive(WORTH), **mode)
    whole = graphs().architecture([1] * 10)
    (ms,) = asked.predict()([whole])
    score = recipe().find.walk(asked).ask(whole)
    assert score == pytest.approx(0.5 + WORTH.sum() - mode.get("lam", 0.1) * (log10(1000 * ms) - 6))


def test_each_graph_tried_is_trained_for_as_many_epochs_as_asked(monkeypatch):
    """Not for as many as the network that is found."""
    epochs, clean = [], []

    def train(architecture, space, task, training, **kwargs):
        epochs.append(training.epochs)
        clean.append(space.architecture(architecture.choices) == architecture and space.is_connected(architecture))
        return Trained(space.to_torch(architecture), 0.5, 0.5, 7)

    monkeypatch.setattr(queries, "train", train)
    walk = walked(recipe(epochs=2, k=2, keep=0.5), on_images())
    assert len(epochs) == len(walk.queries.known) > 3
    assert set(epochs) == {2}
    assert all(clean)
    assert walk.passes == 7 * len(epochs)
    walked(recipe(k=2, keep=0.8), on_images())
    assert epochs[-1] == 5


@pytest.mark.slow
def test_a_training_ends_where_epochs_bring_no_gain_and_its_best_epoch_counts():
    """After five of them as published, which is later than trainings of five epochs end by themselves."""
    asked = on_images()
    images = len(asked.task.weights)
    whole, early = (walked(recipe(k=2, keep=0.8, epochs=9, patience=n), asked) for n in (9, 1))
    assert whole.passes == 9 * images * len(whole.queries.known)
    assert early.passes % images == 0
    assert early.passes < whole.passes
    both = whole.queries.known.keys() & early.queries.known.keys()
    assert both
    training = recipe(epochs=20).find.walk(asked).queries.problem.training
    assert (training.epochs, training.patience) == (20, 5)
    assert recipe().find.walk(asked).queries.problem.training.patience == 0
    own = replace(asked, training=Training(patience=3))
    assert recipe().find.walk(own).queries.problem.training.patience == 3


@pytest.mark.slow
def test_where_weights_are_shared_one_supernet_answers_and_two_edges_go_a_round(monkeypatch):
    def train(*args, **kwargs):
        raise AssertionError("a network was trained")

    epochs, run = [], OneShot.advance
    monkeypatch.setattr(OneShot, "advance", lambda self: epochs.append(self) or run(self))
    monkeypatch.setattr(queries, "train", train)
    walk = walked(recipe(shared=True, supernet_epochs=1, k=3, keep=0.4), on_images())
    assert len(epochs) == walk.shot.total == walk.shot.schedule.largest + 1
    assert {len(each.dropped) for each in walk.rounds} == {2}
    assert all(each.edges > len(edges(walk.current)) for each in walk.rounds)
    assert recipe(shared=True, batch=8).find.schedule.batch == 8


@pytest.mark.slow
def test_a_training_may_begin_with_the_weights_of_the_supernet_that_answered(monkeypatch):
    trained, run = [], OneShot.advance
    monkeypatch.setattr(OneShot, "advance", lambda self: trained.append(self) or run(self))
    found = recipe(shared=True, supernet_epochs=1, k=2).find(on_images(target_ms=100.0))
    network = registry.create("space", SPEC).to_torch(found.architecture)
    wanted = inherit(copy.deepcopy(network), trained[-1].supernet).state_dict()
    begun = found.begin(network).state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in begun.items())


def test_what_is_found_is_the_most_accurate_within_the_target_that_was_asked_about():
    space = graphs()
    ms = np.sort(problem(additive(WORTH)).predict()(list(space.enumerate())))
    found = recipe(k=4).find(problem(additive(WORTH), target_ms=float(ms[len(ms) // 2])))
    fitting = [query for query in found.queries if query.predicted_ms <= ms[len(ms) // 2]]
    assert found.architecture == max(fitting, key=lambda query: query.score).architecture
    assert len(fitting) < len(found.queries)


def test_within_the_target_latency_is_free_though_it_is_in_the_scores_of_the_walk():
    """All graphs of the first round are within it; they differ little in accuracy, and more in latency."""
    ms = problem(additive(WORTH)).predict()(list(graphs().enumerate()))
    found = recipe().find(problem(additive(0.01 * WORTH), target_ms=0.999 * float(ms.max())))
    assert len(found.queries) == 10
    assert found.architecture == max(found.queries, key=lambda query: query.score).architecture
    assert found.architecture != min(found.queries, key=lambda query: query.predicted_ms).architecture


@pytest.mark.parametrize("shared", [False, True])
def test_answers_of_other_images_or_of_another_recipe_are_not_gone_on_from(tmp_path, shared):
    """A supernet is trained by a schedule of its own, whatever the recipe."""
    path, own = tmp_path / "walk.safetensors", recipe(shared=shared).find
    own.walk(on_images()).save(path)
    slow = replace(on_images(), training=Training(epochs=9, learning_rate=0.01))
    if shared:
        own.walk(slow).load(path)
    else:
        with pytest.raises(MismatchError, match="is the record of another search: other recipe;"):
            own.walk(slow).load(path)
    with pytest.raises(MismatchError, match=r"of another search: other .*images;"):
        own.walk(replace(on_images(), task=load_task("digits,limit=150"))).load(path)
