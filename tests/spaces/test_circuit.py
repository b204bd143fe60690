import pytest
import torch

from tempograd.errors import UnknownNameError
from tempograd.spaces.architecture import Site
from tempograd.spaces.circuit import Circuit, Const, Gate, Leaf, Product, Sum, circuit_of, counts
from tempograd.spaces.graph import INPUT, Graph, GraphBuilder
from tempograd.spaces.layers import Conv, Width


def test_a_product_refuses_a_site_twice():
    """E[xy] is not E[x] E[y] when both are the same choice, so such a circuit would be silently wrong."""
    inner = Sum((Gate("width", 0), Const("a")))
    with pytest.raises(ValueError, match="width"):
        Product((Gate("width", 1), inner))


def test_sites_are_found_at_any_depth():
    assert Product((Gate("a", 0), Sum((Gate("b", 1), Const("k"))))).sites == {"a", "b"}


def test_a_leaf_over_two_sites_is_the_sum_over_both():
    """The width enters twice, as the input and as a factor inside: E[C * e C] and no product of expectations."""
    leaf = Leaf(("w", "e"), tuple(f"{w}*{e}" for w in (2, 4) for e in (1, 3)))
    table = {f"{w}*{e}": float(w * e * w) for w in (2, 4) for e in (1, 3)}
    gates = {"w": torch.tensor([0.25, 0.75]), "e": torch.tensor([0.5, 0.5])}
    assert float(Circuit(leaf).cost(table, gates)) == pytest.approx((0.25 * 4 + 0.75 * 16) * 2)


def test_a_layer_whose_shape_is_chosen_must_be_in_a_block():
    builder = GraphBuilder((2, 4, 4))
    graph = builder.graph(builder.add("c", Conv(Width.of("w", (3, 6))), INPUT))
    with pytest.raises(ValueError, match="make it a block"):
        circuit_of(graph, (Site("w", ("narrow", "wide")),))


def test_a_linear_cost_needs_the_whole_table():
    with pytest.raises(UnknownNameError, match="cost table"):
        Circuit(Sum((Const("a"), Leaf(("s",), ("b", "c"))))).linear({"a": 1.0, "b": 1.0})


def test_unknown_unit_is_refused():
    with pytest.raises(UnknownNameError, match="macs"):
        counts(Graph((1, 2, 2), (), "input"), {}, "seconds")


def test_pairs_are_the_sites_whose_gates_are_multiplied():
    leaf, gate = Leaf(("w", "e"), ("k", "k", "k", "k")), Gate("depth", 1)
    root = Sum((Const("c"), Product((gate, Sum((leaf, Gate("op", 0))))), Leaf(("alone",), ("k", "k"))))
    assert Circuit(root).pairs == {
        frozenset(pair) for pair in (("w", "e"), ("depth", "w"), ("depth", "e"), ("depth", "op"))
    }
