from __future__ import annotations

from math import isnan, log

import numpy as np
import pytest

from tempograd.measurement.drift import BINS, Drift


def test_two_states_are_told_apart():
    rng = np.random.default_rng(0)
    at_s = np.arange(3000.0)
    slow = (at_s // 100) % 4 == 0
    readings = np.where(slow, 1.6, 1.0) * np.exp(0.01 * rng.standard_normal(3000))
    shuffled = rng.permutation(3000)
    drift = Drift.of(at_s[shuffled].tolist(), readings[shuffled].tolist())
    assert len(drift.minutes) == len(drift.sentinel_ms) == BINS
    assert list(drift.minutes) == sorted(drift.minutes)
    assert drift.slow_share == pytest.approx(slow.mean(), abs=0.001)
    assert drift.slow_factor == pytest.approx(1.6, rel=0.05)
    assert abs(drift.shift) < 0.02


def test_a_device_that_ends_elsewhere_shows():
    drift = Drift.of(list(range(300)), [1.0] * 150 + [1.3] * 150)
    assert drift.shift == pytest.approx(log(1.3))


def test_little_is_said_of_few_readings():
    assert Drift.of([], []) is None
    drift = Drift.of([5.0, 6.0], [1.0, 1.0])
    assert drift.minutes == (0.0, pytest.approx(1 / 60))
    assert (drift.slow_share, drift.slow_factor) == (0.0, 1.0)
    assert isnan(drift.shift)
