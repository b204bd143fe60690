"""Which networks are timed: larger choices begin with smaller ones, and equal networks are taken once."""

import numpy as np
import pytest

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.profiler.choose import choose, choose_by_design, distinct

SPACE = registry.create("space", "nasbench201:cells=1,width=4,size=8")
LARGE = registry.create("space", "darts:layers=2,width=4,size=8")


def test_networks_are_different_and_a_larger_choice_begins_with_the_smaller():
    long = choose(SPACE, 120, seed=3)
    assert len(set(long)) == 120
    assert choose(SPACE, 40, seed=3) == long[:40]
    assert choose(SPACE, 40, seed=4) != long[:40]


def test_stratified_picks_are_more_extreme_than_uniform_ones():
    def spread(share):
        rows = np.array(
            [[a.choices.count(option) for option in range(5)] for a in choose(SPACE, 200, seed=0, stratified=share)]
        )
        return rows.std(axis=0).sum()

    assert spread(1.0) > 1.2 * spread(0.0)


def test_a_share_that_is_none_is_refused():
    with pytest.raises(UsageError, match="stratified"):
        choose(SPACE, 5, seed=0, stratified=1.5)


def test_a_space_too_large_to_go_through_is_refused():
    with pytest.raises(UsageError, match=r"too many to go through"):
        distinct(LARGE)


@pytest.mark.slow
def test_a_design_takes_different_networks_and_is_the_same_for_a_seed():
    design = choose_by_design(SPACE, 20, seed=1)
    assert len(set(design)) == 20
    assert choose_by_design(SPACE, 20, seed=1) == design
