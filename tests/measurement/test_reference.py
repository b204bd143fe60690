import pytest

from tempograd.measurement.calibration import calibrate
from tempograd.measurement.label import Reference
from tempograd.measurement.reference import MIN_READINGS, SentinelHistory

from .conftest import a_round


def test_the_reference_is_the_fast_state():
    readings = [1.0, 1.02, 1.04] * 10 + [1.6] * 30
    reference = Reference.of(readings, beta=0.9, calibration="c")
    assert reference.sentinel_ms == pytest.approx(1.02)
    assert reference.gate_ms == pytest.approx(1.1)
    assert (reference.beta, reference.calibration) == (0.9, "c")


def test_a_few_slow_rounds_do_not_become_their_own_reference():
    history = SentinelHistory([a_round(1.0, sentinel_ms=1.0, started_s=float(i)) for i in range(500)])
    history.extend([a_round(1.6, sentinel_ms=1.6, started_s=90_000.0 + i) for i in range(60)])
    assert history.reference(calibrate({}, "cpu")).sentinel_ms == pytest.approx(1.0)


def test_old_readings_go_when_there_are_enough_new_ones():
    history = SentinelHistory([a_round(1.0, sentinel_ms=1.0, started_s=float(i)) for i in range(500)])
    history.extend([a_round(1.6, sentinel_ms=1.6, started_s=90_000.0 + i) for i in range(MIN_READINGS)])
    assert len(history) == MIN_READINGS
    assert history.reference(calibrate({}, "cpu")).sentinel_ms == pytest.approx(1.6)


def test_an_hour_is_kept_however_many_readings_it_has():
    history = SentinelHistory([a_round(1.0, started_s=0.1 * i) for i in range(5000)])
    assert len(history) == 5000
