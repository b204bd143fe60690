"""What a method is given is checked before anything is trained."""

import pytest

from tempograd import registry
from tempograd.errors import MismatchError, UsageError
from tempograd.search.method import Method, Problem
from tempograd.search.need import CELLS, FREE
from tempograd.search.price import Price
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
        "price": Price(priced(SPACE), SPACE),
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


def test_a_method_needs_what_its_searcher_does_and_what_it_says_itself():
    method = Method("mine", RandomSearcher(2), needs_too=CELLS & FREE, weighs=False)
    assert method.accepts == RandomSearcher.accepts
    with pytest.raises(UsageError, match=r"mine cannot search darts: it needs cells.*, and sites"):
        method.check(OTHER, target_ms=1.0, lam=None)
    with pytest.raises(UsageError, match="--target-ms in place of --lam"):
        method.check(SPACE, target_ms=None, lam=0.1)
    method.check(SPACE, target_ms=1.0, lam=None)


@pytest.mark.parametrize(
    ("spec", "of", "why"),
    [
        ("hdas:epochs=1", "staged", "epochs=1; allowed: from 2, one for each level"),
        ("la_darts:warm_up=1", "nasbench201:cells=1,width=4,size=8", "warm_up=1 leaves Softmax no epoch to learn in"),
        ("msgdas:paths=9", "nasbench201:cells=1,width=4,size=8", "paths=9; allowed: 1..5"),
    ],
)
def test_settings_that_do_not_fit_a_space_are_refused_before_any_price(spec, of, why):
    with pytest.raises(UsageError, match=why):
        registry.create("method", spec).check(registry.create("space", of), target_ms=1.0, lam=None)
