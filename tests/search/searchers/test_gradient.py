"""A gradient search puts its pieces together: what its laws need, and how the cost enters the loss."""

from functools import partial
from types import SimpleNamespace

import pytest

from tempograd.errors import UsageError
from tempograd.search.forms import LearnedMultiplier, Linear
from tempograd.search.laws.exclusive_top_k import ExclusiveTopK
from tempograd.search.laws.softmax import Softmax
from tempograd.search.laws.uniform import Uniform
from tempograd.search.need import ANY
from tempograd.search.searchers.alternation import Schedule
from tempograd.search.searchers.gradient import GradientSearcher


def searcher(law=Softmax, **more):
    forms = {"weighted": Linear, "targeted": lambda ms: LearnedMultiplier(ms, 0.1)}
    return GradientSearcher(law, schedule=Schedule(epochs=2, warm_up=0.5, batch=32), **(forms | more))


def problem(target_ms=None, lam=None):
    return SimpleNamespace(target_ms=target_ms, lam=lam, reference_ms=4.0)


def test_it_needs_what_its_laws_need_however_they_are_made():
    assert searcher(ExclusiveTopK).needs == ExclusiveTopK.needs
    assert searcher(partial(partial(ExclusiveTopK, keep=2), keep=1)).needs == ExclusiveTopK.needs
    assert searcher(Softmax, warm_up=ExclusiveTopK).needs == Softmax.needs & ExclusiveTopK.needs
    assert searcher(lambda space, generator: Uniform(space, generator)).needs == ANY  # told when the law is made


def test_a_target_and_a_weight_give_forms_of_their_own():
    assert isinstance(searcher().form(problem(target_ms=2.0)), LearnedMultiplier)
    weighted = searcher().form(problem(lam=0.2))
    assert isinstance(weighted, Linear)
    assert (weighted.lam, weighted.reference_ms) == (0.2, 4.0)


def test_a_method_that_knows_no_weight_says_what_to_give():
    with pytest.raises(UsageError, match="knows no weight of latency; give --target-ms, not --lam"):
        searcher(weighted=None).form(problem(lam=0.2))
