"""MSG-DAS, by its recipe: paths that share nothing, taught by the supernet, with skips that are dropped in blocks."""

from dataclasses import replace

import pytest
import torch

from tempograd import registry
from tempograd.search.law import gumbel
from tempograd.search.searchers import alternation

from ..wiring import CELL, Planted, record, space_of


def run(patch, arguments="", **more):
    return record(patch, f"msgdas:epochs=2,warm_up=0,batch=4{arguments}", CELL, lam=0.1, **more)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["law", "weights"])
@pytest.mark.parametrize("paths", [2, 3])
def test_a_step_is_taught_by_the_supernet_and_runs_paths_that_share_no_option(monkeypatch, step, paths):
    for first, *others in run(monkeypatch, f",paths={paths}").steps(step):
        assert not first.learns
        assert all(first.on(site) == set(range(5)) for site in first.gates)
        assert len(others) == paths
        assert all(path.learns and path.one_path for path in others)
        for site in first.gates:
            assert len(set.union(*(path.on(site) for path in others))) == paths


@pytest.mark.slow
def test_the_cheap_teacher_is_the_mean_of_the_paths_themselves(monkeypatch):
    for passes in run(monkeypatch, ",teacher=mean").steps("weights"):
        told, learning = passes[:2], passes[2:]
        assert [each.learns for each in passes] == [False, False, True, True]
        assert all(
            torch.equal(one.gates[site], other.gates[site])
            for one, other in zip(told, learning, strict=True) for site in one.gates
        )  # fmt: skip


@pytest.mark.parametrize("tau", [0.5, 2.0])
def test_a_path_is_the_next_of_one_noisy_order_with_the_slope_of_what_was_left_to_it(tau):
    """By hand: softmax of logits and one noise over the temperature, without the options of the paths before."""
    law = registry.create("method", "msgdas:paths=3").find.law(space_of(CELL), torch.Generator().manual_seed(0))
    worth, log_p = torch.arange(5.0), law._masked().log_softmax(dim=-1)
    noisy = log_p + gumbel(tuple(log_p.shape), torch.Generator().manual_seed(1), log_p.dtype)
    order = noisy.detach().argsort(dim=-1, descending=True)
    for rank, gates in enumerate(law.draws(torch.Generator().manual_seed(1), tau=tau)):
        path = torch.stack([gates[name] for name in law.names])
        soft = (noisy.scatter(-1, order[:, :rank], -1e9) / tau).softmax(dim=-1)
        slopes = [
            torch.autograd.grad((rows @ worth).sum(), [law.logits], retain_graph=True)[0] for rows in (path, soft)
        ]
        assert torch.equal(path.argmax(dim=-1), order[:, rank])
        assert slopes[0].abs().max() > 0.01
        assert torch.allclose(*slopes, atol=1e-6)


@pytest.mark.slow
def test_a_weight_step_moves_along_the_mean_of_its_paths(monkeypatch):
    run_ = run(monkeypatch, ",distillation=0,drop_skips=0").run
    run_.schedule = replace(run_.schedule, clip=1e9)
    x, labels = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(5)), torch.arange(4)
    weights = [*run_.supernet.parameters()]
    drawn = run_.law.draws(torch.Generator().manual_seed(0), tau=1.0)
    losses = [torch.nn.functional.cross_entropy(run_.supernet(x, gates), labels) for gates in drawn]
    expected = torch.autograd.grad(torch.stack(losses).mean(), weights, materialize_grads=True)
    run_.generator.manual_seed(0)
    told = run_.step_weights(x, labels, tau=1.0)
    assert told == pytest.approx(float(torch.stack(losses).mean().detach()), rel=1e-5)
    assert max(float(slope.abs().max()) for slope in expected) > 0.01
    for weight, slope in zip(weights, expected, strict=True):
        assert torch.allclose(torch.zeros(()) if weight.grad is None else weight.grad, slope, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["weights", "law"])
def test_what_the_supernet_says_is_part_of_the_loss_and_follows_its_weight(monkeypatch, kind):
    """On the same draws, weights and images."""
    losses = {}
    for weight in (0, 1, 2):
        run_ = run(monkeypatch, f",distillation={weight},drop_skips=0").run
        for index, parameter in enumerate(run_.supernet.parameters()):
            torch.nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(index))
        with torch.no_grad():
            run_.law.logits.normal_(generator=torch.Generator().manual_seed(3))
        x, labels = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(5)), torch.zeros(4).long()
        run_.generator.manual_seed(0)
        if kind == "law":
            gates = run_.law.draws(run_.generator, tau=1.0)
            losses[weight] = float(run_._law_loss(x, labels, gates).detach())
        else:
            losses[weight] = run_.step_weights(x, labels, tau=1.0)
    assert losses[1] - losses[0] > 0.01
    assert losses[2] - losses[1] == pytest.approx(losses[1] - losses[0], rel=1e-3)


@pytest.mark.slow
def test_skips_are_dropped_in_blocks_at_first_and_less_with_every_epoch(monkeypatch):
    noted = record(monkeypatch, "msgdas:epochs=4,warm_up=0,batch=4,drop_skips=0.2", CELL, lam=0.1, steps=1)
    rates = list(dict.fromkeys(each.drops for each in noted.passes))
    assert rates == pytest.approx([0.2, 0.15, 0.1, 0.05])
    assert {each.drops for each in run(monkeypatch, ",drop_skips=0").passes} == {0.0}
    assert noted.run.supernet.training


class Skipping(Planted):
    """A supernet in which a skip is a little better than all else, and worse by what is dropped of its map."""

    on_skip = None
    skips = torch.eye(5)[1].repeat(6)

    def forward(self, x, gates, *, beside=None):
        outputs, dropped = super().forward(x, gates), 0.0
        if self.training and self.on_skip is not None:
            dropped = float((self.on_skip(torch.ones(1, 1, 8, 8)) == 0).float().mean())
        taken = self.space.relax(gates, "raw") @ self.skips
        return outputs - torch.tensor([dropped, 0.0]) * taken


@pytest.mark.slow
def test_no_more_skips_are_derived_where_they_are_dropped(monkeypatch):
    """All edges would be skips; where training drops half of a skip's map, most are not."""
    derived = []
    for rate in (0.0, 0.5):
        monkeypatch.setattr(alternation, "Network", Skipping)  # it drops nothing in what has no skips of its own
        noted = run(
            monkeypatch, f",distillation=0,drop_skips={rate}", supernet=Skipping(space_of(CELL), 0.1 * Skipping.skips),
            steps=20,
        )  # fmt: skip
        derived.append(noted.found.architecture.choices.count(1))
    assert derived[0] == 6
    assert derived[1] <= 3


def test_by_default_all_of_it_is_on_and_the_temperature_falls(monkeypatch):
    noted = record(monkeypatch, "msgdas:epochs=3,batch=4", CELL, lam=0.1, steps=1)
    assert (noted.run.objective.distillation.weight, noted.run.objective.distillation.tau) == (1.0, 2.0)
    assert noted.passes[0].drops == pytest.approx(0.1)
    assert noted.run.law.paths == 2
    assert noted.found.trace.columns()["tau"] == pytest.approx([5.0, 0.5**0.5, 0.1])


def test_the_teacher_weighs_all_options_as_the_law_does_and_moves_no_statistic(monkeypatch):
    run_, seen = run(monkeypatch).run, []
    with torch.no_grad():
        run_.law.logits.normal_(generator=torch.Generator().manual_seed(3))
    before = {key: value.clone() for key, value in run_.supernet.state_dict().items()}
    run_.supernet.train().register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    told = run_._teacher(x, run_.law.draws(torch.Generator().manual_seed(0), tau=1.0))
    assert not told.requires_grad
    (gates,) = seen
    for site, row in zip(run_.law.names, run_.law.logits.detach().softmax(dim=-1), strict=True):
        assert torch.allclose(gates[site], row)
        assert row.max() > 0.3
    assert all(torch.equal(value, before[key]) for key, value in run_.supernet.state_dict().items())
