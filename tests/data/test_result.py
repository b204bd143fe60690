"""The document of a search: what is read, and what is refused because its own numbers do not bear it out."""

import json
from math import inf, nan
from pathlib import Path

import pytest

from tempograd.data.result import SCHEMA, read_result
from tempograd.errors import InputRefusedError
from tempograd.outputs import MAX_JSON_BYTES


def put(tree, path, value):
    *parents, last = path.split(".")
    for name in parents:
        tree = tree[name]
    tree[last] = value


def test_a_full_and_a_minimal_result_are_read(write_result, full_result, minimal_result):
    full = read_result(write_result(full_result))
    assert full.verdict == "pass"
    assert full.found.measured.latency_ms == 1.13
    assert full.trace.loss_law[0] is None
    assert len(full.random) == 12
    minimal = read_result(write_result(minimal_result))
    assert (minimal.parity, minimal.random, minimal.trace.columns()) == (None, [], {})


def test_unknown_fields_of_this_schema_are_no_error(write_result, minimal_result):
    minimal_result["news"] = 1
    minimal_result["found"]["news"] = {"deep": [1]}
    read = read_result(write_result(minimal_result))
    assert read.seed == 0
    assert read.to_json() == minimal_result  # and they are there still where it is written again


def test_newer_schema_is_refused_with_the_next_step(write_result, full_result):
    full_result["schema"] = SCHEMA + 1
    with pytest.raises(InputRefusedError, match=f"schema {SCHEMA + 1}, newer than {SCHEMA}.*upgrade tempograd"):
        read_result(write_result(full_result))


@pytest.mark.parametrize("schema", [None, "1", 0, True, 1.0])
def test_a_schema_that_is_no_version_is_refused(write_result, minimal_result, schema):
    minimal_result["schema"] = schema
    with pytest.raises(InputRefusedError, match="has schema"):
        read_result(write_result(minimal_result))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("found.measured.latency_ms", "1.1", "found.measured.latency_ms"),
        ("found.measured.latency_ms", -1.0, "found.measured.latency_ms"),
        ("found.measured.verdict", "fine", "found.measured.verdict"),
        ("found.accuracy", 97.4, "found.accuracy"),
        ("seed", "0", "seed"),
        ("mode", "both", "mode"),
        ("random", [{"key": "0"}], "random.0.text"),
        ("trace", {"epoch": [0, 1], "lam": [0.1]}, "different lengths"),
        ("parity", {"measured_ms": [1.0], "predicted_ms": [1.0, 2.0]}, "different lengths"),
        ("parity", {"measured_ms": [1.0], "predicted_ms": [1.0], "low_ms": [0.9]}, "different lengths"),
        ("sentinels", [{"started_s": 0.0, "sentinel_ms": 0.0, "gate_ms": 1.0}], "sentinels.0.sentinel_ms"),
    ],
)
def test_a_wrong_field_is_named(write_result, full_result, path, value, said):
    put(full_result, path, value)
    with pytest.raises(InputRefusedError, match=said):
        read_result(write_result(full_result))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"target_ms": 1.0}, "fail"),
        ({"target_ms": None}, "measured"),
        ({"found.measured.verdict": "noisy", "found.measured.high_ms": 1.3}, "unreliable"),
        ({"found.measured.verdict": "noisy", "verdict": "fail"}, "pass"),
        ({"found.measured.verdict": "noisy", "target_ms": 1.0, "verdict": "fail"}, "unreliable"),
        ({"found.measured.verdict": "hot"}, "unreliable"),
        ({"verdict": "fail"}, "pass"),
    ],
)
def test_a_verdict_that_its_numbers_contradict_is_refused(write_result, full_result, changes, expected):
    for path, value in changes.items():
        put(full_result, path, value)
    with pytest.raises(InputRefusedError, match=f"is '{expected}'"):
        read_result(write_result(full_result))


def test_ok_without_a_number_is_refused(write_result, full_result):
    put(full_result, "found.measured.latency_ms", None)
    with pytest.raises(InputRefusedError, match="no latency_ms"):
        read_result(write_result(full_result))


def test_numbers_that_are_none_are_read_as_none(write_result, full_result):
    full_result["trace"]["loss_law"][0] = nan
    put(full_result, "found.measured.high_ms", inf)
    read = read_result(write_result(full_result))
    assert read.trace.loss_law[0] is None
    assert read.found.measured.high_ms is None


def test_control_characters_are_taken_out_of_texts_and_keys(write_result, minimal_result):
    minimal_result["command"] = "\x1b[31mred\x07\u202e\u200b\ud800\nnext"
    minimal_result["environment"] = {"a\x00b": ["\x9b1m"]}
    read = read_result(write_result(minimal_result))
    assert read.command == "[31mred next"
    assert read.environment == {"ab": ["1m"]}


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "[" * 100_000, '{"schema": ' + "9" * 5000 + "}", "\xff"])
def test_what_is_no_result_is_refused(tmp_path, text):
    (tmp_path / "result.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputRefusedError):
        read_result(tmp_path)


def test_an_overlong_number_is_refused(write_result, minimal_result):
    tree = json.loads(json.dumps(minimal_result))
    tree["found"]["predicted_ms"] = 10**400
    with pytest.raises(InputRefusedError):
        read_result(write_result(tree))


def test_no_file_names_the_next_step(tmp_path):
    with pytest.raises(InputRefusedError, match="tempograd search"):
        read_result(tmp_path)


def test_an_oversized_file_is_not_read(tmp_path):
    with (tmp_path / "result.json").open("wb") as file:
        file.truncate(MAX_JSON_BYTES + 1)
    with pytest.raises(InputRefusedError, match="larger than"):
        read_result(tmp_path)


@pytest.mark.promise(3)
def test_a_file_of_every_released_schema_is_still_read(tmp_path):
    files = sorted((Path(__file__).parent / "results").glob("v*.json"))
    assert [file.stem for file in files] == [f"v{n}" for n in range(1, SCHEMA + 1)]
    for file in files:
        (tmp_path / "result.json").write_bytes(file.read_bytes())
        assert read_result(tmp_path).found.measured.latency_ms == 1.13
