"""The card of a data set says what a reader must know before trusting a number in it."""

from dataclasses import replace

import numpy as np
import pytest

from tempograd.data.card import card
from tempograd.data.dataset import LatencyDataset, Row

from .conftest import SPACE


@pytest.fixture
def dataset(fingerprint):
    rows = [
        Row(f"{i % 5}.{i // 5}.0.1.2.3", "ok", y, y - 0.1, y + 0.2, "gated", 6, 5, (y,), (1.0,))
        for i, y in enumerate(np.arange(1.0, 26.0).tolist())
    ]
    rows.append(Row("4.4.4.4.4.4", "censored", cause="timeout", above_ms=2000.0))
    return LatencyDataset(SPACE, fingerprint, tuple(rows), 0.02, 12, {"noisy": 3})


def test_it_says_what_a_reader_must_know(dataset):
    text = card(dataset)
    assert 'size_categories: ["n<1K"]' in text.split("---\n")[1]
    for part in (
        "| ok | 25 |",
        "| censored | 1 |",
        "2.0% (relative standard deviation, from 12 networks",
        "3 noisy",
        "| threads | 1 |",
        "Half width of the interval, between processes included: median",
    ):
        assert part in text


def test_it_needs_no_duplicates_and_no_rows(fingerprint):
    text = card(LatencyDataset("s", fingerprint, ()))
    assert "was not measured" in text
    assert "Half width" not in text


def test_a_note_is_a_paragraph_of_it(dataset):
    assert "\nChosen by hand.\n" in card(dataset, "Chosen by hand.")


def test_what_a_device_says_breaks_no_table(dataset):
    odd = replace(dataset.fingerprint, hardware={"cpu": "a|b\nc\x1b"})
    assert "| cpu | a\\|bc |" in card(replace(dataset, fingerprint=odd))
