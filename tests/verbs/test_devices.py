"""``devices`` lists every place and runtime of the registry, and what is missing with its command."""

import pytest

from tempograd.devices.inventory import inventory
from tempograd.verbs import devices as verb

pytestmark = pytest.mark.real


@pytest.mark.slow
def test_rows_are_the_inventory_and_progress_counts_them(monkeypatch):
    entries = list(inventory())[:3]
    monkeypatch.setattr(verb, "inventory", lambda: iter(entries))
    told = []
    outcome = verb.devices(lambda stage, done, total: told.append((stage, done)))
    assert [row["device"] for row in outcome.document["devices"]] == [entry.device for entry in entries]
    assert told == [("looking", 1), ("looking", 2), ("looking", 3)]
    assert all(entry.device in outcome.text for entry in entries)
