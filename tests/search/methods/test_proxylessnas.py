"""ProxylessNAS, by its recipe: one of two paths is on, and law steps run both for the gradient of binary gates."""

import pytest
import torch

from tempograd.search.steps import frozen_statistics

from ..wiring import LAYERS, record, space_of

SPACE = space_of(LAYERS)


def searched(patch, **more):
    def seen(run):
        return {name: [*options] for name, options in run.law.beside().items()}

    return record(patch, "proxylessnas:epochs=3,batch=4", LAYERS, after=seen, **more)


def test_law_steps_have_one_of_two_paths_on_and_weight_steps_run_one_path(monkeypatch):
    noted = searched(monkeypatch, lam=0.1)
    assert noted.ends
    for passes, pairs in zip(noted.steps("law"), noted.ends, strict=True):
        assert [each.one_path for each in passes] == [True]
        for site, pair in pairs.items():
            assert len({*pair}) == 2
            assert passes[0].on(site) < {*pair}
    assert all(each.beside for each in noted.of("law"))
    assert all(each.one_path and not each.beside for each in noted.of("weights"))
    assert len(noted.steps("weights")) > len(noted.steps("law"))


@pytest.mark.slow
def test_the_gradient_is_that_of_binary_gates_both_paths_run(monkeypatch):
    """``sum_k dL/dg_k p_k (1[k = i] - p_i)`` over the two that were drawn, by hand, with every option run."""
    run = searched(monkeypatch, lam=0.1).run
    with torch.no_grad():
        for index, parameter in enumerate(run.supernet.parameters()):
            parameter.normal_(std=0.5, generator=torch.Generator().manual_seed(index))
        run.law.logits.normal_(generator=torch.Generator().manual_seed(0))
    x, labels = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(8)
    off = 0
    for seed in range(4):
        drawn = run.law.draws(torch.Generator().manual_seed(seed), tau=1.0)
        with frozen_statistics(run.supernet):
            loss = run._law_loss(x, labels, drawn, beside=run.law.beside())
            leaves = {name: gate.detach().requires_grad_() for name, gate in drawn[0].items()}
            plain = torch.nn.functional.cross_entropy(run.supernet(x, leaves, every=True), labels)
        (found,) = torch.autograd.grad(loss, [run.law.logits])
        slopes = dict(zip(leaves, torch.autograd.grad(plain, [*leaves.values()], materialize_grads=True), strict=True))
        expected = torch.zeros_like(found)
        for row, (site, pair) in enumerate(run.law.beside().items()):
            p = torch.softmax(run.law.logits[row, pair].detach(), dim=0)
            for place, option in enumerate(pair):
                own = torch.tensor([float(k == place) for k in range(2)]) - p[place]
                expected[row, option] = (slopes[site][pair] * p * own).sum()
            off += int((slopes[site][pair].abs() > 1e-6).all())
        assert torch.allclose(found, expected, atol=1e-5)
        assert float(loss.detach()) == pytest.approx(float(plain.detach()), rel=1e-5)
    assert off > 4  # both slopes are there


def test_what_was_not_drawn_is_as_probable_as_before(monkeypatch):
    def note(run):
        run.noted = torch.softmax(run.law._masked().detach(), dim=-1)

    def end(run):
        was = run.noted
        note(run)
        return was, run.noted, run.law._pair[0]

    noted = record(monkeypatch, "proxylessnas:epochs=2,batch=4", LAYERS, before=note, after=end, lam=0.0)
    for was, now, pair in noted.ends:
        drawn = torch.zeros_like(was).scatter(-1, pair, 1.0).bool()
        assert torch.allclose(was[~drawn], now[~drawn], atol=1e-6)
    assert not torch.allclose(noted.ends[0][0], noted.ends[-1][1], atol=1e-3)


def test_published_weight_steps_for_each_law_step(monkeypatch):
    noted = record(monkeypatch, "proxylessnas:epochs=1,warm_up=0,batch=4,law_every=3", LAYERS, lam=0.1, steps=6)
    assert (len(noted.steps("weights")), len(noted.steps("law"))) == (6, 2)
