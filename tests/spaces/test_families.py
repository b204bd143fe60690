"""Families of mbconv: widths as their papers have them, even or in eights."""

import pytest

from tempograd.spaces.families import FAMILIES


@pytest.mark.parametrize(
    ("factor", "widths"),
    [(1.0, [16, 24, 40, 80, 112, 160]), (1.2, [24, 32, 48, 96, 136, 192])],
)
def test_channels_of_the_published_supernet_are_multiples_of_eight_and_never_much_less(factor, widths):
    family = FAMILIES["ofa_mbv3"]
    assert [family.channels(w, factor) for w in (family.stem, *(s.width for s in family.stages))] == widths


def test_channels_of_the_other_families_are_even():
    assert FAMILIES["ofa"].channels(24, 1.2) == 28
    assert FAMILIES["fbnet"].channels(1, 0.1) == 2


def test_the_published_supernet_has_the_choices_of_its_family():
    own, paper = FAMILIES["ofa_mbv3"], FAMILIES["ofa"]
    assert (own.operations, own.expansions, own.depths) == (paper.operations, paper.expansions, paper.depths)
    assert own.published
    assert not paper.published
