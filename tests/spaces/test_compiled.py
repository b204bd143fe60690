import numpy as np
import pytest

from tempograd import registry
from tempograd.spaces.compiled import cells_of
from tempograd.spaces.graph import constants
from tempograd.spaces.layers import Identity
from tempograd.spaces.zoo.nasbench201 import OPTIONS


@pytest.fixture(scope="module")
def space():
    return registry.create("space", "nasbench201")


@pytest.fixture(scope="module")
def cell(space):
    return space.compiled_cells[0]


def named(cell, space, text):
    """Return the features of a network by name."""
    choices = dict(zip((s.name for s in space.sites), space.parse(text).choices, strict=True))
    return dict(zip(cell.names, cell.features(choices).tolist(), strict=True)), choices


def test_a_cell_is_the_sites_between_two_joins(cell, space):
    assert cell.sites == tuple(f"e{i}" for i in range(6))
    assert cell.sources == ("stem/bn",)
    assert cell.outputs == ("cells/0/node3",)
    assert set(cell.labels) == set(OPTIONS) - {"none", "skip_connect"}
    assert cell.activated == {"nor_conv_1x1", "nor_conv_3x3"}


def test_darts_has_two_cells_and_tells_strides_apart():
    normal, reduce = registry.create("space", "darts:layers=5,width=8").compiled_cells
    assert len(normal.sites) == len(reduce.sites) == 14
    assert "sep_conv_3x3'" in reduce.labels
    assert "sep_conv_3x3'" not in normal.labels
    assert "skip_connect" in reduce.labels  # at stride 2 it is an operation


def test_equal_pools_of_one_value_are_one(cell, space):
    text = "|avg_pool_3x3~0|+|avg_pool_3x3~0|none~1|+|none~0|nor_conv_1x1~1|nor_conv_3x3~2|"
    found, _ = named(cell, space, text)
    assert found["live number of avg_pool_3x3"] == 2
    assert found["shared number of avg_pool_3x3"] == 1
    assert found["shared activation"] == 1  # both convolutions read the one pool
    assert found["shared path"] == 2
    assert found["shared join of 2"] == 1


def test_what_does_not_reach_the_output_is_not_counted(cell, space):
    found, _ = named(cell, space, "|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|none~1|none~2|")
    assert found["live number of nor_conv_3x3"] == 0
    assert found["shared size"] == 1


@pytest.mark.parametrize(
    ("text", "alone", "more"),
    [
        ("|none~0|+|none~0|nor_conv_3x3~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|", 1, 0),  # a convolution of zeros
        ("|none~0|+|avg_pool_3x3~0|nor_conv_3x3~1|+|avg_pool_3x3~0|none~1|skip_connect~2|", 1, 0),
        ("|none~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|skip_connect~2|", 0, 0),  # zeros stay zeros
        ("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|skip_connect~1|nor_conv_1x1~2|", 0, 1),
        ("|none~0|+|nor_conv_1x1~0|nor_conv_1x1~1|+|avg_pool_3x3~0|none~1|none~2|", 0, 0),  # reaches no output
    ],
)
def test_what_is_left_of_zeros_is_added_where_it_reaches_the_output(cell, space, text, alone, more):
    found, _ = named(cell, space, text)
    assert (found["constant joined to one"], found["constant joined to more"]) == (alone, more)


def test_isomorphic_cells_have_one_canonical_form_and_one_shared_encoding(cell, space):
    direct = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|"
    around = "|skip_connect~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|skip_connect~2|"
    (one, a), (two, b) = named(cell, space, direct), named(cell, space, around)
    assert cell.canonical(a) == cell.canonical(b)
    assert {k: v for k, v in one.items() if k[0] == "s"} == {k: v for k, v in two.items() if k[0] == "s"}
    assert one["live number of skip"] != two["live number of skip"]


@pytest.mark.slow
def test_canonical_forms_tell_networks_apart(space, cell):
    """Networks of one canonical form have as many layers of each kind once they are simplified and shared."""
    forms: dict = {}
    for architecture in space.sample(400, np.random.default_rng(0)):
        choices = dict(zip(cell.sites, architecture.choices, strict=True))
        graph = space.network_graph(architecture)
        kinds = {type(n.operation) for n in graph.nodes} - {Identity}
        constant = constants(graph)
        convs = {k for k in cell.labels if any(f"/{k}/" in n.name and n.name not in constant for n in graph.nodes)}
        forms.setdefault(cell.canonical(choices), set()).add((len(kinds), frozenset(convs)))
    assert len(forms) > 250
    assert all(len({c for _, c in seen}) == 1 for seen in forms.values())


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["nasbench201", "darts:layers=5,width=8"])
def test_every_count_has_a_column(spec):
    space = registry.create("space", spec)
    for architecture in space.sample(100, np.random.default_rng(1)):
        choices = dict(zip((s.name for s in space.sites), architecture.choices, strict=True))
        for cell in cells_of(space.graph):
            for columns, dag in zip(cell._columns, (cell._live(choices), cell._shared(choices)), strict=True):
                row = [0] * (len(cell.names) + 1)
                columns.count(dag, row)
                assert row[-1] == 0
                assert sum(row) >= len(dag)


def test_stages_cover_every_option_that_does_something(space):
    (steps,) = space.schedule
    columns = sorted(c for _, columns, _ in steps for c in columns)
    assert columns == [c for c in range(30) if c % 5]
    assert sum(not columns for _, columns, _ in steps) == 3
