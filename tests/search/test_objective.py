"""Costs and forms: exact where they promise to be, differentiable everywhere."""

import itertools

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import UnknownNameError, UsageError
from tempograd.predictor.models.gp import GaussianProcessLatency
from tempograd.search.cost import PredictorCost, TableCost, WeightedSum
from tempograd.search.forms import LearnedMultiplier, Linear
from tempograd.search.laws.softmax import Softmax
from tempograd.search.objective import CostTerm, Objective
from tempograd.search.price import Price
from tempograd.spaces.architecture import Architecture

SMALL = {"nasbench201": "nasbench201:cells=1,width=4,size=8", "darts": "darts:layers=2,width=4,size=8"}


@pytest.fixture(params=registry.names("space"), scope="module")
def space(request):
    return registry.create("space", SMALL.get(request.param, request.param))


@pytest.fixture
def law(space):
    return Softmax(space, torch.Generator().manual_seed(0), noise=1.0)


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def random_table(space, seed=2):
    keys = sorted(space.circuit.keys)
    values = torch.rand(len(keys), generator=generator(seed)).tolist()
    return dict(zip(keys, values, strict=True))


def linear_of(space, table):
    """The table as a linear predictor of the raw encoding."""
    module = torch.nn.Sequential(torch.nn.Linear(sum(space.widths), 1), torch.nn.Flatten(0))
    try:
        constant, costs = space.circuit.linear(table)
    except UsageError as error:
        pytest.skip(str(error))
    options = [(site.name, option) for site, k in zip(space.sites, space.widths, strict=True) for option in range(k)]
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[costs.get(option, 0.0) for option in options]]))
        module[0].bias.fill_(constant)
    return module


def mlp(space, seed=3):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.nn.Sequential(
            torch.nn.Linear(sum(space.widths), 64), torch.nn.ReLU(), torch.nn.Linear(64, 1), torch.nn.Flatten(0)
        )


def gradient(value, law):
    return torch.autograd.grad(value, [law.logits])[0]


def test_a_linear_predictor_fed_with_samples_has_the_circuits_gradient_for_any_draw(space, law):
    table = random_table(space)
    cost = PredictorCost(linear_of(space, table), space, "raw", feed="sampled", draws=3)
    exact = gradient(TableCost(space.circuit, table).expected(law, generator()), law)
    for seed in range(3):
        assert torch.allclose(gradient(cost.expected(law, generator(seed)), law), exact, rtol=1e-3, atol=1e-5)


def test_a_linear_predictor_gives_the_same_price_by_samples_directly_and_by_the_circuit(space, law):
    table = random_table(space)
    module = linear_of(space, table)
    direct = PredictorCost(module, space, "raw", feed="direct").expected(law, generator())
    circuit = TableCost(space.circuit, table).expected(law, generator())
    assert torch.isclose(direct, circuit, rtol=1e-5)
    values = PredictorCost(module, space, "raw")(law.sample(20_000, generator()))
    values = values.detach()
    error = float(values.std()) / 20_000**0.5
    assert abs(float(values.mean()) - float(circuit.detach())) < 5 * error


def test_one_hot_gates_are_priced_as_the_networks_they_are(space):
    architectures = space.sample(5, np.random.default_rng(0))
    module = mlp(space)
    cost = PredictorCost(module, space)
    expected = module(torch.from_numpy(space.encode(architectures)))
    assert torch.allclose(cost(space.gates(architectures)), expected)
    assert cost({name: gate[0] for name, gate in space.gates(architectures).items()}).shape == ()


def test_a_curved_predictor_fed_with_samples_is_the_expectation_and_fed_directly_it_is_not():
    """On NAS-Bench-201 the exact expectation is a sum over all 15,625 networks."""
    space = registry.create("space", SMALL["nasbench201"])
    law = Softmax(space, torch.Generator().manual_seed(0), noise=1.0)
    module = torch.nn.Sequential(_Square(), mlp(space))
    cost = PredictorCost(module, space)
    with torch.no_grad():
        p = torch.stack([law.marginals()[name] for name in law.names])
        choices = torch.tensor(list(itertools.product(range(5), repeat=6)))
        weight = torch.stack([p[i][choices[:, i]] for i in range(6)]).prod(dim=0)
        gates = {name: torch.eye(5)[choices[:, i]] for i, name in enumerate(law.names)}
        exact = float((weight * cost(gates)).sum())
        sampled = float(cost.sampled(law, generator(), 50_000))
        spread = float(cost(law.sample(5000, generator())).std()) / 50_000**0.5
        direct = float(cost(law.marginals()))
    assert abs(sampled - exact) < 5 * spread
    assert abs(direct - exact) > 20 * spread


class _Square(torch.nn.Module):
    def forward(self, x):
        return 6 * x**2 - 3 * x


def test_the_direct_feed_and_the_table_have_the_gradient_of_finite_differences(space):
    law = Softmax(space, torch.Generator().manual_seed(0), noise=1.0).double()
    models = [
        PredictorCost(mlp(space).double(), space, feed="direct"),
        TableCost(space.circuit, random_table(space)),
    ]
    for model in models:
        exact = gradient(model.expected(law, generator()), law)
        last = law.logits.shape[1] - 1
        for place in [(0, 0), (1, min(2, last)), (len(law.names) - 1, min(3, last))]:
            with torch.no_grad():
                values = []
                for step in (1e-6, -2e-6):
                    law.logits[place] += step
                    values.append(float(model.expected(law, generator())))
                law.logits[place] += 1e-6
            assert (values[0] - values[1]) / 2e-6 == pytest.approx(float(exact[place]), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("feed", ["sampled", "direct", "draw"])
def test_every_parameter_gets_a_gradient_by_every_feed(space, law, feed):
    cost = PredictorCost(mlp(space), space, feed=feed, draws=8)
    drawn = law.draw(generator(), tau=1.0)
    found = gradient(cost.expected(law, generator(), drawn), law) != 0
    for rule in space.rules if feed != "draw" else ():
        if len(rule.sites) == rule.keep:  # edges that are always kept: nothing depends on their ``none``
            found[[law.names.index(name) for name in rule.sites], 0] = True
    there = torch.arange(found.shape[1]) < torch.tensor(space.widths)[:, None]
    assert found[there].all()


def test_the_predictor_is_frozen_and_the_callers_module_left_alone(space, law):
    module = mlp(space).train()
    cost = PredictorCost(module, space)
    cost.expected(law, generator()).backward()
    assert module.training
    assert all(p.requires_grad and p.grad is None for p in module.parameters())
    assert not any(p.requires_grad for p in cost.module.parameters())
    assert not cost.module.training


def test_a_predictor_in_double_precision_takes_gates_in_single(space, law):
    assert PredictorCost(mlp(space).double(), space).expected(law, generator()).dtype == torch.float64


def test_what_is_not_allowed_is_refused(space):
    module = mlp(space)
    with pytest.raises(UnknownNameError, match=r"samples.*sampled"):
        PredictorCost(module, space, feed="samples")
    with pytest.raises(UnknownNameError, match="encoding"):
        PredictorCost(module, space, "no_such")
    with pytest.raises(UsageError, match="draws=0"):
        PredictorCost(module, space, draws=0)
    with pytest.raises(UsageError, match="drawn"):
        PredictorCost(module, space, feed="draw").expected(Softmax(space), generator())
    with pytest.raises(UsageError, match="lam=-1"):
        Linear(-1.0, 1.0)
    with pytest.raises(UsageError, match="target_ms=0"):
        LearnedMultiplier(0.0)
    with pytest.raises(UsageError, match="reference_ms=nan"):
        Linear(1.0, float("nan"))


def test_linear_form_is_relative_to_the_reference(space, law):
    cost = PredictorCost(mlp(space), space, feed="direct")
    expected = 0.5 * cost.expected(law, generator()) / 4.0
    loss = torch.tensor(2.0)
    assert torch.isclose(CostTerm(cost, Linear(0.5, 4.0))(loss, law, generator()), loss + expected)


def test_the_multiplier_rises_above_the_target_and_falls_to_zero_below_it():
    form = LearnedMultiplier(2.0, eta=0.5, damping=0.0)
    assert float(form.penalty(torch.tensor(4.0))) == 0.0
    form.update(4.0)
    assert form.lam == pytest.approx(0.5)
    assert float(form.penalty(torch.tensor(3.0))) == pytest.approx(0.25)
    for _ in range(5):
        form.update(1.0)
    assert form.lam == 0.0


def test_a_two_sided_multiplier_also_pushes_latency_up():
    form = LearnedMultiplier(2.0, eta=0.5, damping=0.0, two_sided=True)
    form.update(1.0)
    form.update(1.0)
    assert form.lam == pytest.approx(-0.5)
    assert float(form.penalty(torch.tensor(3.0))) < float(form.penalty(torch.tensor(2.0)))
    form.update(3.0)
    assert form.lam == pytest.approx(-0.25)


def test_a_damped_multiplier_answers_to_the_violation_of_now_and_keeps_what_was_summed_up():
    form = LearnedMultiplier(2.0, eta=0.5, damping=3.0, two_sided=True)
    form.update(4.0)
    assert (form.lam, form.summed) == pytest.approx((3.5, 0.5))
    form.update(2.0)
    assert (form.lam, form.summed) == pytest.approx((0.5, 0.5))
    budget = LearnedMultiplier(2.0, eta=0.5, damping=3.0)
    budget.update(1.0)
    assert (budget.lam, budget.summed) == (0.0, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["raw", "layers"])
def test_a_gaussian_process_pulls_a_law_to_what_is_fast(encoding):
    """Its first buffer is one of whole numbers: an encoding made such has no slope, and a search would ignore it."""
    space = registry.create("space", "mbconv:family=fbnetv2,size=8,width=0.25,stages=2,layers=2,classes=10")
    architectures = space.sample(80, np.random.default_rng(0))
    rates = {site.name: torch.rand(len(site.options), generator=generator()) for site in space.sites}
    y_ms = sum((space.gates(architectures)[site] @ rate for site, rate in rates.items()), torch.tensor(1.0)).numpy()
    model = GaussianProcessLatency(random_state=0).fit(space.encode(architectures, encoding), y_ms)
    law = Softmax(space, generator(), noise=0.0)
    term = CostTerm(PredictorCost(model.module, space, encoding, draws=32), Linear(1.0, 1.0))
    (slope,) = Objective(term).gradients(torch.tensor(0.0), law, generator())
    index = [site.name for site in space.sites].index("s0l0/expand")
    rate = rates["s0l0/expand"]
    assert np.corrcoef(slope[index, : len(rate)], rate)[0, 1] > 0.9


def test_a_cost_without_a_slope_is_refused(space):
    module = mlp(space)
    module.forward = lambda x: torch.ones(len(x))
    with pytest.raises(UsageError, match="PredictorCost has no slope in the gates"):
        Objective(CostTerm(PredictorCost(module, space), Linear(1.0, 1.0))).gradients(
            torch.tensor(0.0), Softmax(space), generator()
        )


def test_an_encoding_without_a_slope_is_priced_by_swaps(space):
    """The slope of a gate is what the predictor says of the network with that option."""
    width = space.encode(space.sample(1, np.random.default_rng(0)), "counts").shape[1]
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(width, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1), torch.nn.Flatten(0))
    cost = PredictorCost(module, space, "counts")
    predict = Price(module, space, "counts").predict
    architecture = space.sample(3, np.random.default_rng(1))[2]
    own = [max(choice, 0) for choice in architecture.choices]  # a swap may bring a site into play: it takes its first
    gates = {site: gate.requires_grad_() for site, gate in space.gates([architecture]).items()}
    value = cost(gates)
    value.sum().backward()
    assert float(value.detach()) == pytest.approx(float(predict([architecture])[0]), rel=1e-5)
    swaps = [(number, option) for number, width in enumerate(space.widths) for option in range(width)]
    swapped = [Architecture(space.spec, (*own[:number], option, *own[number + 1 :])) for number, option in swaps]
    for (number, option), price_ms in zip(swaps, predict(swapped), strict=True):
        slope = gates[space.sites[number].name].grad[0]
        effect = float(price_ms) - float(value.detach())
        assert float(slope[option] - slope[own[number]]) == pytest.approx(effect, abs=1e-5)


@pytest.mark.slow
def test_the_expectation_by_swaps_follows_the_law(space, law):
    width = space.encode(space.sample(1, np.random.default_rng(0)), "counts").shape[1]
    module = torch.nn.Sequential(torch.nn.Linear(width, 1), torch.nn.Flatten(0))
    cost = PredictorCost(module, space, "counts")
    cost.expected(law, generator()).backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in law.parameters())
    with pytest.raises(UsageError, match="no slope"):
        PredictorCost(module, space, "counts", feed="direct")


def test_a_weighted_sum_of_costs_is_their_sum_in_value_gradient_and_expectation(space, law):
    one, two = (TableCost(space.circuit, random_table(space, seed)) for seed in (2, 3))
    predictor = PredictorCost(mlp(space), space, feed="direct")
    total = WeightedSum(((0.5, one), (2.0, two), (1.0, predictor)), constant_ms=0.3)
    gates = space.gates(space.sample(5, np.random.default_rng(0)))
    assert torch.allclose(total(gates), 0.5 * one(gates) + 2 * two(gates) + predictor(gates) + 0.3, rtol=1e-5)
    parts = [weight * cost.expected(law, generator()) for weight, cost in total.terms]
    assert torch.isclose(total.expected(law, generator()), sum(parts) + 0.3, rtol=1e-5)
    slopes = [gradient(part, law) for part in parts]
    assert torch.allclose(gradient(total.expected(law, generator()), law), sum(slopes), rtol=1e-3, atol=1e-6)


def test_costs_know_what_they_multiply_and_what_they_are(space):
    one, two = (TableCost(space.circuit, random_table(space, seed)) for seed in (2, 3))
    tables = WeightedSum(((0.5, one), (2.0, two)))
    assert tables.pairs == space.circuit.pairs
    assert WeightedSum(((1.0, one), (1.0, PredictorCost(mlp(space), space)))).pairs is None
    assert one.identity() == TableCost(space.circuit, random_table(space, 2)).identity() != two.identity()
    assert tables.identity() != WeightedSum(((0.5, one), (1.0, two))).identity()
    assert PredictorCost(mlp(space), space).identity() != PredictorCost(mlp(space, 4), space).identity()
