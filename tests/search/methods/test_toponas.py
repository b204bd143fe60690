"""TopoNAS, by its recipe: sets of edges are learnt beside operations, and invalid topologies are pushed out."""

import numpy as np
import pytest
import torch

from tempograd.search.regularisers import PassiveAggressive

from ..wiring import CELL, DARTS, Planted, record, space_of

SPACE = space_of(CELL)


def test_invalid_topologies_fall_below_the_bound_and_are_let_alone_there(monkeypatch):
    def expected(run):
        return float(PassiveAggressive(SPACE).invalid(run.law).detach())

    def run(most):
        method = f"toponas:epochs=2,warm_up=0,batch=4,most_invalid={most}"
        return record(
            monkeypatch, method, CELL, supernet=Planted(SPACE, np.zeros(30)), lam=0.0, steps=40, after=expected
        )

    bound, idle = run(0.05), run(1.0)
    assert bound.ends[0] > 0.2
    assert max(bound.ends[-20:]) <= 0.05 + 0.01  # Adam moves it a little
    assert min(idle.ends) > 0.2


def test_what_is_derived_is_the_most_probable_set_and_not_that_of_the_most_probable_edges(monkeypatch):
    """Three sets of two of a node's four edges hold edge 0; that of edges 2 and 3 is likelier than each of these."""
    noted = record(monkeypatch, "toponas:epochs=1,batch=4", DARTS, supernet=_Idle(), lam=0.1, steps=1)
    law, space = noted.run.law, space_of(DARTS)
    rule = next(rule for rule in space.rules if len(rule.sites) == 4)
    node, names = [*space.nodes].index(rule.sites), [site.name for site in space.sites]
    columns = [names.index(edge) for edge in rule.sites]
    with torch.no_grad():
        law.sets[node] = -9.0
        for edges, logit in (((2, 3), 0.5), ((0, 1), 0.4), ((0, 2), 0.4), ((0, 3), 0.4)):
            wanted = [float(edge in edges) for edge in range(4)]
            law.sets[node, law._holds[node][:, columns].tolist().index(wanted)] = logit
    kept = law.kept().detach()[columns]
    assert kept.argmax() == 0
    choices = noted.run.derived().choices
    assert [bool(choices[column]) for column in columns] == [False, False, True, True]


class _Idle(torch.nn.Module):
    """A supernet whose loss says nothing of the gates."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x, gates):
        return (0 * self.weight + 0 * sum(gate.sum() for gate in gates.values())).expand(len(x), 2)


def test_a_node_keeps_two_edges_in_sum_and_its_topology_waits_for_its_operations(monkeypatch):
    """Temperatures of DOTS: 10, and down to .02 in the last third."""
    noted = record(monkeypatch, "toponas:epochs=7,warm_up=0,batch=4", DARTS, supernet=_Idle(), lam=0.0, steps=1)
    space = space_of(DARTS)
    for each in noted.of("law"):
        for rule in space.rules:
            assert float(sum(1 - each.gates[edge][0] for edge in rule.sites)) == pytest.approx(2, abs=1e-4)
    taus = noted.found.trace.columns()["tau"]
    assert taus[:5] == pytest.approx([10.0] * 5)
    assert taus[-1] == pytest.approx(0.02)
    with torch.no_grad():
        noted.run.law.sets.normal_(generator=torch.Generator().manual_seed(0))
    soft, sharp = (noted.run.law.draw(torch.Generator(), tau=tau) for tau in (10.0, 0.02))
    assert all(0.1 < 1 - float(soft[edge][0].detach()) < 0.9 for edge in space.rules[3].sites)
    assert sorted(round(1 - float(sharp[edge][0].detach())) for edge in space.rules[3].sites) == [0, 0, 0, 1, 1]
