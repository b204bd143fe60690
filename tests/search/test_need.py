"""Needs are told in words, hold of spaces, and add up."""

import pytest

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.search.need import ANY, CELLS, FREE, LAYERS, LEVELS, ROUTES
from tempograd.testing.small import small_specs

SPACES = {name: registry.create("space", small_specs(name)[0]) for name in registry.names("space")}


def having(need):
    return {name for name, space in SPACES.items() if need.holds(space)}


def test_any_space_has_what_any_needs_and_every_need_is_had_by_some():
    assert having(ANY) == SPACES.keys()
    assert all(map(having, (CELLS, LAYERS, FREE, ROUTES)))
    assert having(CELLS).isdisjoint(having(LAYERS))


def test_both_needs_hold_where_each_does():
    for one in (CELLS, LAYERS, FREE, ROUTES):
        for other in (CELLS, LAYERS, FREE, ROUTES):
            assert having(one & other) == having(one) & having(other)
    assert ANY & CELLS == CELLS & ANY == CELLS & CELLS == CELLS


def test_a_space_without_it_is_refused_with_who_has_it_and_the_next_step():
    with pytest.raises(UsageError, match=r"toponas cannot search routed: it needs cells.*darts.*tempograd methods"):
        CELLS.check(SPACES["routed"], "toponas")
    CELLS.check(SPACES["darts"], "toponas")


def test_spaces_are_named_by_their_defaults():
    assert {"darts", "nasbench201"} <= set(CELLS.spaces())
    assert "darts" not in FREE.spaces()


def test_spaces_that_have_it_by_their_arguments_are_named_as_well():
    with pytest.raises(UsageError, match=r"with their defaults: staged; with arguments: darts:stages=3\)"):
        registry.create("method", "hdas").check(registry.create("space", "darts"), target_ms=1.0, lam=None)
    for need in (LEVELS, ROUTES):
        for spec in need.also:
            assert need.holds(registry.create("space", spec))
            assert spec.partition(":")[0] not in need.spaces()
    assert (LEVELS & ROUTES).also == (*LEVELS.also, *ROUTES.also)
