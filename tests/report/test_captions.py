import csv
import io

import pytest

from tempograd.data.result import Result
from tempograd.report import captions as pictures

MAKERS = {name: getattr(pictures, name) for name in ("pareto", "parity", "trace", "drift", "cells")}


def rows(table):
    return list(csv.DictReader(io.StringIO(table.csv(), newline="")))


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_a_full_result_has_every_picture_and_its_data(full_result, name):
    picture = MAKERS[name](Result.model_validate(full_result))
    assert len(picture.drawings) == 1
    assert 'role="img"' in picture.drawings[0][1]
    assert rows(picture.table)


@pytest.mark.parametrize("name", ["parity", "trace", "drift"])
def test_a_missing_section_becomes_a_sentence(minimal_result, name):
    picture = MAKERS[name](Result.model_validate(minimal_result))
    assert picture.drawings == ()
    assert picture.words.endswith(".")


def test_without_random_networks_the_pareto_picture_says_so(minimal_result):
    minimal_result["found"]["accuracy"] = 0.9
    picture = pictures.pareto(Result.model_validate(minimal_result))
    assert "No random networks" in picture.words
    assert len(picture.drawings) == 1
    minimal_result["found"]["accuracy"] = None
    assert pictures.pareto(Result.model_validate(minimal_result)).drawings == ()


def test_pareto_data_keeps_verdicts_and_every_digit(full_result):
    full_result["random"][0] |= {"measured_ms": None, "low_ms": None, "high_ms": None, "verdict": "failed"}
    picture = pictures.pareto(Result.model_validate(full_result))
    found, first, second, *_ = rows(picture.table)
    assert (found["kind"], float(found["latency_ms"]), found["verdict"]) == ("found", 1.13, "ok")
    assert (first["latency_ms"], first["verdict"]) == ("", "failed")
    assert float(second["latency_ms"]) == full_result["random"][1]["measured_ms"]
    assert "Not drawn, for want of a measured latency or an accuracy: 1 network." in picture.words


def test_parity_words_are_counted_from_the_rows(minimal_result):
    minimal_result["parity"] = {
        "measured_ms": [1.0, 2.0, 4.0],
        "predicted_ms": [1.1, 2.0, 3.0],
        "low_ms": [0.9, 1.9, 2.9],
        "high_ms": [1.2, 2.1, 3.1],
    }
    words = pictures.parity(Result.model_validate(minimal_result)).words
    assert "the median error is 10.0 %" in words
    assert "of 2 of 3 (67 %)" in words


def test_drift_words_are_counted_from_the_readings(minimal_result):
    minimal_result["sentinels"] = [
        {"started_s": float(i), "sentinel_ms": s, "gate_ms": 0.11} for i, s in enumerate([0.1, 0.11, 0.15, 0.2])
    ]
    words = pictures.drift(Result.model_validate(minimal_result)).words
    assert "2 of 4 (50 %)" in words
    assert "2.00 times the fastest" in words


def test_a_space_without_cells_keeps_its_text(minimal_result):
    minimal_result["found"]["text"] = "k3e6-k5e3"
    picture = pictures.cells(Result.model_validate(minimal_result))
    assert picture.drawings == ()
    assert "its text says all" in picture.words


def test_cells_words_count_what_is_not_drawn(minimal_result):
    minimal_result["found"]["text"] = "|none~0|+|conv~0|pool~1|+|none~0|none~1|conv~2|"
    words = pictures.cells(Result.model_validate(minimal_result)).words
    assert "3 edges that the network leaves out" in words
    assert "1 edge that cannot change the output" in words
