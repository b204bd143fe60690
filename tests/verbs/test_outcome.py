"""What a verb returns, and what verbs share: texts of numbers, columns, places of targets, devices of a fingerprint."""

import json
import threading
from dataclasses import replace
from math import inf, nan
from pathlib import Path

import pytest

from tempograd import registry
from tempograd.data.store import Store
from tempograd.errors import UnknownNameError
from tempograd.graphs.network import MODELS
from tempograd.profiler.plan import OPERATIONS, QUICK
from tempograd.verbs.outcome import (
    device_of,
    device_spec_of,
    exact,
    go_on,
    held_spaces,
    only_space,
    plain,
    table,
    target_folder,
)

from ..data.conftest import SPACE, make


@pytest.mark.parametrize(
    ("number", "text"), [(12.0, "12"), (0.1, "0.1"), (0.1000001, "0.1000001"), (1 / 3, str(1 / 3))]
)
def test_different_targets_never_share_a_folder(number, text):
    assert exact(number) == text
    assert target_folder(Path("out"), number) == Path(f"out/{text}-ms")


def test_json_holds_what_it_can():
    assert json.dumps(plain({1: (nan, [inf, 2.5]), "a": {"b": None}})) == '{"1": [null, [null, 2.5]], "a": {"b": null}}'


def test_columns_are_aligned_and_end_without_blanks():
    assert table(("a", "long"), [("bbb", "c"), ("d", "")]).splitlines() == ["a    long", "bbb  c", "d"]


def test_columns_without_room_become_records_whose_lines_have_it():
    head, rows = ("", "name", "to do"), [("good", "a", "nothing"), ("bad", "b", "run this --with=a-long-flag " * 4)]
    text = table(head, rows, 40)
    assert max(map(len, text.splitlines())) <= 40
    assert text.split("\n\n")[0].splitlines() == ["       good", "name   a", "to do  nothing"]
    assert " ".join(text.split()).count("run this --with=a-long-flag") == 4
    assert table(head, rows, 200).startswith("      name  to do\n")


def test_a_file_takes_any_width_and_columns_says_how_wide_it_may_be(monkeypatch):
    rows = [("x" * 50, "y" * 50)]
    monkeypatch.delenv("COLUMNS", raising=False)
    assert len(table(("a", "b"), rows).splitlines()) == 2
    monkeypatch.setenv("COLUMNS", "60")
    assert table(("a", "b"), rows).splitlines() == ["a  " + "x" * 50, "b  " + "y" * 50]


def test_a_search_ends_where_it_was_asked_to():
    go_on(None)
    stop = threading.Event()
    go_on(stop)
    stop.set()
    with pytest.raises(KeyboardInterrupt):
        go_on(stop)


def test_a_device_is_made_of_its_spec_or_taken_as_it_is():
    assert device_of("local", threads=2).fingerprint.options["threads"] == 2
    made = registry.create("device", "simulated:seed=3")
    assert device_of(made) is made
    with pytest.raises(UnknownNameError, match="loca"):
        device_of("loca")


@pytest.mark.parametrize("spec", ["simulated", "simulated:seed=3,slow=1.0", "local"])
def test_a_fingerprint_is_a_device_again_where_it_can_be_made(spec):
    fingerprint = registry.create("device", spec).fingerprint
    assert registry.create("device", device_spec_of(fingerprint)).fingerprint == fingerprint


def test_a_fingerprint_that_nothing_here_has_is_no_device():
    fingerprint = registry.create("device", "simulated").fingerprint
    assert device_spec_of(replace(fingerprint, place="nowhere")) is None
    assert device_spec_of(replace(fingerprint, options=fingerprint.options | {"other": 1})) is None


def test_a_store_of_one_space_needs_no_name_whatever_else_is_in_it(tmp_path):
    fingerprint = registry.create("device", "simulated").fingerprint
    with Store(tmp_path / "run.db", write=True) as store:
        for space in (SPACE + OPERATIONS, MODELS, SPACE):
            assert only_space(store) is None
            campaign = store.begin(space, fingerprint, QUICK.record(0), 0)
            store.append(campaign, replace(make("0", [1.0] * 6, fingerprint), space=space))
        assert held_spaces(store) == [SPACE]
        assert only_space(store) == SPACE
