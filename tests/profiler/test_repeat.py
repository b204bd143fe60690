"""Process after process: who goes into the next is asked while one is timed, and what is known ends it."""

from __future__ import annotations

import threading
from hashlib import sha256

import pytest

from tempograd.data.store import Store
from tempograd.devices.places.simulated import SimulatedDevice
from tempograd.profiler.networks import Network, items_of
from tempograd.profiler.plan import QUICK
from tempograd.profiler.repeat import repeat

from ..graphs.models import convolution


@pytest.fixture
def asked(tmp_path):
    """Two networks and a store to keep them in."""
    content = convolution().SerializeToString()
    path = tmp_path / "small.onnx"
    path.write_bytes(content)
    with Store(tmp_path / "run.db", write=True) as store:
        yield items_of([Network(name, name, path, sha256(content).hexdigest()) for name in ("a", "b")]), store


def device():
    return SimulatedDevice({"a": 1.0, "b": 2.0}, slow=1.0)


def test_each_is_timed_in_as_many_processes_as_it_is_wanted_in(asked):
    items, store = asked
    wanted = {"a": 3, "b": 1}
    ahead = []

    def wants(found, entered):
        ahead.append(entered["a"] - len(found.get("a", ())))
        return [key for key in items.keys if entered[key] < wanted[key]]

    found = repeat(device(), items, QUICK, store, wants)
    assert {key: len(rows) for key, rows in found.items()} == wanted
    assert [m.replicate for m in found["a"]] == [0, 1, 2]
    assert max(ahead) >= 2, "while one process is timed the next one is ready"
    again = repeat(device(), items, QUICK, store, lambda found, entered: [] if entered["a"] else ["a"])
    assert [m.replicate for m in again["a"]] == [3], "the store's own rows are not replaced"


def test_it_ends_when_enough_is_known_or_when_it_is_asked_to(asked):
    items, store = asked
    enough = repeat(device(), items, QUICK, store, lambda found, entered: items.keys, ended=lambda f: len(f["a"]) == 2)
    assert len(enough["a"]) == 2
    stop = threading.Event()
    stop.set()
    assert repeat(device(), items, QUICK, store, lambda found, entered: items.keys, stop=stop) == {}
