"""H-DAS, by its recipe: cells of each stage, depth of stages, their number of cells, and what a target makes of it."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from tempograd.errors import UsageError
from tempograd.search.regularisers import Depth, Length
from tempograd.spaces.zoo.darts import EDGES, OPTIONS
from tempograd.spaces.zoo.staged import CONNECTIONS
from tempograd.testing.methods import short

from ..wiring import STAGE, Planted, linear, record, space_of

DEEP = STAGE.replace("most=2,least=1", "most=5,least=5")
LONG = STAGE.replace("most=2", "most=4")
CELLS = "darts:layers=5,width=4,size=8,channels=1,stages=3"
KINDS = ("normal0", "reduce0", "normal1", "reduce1", "normal2")


def run(patch, spec, quality, arguments="", *, steps=10, lam=0.0, **mode):
    """Search by the recipe where the loss is ``20 - quality`` of the one-hots, by site and option."""
    space = space_of(spec)
    values = [quality(site.name, n) for site in space.sites for n in range(len(site.options))]
    mode = mode or {"lam": lam}
    return record(
        patch, f"hdas:epochs=5,batch=4{arguments}", spec, supernet=Planted(space, values), steps=steps, **mode
    )


# -- cells of each stage -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_each_stage_has_the_cell_that_is_best_for_it(monkeypatch):
    """The worth of operations is another in each of the five sets, and so is what is derived: the best of each."""
    rng = np.random.default_rng(0)
    worth = {kind: rng.uniform(0, 0.3, (len(EDGES), len(OPTIONS))) for kind in KINDS}
    for shift, kind in enumerate(KINDS):
        worth[kind][:, 2 + shift] += 1.0
        worth[kind][:, 0] = 0.0

    def quality(site, option):
        kind, _, edge = site.partition("/e")
        return 0.1 * worth[kind][int(edge), option]

    found = run(monkeypatch, CELLS, quality, ",warm_up=0").found.architecture
    taken = np.array(found.choices).reshape(len(KINDS), len(EDGES))
    assert len({tuple(row) for row in taken}) == len(KINDS)
    for kind, row in zip(KINDS, taken, strict=True):
        best = 2 + KINDS.index(kind)
        assert set(row) == {0, best}
        for node in range(4):
            edges = [i for i, (_, target) in enumerate(EDGES) if target == 2 + node]
            kept = sorted((worth[kind][i, best] for i in edges), reverse=True)[:2]
            assert sum(worth[kind][i, best] for i in edges if row[i]) >= sum(kept) - 0.1


def test_cells_are_asked_neither_for_depth_nor_for_length(monkeypatch):
    noted = run(monkeypatch, CELLS, lambda site, option: 0.0, steps=1)
    assert noted.run.objective.regularisers == ()


# -- depth -------------------------------------------------------------------------------------------------------------


def depth_of(architecture):
    """The mean over a stage's cells of how many edges back to what enters it, along the kept edges by turns."""
    taken = dict(zip((site.name for site in space_of(DEEP).sites), architecture.choices, strict=True))
    depth = [0.0, 0.0]
    for place in range(1, 6):
        sources = [s for s in range(place + 1) if taken.get(f"s0/c{place}/e{s}", 0)]
        assert len(sources) == 2
        depth.append(np.mean([1 + depth[source] for source in sources]))
    return np.mean(depth[2:])


def shallow(site, option):
    """Connections from long ago are a little better, whatever they are."""
    place, _, source = site.removeprefix("s0/c").partition("/e")
    return 0.5 * (int(place) - int(source)) if option else 0.0


@pytest.mark.slow
def test_stages_get_deeper_as_depth_weighs_more(monkeypatch):
    seen = [2, 3, 3, 3, 3]  # values that each cell sees
    kept = itertools.product(*(itertools.combinations(range(n), 2) for n in seen))
    every = [[int(source in pair) for n, pair in zip(seen, row, strict=True) for source in range(n)] for row in kept]
    depths = [depth_of(space_of(DEEP).architecture(row)) for row in every]
    weights = (0, 0.1, 1, 10)
    found = [depth_of(run(monkeypatch, DEEP, shallow, f",warm_up=0,depth={w}").found.architecture) for w in weights]
    assert found == sorted(found)
    assert found[0] == pytest.approx(min(depths))
    assert found[-1] == pytest.approx(max(depths))


def test_the_depth_is_that_of_edges_that_are_kept(monkeypatch):
    """Of a law that is nearly certain it is its network's: bounded, where the recursion on raw logits is not."""
    noted, space = run(monkeypatch, DEEP, shallow, ",depth=0.7", steps=1), space_of(DEEP)
    (depth,) = (r for r in noted.run.objective.regularisers if isinstance(r, Depth))
    law = noted.run.law
    for architecture in space.sample(3, np.random.default_rng(0)):
        with torch.no_grad():
            law.logits.zero_()
            law.logits[torch.arange(len(space.sites)), torch.tensor(architecture.choices)] = 60.0
            assert float(depth.penalty(law)) == pytest.approx(-0.7 * depth_of(architecture), abs=1e-4)


# -- the number of cells -----------------------------------------------------------------------------------------------

GAINS = (1.5, 1.0, 0.5, 0.1)  # what a stage's first, second, ... cell is worth


def longer(site, option):
    return sum(GAINS[: option + 1]) if site.endswith("length") else 0.0


def cells_of(architecture):
    return architecture.choices[0] + 1


@pytest.mark.slow
def test_cells_fall_as_their_number_weighs_more(monkeypatch):
    """The number is the best by brute force: cells that are worth more than one costs."""
    weights = (0.0, 0.3, 0.75, 1.25)
    found = [cells_of(run(monkeypatch, LONG, longer, f",warm_up=0,depth=0,length={w}").found.architecture)
             for w in weights]  # fmt: skip
    assert found == [sum(gain > w for gain in GAINS) for w in weights]
    assert spearmanr(weights, found).statistic == -1


@pytest.mark.slow
def test_what_is_derived_has_no_cell_past_its_length(monkeypatch):
    space = space_of(LONG)
    found = run(monkeypatch, LONG, longer, ",warm_up=0,depth=0,length=0.75").found.architecture
    assert cells_of(found) == 2
    names = {node.name.split("/")[1] for node in space.raw_graph(found).nodes if node.name.startswith("s0/c")}
    assert names == {"c1", "c2"}


@pytest.mark.slow
def test_under_a_target_latency_decides_how_many_cells_there_are(monkeypatch):
    """The loss of their number stands for a cost; with a target there is one."""
    found = []
    for length in (0, 5):
        noted = run(monkeypatch, LONG, longer, f",warm_up=0,depth=0,length={length}", target_ms=100.0)
        assert not [r for r in noted.run.objective.regularisers if isinstance(r, Length)]
        found.append(noted.found.architecture)
    assert found[0] == found[1]
    weighed = run(monkeypatch, LONG, longer, ",warm_up=0,depth=0,length=5", lam=0.0)
    assert cells_of(weighed.found.architecture) == 1


def test_the_number_of_cells_is_no_loss_where_it_is_not_chosen(monkeypatch):
    noted = run(monkeypatch, DEEP, shallow, ",length=1", steps=1)
    assert not [r for r in noted.run.objective.regularisers if isinstance(r, Length)]


# -- steps -----------------------------------------------------------------------------------------------------------


def test_weights_learn_alone_at_first_then_laws_by_a_mixture_and_ahead_where_asked(monkeypatch):
    looks = []
    for ahead in ("false", "true"):
        noted = record(monkeypatch, f"hdas:epochs=2,batch=4,warm_up=0.5,second_order={ahead}", STAGE, lam=0.1, steps=2)
        assert [noted.passes[start].step for start in noted.starts] == ["weights"] * 2 + ["law", "weights"] * 2
        assert all(float(gate.min()) > 0 for each in noted.passes for gate in each.gates.values())
        looks.append({len(passes) for passes in noted.steps("law")})
    assert looks[0] == {1}
    assert min(looks[1]) > 1


# -- latency ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_predictor_prices_the_connections_and_the_cells(monkeypatch):
    """Poolings that cost a predictor's milliseconds are left, and cells are, at a weight of latency."""
    space = space_of(LONG)
    dear = [1.0 if option in ("max_pool_3x3", "avg_pool_3x3") else 0.5 * n if site.name.endswith("length") else 0.0
            for site in space.sites for n, option in enumerate(site.options)]  # fmt: skip
    supernet = Planted(space, [0.2 * value for value in dear])
    noted = [record(monkeypatch, "hdas:epochs=5,batch=4,warm_up=0,depth=0,length=0", LONG, supernet=supernet, steps=12,
                    cost=linear(space, dear), lam=lam) for lam in (0.0, 10.0)]  # fmt: skip
    free, weighed = (each.found.architecture for each in noted)
    assert cells_of(free) == 4
    assert cells_of(weighed) == 1
    assert {CONNECTIONS[choice] for choice in weighed.choices[1:] if choice > 0} == {"skip_connect"}
    assert noted[0].found.feed == "sampled"


def test_a_space_without_levels_is_refused_with_those_that_have_some():
    space = space_of("darts:layers=3,width=4,size=8,channels=1")
    reason = r"hdas cannot search darts: it needs levels: stages with .* staged; with arguments: darts:stages=3\)"
    with pytest.raises(UsageError, match=reason):
        short("hdas").check(space, target_ms=1.0, lam=None)
