"""Who times what, and what the loop counts; what becomes of networks in it is in ``test_campaign``."""

import pytest

from tempograd.errors import UsageError
from tempograd.measurement.calibration import CALIBRATION_ROUNDS
from tempograd.measurement.reference import SentinelHistory
from tempograd.profiler.engine import Engine, engine_of
from tempograd.profiler.plan import QUICK
from tempograd.profiler.timer import Job

from .conftest import ScriptedDevice, ScriptedSession, items


class Sink:
    campaign, store = "", None

    def keep(self, measurements, receipts=()):
        pass

    def calibrated(self, calibration):
        pass


def asked(place):
    return engine_of(
        place,
        items(2),
        QUICK,
        seed=3,
        sink=Sink(),
        history=SentinelHistory(),
        calibration=None,
        batch_size=4,
        stop=None,
    )


def test_a_device_is_timed_by_the_engine():
    assert isinstance(asked(ScriptedDevice()), Engine)


def test_a_place_that_brings_an_engine_is_timed_by_that_one():
    class Elsewhere(ScriptedDevice):
        def engine(self, items, plan, *, seed, sink, stop):
            return ("mine", items.keys, plan, seed)

    assert asked(Elsewhere()) == ("mine", ("op0", "op1"), QUICK, 3)


def test_a_place_that_does_neither_is_refused():
    class Nowhere:
        fingerprint, batch = ScriptedDevice().fingerprint, 1

        def environment(self):
            return {}

    with pytest.raises(UsageError, match="Nowhere neither opens a measuring process nor brings an engine"):
        asked(Nowhere())


class Recording(ScriptedSession):
    """Notes for each pass whether other sentinels were to be read, and how many networks were in it."""

    reads_others = True

    def run_pass(self, keys, *, burst_ms):
        self.device.told.append((self.reads_others, len(keys)))
        return super().run_pass(keys, burst_ms=burst_ms)


class Told(ScriptedDevice):
    def __init__(self):
        super().__init__()
        self.told = []

    def open(self):
        self.sessions.append(Recording(self, len(self.sessions)))
        return self.sessions[-1]


def test_other_sentinels_are_read_while_a_calibration_is_under_way_and_no_longer():
    device, names = Told(), items(32)
    engine = Engine(device, names, QUICK, seed=3, sink=Sink(), history=SentinelHistory(), batch_size=16)
    engine.run([Job(key, 0) for key in names.keys])
    (first, _) = device.sessions
    calibrating, later = device.told[:CALIBRATION_ROUNDS], device.told[CALIBRATION_ROUNDS:]
    assert len(first.passes) >= CALIBRATION_ROUNDS
    assert all(read for read, _ in calibrating)
    assert later
    assert not any(read for read, _ in later)
