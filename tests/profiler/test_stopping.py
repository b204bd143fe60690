from dataclasses import replace

import numpy as np
import pytest

from tempograd.measurement.calibration import Calibration, calibrate, is_stale
from tempograd.measurement.label import Estimate, Reference, estimate
from tempograd.measurement.reference import MIN_READINGS, SentinelHistory
from tempograd.measurement.rounds import Round
from tempograd.profiler.plan import PRECISE, QUICK, STANDARD
from tempograd.profiler.stopping import next_step, should_close


def a_round(value_ms, *, sentinel_ms=1.0, after_ms=None, started_s=0.0, key="k"):
    after = sentinel_ms if after_ms is None else after_ms
    return Round(key, started_s, (sentinel_ms,) * 2, (after,) * 2, (value_ms,) * 3, (value_ms,) * 3)


def label(half_width, gated=6, rounds=6):
    return lambda: Estimate(1.0, 1 - half_width, 1 + half_width, "gated", rounds, gated)


def series(rng, n, *, level=1.0, beta=1.0, slow=1.6, share_slow=0.5, noise=0.01, sentinel_noise=0.02):
    """Rounds on a device that flips between two states."""
    rounds = []
    for i in range(n):
        state = slow if rng.random() < share_slow else 1.0
        before, after = state * np.exp(sentinel_noise * rng.standard_normal(2))
        value = level * state**beta * np.exp(noise * rng.standard_normal())
        rounds.append(a_round(value, sentinel_ms=before, after_ms=after, started_s=float(i)))
    return rounds


# -- intervals and paths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "coverage"), [(3, 0.95), (5, 0.95), (6, 0.95), (8, 0.985), (11, 0.985), (20, 0.985)])
@pytest.mark.parametrize("draw", ["normal", "skewed"])
def test_the_interval_covers_the_median_of_independent_rounds(n, coverage, draw):
    rng = np.random.default_rng(n)
    reference = Reference(1.0, 1.1)
    hits, trials = 0, 1500
    for _ in range(trials):
        noise = rng.standard_normal(n) if draw == "normal" else rng.exponential(size=n) - np.log(2)
        found = estimate([a_round(v) for v in np.exp(0.02 * noise)], reference, "cpu", coverage=coverage)
        hits += found.low_ms <= 1 <= found.high_ms
    assert hits / trials >= coverage - 0.012  # two standard errors at this number of trials


def test_a_plan_that_looks_several_times_keeps_95_percent():
    rng = np.random.default_rng(0)
    reference = Reference(1.0, 1.1)
    misses = 0
    for _ in range(1000):
        rounds = [a_round(v) for v in np.exp(0.015 * rng.standard_normal(20))]
        for n in PRECISE.checks:
            found = estimate(rounds[:n], reference, "cpu", coverage=PRECISE.coverage)
            if should_close(found, PRECISE, n):
                break
        misses += not found.low_ms <= 1 <= found.high_ms
    assert misses / 1000 <= 0.05


def test_the_gate_picks_the_fast_state():
    rng = np.random.default_rng(1)
    rounds = series(rng, 20, beta=1.2, share_slow=0.75)
    reference = SentinelHistory(series(rng, 300)).reference(calibrate({"k": rounds}, "cpu"))
    found = estimate(rounds, reference, "cpu")
    assert found.path == "gated"
    assert found.latency_ms == pytest.approx(1.0, abs=0.01)
    assert np.median([r.value_ms("cpu") for r in rounds]) > 1.1


def test_the_ratio_corrects_a_drift_that_the_gate_never_sees():
    rng = np.random.default_rng(2)
    history = SentinelHistory(series(rng, 300))
    calibration = calibrate({str(i): series(rng, 12, level=1 + i) for i in range(12)}, "cpu")
    slow = series(rng, 8, share_slow=1.0)
    found = estimate(slow, history.reference(calibration), "cpu")
    assert found.path == "ratio"
    assert found.latency_ms == pytest.approx(1.0, abs=0.03)


def test_where_the_sentinel_explains_nothing_a_drift_widens_the_interval_instead():
    rng = np.random.default_rng(3)
    reference = Reference(1.0, 1.1, common_share=0.1)
    found = estimate(series(rng, 8, share_slow=1.0, beta=0.0), reference, "cpu")
    assert found.path == "plain"
    assert found.latency_ms == pytest.approx(1.0, abs=0.02)
    assert found.low_ms < 0.66  # had the network followed the sentinel, it would be there


# -- calibration -------------------------------------------------------------------------------------------------


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


def test_what_is_corrected_for_a_drift_is_as_uncertain_as_networks_differ():
    rng = np.random.default_rng(9)
    slow = series(rng, 8, share_slow=1.0)
    alike, unlike = (estimate(slow, Reference(1.0, 1.1, beta_spread=spread), "cpu") for spread in (0.1, 0.4))
    assert (alike.path, alike.latency_ms) == (unlike.path, unlike.latency_ms)
    drift = np.log(1.5)
    assert unlike.high_ms - unlike.latency_ms == pytest.approx(1.96 * 0.4 * drift * unlike.latency_ms, rel=0.15)
    assert alike.half_width < unlike.half_width / 2


def test_calibration_without_usable_rounds_corrects_nothing():
    for rounds in ({}, {"a": [a_round(1.0)] * 2}, {"a": [a_round(1.0)] * 5}):
        found = calibrate(rounds, "cpu")
        assert found.common_share == 0
        assert found.beta == 1


def test_the_attainable_width_is_the_one_that_is_reached():
    rng = np.random.default_rng(7)
    calibration = calibrate({str(i): series(rng, 12, slow=1.0, noise=0.02) for i in range(12)}, "cpu")
    reference = SentinelHistory(series(rng, 300, slow=1.0)).reference(calibration)
    widths = [estimate(series(rng, 15, slow=1.0, noise=0.02), reference, "cpu").half_width for _ in range(200)]
    assert calibration.attainable(15) == pytest.approx(np.median(widths), rel=0.35)


def test_calibrations_age():
    found = Calibration("c", 1000.0, 1, 1, 0, 0, 0, 12, 144)
    assert is_stale(None, 0.0)
    assert not is_stale(found, 4599.0)
    assert is_stale(found, 4601.0)
    assert is_stale(found, -3000.0)  # the clock was set back


# -- the reference -----------------------------------------------------------------------------------------------


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


# -- stopping ----------------------------------------------------------------------------------------------------


def test_a_network_closes_at_a_check_or_at_the_cap():
    close = lambda n, half: should_close(label(half)(), STANDARD, n)  # noqa: E731
    assert [close(n, 0.01) for n in (7, 8, 9, 11, 14, 15)] == [False, True, False, True, False, True]
    assert [close(n, 0.03) for n in (8, 11, 15)] == [False, False, True]
    assert should_close(None, QUICK, 6)
    assert not should_close(label(0.0)(), QUICK, 5)


@pytest.mark.parametrize(
    ("plan", "half", "gated", "valid", "taken", "waited", "step"),
    [
        (STANDARD, 0.01, 8, 8, 8, False, "close"),
        (STANDARD, 0.03, 8, 8, 8, False, "go on"),
        (STANDARD, 0.01, 8, 9, 9, False, "go on"),  # no look between two checks
        (STANDARD, 0.03, 8, 15, 15, False, "close"),  # noisy
        (STANDARD, 0.03, 2, 15, 15, False, "wait"),
        (STANDARD, 0.01, 0, 15, 15, False, "close"),  # the ratio was good enough
        (STANDARD, 0.03, 2, 15, 15, True, "go on"),
        (STANDARD, 0.03, 2, 23, 23, True, "close"),  # waits once only
        (STANDARD, 0.03, 0, 4, 30, False, "wait"),  # most rounds were invalid
        (STANDARD, 0.03, 0, 4, 46, True, "close"),
        (QUICK, 0.9, 3, 6, 6, False, "close"),
        (QUICK, 0.9, 0, 6, 6, False, "wait"),
        (QUICK, 0.9, 0, 12, 12, True, "close"),
        (replace(QUICK, requeue=False), 0.9, 0, 6, 6, False, "close"),
        (QUICK, 0.0, 5, 5, 5, False, "go on"),
    ],
)
def test_what_happens_next(plan, half, gated, valid, taken, waited, step):
    assert next_step(label(half, gated), plan, valid=valid, taken=taken, waited=waited) == step


def test_without_any_valid_round_a_network_waits_and_then_ends():
    assert next_step(lambda: None, STANDARD, valid=0, taken=30, waited=False) == "wait"
    assert next_step(lambda: None, STANDARD, valid=0, taken=46, waited=True) == "close"
    assert next_step(lambda: None, replace(QUICK, requeue=False), valid=0, taken=12, waited=False) == "close"


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
