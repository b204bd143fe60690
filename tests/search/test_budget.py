"""The budget of a circuit: blocks, vertices, steps that stay inside, roundings; against brute force where it runs."""

import itertools

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import TargetError, UsageError
from tempograd.search.budget import Budget, advantages, blocks, flows, towards
from tempograd.search.cost import PredictorCost, TableCost, WeightedSum
from tempograd.search.deriver import as_scores, score
from tempograd.search.forms import Hard, Linear
from tempograd.search.objective import CostTerm
from tempograd.search.projection import round_down, within_target
from tempograd.search.searchers.frank_wolfe import FrankWolfe

SPECS = {
    "nasbench201": "nasbench201:cells=1,width=4,size=8",
    "masked": "mbconv:family=fbnetv2,size=8,classes=5,width=0.5,stages=1,layers=2,width_options=2,resolution_options=2",
    "depths": "mbconv:family=ofa,size=8,classes=5,width=0.25,stages=2,layers=3",
    "routed": "routed:base=resnet,blocks=2/3-4/5-6,reach=3,layers=1,head=8,size=8,classes=5",
}


@pytest.fixture(params=SPECS, scope="module")
def space(request):
    return registry.create("space", SPECS[request.param])


def cost_of(space, seed=0):
    rng = np.random.default_rng(seed)
    table = {key: float(rng.uniform(0.1, 1)) for key in sorted(space.circuit.keys)}
    return WeightedSum(((0.5, TableCost(space.circuit, table)),), 0.2)


def costs(space, architectures):
    return cost_of(space)(space.gates(architectures)).double().numpy()


def random_rows(space, seed):
    rng = np.random.default_rng(seed)
    return [rng.dirichlet(np.ones(k)) for k in space.widths]


def budget_of(space, quantile=0.3):
    sample = space.sample(min(500, round(10**space.size_log10)), np.random.default_rng(0))
    return Budget(space, cost_of(space), float(np.quantile(costs(space, sample), quantile)))


def law_of(space, seed=0):
    return registry.create("law", "simplex", space=space, generator=torch.Generator().manual_seed(seed), noise=1.0)


def joined(a, b, c, d, e, f):
    """A path through the cell of NAS-Bench-201, by hand."""
    return d or (a and e) or ((b or (a and c)) and f)


def test_the_cost_is_linear_in_the_rows_of_a_block(space):
    budget = budget_of(space)
    assert sorted(i for block in budget.blocks for i in block) == list(range(len(space.sites)))
    one, two = random_rows(space, 1), random_rows(space, 2)
    for block in budget.blocks:
        end = [two[i] if i in block else row for i, row in enumerate(one)]
        middle = budget.cost_ms(towards(one, end, 0.3))
        assert middle == pytest.approx(0.7 * budget.cost_ms(one) + 0.3 * budget.cost_ms(end), rel=1e-9)


@pytest.mark.slow
def test_a_vertex_is_the_best_within_the_budget_and_has_one_site_between_options_at_most(space):
    budget, rng = budget_of(space), np.random.default_rng(3)
    for seed in range(5):
        rows = budget.inside(random_rows(space, seed))
        gradient = [rng.normal(size=k) for k in space.widths]
        for block in budget.blocks:
            found = budget.vertex(rows, gradient, block)
            assert budget.cost_ms(found) <= budget.budget_ms * (1 + 1e-9)
            assert sum(found[i].max() < 1 - 1e-6 for i in block) <= 1
            for other in (random_rows(space, 10 + n) for n in range(20)):
                moved = [other[i] if i in block else row for i, row in enumerate(rows)]
                if budget.cost_ms(moved) <= budget.budget_ms:
                    assert (
                        sum(gradient[i] @ found[i] for i in block) <= sum(gradient[i] @ other[i] for i in block) + 1e-9
                    )


@pytest.mark.slow
def test_the_way_in_ends_within_the_budget_and_the_cheapest_is_the_cheapest(space):
    budget = budget_of(space, 0.1)
    assert budget.cost_ms(budget.inside(random_rows(space, 4))) <= budget.budget_ms
    least = min(budget.cost_ms(budget.cheapest(random_rows(space, seed))) for seed in range(8))
    sample = list(itertools.islice(space.enumerate(), 20_000))
    assert least <= costs(space, sample).min() + 1e-6
    with pytest.raises(TargetError, match="cheapest network"):
        Budget(space, cost_of(space), 0.5 * least).inside(random_rows(space, 4))


def test_every_iterate_of_a_hard_search_is_within_the_budget(space):
    budget, law = budget_of(space), law_of(space)
    optimiser = FrankWolfe(law, space, cost_of(space), budget.budget_ms)
    weights = [torch.randn(k, generator=torch.Generator().manual_seed(i)) for i, k in enumerate(space.widths)]
    values = []
    for _ in range(40):
        rows = [row.detach().double().numpy() for row in law.marginals().values()]
        assert budget.cost_ms(rows) <= budget.budget_ms * (1 + 1e-5)
        assert all(row.sum() == pytest.approx(1, abs=1e-5) and row.min() >= -1e-7 for row in rows)
        value = sum((row * weight).sum() for row, weight in zip(law.marginals().values(), weights, strict=True))
        values.append(float(value.detach()))
        (law.probabilities.grad,) = torch.autograd.grad(value, [law.probabilities])
        optimiser.step()
    assert values[-1] < values[0] - 0.1


def test_blocks_move_one_after_the_other(space):
    """Within a budget that stops none of them: each step moves sites of one block, and every block has its turn."""
    law = law_of(space)
    optimiser = FrankWolfe(law, space, cost_of(space), 10 * budget_of(space).budget_ms)
    for block in [*optimiser.budget.blocks] * 2:
        before = law.probabilities.detach().clone()
        law.probabilities.grad = torch.randn(before.shape, generator=torch.Generator().manual_seed(len(block)))
        optimiser.step()
        moved = set((law.probabilities.detach() != before).any(dim=1).nonzero()[:, 0].tolist())
        assert moved <= {*block}
        if optimiser.state[law.probabilities]["step"] <= len(optimiser.budget.blocks):
            assert moved


@pytest.mark.slow
def test_a_hard_search_of_a_linear_loss_ends_near_the_optimum():
    """Against the best of all networks within the budget, for a cost of one block."""
    space = registry.create("space", SPECS["nasbench201"])
    budget, every = budget_of(space), [a for a in space.enumerate() if joined(*map(bool, a.choices))]
    price = costs(space, every)
    for seed in range(3):
        values = np.random.default_rng(seed).random((6, 5))
        total = values[np.arange(6), np.array([a.choices for a in every])].sum(axis=1)
        law = law_of(space, seed)
        optimiser = FrankWolfe(law, space, cost_of(space), budget.budget_ms)
        law.probabilities.grad = torch.tensor(-values, dtype=torch.float32)
        for _ in range(30):
            optimiser.step()
        found = within_target(law, space, CostTerm(cost_of(space), Hard(budget.budget_ms)))
        assert costs(space, [found])[0] <= budget.budget_ms
        reached = values[np.arange(6), np.array(found.choices)].sum()
        assert reached > 0.95 * total[price <= budget.budget_ms].max()


def test_flows_are_the_shares_of_sampled_networks_that_take_an_option(space):
    law = law_of(space)
    rows = [row.detach().double().numpy() for row in law.marginals().values()]
    sample = space.relax(law.sample(20_000, torch.Generator().manual_seed(1)), "raw").mean(dim=0).numpy()
    assert np.abs(np.concatenate(flows(space, rows)) - sample).max() < 5 * 0.5 / 20_000**0.5


def test_what_options_add_to_a_loss_sums_up_to_what_an_architecture_adds(space):
    """Routes and depths too, from any distribution."""
    architectures = space.sample(50, np.random.default_rng(0))
    encoded = space.encode(architectures, "raw")
    for seed in range(5):
        value, ran = np.random.default_rng(seed).normal(size=encoded.shape[1]), random_rows(space, seed)
        gates = {s.name: torch.from_numpy(row).requires_grad_() for s, row in zip(space.sites, ran, strict=True)}
        loss = space.relax(gates, "raw") @ torch.from_numpy(value)
        gradient = [g.numpy() for g in torch.autograd.grad(loss, list(gates.values()))]
        added = encoded @ np.concatenate(advantages(space, ran, gradient))
        assert np.allclose(added, encoded @ value - float(loss.detach()), atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nasbench201", "routed"])
def test_a_hard_search_of_a_loss_that_adds_up_derives_the_best_of_all_within_the_budget(name):
    """The law itself ends where no single block can be better; what its steps told of every option is exact."""
    space = registry.create("space", SPECS[name])
    every = [a for a in space.enumerate() if name == "routed" or joined(*map(bool, a.choices))]
    price, encoded = costs(space, every), space.encode(every, "raw")
    for seed in range(6):
        value, budget_ms = (
            np.random.default_rng(seed).random(encoded.shape[1]),
            float(np.quantile(price, 0.1 + 0.1 * seed)),
        )
        law = law_of(space, seed)
        optimiser = FrankWolfe(law, space, cost_of(space), budget_ms)
        for _ in range(10):
            gates = law.draw(torch.Generator(), tau=1.0)
            loss = -(space.relax(gates, "raw") @ torch.from_numpy(value).float())
            (law.probabilities.grad,) = torch.autograd.grad(loss, [law.probabilities])
            optimiser.step()
        found = within_target(law, space, CostTerm(cost_of(space), Hard(budget_ms)))
        (row,) = space.encode([found], "raw")
        assert costs(space, [found])[0] <= budget_ms + 1e-5
        assert row @ value >= (encoded @ value)[price <= budget_ms - 1e-6].max() - 1e-4


@pytest.mark.slow
def test_rounding_stays_within_the_budget_and_comes_near_the_best_of_all(space):
    every = list(itertools.islice(space.enumerate(), 60_000))
    price, shortfall = costs(space, every), []
    for seed in range(8):
        budget, law = budget_of(space, 0.2 + 0.05 * seed), law_of(space, seed)
        scores = as_scores(law.scores())
        rows = budget.inside([row.detach().double().numpy() for row in law.marginals().values()])
        found = round_down(scores, rows, budget)
        assert costs(space, [found])[0] <= budget.budget_ms * (1 + 1e-6)
        values = np.array([score(scores, a) for a in every])
        best, typical = values[price <= budget.budget_ms].max(), np.median(values[price <= budget.budget_ms])
        shortfall.append((best - score(scores, found)) / (best - typical))
    assert np.mean(shortfall) < 0.25


@pytest.mark.slow
def test_where_the_cost_adds_up_the_projection_is_exact():
    for name in ("nasbench201", "routed"):
        space = registry.create("space", SPECS[name])
        every = [a for a in space.enumerate() if name == "routed" or joined(*map(bool, a.choices))]
        price = costs(space, every)
        for seed in range(3):
            law, budget_ms = law_of(space, seed), float(np.quantile(price, 0.3))
            found = within_target(law, space, CostTerm(cost_of(space), Hard(budget_ms)))
            scores = as_scores(law.scores())
            best = max(score(scores, a) for a, p in zip(every, price, strict=True) if p <= budget_ms - 1e-6)
            assert costs(space, [found])[0] <= budget_ms + 1e-5
            assert score(scores, found) >= best - 1e-5


def test_what_a_hard_constraint_cannot_do_is_refused():
    space = registry.create("space", SPECS["nasbench201"])
    module = torch.nn.Sequential(torch.nn.Linear(30, 1), torch.nn.Flatten(0))
    with pytest.raises(UsageError, match="--cost table"):
        blocks(space, PredictorCost(module, space))
    with pytest.raises(UsageError, match="law simplex"):
        FrankWolfe(registry.create("law", "softmax", space=space), space, cost_of(space), 10.0)
    with pytest.raises(UsageError, match="no budget"):
        within_target(law_of(space), space, CostTerm(cost_of(space), Linear(0.1, 1.0)))
