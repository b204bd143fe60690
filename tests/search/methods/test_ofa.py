"""Once-for-All, by its recipe: the largest network first, then sandwiches; accuracies are inherited."""

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.search import evaluator, neighbourhood
from tempograd.search.method import Problem
from tempograd.search.price import Price
from tempograd.search.queries import Queries
from tempograd.search.searchers import evolution
from tempograd.search.searchers.evolution import EvolutionSearcher
from tempograd.search.searchers.one_shot import ends
from tempograd.search.training import Training
from tempograd.spaces.architecture import Architecture
from tempograd.tasks.load import load_task
from tempograd.testing.methods import priced

from ..tables import problem as tabulated
from ..wiring import space_of

pytestmark = pytest.mark.slow

SPACE = space_of("mbconv:family=ofa,size=8,channels=1,classes=10,width=0.25,stages=1,layers=3")
SHORT = "ofa:epochs=1,largest=1,draws=2,batch=32,queries=12,population=6"


def problem(**mode):
    price = Price(priced(SPACE, factor=1.0), SPACE)
    task = load_task("digits,limit=200")
    given = {"target_ms": None, "lam": None} | mode
    return Problem(SPACE, SPACE, price, task, reference_ms=1.0, training=Training(epochs=1), **given)


def searched(patch, **mode):
    """Return what was found and every pass of the supernet: its gates, and whether it learnt."""
    made, passes = SPACE.supernet(), []
    made.register_forward_pre_hook(lambda _, args: passes.append({k: v.clone() for k, v in args[1].items()}))
    patch.setattr(type(SPACE), "supernet", lambda self: made)
    return registry.create("method", SHORT).find(problem(**mode)), passes


def test_the_largest_learns_alone_first_and_then_beside_the_smallest_and_two_random_ones(monkeypatch):
    _, passes = searched(monkeypatch, lam=0.0)
    small, large = ({site: row[0] for site, row in SPACE.gates([end]).items()} for end in ends(SPACE))
    steps = len(problem(lam=0.0).task.fitted(SPACE).weights) // 32

    def same(one, other):
        return all(torch.equal(one[site], other[site].to(one[site].dtype)) for site in one)

    assert len(passes) == steps * (1 + 4)
    assert all(same(each, large) for each in passes[:steps])
    sandwiches = [passes[at : at + 4] for at in range(steps, len(passes), 4)]
    assert all(same(first, large) and same(second, small) for first, second, *_ in sandwiches)
    drawn = [tuple(tuple(row.tolist()) for row in each.values()) for _, _, *others in sandwiches for each in others]
    assert len(set(drawn)) > len(drawn) / 2


def test_nothing_above_the_target_is_asked_about_and_the_best_asked_about_is_found(monkeypatch):
    price = Price(priced(SPACE, factor=1.0), SPACE).predict(SPACE.sample(100, np.random.default_rng(0)))
    target_ms = float(np.quantile(price, 0.3))
    found, _ = searched(monkeypatch, target_ms=target_ms)
    assert all(query.predicted_ms <= target_ms for query in found.queries)
    assert len(found.queries) >= 6
    told = {query.architecture: query.score for query in found.queries}
    assert told[found.architecture] == max(told.values()) > min(told.values())


def test_the_best_quarter_are_parents_and_half_of_the_children_are_mutants_of_a_tenth_of_the_sites(monkeypatch):
    """On a table: how the recipe's evolution asks, whatever answers."""
    asked, born = Queries(tabulated(queries=120), 1), {"mutated": [], "crossed": []}
    child = EvolutionSearcher._child

    def noted(self, queries, alive, rng, children):
        born["parents"] = sorted((query.score for query in alive), reverse=True)[: max(2, round(len(alive) / 4))]
        return child(self, queries, alive, rng, children)

    def note(kind):
        does = getattr(neighbourhood, kind)

        def made(space, *rest, **options):
            parents = [each for each in rest if isinstance(each, Architecture)]
            assert all(asked.known[parent].score in born["parents"] for parent in parents)
            born[kind].append(options)
            return does(space, *rest, **options)

        return made

    monkeypatch.setattr(EvolutionSearcher, "_child", noted)
    for kind in ("mutated", "crossed"):
        monkeypatch.setattr(evolution, kind, note(kind))
    registry.create("method", "ofa:population=20").find.evolution.ask(asked)
    assert not asked.left
    assert all(options == {"rate": 0.1} for options in born["mutated"])
    share = len(born["mutated"]) / (len(born["mutated"]) + len(born["crossed"]))
    assert 0.3 < share < 0.7


def test_inherited_scores_are_of_the_part_of_the_law_with_statistics_of_the_network_itself(monkeypatch):
    """Wrong labels there change them, those of the test part do not; statistics are of the weights' part."""
    task = load_task("digits,limit=200").fitted(SPACE)
    torch.manual_seed(0)
    supernet, networks = SPACE.supernet().eval(), SPACE.sample(6, np.random.default_rng(1))
    with torch.no_grad():
        for value in supernet.buffers():
            if value.is_floating_point():
                value.fill_(3.0)  # statistics of nothing
    seen = []
    recalibrate = evaluator.recalibrate
    monkeypatch.setattr(
        evaluator, "recalibrate", lambda network, batches: seen.append(batches) or recalibrate(network, batches)
    )
    ask = evaluator.Inherited(SPACE, supernet, task)
    told = list(ask(networks))
    assert len(seen) == 6
    assert len({round(score, 6) for score in told}) > 1  # else all of them would say one class
    inputs = {tuple(x.flatten().tolist()) for x, _ in task.weights.ordered(1000) for x in x}
    assert all(tuple(x.flatten().tolist()) in inputs for x in seen[0][0])
    saved = {name: getattr(task, name).labels.clone() for name in ("law", "test")}
    for name, same in (("test", True), ("law", False)):
        getattr(task, name).labels.copy_((saved[name] + 1) % 10)
        assert (list(ask(networks)) == pytest.approx(told)) is same
        getattr(task, name).labels.copy_(saved[name])
