"""What times jobs: which clock counts, what a tally tells, and times that cannot be."""

import pytest

from tempograd.errors import DeviceError
from tempograd.measurement.label import Reference
from tempograd.measurement.rounds import Failure, Round
from tempograd.profiler.timer import Job, Tally, check_clock, clock_of

from .conftest import ScriptedDevice


@pytest.mark.parametrize(
    ("options", "clock"),
    [
        ({}, "cpu"),
        ({"threads": 1, "provider": "cpu"}, "cpu"),
        ({"threads": 2, "provider": "cpu"}, "wall"),
        ({"threads": 1, "provider": "cuda"}, "wall"),
    ],
)
def test_the_clock_is_that_of_what_computes(options, clock):
    device = ScriptedDevice()
    assert clock_of(type(device.fingerprint)("x", options=options)) == clock


def test_rounds_are_counted_as_they_stand_under_the_reference():
    def taken(sentinel_ms, after_ms=None, events=()):
        after = sentinel_ms if after_ms is None else after_ms
        return Round("a", 5.0, (sentinel_ms,), (after,), (2.0,) * 3, (2.0,) * 3, events=events, block=2)

    rounds = [taken(1.0), taken(1.5), taken(1.0, after_ms=2.0), taken(1.0, events=("thermal",))]
    tally = Tally()
    tally.time(rounds)
    tally.count(rounds, Reference(1.0, 1.1), "cpu")
    assert (tally.rounds, tally.gated) == (4, 1)
    assert tally.rejected == {"sentinel_bracket": 1, "thermal": 1}
    assert tally.burst_ms == 4 * 3 * 2.0 * 2
    assert len(tally.readings) == 4


def test_a_network_that_failed_before_is_tried_alone():
    job = Job("a")
    assert not job.alone
    job.failures.append(Failure("crashed", "run"))
    assert job.alone


def test_samples_that_took_longer_than_their_pass_are_refused():
    rounds = [Round("a", 0.0, (1.0,), (1.0,), (2.0,) * 3, (2.0,) * 3, block=2)]  # 14 ms in all
    check_clock(rounds, took_ms=14.0)
    check_clock(rounds, took_ms=13.0)  # a phone's clock is its own
    with pytest.raises(DeviceError, match=r"took 14 ms, but the whole pass took 12 ms.*virtual_clock=True"):
        check_clock(rounds, took_ms=12.0)
