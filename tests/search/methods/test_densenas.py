"""DenseNAS, by its recipe: routes priced by the chained cost; two operations mixed in law steps."""

import numpy as np
import pytest
import torch

from tempograd.search.deriver import as_scores, score

from ..wiring import ROUTED, Planted, record, space_of

CHAIN = "routed:base=resnet,blocks=4-6/8-10,reach=3,layers=1,head=8,size=8,classes=10,channels=1"
SPACE = space_of(ROUTED)
ROUTES = {name for site in SPACE.sites for name, _ in site.when}
OTHERS = {site.name for site in SPACE.sites} - ROUTES


def test_law_steps_mix_all_routes_and_two_operations_which_keep_their_probability_together(monkeypatch):
    """Through the product of both laws; a heavy latency would push the two down together."""

    def note(run):
        run.noted = run.law.laws[1].logits.detach().clone()

    def end(run):
        was = run.noted
        note(run)
        return was, run.noted

    noted = record(monkeypatch, "densenas:epochs=2,batch=4", ROUTED, before=note, after=end, lam=8.0)
    assert not torch.allclose(noted.ends[0][0], noted.ends[-1][1], atol=0.01)
    names = noted.run.law.laws[1].names
    for (each,), (was, now) in zip(noted.steps("law"), noted.ends, strict=True):
        assert all(0 < gate < 1 for site in ROUTES for gate in each.gates[site].tolist() if len(each.gates[site]) > 1)
        for site in OTHERS:
            pair, row = sorted(each.on(site)), names.index(site)
            assert len(pair) == 2
            assert torch.allclose(was[row][pair].logsumexp(0), now[row][pair].logsumexp(0), atol=1e-6)


@pytest.mark.parametrize("mix", [False, True])
def test_weight_steps_run_one_route_or_as_published_all_of_them_and_one_operation_on_each(monkeypatch, mix):
    noted = record(monkeypatch, f"densenas:epochs=2,batch=4,mix={str(mix).lower()}", ROUTED, lam=0.1)
    for each in noted.of("weights"):
        assert each.one_path is not mix
        assert all(len(each.on(site)) == 1 for site in OTHERS)
        assert all(len(each.on(site)) == (len(each.gates[site]) if mix else 1) for site in ROUTES)


@pytest.mark.slow
def test_weight_steps_are_uniform_in_warm_up_and_then_of_what_the_law_likes(monkeypatch):
    """Of routes and of operations: a law that is sure of the first option takes it, once it may be heard."""

    def sure(run):
        with torch.no_grad():
            for part in run.law.laws:
                part.logits[:, 0] += 20

    noted = record(
        monkeypatch, "densenas:epochs=4,warm_up=0.5,batch=4", ROUTED, before=sure,
        supernet=Planted(SPACE, np.zeros(sum(SPACE.widths))), lam=0.0, steps=20,
    )  # fmt: skip
    passes = noted.of("weights")
    for site in ("b0/layer0", "b1/next"):
        first = [each.on(site) == {0} for each in passes]
        assert 0.0 < np.mean(first[:40]) < 0.8
        assert np.mean(first[40:]) > 0.95


def test_what_is_derived_is_the_best_of_all_routes_and_not_a_greedy_walk(monkeypatch):
    """The likeliest successor of a block may lead to the less likely route."""
    space, differs = space_of(CHAIN), 0
    noted = record(monkeypatch, "densenas:epochs=1,batch=4", CHAIN, lam=0.1, steps=1)
    every = list(space.enumerate())
    for seed in range(30):
        with torch.no_grad():
            for part in noted.run.law.laws:
                part.logits.normal_(generator=torch.Generator().manual_seed(seed))
        scores, found = as_scores(noted.run.law.scores()), noted.run.derived()
        assert score(scores, found) == pytest.approx(max(score(scores, a) for a in every))
        walk = [int(row[:width].argmax()) for row, width in zip(scores, space.widths, strict=True)]
        differs += space.architecture(walk) != found
    assert differs


def test_the_cost_is_the_chain_of_the_blocks(monkeypatch):
    """The expectation over whole networks of what each costs, exact, also where a block may be left out."""
    noted = record(monkeypatch, "densenas:epochs=1,batch=4", ROUTED, lam=0.1, steps=1)
    law, model = noted.run.law, noted.run.term.model
    with torch.no_grad():
        for part in law.laws:
            part.logits.normal_(generator=torch.Generator().manual_seed(1))  # a block is passed over often
        drawn = law.sample(6000, torch.Generator().manual_seed(0))
        networks = SPACE.decode(torch.cat([drawn[site.name] for site in SPACE.sites], dim=1).numpy())
        sampled = model(SPACE.gates(networks))
        expected = float(model.expected(law, torch.Generator(), law.marginals()))
    assert abs(float(sampled.mean()) - expected) < 4 * float(sampled.std()) / 6000**0.5
