import itertools

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.spaces.circuit import SKELETON
from tempograd.spaces.zoo.routed import MOBILENET

SPACE = registry.create("space", "routed:base=resnet,blocks=2/3-4/5-6,reach=3,layers=1,head=8,size=8,classes=5")


def paths(space, i=0):
    """Every way from a block to the end, by hand."""
    end = len(space._blocks)
    return [[i, *rest] for j in space.followers(i) for rest in ([[end]] if j == end else paths(space, j))]


def test_the_published_space_builds_and_every_block_reaches_the_end():
    space = registry.create("space", f"routed:blocks={MOBILENET},head=1984,classes=1000,size=224")
    widths = [width for width, _ in space._blocks]
    assert len(widths) == 17
    after = [space.followers(i) for i in range(17)]
    assert after[0] == [1]  # the next but one is a stage further
    assert after[2] == [3, 4, 5, 6]
    assert after[10] == [11, 12, 13, 14]
    assert after[11] == [12, 13, 14, 15, 17]  # every block of the last stage may be the last
    assert after[15:] == [[16, 17], [17]]
    assert all(after)
    shapes = {name: shape for name, shape in space.graph.shapes.items() if name.endswith("/layer2")}
    assert [shape[1] for shape in shapes.values()] == [112, 56, *[28] * 3, *[14] * 6, *[7] * 6]


def test_the_number_of_architectures_is_that_of_all_routes():
    expected = sum(2 ** (len(path) - 1) for path in paths(SPACE))  # per block a layer or none
    assert 10**SPACE.size_log10 == pytest.approx(expected)
    assert len(list(SPACE.enumerate())) == expected
    assert len(set(SPACE.sample(expected, np.random.default_rng(0)))) == expected


def test_chained_cost_is_the_expectation_over_all_routes():
    """By recursion from the end, and by enumeration of all routes with their probability."""
    rng = np.random.default_rng(0)
    gates = {s.name: torch.tensor(rng.dirichlet(np.ones(len(s.options)))) for s in SPACE.sites}
    table = {key: float(rng.uniform(0.1, 1)) for key in sorted(SPACE.circuit.keys)}
    found = float(SPACE.circuit.cost(table, gates))
    expected = 0.0
    for architecture in SPACE.enumerate():
        taken = [
            float(gates[site.name][choice])
            for site, choice in zip(SPACE.sites, architecture.choices, strict=True)
            if choice >= 0
        ]
        expected += np.prod(taken) * float(
            SPACE.circuit.cost(table, {k: v[0] for k, v in SPACE.gates([architecture]).items()})
        )
    assert found == pytest.approx(expected, rel=1e-6)  # one-hot gates are single precision


def test_a_linear_cost_of_the_relaxed_encoding_is_the_chained_cost():
    rng = np.random.default_rng(1)
    gates = {s.name: torch.tensor(rng.dirichlet(np.ones(len(s.options)))) for s in SPACE.sites}
    weight = torch.tensor(rng.uniform(size=sum(SPACE.widths)))
    expected = sum(
        np.prod([float(gates[s.name][c]) for s, c in zip(SPACE.sites, a.choices, strict=True) if c >= 0])
        * float(torch.tensor(SPACE.encode([a])[0]).double() @ weight)
        for a in SPACE.enumerate()
    )
    assert float(SPACE.relax(gates) @ weight) == pytest.approx(expected, rel=1e-9)


def test_what_a_route_does_not_visit_is_not_built():
    for architecture in itertools.islice(SPACE.enumerate(), 0, None, 7):
        names = {node.name.split("/")[0] for node in SPACE.network_graph(architecture).nodes}
        visited, i = {"b0"}, 0
        while i < len(SPACE._blocks):
            site = next((n for n, s in enumerate(SPACE.sites) if s.name == f"b{i}/next"), None)
            i = SPACE.followers(i)[0 if site is None else architecture.choices[site]]
            visited.add(f"b{i}")
        assert {name for name in names if name.startswith("b")} <= visited


def test_gates_of_blocks_that_are_not_visited_change_nothing():
    """A law draws at every site: what is not visited must neither run nor count."""
    space, x = SPACE, torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    supernet = space.supernet().eval()
    for architecture in space.sample(10, np.random.default_rng(2)):
        gates = {site: gate[0] for site, gate in space.gates([architecture]).items()}
        full = {k: v if v.any() else torch.eye(len(v))[-1] for k, v in gates.items()}
        with torch.no_grad():
            assert torch.equal(supernet(x, gates), supernet(x, full))
        table = dict.fromkeys(space.circuit.keys, 1.0) | {SKELETON: 0.0}
        assert space.circuit.cost(table, gates) == space.circuit.cost(table, full)


@pytest.mark.parametrize("spec", ["base=vgg", "blocks=4-x", "blocks=4//8", "reach=0"])
def test_wrong_arguments_are_refused(spec):
    with pytest.raises(UsageError):
        registry.create("space", f"routed:{spec}")
