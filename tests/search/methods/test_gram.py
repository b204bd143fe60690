"""Each mechanism of GRAM, seen in the recipe of that name; how the meta-graph learns is in its searcher's tests."""

from math import log10

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.devices.places.simulated import SimulatedDevice
from tempograd.profiler.plan import Items, named
from tempograd.profiler.verify import measure
from tempograd.search import evaluator
from tempograd.search.method import Problem
from tempograd.search.price import Price
from tempograd.search.searchers import asking
from tempograd.search.searchers.one_shot import OneShot
from tempograd.search.training import Training
from tempograd.spaces.network import inherit
from tempograd.tasks.load import load_task

from ..planted import additive, edges, graphs, price, problem

SPEC = "nodedag:n=4,stages=1,width=4,size=8,channels=1"
WORTH = np.array([0.1, 0.1, -0.1, 0.1, -0.1, -0.1, 0.1, -0.1, 0.1, -0.1])


def recipe(**changes):
    return registry.create("method", "gram", **changes)


@pytest.mark.slow
def test_answers_teach_the_graph_and_a_further_target_costs_none_and_is_a_part_of_the_first(tmp_path):
    """In scores are the log-odds of edges: those that are worth something are likelier after 60 answers."""
    find, path = recipe(sweeps=60, still=60, eta=0.2).find, tmp_path / "meta.safetensors"
    ms = np.sort(problem(additive(WORTH)).predict()(list(graphs().enumerate())))
    found, asked = [], []
    for share in (0.8, 0.3):
        answers = additive(WORTH)
        found.append(find(problem(answers, target_ms=float(ms[int(share * len(ms))]), supernet=path)))
        asked.append(len(answers.asked))
    odds = found[0].scores[:, 1] - found[0].scores[:, 0]
    assert np.corrcoef(odds, WORTH)[0, 1] > 0.6
    assert asked[0] > 10
    assert asked[1] == 0
    assert edges(found[1].architecture) < edges(found[0].architecture)


def test_the_families_members_are_faster_as_measured_too(tmp_path):
    """On a device whose truth is a roofline over the exported files, and not the sum that prices them."""
    find, path, device = recipe(sweeps=30, still=30).find, tmp_path / "meta.safetensors", SimulatedDevice(slow=1.0)
    ms = np.sort(problem(additive(WORTH)).predict()(list(graphs().enumerate())))
    family, asked = [], []
    for share in (0.8, 0.5, 0.15):
        answers = additive(WORTH)
        target_ms = float(ms[int(share * len(ms))])
        family.append(find(problem(answers, target_ms=target_ms, supernet=path)).architecture)
        asked.append(len(answers.asked))
    assert asked[0] > asked[1] == asked[2] == 0
    assert edges(family[0]) > edges(family[1]) > edges(family[2])
    measured = measure(device, Items.of(graphs(), family), named("quick"))
    assert [each.verdict for each in measured] == ["ok"] * 3
    first, second, third = (each.latency_ms for each in measured)
    assert first > second > third


def test_how_much_better_an_answer_was_is_told_in_units_of_their_usual_spread():
    """So it is the same whether all edges are worth much or little."""
    find = recipe(sweeps=12, still=12).find
    much, little = (find(problem(additive(scale * WORTH), lam=0.0)).scores for scale in (1.0, 0.01))
    assert np.allclose(much, little, atol=1e-4)
    assert np.abs(much[:, 1] - much[:, 0]).max() > 0.1


@pytest.mark.parametrize("mode", [{"target_ms": 1.0}, {"lam": 0.3}])
def test_the_score_is_accuracy_less_the_logarithm_of_latency(mode):
    asked = problem(additive(WORTH), **mode)
    whole = graphs().architecture([1] * 10)
    (ms,) = asked.predict()([whole])
    score = recipe().find.graph(asked).ask(whole)
    assert score == pytest.approx(0.5 + WORTH.sum() - mode.get("lam", 0.1) * (log10(1000 * ms) - 6))


@pytest.mark.slow
def test_one_supernet_answers_each_time_of_the_same_few_images_with_statistics_of_the_networks_own(monkeypatch):
    assert asking._FEW == 512  # as many as its page says
    monkeypatch.setattr(asking, "_FEW", 20)
    trained, run = [], OneShot.advance
    monkeypatch.setattr(OneShot, "advance", lambda self: trained.append(self) or run(self))
    space, task = registry.create("space", SPEC), load_task("digits,limit=100")
    given = Problem(
        space, space, Price(price(space), space), task, target_ms=1.0, lam=None, reference_ms=0.1,
        training=Training(epochs=1),
    )  # fmt: skip
    found = recipe(epochs=1, sweeps=3, still=3).find(given)
    shot, fitted = trained[-1], task.fitted(space)
    assert len(trained) == shot.total == shot.done
    index = torch.randperm(len(fitted.law), generator=torch.Generator().manual_seed(0))[:20]
    inputs, labels = fitted.law.take(index)
    images = evaluator.calibration(fitted.weights, torch.Generator().manual_seed(0), batches=4)
    assert found.queries
    for query in found.queries:
        network = inherit(space.to_torch(query.architecture), shot.supernet)
        evaluator.recalibrate(network, images)
        right = (network(inputs).argmax(dim=1) == labels).float().mean()
        assert query.score == pytest.approx(float(right))
    assert found.passes == shot.passes  # nothing else was trained
    wanted = inherit(space.to_torch(found.architecture), shot.supernet).state_dict()
    begun = found.begin(space.to_torch(found.architecture)).state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in begun.items())


def test_at_a_weight_of_latency_the_likely_edges_are_found_and_nothing_is_pruned():
    found = recipe(sweeps=60, still=60, eta=0.2).find(problem(additive(WORTH), lam=0.0))
    likely = found.scores[:, 1] > found.scores[:, 0]
    assert found.architecture == graphs().architecture(likely.astype(int).tolist())
    assert found.candidates == (found.architecture,)
    assert 0 < len(edges(found.architecture)) < 10
