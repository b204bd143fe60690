"""What a method is given is checked before anything is trained; predictions are remembered."""

import numpy as np
import pytest

from tempograd import registry
from tempograd.errors import MismatchError, UsageError
from tempograd.predictor.interval import Conformal
from tempograd.search.method import Method, Problem, predict_with
from tempograd.search.need import CELLS, FREE
from tempograd.search.searchers.random import RandomSearcher
from tempograd.search.training import Training
from tempograd.tasks.load import load_task
from tempograd.testing.methods import priced

SPACE = registry.create("space", "nasbench201:cells=1,width=4,size=8")
OTHER = registry.create("space", "darts:layers=2,width=4,size=8")


def problem(**more):
    given = {
        "space": SPACE,
        "proxy": SPACE,
        "module": priced(SPACE),
        "encoding": None,
        "task": load_task("digits,limit=100"),
        "target_ms": 1.0,
        "lam": None,
        "reference_ms": 1.0,
        "training": Training(epochs=1),
    }
    return Problem(**(given | more))


@pytest.mark.parametrize("mode", [{"lam": 0.1}, {"target_ms": None}])
def test_exactly_one_of_target_and_weight_is_given(mode):
    with pytest.raises(UsageError, match="exactly one"):
        problem(**mode)


def test_a_proxy_of_other_sites_and_a_budget_of_nothing_are_refused():
    with pytest.raises(MismatchError, match="other sites"):
        problem(proxy=OTHER)
    with pytest.raises(UsageError, match="queries=0"):
        problem(queries=0)


def test_a_chance_is_a_yes_or_no_without_residuals_and_one_without_a_target():
    predicted = np.array([0.5, 1.5])
    assert problem().chance(predicted).tolist() == [1.0, 0.0]
    assert problem(target_ms=None, lam=0.1).chance(predicted).tolist() == [1.0, 1.0]


def test_residuals_make_a_chance_of_it():
    spread = Conformal.fit(np.ones(200), np.exp(np.random.default_rng(0).normal(0, 0.1, 200)))
    near, far = problem(conformal=spread).chance(np.array([1.0, 2.0]))
    assert 0.3 < near < 0.7
    assert far < 0.05


def test_predictions_are_those_of_the_cost_and_each_network_is_priced_once():
    cost, asked = priced(SPACE), []

    class Counted:
        def __call__(self, gates):
            asked.append(len(next(iter(gates.values()))))
            return cost(gates)

    architectures = SPACE.sample(6, np.random.default_rng(0))
    predict = predict_with(Counted(), SPACE, None)
    first = predict([*architectures, architectures[0]])
    assert first[-1] == first[0]
    assert np.array_equal(predict(architectures[2:4]), first[2:4])
    assert asked == [6]


def test_a_method_needs_what_its_searcher_does_and_what_it_says_itself():
    method = Method("mine", RandomSearcher(2), needs_too=CELLS & FREE, weighs=False)
    assert method.accepts == RandomSearcher.accepts
    with pytest.raises(UsageError, match=r"mine cannot search darts: it needs cells.*, and sites"):
        method.check(OTHER, target_ms=1.0, lam=None)
    with pytest.raises(UsageError, match="--target-ms in place of --lam"):
        method.check(SPACE, target_ms=None, lam=0.1)
    method.check(SPACE, target_ms=1.0, lam=None)
