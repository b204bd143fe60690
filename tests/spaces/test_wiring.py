"""Cells are told apart by the in-edges of their nodes."""

from tempograd import registry
from tempograd.spaces.wiring import wiring_of


def test_a_cell_begins_where_a_node_has_no_more_in_edges_than_the_one_before():
    cell = (("a", "b"), ("c", "d", "e"))
    first, second = wiring_of([*cell, *cell])
    assert first == second == ((("a", 0), ("b", 1)), (("c", 0), ("d", 1), ("e", 2)))
    assert wiring_of([]) == ()


def test_darts_has_two_cells_of_four_nodes():
    assert [list(map(len, cell)) for cell in registry.create("space", "darts").wiring] == [[2, 3, 4, 5]] * 2
