"""A gradient search puts its pieces together: what its laws need, and how the cost enters the loss."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.search.forms import LearnedMultiplier, Linear
from tempograd.search.laws.exclusive_top_k import ExclusiveTopK
from tempograd.search.laws.softmax import Softmax
from tempograd.search.laws.uniform import Uniform
from tempograd.search.method import Problem
from tempograd.search.need import ANY
from tempograd.search.price import Price
from tempograd.search.searchers.alternation import Alternation, Schedule
from tempograd.search.searchers.gradient import GradientSearcher
from tempograd.search.training import Training
from tempograd.testing.methods import priced

from ..wiring import CELL, parts, space_of


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


def test_the_seed_decides_first_logits_first_weights_and_what_is_drawn(monkeypatch):
    begun, original, space = [], Alternation.__init__, space_of(CELL)

    def init(self, law, supernet, *args, **kwargs):
        original(self, law, supernet, *args, **kwargs)
        own = [law.logits, next(supernet.parameters()), torch.rand(3, generator=self.generator.clone_state())]
        begun.append([value.detach().clone() for value in own])

    monkeypatch.setattr(Alternation, "__init__", init)
    for seed in (3, 3, 4):
        registry.create("method", "la_darts:epochs=1,batch=4").find(
            Problem(
                space,
                space,
                Price(priced(space), space),
                parts(1),
                target_ms=None,
                lam=0.1,
                reference_ms=1.0,
                training=Training(epochs=1),
                seed=seed,
            )
        )
    for one, same, other in zip(*begun, strict=True):
        assert torch.equal(one, same)
        assert not torch.equal(one, other)
