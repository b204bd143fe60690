from __future__ import annotations

from tempograd.measurement.fingerprint import Fingerprint

ONE = Fingerprint("local", {"cpu": "A", "caches": ["32K"]}, {"name": "ort", "version": "1"}, {"threads": 1})


def test_equal_content_is_the_same_id_whatever_the_order():
    other = Fingerprint("local", {"caches": ["32K"], "cpu": "A"}, {"version": "1", "name": "ort"}, {"threads": 1})
    assert other.id == ONE.id
    assert ONE.difference(other) == {}
    assert Fingerprint.from_json(ONE.to_json()) == ONE


def test_a_difference_names_both_sides():
    other = Fingerprint(
        "local", {"cpu": "B", "caches": ["32K"]}, {"name": "ort", "version": "1"}, {"threads": 1, "x": 2}
    )
    assert other.id != ONE.id
    assert ONE.difference(other) == {"hardware.cpu": ("A", "B"), "options.x": (None, 2)}
