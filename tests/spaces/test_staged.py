import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import InputRefusedError, UsageError
from tempograd.spaces.graph import Choice
from tempograd.spaces.saved import ARCHITECTURE, architecture_json
from tempograd.spaces.zoo.staged import CONNECTIONS
from tempograd.testing.spaces import SpaceContract

SMALL = "most=3,least=1,width=4,size=8"


@pytest.fixture(scope="module")
def darts():
    return registry.create("space", "darts")


@pytest.fixture(scope="module")
def key(darts):
    return darts.sample(1, np.random.default_rng(3))[0].key


@pytest.fixture(scope="module")
def space(key):
    return registry.create("space", f"staged:cell={key},{SMALL}")


@pytest.fixture(scope="module")
def whole():
    return registry.create("space", "staged:most=2,least=1,width=4,size=8")


# -- the graph of a stage ----------------------------------------------------------------------------------------------


def test_two_edges_of_three_operations_for_each_cell_of_each_length(space):
    first, later = 3**2, 3 * 3**2  # two of two in-edges; two of three
    lengths = [first, first * later, first * later**2]
    assert 10**space.size_log10 == pytest.approx(sum(lengths) ** 3, rel=1e-9)
    assert 10 ** replace(space, least=3).size_log10 == pytest.approx(lengths[-1] ** 3, rel=1e-9)
    one = replace(space, stages=1, most=2)
    assert len(set(one.enumerate())) == lengths[0] + lengths[1]


def test_a_cell_sees_the_last_three_values(key):
    space = registry.create("space", f"staged:cell={key},most=5,least=5,width=4,size=8")
    nodes = {node.name: node for node in space.graph.nodes}
    for stage in range(3):
        values = [nodes[f"s{stage}/c1/e{i}"].inputs[0] for i in range(2)]
        for place in range(1, 6):
            edges = nodes[f"s{stage}/c{place}/in"].inputs
            assert [nodes[edge].inputs[0] for edge in edges] == values[-3:]
            assert all(isinstance(nodes[edge].operation, Choice) for edge in edges)
            values.append(f"s{stage}/c{place}/cell")
        assert nodes[f"s{stage}/end5"].inputs == tuple(values[-2:])


def test_the_wiring_says_where_an_edge_comes_from(key):
    space = registry.create("space", f"staged:cell={key},most=4,least=4,stages=2,width=4,size=8")
    nodes = {node.name: node for node in space.graph.nodes}
    assert len(space.wiring) == 2
    for stage, cell in enumerate(space.wiring):
        values = [nodes[f"s{stage}/c1/e{i}"].inputs[0] for i in range(2)] + [f"s{stage}/c{i}/cell" for i in range(1, 5)]
        assert [len(node) for node in cell] == [2, 3, 3, 3]
        assert all(nodes[site].inputs == (values[source],) for node in cell for site, source in node)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_cells_past_the_length_are_not_there_and_the_last_two_values_leave(space, number):
    architecture = next(
        a for a in space.sample(50, np.random.default_rng(0)) if space.taken(a)["s1/length"] == number - 1
    )
    assert [space.taken(architecture)[f"s1/c{i}/e{i}"] >= 0 for i in (1, 2, 3)] == [i <= number for i in (1, 2, 3)]
    names = [node.name for node in space.network_graph(architecture).nodes if node.name.startswith("s1/")]
    assert {name.split("/")[1] for name in names if name.startswith("s1/c")} <= {f"c{i}" for i in range(1, number + 1)}
    assert [name for name in names if name.startswith("s1/end")] == [f"s1/end{number}"]
    ends = {node.name: node.inputs for node in space.graph.nodes}
    values = [*ends["s1/c2/in"], *(f"s1/c{i}/cell" for i in (1, 2, 3))]
    entering = [ends[edge][0] for edge in values[:2]]
    assert ends[f"s1/end{number}"] == tuple([*entering, *values[3:]][number : number + 2])


def test_a_cell_that_comes_in_with_a_longer_stage_skips_from_the_last_two_values(space):
    short = space.architecture([0, *[1] * 2, *[0] * 6] * 3)
    longer = space.changed(short, {0: 2})
    assert space.format(longer).startswith(
        "s0/length=3;s0/c1/e0=skip_connect;s0/c1/e1=skip_connect;s0/c2/e0=none;s0/c2/e1=skip_connect;"
        "s0/c2/e2=skip_connect;s0/c3/e1=none;s0/c3/e2=skip_connect;s0/c3/e3=skip_connect;s1/length=1"
    )


# -- the cells ---------------------------------------------------------------------------------------------------------


def operations_of(graph, prefix):
    """How often each operation of an edge occurs in a cell, by the names of its nodes."""
    found = {tuple(f"{node.name.removeprefix(prefix)}/".split("/")[:2]) for node in graph.nodes
             if node.name.startswith(prefix)}  # fmt: skip
    return Counter(option for edge, option in found if edge.startswith("e") and option != "none")


def test_the_cells_are_those_of_the_key(darts, key):
    space = registry.create("space", f"staged:cell={key},most=2,least=2,width=4,size=8")
    choices, options = darts.from_key(key).choices, darts.sites[0].options
    normal, reduce = (Counter(options[c] for c in part if c) for part in (choices[:14], choices[14:]))
    raw = space.raw_graph(space.sample(1, np.random.default_rng(0))[0])
    for stage in range(3):
        for place in (1, 2):
            assert operations_of(raw, f"s{stage}/c{place}/cell/normal{stage}/") == normal
    for stage in range(2):
        assert operations_of(raw, f"r{stage}/reduce{stage}/") == reduce


def test_a_key_of_cells_of_each_stage_gives_each_stage_its_own():
    cells = registry.create("space", "darts:layers=5,stages=3")
    found = cells.sample(1, np.random.default_rng(1))[0]
    space = registry.create("space", f"staged:cell={found.key},most=1,least=1,width=4,size=8")
    raw = space.raw_graph(space.sample(1, np.random.default_rng(0))[0])
    options = cells.sites[0].options
    for n, place in enumerate(("s0/c1/cell/normal0/", "r0/reduce0/", "s1/c1/cell/normal1/", "r1/reduce1/",
                               "s2/c1/cell/normal2/")):  # fmt: skip
        assert operations_of(raw, place) == Counter(options[c] for c in found.choices[14 * n : 14 * n + 14] if c)


def test_searched_and_given_cells_are_one_network(whole):
    cells, stages = whole.levels
    assert [level.name for level in whole.levels] == ["cells", "stages"]
    for architecture in whole.sample(3, np.random.default_rng(0)):
        taken = whole.taken(architecture)
        given = stages.space({site.name: taken[site.name] for site in cells.space({}).sites})
        own = given.architecture(taken[site.name] for site in given.sites)
        assert given.network_graph(own) == whole.network_graph(architecture)


def test_cells_are_searched_in_a_chain_of_middle_length_that_skips_from_the_last_two_values():
    cells, _ = registry.create("space", "staged:most=4,least=2,width=4,size=8").levels
    assert cells.space({}).layers == 3 * 3 + 2  # three cells a stage, two reductions
    for stage in range(3):
        assert cells.before[f"s{stage}/length"] == 1
        for place in (1, 2, 3):
            kept = [s for s in range(place + 1) if cells.before.get(f"s{stage}/c{place}/e{s}")]
            assert kept == [place - 1, place]
            assert {cells.before[f"s{stage}/c{place}/e{s}"] for s in kept} == {CONNECTIONS.index("skip_connect")}


def test_its_levels_share_out_its_sites_and_rules(whole):
    cells, stages = (level.space(dict.fromkeys(whole.taken(whole.sample(1, np.random.default_rng(0))[0]), 0) | KEPT)
                     for level in whole.levels)  # fmt: skip
    assert (*cells.sites, *stages.sites) == whole.sites
    assert (*cells.rules, *stages.rules) == whole.rules
    assert (*cells.wiring, *stages.wiring) == whole.wiring
    assert cells.spec == "darts:layers=5,width=4,classes=10,size=8,channels=3,stages=3"
    before = whole.levels[0].before
    assert before.keys() == {site.name for site in stages.sites}
    chain = stages.architecture(before[site.name] for site in stages.sites)
    assert set(stages.format(chain).replace(";", "=").split("=")[1::2]) == {"1", "skip_connect"}
    assert registry.create("space", f"staged:cell={stages.cell},most=2").levels[0].before == {}


KEPT = {f"{kind}/e{i}": 3 for kind in ("normal0", "reduce0", "normal1", "reduce1", "normal2")
        for i in (0, 1, 2, 3, 5, 6, 9, 10)}  # fmt: skip


@pytest.mark.slow
def test_with_searched_cells_the_supernet_and_the_circuit_are_the_built_network(whole):
    contract, sample = SpaceContract(), whole.sample(2, np.random.default_rng(5))
    assert registry.create("space", whole.spec) == whole
    contract.test_supernet_at_one_hot_gates_equals_the_built_network(whole, sample)
    contract.test_circuit_at_one_hot_gates_equals_the_counter_of_the_network(whole, sample, "parameters")
    contract.test_text_and_key_round_trip(whole, sample)
    contract.test_relaxed_encoding_at_one_hots_is_the_encoding(whole, sample)


def test_the_expected_cost_of_cells_counts_them_as_often_as_they_are_there(whole):
    """Half of the time a stage has a second cell: so does its cost, whatever its own operations cost."""
    table = {key: float(n % 7 + 1) for n, key in enumerate(sorted(whole.circuit.keys))}
    base, other = (whole.gates([whole.architecture(taken)]) for taken in _lengths(whole))
    mean = {name: (gate + other[name]) / 2 for name, gate in base.items()}
    mean |= {name: other[name] for name in mean if name.startswith("s0/c2")}  # rows are given as if they decided
    both = [whole.circuit.cost(table, gates) for gates in (base, other, mean)]
    assert both[2].item() == pytest.approx((both[0].item() + both[1].item()) / 2, rel=1e-6)
    assert both[1].item() > both[0].item()
    assert torch.isfinite(both[2]).all()


def _lengths(whole):
    base = list(whole.sample(1, np.random.default_rng(2))[0].choices)
    at = [site.name for site in whole.sites].index("s0/length")
    for option in (0, 1):
        base[at : at + 6] = [option, 1, 1, 0, 1, 1]
        yield base


# -- where the cell comes from -----------------------------------------------------------------------------------------


def result_of(folder, space, architecture):
    folder.mkdir()
    (folder / ARCHITECTURE).write_text(json.dumps(architecture_json(space, architecture)))
    return folder


@pytest.mark.parametrize("spec", ["darts:layers=6,width=8", "darts:layers=5,stages=3"])
def test_the_cell_of_a_result_is_taken_by_its_key(tmp_path, spec):
    cells = registry.create("space", spec)
    found = cells.sample(1, np.random.default_rng(0))[0]
    space = registry.create("space", f"staged:cell={result_of(tmp_path / 'result', cells, found)},most=2")
    assert space.cell == found.key
    assert str(tmp_path) not in space.spec
    assert registry.create("space", space.spec) == space


def test_the_cells_of_a_result_of_stages_are_taken_too(tmp_path, space, whole):
    found = whole.sample(1, np.random.default_rng(0))[0]
    folder = result_of(tmp_path / "whole", whole, found)
    assert registry.create("space", f"staged:cell={folder}").cell == found.key[: 2 * 70 - 1]
    given = result_of(tmp_path / "given", space, space.sample(1, np.random.default_rng(0))[0])
    assert registry.create("space", f"staged:cell={given}").cell == space.cell


@pytest.mark.parametrize("spec", ["nasbench201", "darts:in_edges=any"])
def test_a_folder_without_a_cell_is_refused(tmp_path, spec):
    other = registry.create("space", spec)
    folder = result_of(tmp_path / "other", other, other.sample(1, np.random.default_rng(0))[0])
    with pytest.raises(
        InputRefusedError, match=rf"other: the folder holds a network of {other.name}:.*, which has no cell"
    ):
        registry.create("space", f"staged:cell={folder}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputRefusedError, match=r"empty is no key of a cell, and no folder that holds one: .*search"):
        registry.create("space", f"staged:cell={tmp_path / 'empty'}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("cell=1.2.3", "allowed: a key of 28 or 70 numbers, or a folder"),
        ("cell=" + ".".join(["0"] * 28), "exactly 2 must be kept"),
        ("cell=" + ".".join(["9"] * 28), "option 9 at site"),
        ("least=3,most=2", "least=3, most=2; allowed: least up to most"),
        ("size=30", "size=30; allowed: a multiple of 4"),
        ("stages=2", "stages=2 without a cell; allowed: cell=KEY or cell=FOLDER, or 3 stages"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        registry.create("space", f"staged:{arguments}")
