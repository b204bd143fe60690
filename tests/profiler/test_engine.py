"""Who times what, and what the loop counts; what becomes of networks in it is in ``test_campaign``."""

import pytest

from tempograd.errors import UsageError
from tempograd.measurement.reference import SentinelHistory
from tempograd.profiler.engine import Engine, engine_of
from tempograd.profiler.plan import QUICK

from .conftest import ScriptedDevice, items


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
