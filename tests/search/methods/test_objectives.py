"""What every gradient recipe asks of latency, and how its law is moved: by the formulas and numbers that it names."""

from inspect import signature
from types import SimpleNamespace

import pytest
import torch

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.search.forms import Hard, LearnedMultiplier, Linear, LogTarget, MulLog, Ratio
from tempograd.search.searchers.alternation import Schedule

WEIGHED = {
    "la_darts": Linear, "toponas": Linear, "msgdas": Linear, "lightnas": Linear, "densenas": LogTarget,
    "fbnetv2": MulLog, "proxylessnas": Ratio,
}  # fmt: skip
COST_MS, LOSS, LAM, REFERENCE_MS = 3.0, 1.5, 0.7, 2.0


def form(name, *, target_ms=None, lam=None, **arguments):
    searcher = registry.create("method", name, **arguments).find
    return searcher.form(SimpleNamespace(target_ms=target_ms, lam=lam, reference_ms=REFERENCE_MS))


@pytest.mark.parametrize("name", WEIGHED)
def test_a_weight_enters_by_the_recipes_formula_in_units_of_the_reference(name):
    """The slope of latency, by hand: cost over the reference, or the logarithm's in us, added or multiplied."""
    of_reference = LAM / REFERENCE_MS
    log_reference = torch.tensor(1000 * REFERENCE_MS).log()
    power = (torch.tensor(1000 * COST_MS).log() / log_reference) ** (LAM - 1)
    slopes = {
        Linear: of_reference,
        Ratio: of_reference,
        LogTarget: float(LAM / COST_MS / log_reference),
        MulLog: float(LOSS * LAM * power / COST_MS / log_reference),
    }
    weighed = form(name, lam=LAM)
    cost_ms, loss = torch.tensor(COST_MS, requires_grad=True), torch.tensor(LOSS, requires_grad=True)
    (slope,) = torch.autograd.grad(weighed.combine(loss, cost_ms), [cost_ms])
    assert type(weighed) is WEIGHED[name]
    assert float(slope) == pytest.approx(slopes[type(weighed)], rel=1e-5)


@pytest.mark.parametrize("name", [*WEIGHED, "hardcorenas"])
def test_a_target_has_a_weight_that_is_learnt_both_ways_or_a_fixed_one_or_none_at_all(name):
    targeted = form(name, target_ms=REFERENCE_MS)
    assert targeted.target_ms == REFERENCE_MS
    if name == "hardcorenas":
        assert isinstance(targeted, Hard)
        assert targeted.budget_ms == REFERENCE_MS
    elif name == "proxylessnas":
        assert (type(targeted), targeted.lam) == (Ratio, 0.1)
    else:
        assert type(targeted) is LearnedMultiplier
        assert (targeted.lam, targeted.eta, targeted.damping, targeted.two_sided) == (0.0, 0.3, 3.0, True)
        targeted.update(2 * REFERENCE_MS)
        assert targeted.lam > 0
        for _ in range(9):
            targeted.update(0.5 * REFERENCE_MS)
        assert targeted.lam < 0
        assert form(name, target_ms=REFERENCE_MS, eta=0.9).eta == 0.9


def test_the_law_is_moved_by_adam_and_weights_by_sgd_as_in_darts_with_a_rate_for_small_data():
    """And all recipes but those that say otherwise: ProxylessNAS' Adam, FBNet's rate and temperatures, DOTS', ..."""
    assert (Schedule().law_betas, Schedule().law_decay, Schedule().law_rate) == ((0.5, 0.999), 1e-3, 0.03)
    plain = Schedule()
    assert (plain.weights_rate, plain.weights_rate_last, plain.weights_momentum) == (0.025, 0.001, 0.9)
    assert (plain.weights_decay, plain.clip, plain.batch) == (3e-4, 5.0, 64)
    others = {
        "fbnetv2": {"weights_rate": 0.1, "tau_first": 5.0, "tau_last": 0.1},
        "toponas": {"tau_first": 10.0, "tau_last": 0.02, "tau_from": 2 / 3},
        "proxylessnas": {"warm_up": 1 / 3, "paths": "sample", "law_betas": (0.0, 0.999), "law_decay": 0.0},
        "lightnas": {"tau_first": 5.0, "tau_last": 0.1},
        "msgdas": {"tau_first": 5.0, "tau_last": 0.1, "drop_skips": 0.1},
        "densenas": {"epochs": 40, "warm_up": 0.75, "weights_rate": 0.1, "paths": "sample"},
        "hardcorenas": {"warm_up": 2 / 3, "paths": "uniform", "law_only": True},
        "la_darts": {},
    }
    for name, changes in others.items():
        assert registry.create("method", name).find.schedule == Schedule(**changes), name


NUMBERS = {
    "la_darts": {"draws": 4, "feed": "sampled", "one_path": False, "none": True, "eta": 0.3, "second_order": False},
    "densenas": {"eta": 0.3, "mix": False},
    "fbnetv2": {"eta": 0.3},
    "toponas": {"eta": 0.3, "most_invalid": 0.05},
    "msgdas": {"paths": 2, "distillation": 1.0, "teacher": "mixture", "drop_skips": 0.1, "eta": 0.3},
    "hdas": {
        "depth": 1.0, "length": 0.4, "share": 0.5, "draws": 4, "feed": "sampled", "epochs": 30, "warm_up": 0.2,
        "batch": 64, "eta": 0.3, "second_order": False,
    },
    "egdas": {
        "epochs": 15, "warm_up": 0.2, "batch": 64, "spread": 9.0, "queries": 24, "population": 8, "train_epochs": 5,
    },
    "scalenas": {
        "epochs": 40, "largest": 20, "draws": 1, "batch": 16, "distillation": 0.5, "queries": 200, "population": 20,
        "share": 0.25, "rate": 0.2,
    },
    "autoshrink": {
        "k": 10, "keep": 0.01, "weight": 0.1, "epochs": 5, "patience": 5, "shared": False, "supernet_epochs": 15,
        "batch": 32,
    },
    "gram": {
        "sweeps": 300, "still": 50, "eta": 0.05, "spread": 0.25, "weight": 0.1, "epochs": 15, "shared": True,
        "train_epochs": 5, "batch": 32,
    },
    "ofa": {
        "epochs": 15, "largest": 5, "draws": 2, "batch": 16, "queries": 200, "population": 40, "rate": 0.1,
        "deploy": "trained",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_a_recipe_begins_with_the_numbers_of_its_paper_or_of_its_page(name):
    """Those of H-DAS' losses, AutoShrink's rounds and ScaleNAS' children, say; results were measured with them."""
    found = {each.name: each.default for each in signature(registry.load("method", name)).parameters.values()}
    assert {argument: found[argument] for argument in NUMBERS[name]} == NUMBERS[name]


@pytest.mark.parametrize("name", [name for name in NUMBERS if "eta" in NUMBERS[name] and name != "gram"])
def test_a_multiplier_that_would_never_move_is_refused_before_any_work(name):
    with pytest.raises(UsageError, match=r"eta=0.*above 0"):
        registry.create("method", name, eta=0.0)
