from collections import Counter
from math import prod

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.predictor.models.gp import GaussianProcessLatency
from tempograd.spaces.graph import INPUT, GraphBuilder
from tempograd.spaces.layers import Conv, Relu
from tempograd.spaces.totals import _totals, layer_totals

WIDE = "mbconv:family=fbnetv2,size=16,width=0.5,stages=2,layers=2,classes=10,width_options=3,resolution_options=2"
SPACES = [
    WIDE,
    "mbconv:family=ofa,size=16,width=0.25,stages=2,layers=3,classes=10",
    "mbconv:family=fbnet,size=16,width=0.25,stages=2,layers=2,classes=10",
    "routed:blocks=2/3-4/5-6,reach=2,layers=1,head=8,size=8",
]


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPACES)
def test_the_totals_of_a_network_are_the_sums_over_its_layers(spec):
    space = registry.create("space", spec)
    architectures = space.sample(20, np.random.default_rng(0))
    rows, table = layer_totals(space.graph, space.operations)
    found = space.circuit.totals(rows, table, space.gates(architectures)).double().numpy()
    told = [_totals(space.raw_graph(architecture)) for architecture in architectures]
    names = sorted(set().union(*map(_totals, [space.graph, *space.operations.values()])))
    expected = np.array([[own[name] for name in names] for own in told], float)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    encoded = space.encode(architectures, "layers")
    np.testing.assert_array_equal(encoded[:, : sum(space.widths)], space.encode(architectures))
    np.testing.assert_allclose(encoded[:, sum(space.widths) :], found, rtol=1e-6)


def test_the_totals_of_a_law_are_its_mean_networks():
    space = registry.create("space", WIDE)
    rows, table = layer_totals(space.graph, space.operations)
    gates = {s.name: torch.softmax(torch.randn(len(s.options)), 0) for s in space.sites if not s.when}
    gates |= {s.name: torch.full((len(s.options),), 1 / len(s.options)) for s in space.sites if s.when}
    column = int(table.sum(dim=0).argmax())
    one = {key: float(table[row, column]) for key, row in rows.items()}
    assert float(space.circuit.totals(rows, table, gates)[column]) == pytest.approx(
        float(space.circuit.cost(one, gates)), rel=1e-5
    )


def test_a_layer_counts_by_kind_and_by_the_blocks_that_its_channels_come_in():
    builder = GraphBuilder((12, 4, 4))
    x = builder.add("a", Conv(24, 3, 2), INPUT)
    x = builder.add("b", Conv(24, 5, groups=24), builder.add("r", Relu(), x))
    found = _totals(builder.graph(builder.add("c", Conv(7), x)))
    assert found["Conv 3 in blocks of 4 layers"] == found["Relu in blocks of 8 layers"] == 1
    assert found["Conv 1 in blocks of 1 macs"] == found["Conv 1 macs"] == 24 * 7 * 4
    assert found["depthwise Conv 5 in blocks of 8 weights"] == 24 * 25
    assert (found["Conv 3 read"], found["Conv 3 written"]) == (prod((12, 4, 4)), prod((24, 2, 2)))


@pytest.mark.slow
def test_what_divides_the_channels_is_learnt_from_totals_and_not_from_one_hots():
    """A device on which channels not in fours are slow, as ONNX Runtime's are."""
    space = registry.create("space", WIDE)
    architectures = space.sample(240, np.random.default_rng(1))
    told = [_totals(space.network_graph(architecture)) for architecture in architectures]
    y_ms = np.array([_planted_ms(own) for own in told])

    def error(encoding: str) -> float:
        model = GaussianProcessLatency(random_state=0).fit(space.encode(architectures, encoding), y_ms)
        return float(np.abs(model.held_out_ms_ / y_ms - 1).mean())

    assert error("layers") < 0.2 * error("raw")


def _planted_ms(totals: Counter[str]) -> float:
    macs = {name: value for name, value in totals.items() if name.endswith("macs") and "blocks" in name}
    slow = sum(value for name, value in macs.items() if name.endswith(("of 1 macs", "of 2 macs")))
    return 0.05 + 1e-6 * sum(macs.values()) + 9e-6 * slow
