"""Subjects stay within their names: no id can reach another's."""

from typing import get_args

from tempograd.farm import subjects
from tempograd.farm.address import check_name


def test_ids_stand_in_one_place_of_a_subject():
    for subject in (subjects.job("pi5", "j1"), subjects.result("c1", "a1"), subjects.environment("a1", "0" * 64)):
        assert " " not in subject
        assert "*" not in subject
    assert subjects.job("pi5", "*").count(".") == subjects.job("pi5", "j1").count(".") == 3
    assert subjects.result("c", "a").split(".") == ["tg", "result", "c", "a"]


def test_what_agents_say_and_hear_are_different_subjects():
    every = [
        subjects.agent("a"),
        subjects.control("a"),
        subjects.event("a"),
        subjects.inbox("a"),
        subjects.job("a", "a"),
    ]
    assert len(set(every)) == len(every)


def test_all_agents_have_a_name_that_an_agent_may_have_so_it_is_kept_free():
    assert check_name("agent", subjects.EVERY_AGENT) == subjects.EVERY_AGENT
    assert set(subjects.COMMANDS) == set(get_args(subjects.Command)) == {"drain", "pause", "resume", "release"}
