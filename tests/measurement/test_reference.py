from dataclasses import replace

import numpy as np
import pytest

from tempograd.measurement.calibration import HOUR_S, calibrate
from tempograd.measurement.label import Reference, levels_ms
from tempograd.measurement.reference import (
    BLOCK_S,
    HALF_WINDOW_S,
    MIN_READINGS,
    PLACED,
    USUAL_WANDER,
    SentinelHistory,
    in_hindsight,
)

from .conftest import a_round, measured, series


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


def test_the_reference_is_that_of_the_readings_in_force_after_many_have_gone():
    rng = np.random.default_rng(0)
    history = SentinelHistory()
    for start in range(0, int(2 * HOUR_S), 600):
        history.extend([a_round(1.0, sentinel_ms=ms, started_s=start + i) for i, ms in enumerate(rng.random(999))])
    expected = Reference.of([ms for _, ms in history.readings])
    found = history.reference(calibrate({}, "cpu"))
    assert len(history) < 2 * HOUR_S
    assert (found.sentinel_ms, found.gate_ms) == (expected.sentinel_ms, expected.gate_ms)


def test_in_hindsight_a_label_refers_to_the_readings_of_the_hour_around_it():
    rng = np.random.default_rng(0)
    spread = np.sort(rng.random(900)) ** 2 * 3 * HOUR_S  # so that some hours hold too few readings, and some many more
    networks = [
        measured([replace(r, started_s=at_s + 0.1 * n) for n, r in enumerate(series(rng, 6))])
        for at_s in rng.permutation(spread)
    ]
    readings = sorted((r.started_s, r.sentinel_ms) for m in networks for r in m.rounds)
    times_s, values_ms = np.array(readings).T
    held = []
    for m, known in zip(networks, in_hindsight(networks), strict=True):
        at_s = np.median([r.started_s for r in m.rounds])
        here, low, high = np.searchsorted(times_s, [at_s, at_s - HALF_WINDOW_S, at_s + HALF_WINDOW_S])
        low = max(min(low, here - MIN_READINGS // 2), 0)
        window = values_ms[low : max(high, low + MIN_READINGS)]
        gate_ms = 1.1 * np.quantile(window, 0.05)
        held.append(len(window))
        assert known.reference.gate_ms == pytest.approx(gate_ms, rel=1e-12)
        assert known.reference.sentinel_ms == np.median(window[window <= known.reference.gate_ms])
        assert known.rounds == m.rounds
    assert min(held) < MIN_READINGS < max(held)


def test_levels_are_those_of_the_readings_around_each_round_now_and_in_hindsight():
    rng = np.random.default_rng(3)
    networks = [
        measured([replace(r, started_s=n + 0.1 * i) for i, r in enumerate(series(rng, 6, share_slow=0.0))])
        for n in range(40)
    ]
    rounds = [r for m in networks for r in m.rounds]
    readings = [(r.started_s, r.sentinel_ms) for r in rounds]
    history = SentinelHistory(rng.permutation(np.array(rounds, dtype=object)).tolist())
    for m, known in zip(networks, in_hindsight(networks), strict=True):
        expected = levels_ms(readings, m.rounds)
        assert known.reference.levels_ms == expected
        assert history.around(m.rounds, m.reference) == replace(m.reference, levels_ms=expected)


def test_readings_that_have_gone_have_no_level():
    history = SentinelHistory([a_round(1.0, sentinel_ms=1.0, started_s=float(i)) for i in range(500)])
    history.extend([a_round(1.6, sentinel_ms=1.6, started_s=90_000.0 + i) for i in range(MIN_READINGS)])
    old = a_round(1.0, sentinel_ms=1.2, started_s=3.0)
    assert history.around([old], Reference(1.0, 1.1)).levels_ms == (1.2,)


def test_levels_are_one_a_round_or_none():
    with pytest.raises(ValueError, match="2 levels for 1 rounds"):
        measured([a_round(1.0)], Reference(1.0, 1.1, levels_ms=(1.0, 1.0)))


def doubt_of(history):
    return history.reference(calibrate({}, "cpu")).process_sd


def wandering(rng, blocks, *, sd, slow=1.0):
    """Rounds of blocks whose speed differs by ``sd``; every third block is in the slow state."""
    levels = np.exp(sd * rng.standard_normal(blocks)) * np.where(np.arange(blocks) % 3, 1.0, slow)
    return [
        a_round(1.0, sentinel_ms=level * np.exp(0.01 * rng.standard_normal()), started_s=BLOCK_S * b + 0.2 * i)
        for b, level in enumerate(levels)
        for i in range(100)
    ]


def test_a_reference_state_is_doubted_as_far_as_its_device_wanders():
    rng = np.random.default_rng(2)
    one, still, wanders = (
        doubt_of(SentinelHistory(wandering(rng, blocks, sd=sd), process_sd=0.0))
        for blocks, sd in ((1, 0.0), (16, 0.0), (16, 0.03))
    )
    assert one == USUAL_WANDER
    assert still == pytest.approx(USUAL_WANDER / 16, rel=0.15)
    assert wanders == pytest.approx(0.03 / 4, rel=0.4)
    assert doubt_of(SentinelHistory(wandering(rng, 16, sd=0.0), process_sd=0.01)) == pytest.approx(0.0101, abs=1e-4)


def test_the_level_is_believed_as_far_as_the_device_wanders_more_than_copies_of_a_sentinel_differ():
    rng = np.random.default_rng(2)
    histories = [wandering(rng, blocks, sd=sd) for blocks, sd in ((1, 0.0), (40, 0.0), (40, 0.03))]
    one, still, wanders = (SentinelHistory(rounds).reference(calibrate({}, "cpu")).trust for rounds in histories)
    assert one == USUAL_WANDER**2 / (USUAL_WANDER**2 + PLACED**2)
    assert still < 0.5
    assert wanders > 0.95
    for rounds, trust in ((histories[1], still), (histories[2], wanders)):
        networks = [measured(rounds[n : n + 50]) for n in range(0, len(rounds), 50)]
        assert all(m.reference.trust == pytest.approx(trust, abs=0.02) for m in in_hindsight(networks))


def test_a_slow_state_is_no_doubt_of_the_fast_one():
    rng = np.random.default_rng(2)
    flips = SentinelHistory(wandering(rng, 24, sd=0.0, slow=1.6), process_sd=0.0)
    assert doubt_of(flips) == pytest.approx(USUAL_WANDER / 16, rel=0.15)


def test_what_readings_alone_are_remembered_tells_as_much_as_their_rounds():
    rounds = wandering(np.random.default_rng(2), 12, sd=0.02)
    history = SentinelHistory(rounds)
    assert doubt_of(SentinelHistory(readings=history.readings)) == doubt_of(history)


def test_blocks_go_with_their_readings():
    rng = np.random.default_rng(2)
    history = SentinelHistory(wandering(rng, 20, sd=0.05), process_sd=0.0)
    later = [replace(r, started_s=r.started_s + 90_000.0) for r in wandering(rng, 20, sd=0.0)]
    history.extend(later)
    assert len(history) == 2000
    assert doubt_of(history) == pytest.approx(USUAL_WANDER / 20, rel=0.15)
