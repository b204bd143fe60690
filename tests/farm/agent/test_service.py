"""The measuring side of an agent: lots are timed by the engine of every campaign, and how it was is remembered."""

import json
import threading
from pathlib import Path

import pytest

from tempograd.devices.places.simulated import SimulatedDevice
from tempograd.farm.agent.lot import Lot
from tempograd.farm.agent.service import Service

from ..conftest import _job as job


@pytest.fixture
def device(tmp_path):
    return SimulatedDevice({name: 1.0 + n for n, name in enumerate("abcd")}, slow=1.0, seed=1)


def timed(service, device, *names, stop=None):
    left, kept = [job(name) for name in names], []

    def pop(n):
        found = left[:n]
        del left[:n]
        return found

    def lay_out(one, folder):
        path = Path(folder) / f"{one.key}.onnx"
        path.touch()
        return path

    lot = Lot(job("a"), pop=pop, lay_out=lay_out, keep=lambda closed, _: kept.extend(m for _, m in closed))
    service(device, lot, stop or threading.Event())
    return kept


def test_a_lot_is_timed_until_it_is_dry(device):
    kept = timed(Service(), device, "a", "b", "c")
    assert {m.key for m in kept} == {"a", "b", "c"}
    assert all(m.failure is None for m in kept)
    assert {m.key: round(m.latency_ms) for m in kept} == {"a": 1, "b": 2, "c": 3}


def test_the_state_of_a_device_outlives_the_agent(device):
    first = Service()
    timed(first, device, "a", "b")
    record = json.loads(json.dumps(first.record()))
    assert record["readings"]
    again = Service(remembered=record)
    assert json.loads(json.dumps(again.record())) == record
    assert again.calibration == first.calibration


def test_nothing_is_timed_once_it_is_told_to_stop(device):
    stop = threading.Event()
    stop.set()
    assert timed(Service(), device, "a", stop=stop) == []


def test_an_agent_that_never_timed_remembers_nothing():
    assert Service().record() == {"readings": [], "calibration": None}
