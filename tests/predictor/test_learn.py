"""One function learns for all: what is chosen, learnt from, held out and judged by."""

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.predictor.interval import Conformal
from tempograd.predictor.learn import (
    CENSORED_WEIGHT,
    Censored,
    check_taken,
    default_model,
    estimator_of,
    learn,
    stated,
)
from tempograd.predictor.metrics import Scores
from tempograd.predictor.models.transfer import TransferLatency
from tempograd.verbs.fit import encodings_of


@pytest.mark.slow
def test_what_is_learnt_is_the_model_of_the_registry_on_the_chosen_encoding(additive):
    X, y = additive.X[:120], additive.y_ms[:120]
    useless = np.random.default_rng(0).standard_normal((120, 2))
    learnt = learn({"useless": useless, "one_hot": X}, y, model="ridge")
    assert (learnt.model, learnt.encoding, learnt.censored) == ("ridge", "one_hot", 0)
    assert learnt.error_by_encoding["one_hot"] < 0.5 * learnt.error_by_encoding["useless"]
    plain = estimator_of("ridge").fit(X, y)
    np.testing.assert_allclose(learnt.predictor.predict(additive.X), plain.predict(additive.X))
    assert learnt.scores == Scores.of(y, learnt.held_out_ms)
    assert learnt.conformal == Conformal.fit(y, learnt.held_out_ms)
    assert (learnt.held_out_ms != plain.predict(X)).all()


def test_rows_that_choose_are_not_learnt_from_and_those_that_judge_are(additive):
    X, y = additive.X[:100], additive.y_ms[:100].copy()
    choosing = np.arange(100) >= 80
    learnt = learn({"X": X}, np.where(choosing, 1e3, y), model="ridge", choosing=choosing)
    np.testing.assert_array_equal(learnt.y_ms, y[:80])
    assert len(learnt.held_out_ms) == 80
    np.testing.assert_allclose(learnt.predictor.predict(X), estimator_of("ridge").fit(X[:80], y[:80]).predict(X))
    judging = np.arange(100) % 2 == 0
    judged = learn({"X": X}, y, model="ridge", choosing=choosing, judging=judging)
    assert judged.scores == Scores.of(y[:80:2], judged.held_out_ms[::2])
    assert len(judged.conformal.residuals) == 40


def test_intervals_are_of_networks_that_are_alone_where_these_are_enough(additive):
    X, y = additive.X[:200], additive.y_ms[:200]
    for twins, rows in ((60, np.arange(200) >= 60), (100, np.ones(200, bool))):
        groups = np.r_[np.arange(twins) // 2, 1000 + np.arange(200 - twins)]
        learnt = learn({"X": X}, y, groups=groups, model="ridge")
        assert learnt.scores == Scores.of(y, learnt.held_out_ms)
        assert learnt.conformal == Conformal.fit(y[rows], learnt.held_out_ms[rows])


def test_a_bound_is_learnt_from_where_the_model_would_be_below_it(additive):
    X, y, weight = additive.X[:100], additive.y_ms[:100], np.full(100, 3.0)
    beyond = additive.X[100:104]
    bounds = estimator_of("ridge").fit(X, y).predict(beyond) * np.array([0.5, 2.0, 0.9, 3.0])
    told = Censored({"X": beyond}, bounds, np.arange(100, 104))
    learnt = learn({"X": X}, y, weight, np.arange(100), model="ridge", censored=told)
    assert learnt.censored == 2
    assert len(learnt.held_out_ms) == len(learnt.y_ms) == 100
    rows, labels = np.vstack([X, beyond[[1, 3]]]), np.concatenate([y, bounds[[1, 3]]])
    counted = np.concatenate([weight, np.full(2, 3 * CENSORED_WEIGHT)])
    expected = estimator_of("ridge").fit(rows, labels, sample_weight=counted).predict(additive.X)
    np.testing.assert_allclose(learnt.predictor.predict(additive.X), expected)


def test_rows_of_one_network_cannot_be_held_out(additive):
    with pytest.raises(UsageError, match="all 40 rows are of one network"):
        learn({"X": additive.X[:40]}, additive.y_ms[:40], groups=np.zeros(40, int), model="ridge")


def test_few_rows_or_other_devices_ask_for_transfer():
    assert [default_model(n, ()) for n in (20, 99, 100)] == ["transfer", "transfer", "gp"]
    assert default_model(900, ["another"]) == "transfer"
    with pytest.raises(UsageError, match=r"sources are given, and the model gp takes none: .* or name one of transfer"):
        check_taken("gp", sources=["another"])


def test_a_model_is_given_only_what_it_takes():
    check_taken("gp", steps=5, sources=())
    check_taken("transfer", steps=None)
    with pytest.raises(UsageError, match=r"steps=5, and the model transfer takes none: .* or name one of .*gp, mlp"):
        check_taken("transfer", steps=5)
    with pytest.raises(UsageError, match=r"steps=5, .* leave them out; no model takes sources and steps$"):
        check_taken("transfer", sources=["another"], steps=5)


def test_a_search_within_the_upper_bound_is_that_much_slower(additive):
    learnt = learn({"X": additive.X[:60]}, additive.y_ms[:60], model="transfer")
    x = torch.from_numpy(additive.X[60:70]).float()
    factor = np.exp(learnt.conformal.log_half_width(0.9))
    np.testing.assert_allclose(learnt.upper_bound(0.9)(x).detach(), factor * learnt.module(x).detach(), rtol=1e-5)


class Another(TransferLatency):
    """A model of another package that states what ``transfer`` states."""


def test_a_models_own_words_decide_what_it_is_given_whatever_its_name(monkeypatch):
    names, load = registry.names, registry.load
    monkeypatch.setattr(registry, "names", lambda kind: [*names(kind), "another"] if kind == "model" else names(kind))
    monkeypatch.setattr(registry, "load", lambda kind, name: Another if name == "another" else load(kind, name))
    check_taken("another", sources=["a.db"])
    space = registry.create("space", "nasbench201")
    assert encodings_of(space, "another") == encodings_of(space, "transfer") == (space.sparing_encoding.name,)
    with pytest.raises(UsageError, match="name one of transfer, another"):
        check_taken("gp", sources=["a.db"])
    assert [name for name in names("model") if stated(name, "literal")] == ["lookup"]
