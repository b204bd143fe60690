"""TopoNAS, by its recipe: sets of edges are learnt beside operations, and invalid topologies are pushed out."""

import numpy as np
import pytest
import torch

from tempograd.errors import UsageError
from tempograd.search.regularisers import PassiveAggressive

from ..wiring import CELL, DARTS, Planted, linear, record, space_of

SPACE = space_of(CELL)


def flat(space):
    """A predictor to which all networks are alike."""
    return linear(space, np.full(sum(space.widths), 1e-6))


@pytest.mark.slow
def test_invalid_topologies_fall_below_the_bound_and_are_let_alone_there(monkeypatch):
    def expected(run):
        return float(PassiveAggressive(SPACE).invalid(run.law).detach())

    def certain(run):
        """Make the sets of all edges of a node nearly sure: hardly any topology is invalid."""
        with torch.no_grad():
            run.law.sets[run.law._holds.sum(dim=-1) == run.law._holds.sum(dim=-1).amax(dim=1, keepdim=True)] += 8

    def run(before=None):
        method = "toponas:epochs=1,warm_up=0,batch=2,most_invalid=0.05"
        return record(
            monkeypatch, method, CELL, supernet=_Idle(), cost=flat(SPACE), lam=0.0, steps=30, after=expected,
            before=before,
        )  # fmt: skip

    bound, idle = run(), run(certain)
    assert bound.ends[0] > 0.2
    assert max(bound.ends[-5:]) <= 0.05 + 0.01  # Adam moves it a little
    assert max(idle.ends) < 0.02


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


def test_operations_are_told_apart_while_sets_of_edges_are_still_open(monkeypatch):
    """A temperature above 1 softens the sets alone; one below 1 sharpens both."""
    noted = record(monkeypatch, "toponas:epochs=1,batch=4", DARTS, supernet=_Idle(), lam=0.1, steps=1)
    law = noted.run.law
    with torch.no_grad():
        for parameter in law.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(0))
        for tau, of_operations in ((10.0, 1.0), (0.5, 0.5)):
            gates, kept = law.draw(torch.Generator(), tau=tau), law.kept(tau)
            for row, edge in enumerate(law.names):
                expected = kept[row] * torch.softmax(law.logits[row, 1:] / of_operations, dim=0)
                assert torch.allclose(gates[edge][1:], expected, atol=1e-6)


FREE = "darts:layers=3,width=4,size=8,channels=1,in_edges=any"


@pytest.mark.slow
def test_on_cells_of_darts_with_any_number_of_edges_invalid_nodes_are_pushed_out(monkeypatch):
    """The paper's space; with two edges a node every topology is valid, and there is nothing to push."""
    free = PassiveAggressive(space_of(FREE))

    def run(**more):
        method = "toponas:epochs=1,warm_up=0,batch=2,most_invalid=0.1"
        cost = flat(space_of(FREE))
        return record(monkeypatch, method, FREE, supernet=_Idle(), cost=cost, lam=0.0, steps=40, **more)

    noted = run(after=lambda run: float(free.invalid(run.law).detach()))
    assert noted.ends[0] > 0.4
    assert noted.ends[-1] <= 0.12
    with pytest.raises(UsageError, match="every topology"):
        PassiveAggressive(space_of(DARTS))


@pytest.mark.slow
def test_the_number_of_edges_is_learnt_where_it_is_free(monkeypatch):
    """Edges that are worth something are kept, however many; those that cost something are not."""
    space = space_of(FREE)
    kept = {}
    for sign in (1, -1):
        none = np.concatenate([[1.0] + [0.0] * 7 for _ in space.sites])
        noted = record(
            monkeypatch, "toponas:epochs=3,warm_up=0,batch=2", FREE, supernet=Planted(space, -sign * none),
            cost=flat(space), lam=0.0, steps=8,
        )  # fmt: skip
        choices = noted.found.architecture.choices
        kept[sign] = sum(space.sites[i].options[choice] != "none" for i, choice in enumerate(choices))
        assert space.is_connected(noted.found.architecture)
    assert kept[1] == len(space.sites)
    assert kept[-1] < 0.5 * len(space.sites)


def law_of(patch):
    """A law over sets of edges as the recipe makes it, drawn anew, and the search that it is of."""
    run = record(patch, "toponas:epochs=1,batch=4", CELL, supernet=_Idle(), lam=0.1, steps=1).run
    with torch.no_grad():
        for parameter in run.law.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(0))
    return run.law, run


def test_where_the_most_probable_sets_connect_nothing_the_best_network_that_connects_is_derived(monkeypatch):
    law, run = law_of(monkeypatch)
    with torch.no_grad():
        law.sets[law._holds.sum(dim=-1) == 0] += 20
    assert not SPACE.is_connected(law.best())
    assert SPACE.is_connected(run.derived())


def test_an_edge_is_worth_the_odds_that_it_is_kept(monkeypatch):
    """In scores, which repair and finalists go by: beside leaving it out, which is worth nothing."""
    law, _ = law_of(monkeypatch)
    scores, kept = law.scores(), law.kept().detach()
    assert (scores[:, 0] == 0).all()
    expected = law.logits[:, 1:].detach().log_softmax(dim=-1) + (kept / (1 - kept)).log()[:, None]
    assert torch.allclose(scores[:, 1:], expected, atol=1e-4)
