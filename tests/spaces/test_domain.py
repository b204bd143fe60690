"""What the domain draws and lists is what it checks, whatever depends on what and whatever rule holds."""

import numpy as np
import pytest

from tempograd.errors import InvalidArchitectureError
from tempograd.spaces.architecture import KeepInputs, Site
from tempograd.spaces.domain import Domain

OPTIONS = ("none", "conv", "pool")
FREE = Domain("free", (Site("a", ("x", "y")), Site("b", ("u", "v", "w"))))
DEPENDENT = Domain(
    "dependent",
    (Site("a", ("x", "y")), Site("b", ("u", "v"), (("a", 1),)), Site("c", ("s", "t"), (("b", 0),))),
)
RULED = Domain("ruled", tuple(Site(name, OPTIONS) for name in "abc"), (KeepInputs(("a", "b", "c")),))
GATED = Domain(
    "gated",
    (Site("on", ("no", "yes")), *(Site(name, OPTIONS, (("on", 1),)) for name in "abc")),
    (KeepInputs(("a", "b", "c"), keep=1),),
)


@pytest.mark.parametrize(
    ("domain", "count"), [(FREE, 6), (DEPENDENT, 4), (RULED, 12), (GATED, 7)], ids=lambda value: str(value)[:20]
)
def test_as_many_are_listed_as_there_are_and_all_are_drawn(domain, count):
    every = list(domain.enumerate())
    assert len(every) == len(set(every)) == count == pytest.approx(10**domain.size_log10)
    drawn = domain.draw(2000, np.random.default_rng(0))
    assert {tuple(row) for row in drawn.tolist()} == set(every)
    assert all(domain.checked(choices) == choices for choices in every)


def test_every_site_is_drawn_evenly():
    shares = (DEPENDENT.draw(20_000, np.random.default_rng(1)) == 1).mean(axis=0)
    assert shares == pytest.approx([1 / 2, 1 / 4, 1 / 8], abs=0.02)  # c is there where b is u


def test_a_broken_rule_and_a_wrong_number_are_refused():
    with pytest.raises(InvalidArchitectureError, match="1 of the sites a, b, c are not 'none'; exactly 2 must be kept"):
        RULED.checked((0, 1, 0))
    with pytest.raises(InvalidArchitectureError, match=r"^'0\.1' makes 2 choices; ruled has 3 sites"):
        RULED.checked((0, 1))
    assert GATED.checked((0, 1, 1, 1)) == (0, -1, -1, -1)  # no rule where nothing is decided


def test_what_comes_in_with_a_change_keeps_the_rule():
    entered = GATED.changed((0, -1, -1, -1), {0: 1})
    assert entered == [1, 0, 0, 1]
    assert GATED.checked(entered) == (1, 0, 0, 1)
    assert FREE.changed((1, 2), {1: 0}) == [1, 0]


def test_one_hots_are_decoded_and_rows_of_zeros_decide_nothing():
    assert DEPENDENT.widths == (2, 2, 2)
    assert DEPENDENT.decode(np.array([1, 0, 0, 0, 0, 0])) == [[0, -1, -1]]
    assert FREE.decode(np.array([[1, 0, 0, 0, 1], [0, 1, 1, 0, 0]])) == [[0, 2], [1, 0]]
