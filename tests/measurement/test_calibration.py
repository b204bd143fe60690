from dataclasses import replace

import numpy as np
import pytest

from tempograd.measurement.calibration import Calibration, calibrate, is_stale
from tempograd.measurement.label import estimate
from tempograd.measurement.reference import SentinelHistory

from .conftest import a_round, series


@pytest.mark.parametrize("beta", [0.9, 1.0, 1.1])
def test_calibration_learns_what_the_sentinel_explains(beta):
    rng = np.random.default_rng(4)
    found = calibrate({str(i): series(rng, 12, level=0.1 * 2**i, beta=beta) for i in range(12)}, "cpu", "c1")
    assert found.beta == pytest.approx(beta, abs=0.05)
    assert found.common_share > 0.95
    assert found.noise == pytest.approx(0.02 * 2**0.5, rel=0.35)
    assert found.round_sd > 0.15
    assert found.residual_sd < 0.04
    assert (found.networks, found.id) == (12, "c1")


def test_a_sentinel_that_explains_nothing_is_known_as_such():
    rng = np.random.default_rng(5)
    found = calibrate({str(i): series(rng, 12, beta=0.0, noise=0.05) for i in range(12)}, "cpu")
    assert found.common_share < 0.1
    assert found.round_sd == pytest.approx(0.05, rel=0.2)


def test_beta_from_few_rounds_stays_near_one():
    rng = np.random.default_rng(6)
    few = calibrate({"a": series(rng, 4, beta=2.0, noise=0.3)}, "cpu")
    many = calibrate({str(i): series(rng, 40, beta=2.0) for i in range(12)}, "cpu")
    assert abs(few.beta - 1) < 0.5
    assert many.beta == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (0.4, 1.5)])
def test_calibration_learns_how_far_networks_differ_in_following_the_sentinel(low, high):
    rng = np.random.default_rng(8)
    betas = np.linspace(low, high, 12)
    found = calibrate({str(i): series(rng, 12, beta=beta) for i, beta in enumerate(betas)}, "cpu")
    assert found.beta_spread == pytest.approx(max(0.1, float(betas.std(ddof=1))), abs=0.05)
    assert SentinelHistory(series(rng, 300)).reference(found).beta_spread == found.beta_spread


def test_calibration_without_usable_rounds_corrects_nothing():
    for rounds in ({}, {"a": [a_round(1.0)] * 2}, {"a": [a_round(1.0)] * 5}):
        found = calibrate(rounds, "cpu")
        assert found.common_share == 0
        assert found.beta == 1


def test_the_attainable_width_is_the_one_that_is_reached():
    rng = np.random.default_rng(7)
    calibration = calibrate({str(i): series(rng, 12, slow=1.0, noise=0.02) for i in range(12)}, "cpu")
    reference = SentinelHistory(series(rng, 300, slow=1.0)).reference(calibration)
    widths = [estimate(series(rng, 15, slow=1.0, noise=0.02), reference, "cpu").precision for _ in range(200)]
    assert calibration.attainable(15) == pytest.approx(np.median(widths), rel=0.35)


def test_calibrations_age():
    found = Calibration("c", 1000.0, 1, 1, 0, 0, 0, 12, 144)
    assert is_stale(None, 0.0)
    assert not is_stale(found, 4599.0)
    assert is_stale(found, 4601.0)
    assert is_stale(found, -3000.0)  # the clock was set back


def test_the_other_sentinels_are_judged_in_the_rounds_in_which_they_were_read():
    rng = np.random.default_rng(3)
    rounds = {}
    for key in "abc":
        rounds[key] = [
            replace(r, other_sentinels_ms={"follows": r.value_ms("cpu"), "steady": 1.0} if n % 4 == 0 else {})
            for n, r in enumerate(series(rng, 12, noise=0.01, sentinel_noise=0.02))
        ]
    found = calibrate(rounds, "cpu")
    assert found.other_shares["follows"] == pytest.approx(1.0, abs=0.05)
    assert found.other_shares["steady"] == 0.0
    assert calibrate({k: series(rng, 12) for k in "ab"}, "cpu").other_shares == {}
