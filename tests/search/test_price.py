"""The price of networks: what is predicted is remembered, its chance is the residuals', and a sum is in ms."""

from functools import partial

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.predictor.interval import Conformal
from tempograd.search.cost import PredictorCost, TableCost, WeightedSum
from tempograd.search.price import Price, sum_in_ms
from tempograd.spaces.circuit import counts

SPACE = registry.create("space", "nasbench201:cells=1,width=4")
NETWORKS = SPACE.sample(24, np.random.default_rng(0))


class Counting(torch.nn.Module):
    """A predictor that counts what it is asked."""

    def __init__(self, width):
        super().__init__()
        self.width, self.asked = width, []

    def forward(self, rows):
        assert rows.shape[-1] == self.width
        self.asked.append(len(rows))
        return rows.sum(dim=-1)

    def __deepcopy__(self, memo):
        return self


@pytest.mark.parametrize("encoding", [None, "counts"])
def test_a_network_is_predicted_once_in_the_encoding_of_its_predictor(encoding):
    rows = SPACE.encode(NETWORKS, encoding)
    module = Counting(rows.shape[1])
    price = Price(module, SPACE, encoding)
    np.testing.assert_allclose(price.predict([*NETWORKS, NETWORKS[0]])[:-1], rows.sum(axis=1), rtol=1e-6)
    price.predict(NETWORKS[:5])
    assert module.asked == [len(set(NETWORKS))]


def test_the_chance_is_that_of_the_residuals_or_certain_without_them():
    residuals = Conformal(tuple(np.linspace(0, 0.1, 100).tolist()))
    predicted = np.array([0.5, 1.0, 2.0])
    price = Price(Counting(1), SPACE)
    assert price.chance(predicted, None).tolist() == [1, 1, 1]
    assert price.chance(predicted, 1.0).tolist() == [1, 1, 0]
    low, middle, high = Price(Counting(1), SPACE, conformal=residuals).chance(predicted, 1.0)
    assert low > 0.98
    assert high < 0.02
    assert 0.3 < middle < 0.7


def test_what_is_no_time_becomes_ms_by_one_factor():
    """However little it says of latency; so its share of the median network's is what it was."""
    rows = SPACE.encode(NETWORKS, "counts")
    predictor = PredictorCost(Counting(rows.shape[1]), SPACE, "counts")
    x, rng = rows.sum(axis=1).astype(float), np.random.default_rng(1)
    truth = dict(zip(NETWORKS, (1 / x * rng.uniform(0.9, 1.1, len(x))).tolist(), strict=True))
    price = sum_in_ms({"energy_mj": (1.0, predictor)}, SPACE, truth, proportional=["energy_mj"])
    factor = np.median(np.array(list(truth.values())) / x)
    np.testing.assert_allclose(price.predict(NETWORKS), factor * x, rtol=1e-5)
    np.testing.assert_allclose(price.parity["predicted_ms"], factor * x, rtol=0.3)
    with pytest.raises(UsageError, match="flops say nothing about latency"):
        sum_in_ms({"flops": (1.0, WeightedSum(((1.0, predictor),)))}, SPACE, truth)


@pytest.mark.parametrize("encoding", [SPACE.encodings[0].name, "counts"])
def test_a_sum_of_a_counter_and_a_predictor_is_in_ms_whatever_the_predictors_encoding(encoding):
    macs = TableCost(SPACE.circuit, counts(SPACE.graph, SPACE.operations, "macs"))
    truth = dict(zip(NETWORKS, (0.3 + 2e-6 * Price(macs, SPACE).predict(NETWORKS)).tolist(), strict=True))
    rows = SPACE.encode(NETWORKS, encoding)
    predictor = PredictorCost(Counting(rows.shape[1]), SPACE, encoding)
    alone = sum_in_ms({"flops": (1.0, macs)}, SPACE, truth)
    np.testing.assert_allclose(alone.predict(NETWORKS), list(truth.values()), rtol=0.02)
    assert alone.told["scores"]["mape_pct"] < 5
    both = sum_in_ms({"flops": (0.5, macs), "predictor": (0.5, predictor)}, SPACE, truth)
    np.testing.assert_allclose(
        both.parity["predicted_ms"], 0.5 * np.array(alone.parity["predicted_ms"]) + 0.5 * rows.sum(axis=1), rtol=1e-5
    )


def test_predictors_in_a_sum_are_shown_laws_as_a_recipe_says():
    """Beside another cost, and where a factor makes ms of another unit. A table has nothing to be shown."""
    table = TableCost(SPACE.circuit, counts(SPACE.graph, SPACE.operations, "macs"))
    module = torch.nn.Sequential(torch.nn.Linear(sum(SPACE.widths), 1), torch.nn.Flatten(0))
    energy = WeightedSum(((2.0, PredictorCost(module, SPACE, "raw")),), 0.1)
    price = Price(WeightedSum(((0.5, energy), (1e-9, table)), 0.3), SPACE)
    cost = price.as_cost(partial(PredictorCost, feed="direct", draws=9))
    ((_, inner),), (_, other) = cost.terms[0][1].terms, cost.terms[1]
    assert (inner.feed, inner.draws, inner.encoding) == ("direct", 9, "raw")
    assert (cost.feed, WeightedSum(((1.0, table),)).feed) == ("direct", None)
    assert other == table
    with torch.no_grad():
        own = module(torch.from_numpy(SPACE.encode(NETWORKS, "raw"))).numpy()
    by_hand = 0.5 * (2.0 * own + 0.1) + 1e-9 * Price(table, SPACE).predict(NETWORKS) + 0.3
    np.testing.assert_allclose(cost(SPACE.gates(NETWORKS)).detach(), by_hand, rtol=1e-5)
    np.testing.assert_allclose(price.predict(NETWORKS), by_hand, rtol=1e-5)


@pytest.mark.parametrize("proportional", [[], ["cost"]], ids=["line", "factor"])
def test_a_measured_network_has_no_part_in_what_it_is_predicted_at(proportional):
    """In the scores that a result tells: each by the others, as if it had never been measured."""
    macs, rng = TableCost(SPACE.circuit, counts(SPACE.graph, SPACE.operations, "macs")), np.random.default_rng(2)
    networks = [a for a in NETWORKS if SPACE.is_connected(a)][:9]
    truth = dict(zip(networks, (0.3 + 2e-6 * Price(macs, SPACE).predict(networks)).tolist(), strict=True))
    truth = {a: float(ms * rng.uniform(0.6, 1.6)) for a, ms in truth.items()}
    whole = sum_in_ms({"cost": (1.0, macs)}, SPACE, truth, proportional=proportional)
    groups = SPACE.groups(networks)
    by_others = [
        float(
            sum_in_ms(
                {"cost": (1.0, macs)}, SPACE,
                {a: ms for (a, ms), group in zip(truth.items(), groups, strict=True) if group != own},
                proportional=proportional,
            ).predict([network])[0]
        )
        for network, own in zip(networks, groups, strict=True)
    ]  # fmt: skip
    np.testing.assert_allclose(whole.parity["predicted_ms"], by_others, rtol=0.01)
    assert not np.allclose(whole.parity["predicted_ms"], whole.predict(networks), rtol=0.01)


def test_a_line_follows_most_networks_and_not_the_few_that_are_far_off():
    """Those of which a part reaches no output are far faster than a sum of costs says."""
    macs = TableCost(SPACE.circuit, counts(SPACE.graph, SPACE.operations, "macs"))
    truth_ms = 0.3 + 2e-6 * Price(macs, SPACE).predict(NETWORKS)
    odd = np.arange(len(NETWORKS)) % 8 == 0
    told = dict(zip(NETWORKS, np.where(odd, 0.4, 1.0) * truth_ms, strict=True))
    np.testing.assert_allclose(sum_in_ms({"flops": (1.0, macs)}, SPACE, told).predict(NETWORKS), truth_ms, rtol=0.05)
