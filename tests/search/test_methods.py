"""Every recipe on a space that fits it: under a target, at a weight of latency, stopped and gone on; others refused."""

from inspect import signature

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.measurement.label import Reference
from tempograd.measurement.measurement import Measurement
from tempograd.measurement.rounds import Round
from tempograd.search.cost import TableCost, WeightedSum
from tempograd.search.method import Problem, predict_with
from tempograd.search.run import Options, search
from tempograd.search.searchers.gradient import GradientSearcher
from tempograd.search.training import Training
from tempograd.spaces.circuit import counts
from tempograd.tasks.load import load_task

SPECS = {
    "nasbench201": "nasbench201:cells=1,width=4,size=8,channels=1",
    "darts": "darts:layers=2,width=4,size=8,channels=1",
    "mbconv": "mbconv:family=fbnetv2,size=8,classes=10,channels=1,width=0.25,stages=2,layers=2,width_options=2",
    "routed": "routed:blocks=4/6-8/10-12,reach=2,layers=1,head=16,size=8,classes=10,channels=1",
}
FITTING = {"densenas": "routed", "fbnetv2": "mbconv", "hardcorenas": "mbconv", "lightnas": "routed",
           "msgdas": "nasbench201", "proxylessnas": "mbconv", "toponas": "darts"}  # fmt: skip
SHORT = {"epochs": 3, "warm_up": 1 / 3, "batch": 32, "networks": 2}
METHODS = registry.names("method")


def recipe(name):
    taken = signature(registry.load("method", name)).parameters
    return registry.create("method", name, **{key: value for key, value in SHORT.items() if key in taken})


GRADIENT = [name for name in METHODS if isinstance(recipe(name).find, GradientSearcher)]


def space_for(name):
    return registry.create("space", SPECS[FITTING.get(name, "nasbench201")])


def priced(space, *, factor=0.8):
    """Latency by multiply-accumulates and parameters, of which the search is told a part."""
    parts = [TableCost(space.circuit, counts(space.graph, space.operations, unit)) for unit in ("macs", "parameters")]
    return WeightedSum(((factor * 1e-6, parts[0]), (factor * 3e-6, parts[1])), 0.02)


def device(space):
    truth = predict_with(priced(space, factor=1.0), space, None)

    def measure(architectures):
        found = []
        for architecture, ms in zip(architectures, truth(architectures), strict=True):
            rounds = tuple(Round(architecture.key, float(i), (1.0,), (1.0,), (ms,), (ms,)) for i in range(8))
            plan = {"target": 0.05}
            found.append(
                Measurement(architecture.key, space.spec, "fake", plan, "", "wall", rounds, Reference(1.0, 1.1))
            )
        return found

    return truth, measure


@pytest.fixture(scope="module")
def task():
    return load_task("digits,limit=150")


@pytest.mark.parametrize("name", METHODS)
def test_a_method_uses_a_target_and_holds_it_as_measured(name, task):
    space, method = space_for(name), recipe(name)
    truth, measure = device(space)
    sample = truth(space.sample(300, np.random.default_rng(0)))
    target_ms = 1.02 * float(np.quantile(sample, 0.4))  # so that networks lie just below it
    result = search(
        space, method, priced(space), None, task, measure=measure, target_ms=target_ms,
        options=Options(training=Training(epochs=1, batch=32), random_networks=0),
    )  # fmt: skip
    assert result.verdict == "pass"
    assert 0.93 * target_ms <= result.found.measurement.latency_ms <= target_ms
    assert result.method == name


@pytest.mark.parametrize("name", [name for name in METHODS if recipe(name).weighs])
def test_a_method_takes_a_weight_of_latency(name, task):
    space = space_for(name)
    _, measure = device(space)
    result = search(
        space, recipe(name), priced(space), None, task, measure=measure, lam=0.3,
        options=Options(training=Training(epochs=1, batch=32), random_networks=0),
    )  # fmt: skip
    assert result.verdict == "measured"
    assert space.architecture(result.architecture.choices) == result.architecture


def problem(space, task, checkpoint=None, progress=None):
    sample = predict_with(priced(space), space, None)(space.sample(200, np.random.default_rng(0)))
    more = {} if progress is None else {"progress": progress}
    return Problem(
        space=space, proxy=space, module=priced(space), encoding=None, task=task, target_ms=float(np.median(sample)),
        lam=None, reference_ms=float(np.median(sample)), training=Training(epochs=1), checkpoint=checkpoint, **more,
    )  # fmt: skip


@pytest.mark.parametrize("name", GRADIENT)
def test_a_method_that_was_stopped_goes_on_bit_for_bit_and_the_same_seed_gives_the_same(name, task, tmp_path):
    space, path = space_for(name), tmp_path / "search.safetensors"
    whole = recipe(name).find(problem(space, task))

    class StoppedError(Exception):
        pass

    def stop(stage, done, total, numbers):
        if done == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        recipe(name).find(problem(space, task, path, stop))
    resumed = recipe(name).find(problem(space, task, path))
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in f.trace.rows()] for f in (whole, resumed)]
    assert rows[0] == rows[1]
    assert whole.architecture == resumed.architecture
    assert np.array_equal(whole.scores, resumed.scores)
    assert whole.passes == resumed.passes


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_where_it_is_from_and_what_it_is_made_of(name):
    method = recipe(name)
    assert "arXiv:" in method.paper
    assert method.paper.split("arXiv:")[1] in registry.load("method", name).__doc__
    assert {"law", "objective", "deriver"} <= method.pieces.keys()
    assert method.weighs or method.targets


@pytest.mark.parametrize(
    ("name", "place", "reason"),
    [
        ("densenas", "darts", "routes or depths.*with their defaults: .*routed"),
        ("densenas", "nasbench201", "routes or depths"),
        ("fbnetv2", "darts", "layers one after the other.*mbconv"),
        ("hardcorenas", "darts", "no rule ties together"),
        ("toponas", "mbconv", "cells.*with their defaults: .*darts"),
        ("toponas", "routed", "cells.*tempograd methods --space"),
    ],
)
def test_a_method_on_a_space_that_it_cannot_search_is_refused_with_what_is_allowed(name, place, reason, task):
    space = registry.create("space", SPECS[place])
    with pytest.raises(UsageError, match=reason):
        search(space, recipe(name), priced(space), None, task, measure=lambda many: [], target_ms=1.0)


def test_a_mode_that_a_method_lacks_is_refused(task):
    space = space_for("hardcorenas")
    with pytest.raises(UsageError, match="--target-ms in place of --lam"):
        search(space, recipe("hardcorenas"), priced(space), None, task, measure=lambda many: [], lam=0.1)


def test_a_hard_constraint_on_a_predictor_is_refused(task):
    space = space_for("hardcorenas")
    module = torch.nn.Sequential(torch.nn.Linear(sum(space.widths), 1), torch.nn.Flatten(0))
    torch.nn.init.constant_(module[0].weight, 0.1)
    with pytest.raises(UsageError, match="use a table"):
        search(space, recipe("hardcorenas"), module, None, task, measure=lambda many: [], target_ms=100.0)
