"""FBNetV2, by its recipe: soft Gumbel draws of masks, sharper with every epoch, priced by effective shapes."""

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.search.forms import LearnedMultiplier, MulLog
from tempograd.search.law import gumbel

from ..wiring import MASKED, record, space_of

SPACE = space_of(MASKED)


@pytest.mark.slow
def test_both_kinds_of_steps_run_soft_draws_that_differ(monkeypatch):
    noted = record(monkeypatch, "fbnetv2:epochs=2,warm_up=0,batch=4", MASKED, lam=0.5)
    for step in ("law", "weights"):
        gates = [each.gates["s1/width"] for each in noted.of(step)]
        assert all((gate > 0).all() for gate in gates)
        assert len({tuple(gate.tolist()) for gate in gates}) == len(gates)


@pytest.mark.parametrize("tau", [0.5, 3.0])
def test_the_resolution_is_one_hot_and_has_the_slope_of_the_soft_draw_that_widths_are(tau):
    """By hand: softmax of logits and Gumbel noise over the temperature. Latency alone would move its logits as well."""
    space = space_of("mbconv:family=fbnetv2,size=8,channels=1,width=0.25,stages=1,layers=1,resolution_options=3")
    law = registry.create("method", "fbnetv2").find.law(space, torch.Generator().manual_seed(0))
    row = law.names.index("resolution")
    worth = torch.arange(law.logits.shape[1], dtype=torch.float32)
    hard = law.draw(torch.Generator().manual_seed(1), tau=tau)["resolution"]
    log_p = law._masked().log_softmax(dim=-1)
    soft = ((log_p + gumbel(tuple(log_p.shape), torch.Generator().manual_seed(1), log_p.dtype)) / tau).softmax(dim=-1)
    assert sorted(hard.tolist()) == pytest.approx([0.0, 0.0, 1.0])
    assert hard.argmax() == soft[row, :3].argmax()
    slopes = [
        torch.autograd.grad(value, [law.logits], retain_graph=True)[0][row]
        for value in (hard @ worth[:3], soft[row] @ worth)
    ]
    assert slopes[0].abs().max() > 0.01
    assert torch.allclose(*slopes, atol=1e-6)


def macs(supernet, log):
    """Note the multiply-accumulates of every convolution that runs."""
    for layer in supernet.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(
                lambda own, _, out: log.append(out.shape[2] * out.shape[3] * own.weight.numel())
            )


@pytest.mark.slow
def test_a_pass_costs_no_more_for_many_resolutions_and_every_one_of_them_is_learnt(monkeypatch):
    """The whole network would run again for each of them, were they mixed: four times the work at six."""
    cost, seen = {}, set()
    for options in (1, 6):
        spec = f"mbconv:family=fbnetv2,size=12,channels=1,width=0.25,stages=1,layers=1,resolution_options={options}"
        supernet, log = space_of(spec).supernet(), []
        macs(supernet, log)
        noted = record(monkeypatch, "fbnetv2:epochs=2,warm_up=0,batch=4", spec, supernet=supernet, lam=0.1, steps=8)
        cost[options] = sum(log) / len(noted.passes)
        for each in noted.passes if options > 1 else ():
            assert len(each.on("resolution")) == 1
            seen |= each.on("resolution")
            assert all((gate > 0).all() for site, gate in each.gates.items() if site != "resolution")
    assert cost[6] < 1.1 * cost[1]
    assert len(seen) >= 5
    logits = noted.run.law.logits[noted.run.law.names.index("resolution")]
    assert logits.detach().std() > 0.02


@pytest.mark.slow
def test_draws_are_sharper_with_every_epoch(monkeypatch):
    noted = record(monkeypatch, "fbnetv2:epochs=3,warm_up=0,batch=4", MASKED, lam=0.5, steps=2)
    assert noted.found.trace.columns()["tau"] == pytest.approx([5.0, 0.5**0.5, 0.1])
    for step in ("law", "weights"):
        passes = noted.of(step)
        sharp = [np.mean([float(gate.max()) for each in passes[at : at + 2] for gate in each.gates.values()])
                 for at in (0, 2, 4)]  # fmt: skip
        assert sharp[0] < 0.8 * sharp[1] < 0.8 * sharp[2]


@pytest.mark.slow
def test_the_loss_is_multiplied_by_latency_or_its_weight_is_learnt(monkeypatch):
    weighed = record(monkeypatch, "fbnetv2:epochs=1,batch=4", MASKED, lam=0.5, steps=2).run.term.form
    assert isinstance(weighed, MulLog)
    assert weighed.lam == 0.5
    noted = record(monkeypatch, "fbnetv2:epochs=2,batch=4,warm_up=0", MASKED, target_ms=0.001, steps=4)
    assert isinstance(noted.run.term.form, LearnedMultiplier)
    assert noted.found.trace.columns()["lam"][-1] > 0.1


def test_the_cost_is_that_of_the_expected_shapes_and_not_of_expected_widths(monkeypatch):
    """By samples, where widths of neighbours multiply; a mean width in and out would tell another number."""
    noted = record(monkeypatch, "fbnetv2:epochs=1,batch=4", MASKED, lam=0.5, steps=1)
    law, model = noted.run.law, noted.run.term.model
    with torch.no_grad():
        law.logits.normal_(generator=torch.Generator().manual_seed(2))
        sampled = model(law.sample(8000, torch.Generator().manual_seed(0)))
        expected = float(model.expected(law, torch.Generator(), law.marginals()))
    assert abs(float(sampled.mean()) - expected) < 4 * float(sampled.std()) / 8000**0.5
