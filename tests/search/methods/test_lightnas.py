"""LightNAS, by its recipe: one path, pairs that share nothing in warm-up, a multiplier that is learnt."""

import numpy as np
import pytest
import torch

from tempograd.search.cost import PredictorCost

from ..wiring import ROUTED, Planted, linear, record, space_of

SPACE = space_of(ROUTED)


def test_warm_up_runs_pairs_that_share_no_option_and_then_every_step_one_path(monkeypatch):
    noted = record(monkeypatch, "lightnas:epochs=4,warm_up=0.5,batch=4", ROUTED, lam=0.1)
    warm, late = noted.steps("weights")[:8], [*noted.steps("weights")[8:], *noted.steps("law")]
    assert all(each.one_path for each in noted.passes)
    for one, other in warm:
        assert all(not one.on(site) & other.on(site) for site in one.gates)
    assert {len(passes) for passes in late} == {1}
    assert len(noted.steps("law")) == 8


@pytest.mark.slow
def test_warm_up_is_uniform_and_the_law_is_drawn_from_as_it_learns(monkeypatch):
    """A law that is sure of an operation draws it; warm-up does not hear of it."""

    def sure(run):
        with torch.no_grad():
            run.law.logits[:, 0] += 20

    noted = record(
        monkeypatch, "lightnas:epochs=4,warm_up=0.5,batch=4", ROUTED, before=sure,
        supernet=Planted(SPACE, np.zeros(sum(SPACE.widths))), lam=0.0, steps=20,
    )  # fmt: skip
    warm = [each.on("b0/layer0") == {0} for passes in noted.steps("weights")[:40] for each in passes]
    late = [each.on("b0/layer0") == {0} for passes in noted.steps("weights")[40:] for each in passes]
    assert np.mean(warm) < 0.4
    assert np.mean(late) > 0.95


def test_a_predictor_is_asked_about_the_very_path_that_runs(monkeypatch):
    asked = []
    predict = PredictorCost.predict
    monkeypatch.setattr(
        PredictorCost, "predict", lambda self, x: (asked.append(x) if x.requires_grad else None) or predict(self, x)
    )
    with pytest.MonkeyPatch.context() as patch:
        noted = record(
            patch,
            "lightnas:epochs=1,warm_up=0,batch=4",
            ROUTED,
            cost=linear(SPACE, np.ones(sum(SPACE.widths))),
            lam=0.1,
        )
    ran = [SPACE.relax(each.gates) for each in noted.of("law")]
    assert len(asked) == len(ran) > 2
    assert all(torch.equal(one.detach().reshape(-1), other) for one, other in zip(asked, ran, strict=True))


@pytest.mark.slow
def test_the_multiplier_is_learnt_both_ways(monkeypatch):
    """It rises while what is derived is too slow, and falls below 0 where it is too fast."""
    for target_ms, sign in ((1e-4, 1), (100.0, -1)):
        noted = record(monkeypatch, "lightnas:epochs=2,warm_up=0,batch=4", ROUTED, target_ms=target_ms)
        lams = noted.found.trace.columns()["lam"]
        assert sign * lams[-1] > 0.3
        assert sign * lams[-1] > sign * lams[0]
