"""Gradient search by predicted accuracy: against all networks of a small space, and within the target."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.search.method import Problem
from tempograd.search.price import Price
from tempograd.search.searchers.one_shot import OneShot
from tempograd.search.searchers.predicted import PATHS, Surrogate
from tempograd.search.training import Training
from tempograd.tasks.predicted import PredictedTask
from tempograd.tasks.table import TableTask

from ..tables import SPACE, Worth, accuracies, latencies, linear

GRADIENT = [n for n in registry.names("method") if "accuracy" in (m := registry.create("method", n)).accepts
            and m.trains_supernet]  # fmt: skip


@cache
def everything():
    networks = [a for a in SPACE.enumerate() if SPACE.is_connected(a)]
    return networks, np.array(latencies(SPACE, linear(SPACE), networks))


def problem(share, **changes):
    _, ms = everything()
    task = PredictedTask("table:t.csv:acc", SPACE, Worth(), "raw", 2.0, {"rows": 20})
    whole = Problem(
        space=SPACE, proxy=SPACE, price=Price(linear(SPACE), SPACE), task=task, accuracy=task,
        target_ms=float(np.quantile(ms, share)), lam=None, reference_ms=float(np.median(ms)), training=Training(),
    )  # fmt: skip
    return replace(whole, **changes)


def best_within(asked):
    networks, ms = everything()
    return max(asked.accuracy.predict([a for a, one in zip(networks, ms, strict=True) if one <= asked.target_ms]))


@pytest.mark.slow
@pytest.mark.parametrize(("method", "share"), [("lightnas", 0.1), ("lightnas", 0.5), ("ofa:queries=20", 0.3)])
def test_the_best_network_within_the_target_is_found_without_an_image(method, share, monkeypatch):
    monkeypatch.setattr(OneShot, "step", lambda *args, **kwargs: pytest.fail("a supernet was trained"))
    asked = problem(share)
    found = registry.create("method", method).find(asked)
    assert asked.predict()([found.architecture])[0] <= asked.target_ms
    assert asked.accuracy.known(found.architecture) == pytest.approx(best_within(asked), abs=2e-3)
    assert found.candidates[0] == found.architecture
    assert found.passes == 0 or not found.queries


@pytest.mark.slow
@pytest.mark.parametrize("name", GRADIENT)
def test_every_method_of_laws_or_supernets_that_accepts_it_runs_by_predictions_alone(name):
    method = registry.create("method", name)
    if method.table_only or method.home not in ("", "nasbench201"):
        pytest.skip(f"{name} needs another space or cost")
    method = registry.create("method", name, epochs=2)
    asked = problem(0.5, task=problem(0.5).accuracy, queries=20)
    found = method.find(asked)
    assert asked.predict()(list(found.candidates)).max() <= asked.target_ms
    accuracy = asked.accuracy.predict(list(found.candidates))
    assert (np.diff(accuracy) <= 0).all()


def test_of_a_table_its_own_networks_are_the_answer_best_predicted_first():
    networks, _ = everything()
    some = networks[::50]
    task = TableTask("t", dict(zip(some, accuracies(SPACE, some), strict=True)))
    asked = problem(0.5, task=task)
    found = registry.create("method", "la_darts", epochs=1).find(asked)
    assert set(found.candidates) <= set(some)
    within = [a for a in some if asked.predict()([a])[0] <= asked.target_ms]
    assert found.architecture == max(within, key=asked.accuracy.known)
    assert len(found.candidates) == len(within)


@pytest.mark.slow
def test_at_a_weight_of_latency_a_larger_weight_gives_a_faster_network():
    fast, slow = (
        registry.create("method", "la_darts").find(problem(0.5, target_ms=None, lam=lam)).architecture
        for lam in (20.0, 0.01)
    )
    assert problem(0.5).predict()([fast])[0] < problem(0.5).predict()([slow])[0]


def test_methods_that_ask_are_answered_by_the_model():
    asked = problem(0.5, queries=40)
    found = registry.create("method", "random_search").find(asked)
    assert len(found.queries) == 40
    assert [q.score for q in found.queries] == pytest.approx(
        asked.accuracy.predict([q.architecture for q in found.queries])
    )


def test_the_slope_in_soft_gates_is_that_of_networks_drawn_of_them():
    surrogate = Surrogate(problem(0.5).accuracy, 0)
    gates = {site.name: torch.full((5,), 0.2, requires_grad=True) for site in SPACE.sites}
    value = surrogate(torch.zeros(1, 0), gates)
    value.sum().backward()
    slope = torch.cat([gate.grad for gate in gates.values()])
    assert value.shape == (1,)
    assert torch.allclose(slope, 3 * Worth().worth.detach(), atol=1e-5)  # linear: the same at all networks
    assert PATHS > 1


def test_draws_go_on_where_they_were():
    gates = {site.name: torch.full((5,), 0.2) for site in SPACE.sites}
    one = Surrogate(problem(0.5).accuracy, 0)
    one(torch.zeros(1, 0), gates)
    other = Surrogate(problem(0.5).accuracy, 5)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(torch.zeros(1, 0), gates), other(torch.zeros(1, 0), gates))
