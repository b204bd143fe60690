"""HardCoRe-NAS, by its recipe: one-shot training on uniform paths, then steps of the law within the budget."""

import numpy as np
import pytest
import torch

from tempograd.errors import TargetError
from tempograd.search.price import Price
from tempograd.testing.methods import priced

from ..wiring import LAYERS, Planted, record, space_of

SPACE = space_of(LAYERS)


def latencies():
    return Price(priced(SPACE, factor=1.0), SPACE).predict(SPACE.sample(300, np.random.default_rng(0)))


@pytest.mark.slow
def test_every_iterate_is_within_the_budget_and_so_is_what_is_derived(monkeypatch):
    """What is dear is good, so that only the budget stops it."""
    budget_ms = float(np.quantile(latencies(), 0.4))
    quality = [n * (option != "skip") for site in SPACE.sites for n, option in enumerate(site.options)]
    dearest = SPACE.architecture([site.options.index("k7_e6") for site in SPACE.sites])
    assert Price(priced(SPACE, factor=1.0), SPACE).predict([dearest])[0] > 1.5 * budget_ms

    def expected(run):
        marginals = run.law.marginals()
        better = SPACE.relax(marginals, "raw") @ torch.tensor(quality, dtype=torch.float32)
        return float(run.term.model(marginals).detach()), run.derived_ms(), float(better.detach())

    first = []
    noted = record(
        monkeypatch, "hardcorenas:epochs=3,batch=4", LAYERS, supernet=Planted(SPACE, quality), after=expected,
        before=lambda run: first.append(expected(run)), target_ms=budget_ms, steps=20,
    )  # fmt: skip
    means, derived, better = np.array(noted.ends).T
    assert len(noted.ends) == 20
    assert max(means.max(), derived.max()) <= budget_ms * (1 + 1e-6)
    assert means[-1] > 0.95 * budget_ms
    assert better[-1] > first[0][2] + 0.5
    with pytest.raises(TargetError):
        record(monkeypatch, "hardcorenas:epochs=3,batch=4", LAYERS, target_ms=1e-6)


@pytest.mark.slow
def test_weights_learn_on_uniform_paths_and_rest_while_the_law_moves(monkeypatch):
    noted = record(monkeypatch, "hardcorenas:epochs=3,batch=4", LAYERS, target_ms=100.0, steps=10)
    assert [len(noted.steps(step)) for step in ("weights", "law")] == [20, 10]
    assert all(each.one_path for each in noted.of("weights"))
    drawn = torch.stack([each.gates["s0l0/op"] for each in noted.of("weights")]).sum(dim=0)
    assert (drawn > 0).sum() >= 4  # of six; the law itself begins at the cheapest
    assert "weights" not in {each.step for each in noted.passes[20:]}
