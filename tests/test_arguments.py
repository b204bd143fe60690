"""Arguments are read from text and held against types and ranges."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest

from tempograd.arguments import Beside, Count, Share, check, check_fields, check_heeded, read, read_all, told
from tempograd.errors import UsageError


def entry(count: Count, *, share: Share = 0.5, kind: Literal["a", "b"] = "a", name: str = "", path: Path | None = None):
    return count, share, kind, name, path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2),
        ("-1", -1),
        ("0.5", 0.5),
        ("1e3", 1e3),
        ("true", True),
        ("False", False),
        ("nan", "nan"),
        ("inf", "inf"),
    ],
)
def test_text_is_read_as_what_it_says(text, value):
    assert read(text) == value
    assert type(read(text)) is type(value)


def test_text_stays_text_where_text_is_asked_for():
    assert read_all(entry, {"name": "12", "count": "12"}) == {"name": "12", "count": 12}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"count": 0}, "count=0.*whole number from 1 to 1000000"),
        ({"count": 1.5}, "count=1.5"),
        ({"count": True}, "count=True"),
        ({"share": 1.1}, "share=1.1.*a number from 0 to 1"),
        ({"share": float("inf")}, "share=inf.*a number from 0 to 1, finite"),
        ({"share": float("nan")}, "share=nan"),
        ({"kind": "c"}, "kind='c'.*a or b"),
        ({"name": "a\0b"}, "name="),
    ],
)
def test_what_does_not_fit_is_refused_with_what_is_allowed(values, words):
    with pytest.raises(UsageError, match=words):
        check(entry, values, what="entry")


def test_what_fits_passes_and_so_do_objects_that_no_spec_can_hold():
    check(entry, {"count": 3, "share": 1, "kind": "b", "path": None, "other": "anything"})
    check(entry, {"count": object()})


def test_fields_of_a_dataclass_are_checked():
    @dataclass
    class Settings:
        count: Count = 1

    check_fields(Settings(2))
    with pytest.raises(UsageError, match="count=0 of settings"):
        check_fields(Settings(0), what="settings")


def test_the_words_of_an_argument_are_its_type_and_range():
    assert told(entry, "share") == "a number from 0 to 1"
    assert told(entry, "path") == "a path"


def spoken(
    *, unit: Literal["letters", "words"] = "letters", words: Annotated[int, Beside("unit", "words")] = 100,
    case: Annotated[str, Beside("unit", "letters")] = "lower", noise: Share = 0.0,
    seed: Annotated[Count, Beside("noise")] = 1, fast: bool = False, threads: Annotated[Count, Beside("fast")] = 2,
    order: Annotated[Literal["up", "down"], Beside("path")] = "up", path: str = "",
):  # fmt: skip
    return unit, words, case, noise, seed, fast, threads, order, path


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"words": 5}, r"^argument words=5 of it counts only with unit=words, and unit is letters; leave words out; "
                       r"with unit=letters case count"),
        ({"words": 100}, "words=100 of it counts only"),  # as it would be anyway: it was said, and is not heeded
        ({"unit": "words", "case": "upper"}, "case=upper of it counts only with unit=letters"),
        ({"seed": 3}, r"seed=3 of it counts only with noise above 0, and noise is 0\.0; leave seed out$"),
        ({"threads": 4}, "threads=4 of it counts only with fast=true, and fast is false; leave threads out$"),
        ({"order": "down"}, "order=down of it counts only with a path"),
    ],
)  # fmt: skip
def test_what_would_not_be_heeded_beside_the_others_is_refused_with_what_counts(given, message):
    check(spoken, given)
    with pytest.raises(UsageError, match=message):
        check_heeded(spoken, given, given, what="it")


def test_what_is_heeded_passes_and_a_mark_changes_no_range():
    for given in ({"unit": "words", "words": 5}, {"case": "upper"}, {"noise": 0.5, "seed": 3}, {}):
        check_heeded(spoken, given, given)
    check_heeded(spoken, [], {"words": 5})
    assert told(spoken, "seed") == "a whole number from 1 to 1000000"
    with pytest.raises(UsageError, match="seed=0"):
        check(spoken, {"seed": 0})
    with pytest.raises(UsageError, match="order='left'; allowed: up or down"):
        check(spoken, {"order": "left"})
