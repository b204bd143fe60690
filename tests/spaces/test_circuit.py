import pytest

from tempograd.errors import UnknownNameError
from tempograd.spaces.circuit import Const, Gate, Product, Sum, counts
from tempograd.spaces.graph import Graph


def test_a_product_refuses_a_site_twice():
    """E[xy] is not E[x] E[y] when both are the same choice, so such a circuit would be silently wrong."""
    inner = Sum((Gate("width", 0), Const("a")))
    with pytest.raises(ValueError, match="width"):
        Product((Gate("width", 1), inner))


def test_sites_are_found_at_any_depth():
    assert Product((Gate("a", 0), Sum((Gate("b", 1), Const("k"))))).sites == {"a", "b"}


def test_unknown_unit_is_refused():
    with pytest.raises(UnknownNameError, match="macs"):
        counts(Graph((1, 2, 2), (), "input"), {}, "seconds")
