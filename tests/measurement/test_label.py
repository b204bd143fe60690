from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from tempograd.measurement.calibration import calibrate
from tempograd.measurement.label import GATE, LEVEL_S, Reference, above, estimate, levels_ms, order_interval
from tempograd.measurement.reference import SentinelHistory

from .conftest import a_round, measured, round_, series


@given(st.integers(6, 60))
def test_the_interval_of_the_median_is_the_narrowest_that_covers(n):
    low, high = order_interval(list(range(1, n + 1)))
    rank = int(low)
    assert high == n + 1 - rank
    coverage = 1 - 2 * binom.cdf(rank - 1, n, 0.5)
    assert coverage >= 0.95
    assert 1 - 2 * binom.cdf(rank, n, 0.5) < 0.95


@pytest.mark.parametrize(("n", "low", "high"), [(6, 1, 6), (8, 1, 8), (11, 2, 10), (15, 4, 12), (20, 6, 15)])
def test_published_ranks(n, low, high):
    assert order_interval(list(range(n, 0, -1))) == (low, high)


@given(st.lists(st.floats(0.1, 10.0), min_size=2, max_size=5))
def test_few_values_give_at_least_their_range(values):
    low, high = order_interval(values)
    assert low <= min(values)
    assert high >= max(values)
    assert order_interval(values[:1]) == (0.0, np.inf)


def test_three_gated_rounds_make_a_label_undivided():
    reference = Reference(1.0, 1.1)
    rounds = [round_(2.0), round_(2.1), round_(2.2), round_(9.0, 1.6), round_(9.0, 1.6)]
    label = estimate(rounds, reference, "cpu")
    assert (label.path, label.rounds, label.gated, label.latency_ms) == ("gated", 5, 3, 2.1)


def test_fewer_are_corrected_by_the_sentinel_if_it_explains_the_drift():
    rounds = [round_(3.2, 1.6) for _ in range(4)]
    ratio = estimate(rounds, Reference(1.0, 1.1), "cpu")
    assert (ratio.path, ratio.latency_ms) == ("ratio", pytest.approx(2.0))
    elastic = estimate(rounds, Reference(1.0, 1.1, beta=0.5), "cpu")
    assert elastic.latency_ms == pytest.approx(3.2 / 1.6**0.5)
    within_noise = estimate(rounds, Reference(1.0, 1.1, noise=0.3), "cpu")
    assert within_noise.latency_ms == pytest.approx(3.2)
    plain = estimate(rounds, Reference(1.0, 1.1, beta=0.0, common_share=0.3), "cpu")
    assert (plain.path, plain.latency_ms) == ("plain", pytest.approx(3.2))


def test_a_label_is_of_the_fastest_samples_or_by_the_definition_that_it_was_closed_with():
    rounds = [round_(0, cpu_ms=(level * 1.3, level, level * 1.1, level * 1.2, level * 9)) for level in (2.0, 2.1, 2.2)]
    today, before = Reference.of([1.0]), Reference(1.0, 1.1)
    assert estimate(rounds, today, "cpu").latency_ms == 2.1
    assert estimate(rounds, before, "cpu").latency_ms == pytest.approx(1.1 * 2.1)
    slow = [replace(r, sentinel_before_ms=(1.6,), sentinel_after_ms=(1.6,)) for r in rounds]
    ratio = [estimate(slow, replace(known, gate_ms=1.1), "cpu").latency_ms for known in (today, before)]
    plain = [estimate(slow, replace(known, common_share=0.0, beta=0.5), "cpu").latency_ms for known in (today, before)]
    assert ratio == pytest.approx([2.1 / 1.6, 1.1 * 2.1 / 1.6])
    assert plain == pytest.approx([2.1 / 1.6**0.5, 1.1 * 2.1 / 1.6**0.5])


def test_samples_that_are_disturbed_in_some_processes_do_not_move_its_label():
    """Planted: 50 to 80 % of a process' samples are up to 10 % slower, where none are in another."""
    rng = np.random.default_rng(6)

    def burst(share):
        slower = rng.uniform(0, 0.1, 12) * (rng.random(12) < share)
        return tuple(np.exp(0.002 * rng.standard_normal(12) + slower).tolist())

    shares = [rng.choice([0.0, rng.uniform(0.5, 0.8)]) for _ in range(200)]
    processes = [[round_(0, cpu_ms=burst(share)) for _ in range(6)] for share in shares]
    fastest, quartile = (
        np.std([np.log(estimate(rounds, known, "cpu").latency_ms) for rounds in processes])
        for known in (Reference.of([1.0]), Reference(1.0, 1.1))
    )
    assert fastest < 0.6 * quartile


def test_what_differs_between_processes_joins_in_quadrature_and_can_be_changed():
    rounds = [round_(v) for v in (1.97, 1.98, 1.99, 2.0, 2.01, 2.02, 2.03)]
    narrow = estimate(rounds, Reference(1.0, 1.1), "cpu")
    wide = estimate(rounds, Reference(1.0, 1.1, process_sd=0.02), "cpu")
    assert wide.half_width == pytest.approx(np.hypot(narrow.half_width, 1.96 * 0.02))
    assert (narrow.precision, wide.precision) == (narrow.half_width, pytest.approx(narrow.half_width))
    assert wide.between(0.03).half_width == pytest.approx(np.hypot(narrow.half_width, 1.96 * 0.03))
    one = estimate(rounds[:1], Reference(1.0, 1.1, process_sd=0.02), "cpu")
    assert (one.low_ms, one.high_ms, one.precision) == (0.0, np.inf, np.inf)


def test_a_label_is_ok_by_its_rounds_however_processes_differ():
    rounds = [round_(v) for v in (1.99, 1.99, 2.0, 2.0, 2.01, 2.01)]
    label = measured(rounds, Reference(1.0, 1.1, process_sd=0.05), target=0.02)
    assert label.verdict == "ok"
    assert label.estimate.half_width > 0.09


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
    slow = series(rng, 8, share_slow=1.0, beta=0.0)
    found = estimate(slow, Reference(1.0, 1.1, beta=0.0, common_share=0.1), "cpu")
    assert found.path == "plain"
    assert found.latency_ms == pytest.approx(1.0, abs=0.02)
    little = estimate(slow, Reference(1.0, 1.1, beta=0.3, common_share=0.1), "cpu")
    assert little.latency_ms == pytest.approx(1.6**-0.3, abs=0.02)
    assert little.high_ms > 0.98  # what the rounds say themselves


def test_where_the_sentinel_explains_nothing_a_slow_state_is_no_label_however_steady():
    """Seen: another process on the core's other half, the sentinel took 1.35 times as long and the network 1.95."""
    rounds = [round_(1.95 + 0.001 * n, 1.35) for n in range(8)]
    known = Reference(1.0, 1.1, beta=0.1, noise=0.04, common_share=0.0, levels_ms=(1.35,) * 8)
    found = estimate(rounds, known, "cpu")
    assert found.path == "plain"
    assert found.low_ms <= 1.1 < found.latency_ms < 1.95 <= found.high_ms
    assert found.precision > 0.3
    here = estimate(rounds, replace(known, levels_ms=(1.0,) * 8), "cpu")  # single readings are off, the state is not
    assert here.precision < 0.01


def test_a_sentinel_noisier_than_the_gate_corrects_by_what_it_explains_and_gates_nothing():
    """Planted: a loaded machine, whose state the sentinel tells with an error as large as half of its changes."""
    rng = np.random.default_rng(4)
    state = {"slow": 1.35, "sentinel_noise": 0.2}
    calibration = calibrate({str(i): series(rng, 12, level=1 + i, **state) for i in range(12)}, "cpu")
    assert calibration.common_share < 0.5
    assert 0 < calibration.beta < 0.7  # the sentinel's noise is no change of the network
    reference = SentinelHistory(series(rng, 300, **state)).reference(calibration)
    # processes differ by the share of their time in the slow state, as on a machine that others use
    processes = [series(rng, 6, share_slow=rng.choice([0.1, 0.9]), **state) for _ in range(400)]
    labels = [estimate(rounds, reference, "cpu") for rounds in processes]
    assert {label.path for label in labels} == {"plain"}
    bare = [[r.value_ms("cpu") for r in rounds] for rounds in processes]
    gated = [[r.value_ms("cpu") for r in rounds if r.sentinel_ms <= reference.gate_ms] for rounds in processes]
    by_chance = [np.median(some if len(some) >= 3 else every) for some, every in zip(gated, bare, strict=True)]
    assert np.std(np.log([label.latency_ms for label in labels])) < 0.8 * np.std(np.log(by_chance))


def test_what_is_corrected_for_a_drift_is_as_uncertain_as_networks_differ():
    rng = np.random.default_rng(9)
    slow = series(rng, 8, share_slow=1.0)
    alike, unlike = (estimate(slow, Reference(1.0, 1.1, beta_spread=spread), "cpu") for spread in (0.1, 0.4))
    assert (alike.path, alike.latency_ms) == (unlike.path, unlike.latency_ms)
    drift = np.log(1.5)
    assert unlike.high_ms - unlike.latency_ms == pytest.approx(1.96 * 0.4 * drift * unlike.latency_ms, rel=0.15)
    assert alike.half_width < unlike.half_width / 2


def test_the_level_around_a_round_is_the_middle_of_the_readings_like_its_own():
    steady = [(0.1 * i, 1.0 + 0.001 * i) for i in range(40)]
    assert levels_ms(steady, [round_(1.0, steady[20][1], started_s=2.0)]) == (pytest.approx(1.02, abs=0.002),)
    assert levels_ms(steady, [round_(1.0, steady[0][1], started_s=0.0)]) == (pytest.approx(1.008, abs=0.002),)
    two_states = [(0.1 * i, 1.6 if i % 2 else 1.0) for i in range(40)]
    assert levels_ms(two_states, [round_(1.0, 1.0, started_s=2.0)]) == (1.0,)
    assert levels_ms(two_states, [round_(1.6, 1.6, started_s=2.1)]) == (1.6,)
    far = [(0.0, 1.0), (LEVEL_S + 1, 1.05)]
    assert levels_ms(far, [round_(1.0, 1.05, started_s=LEVEL_S + 1)]) == (1.05,)
    assert levels_ms([], [round_(1.0, 1.3)]) == (1.3,)


def test_a_reading_like_no_other_is_no_state_of_the_device():
    readings = sorted([*((0.1 * i, 1.0) for i in range(40)), (2.05, 1.4)])
    odd = round_(1.0, 1.4, started_s=2.05)
    assert levels_ms(readings, [odd]) == (1.0,)
    assert above(odd, 1.0) == pytest.approx(np.log(1.4))
    assert above(round_(1.0, 0.99 * GATE), 1.0) == 0.0


def drifting(rng, processes, *, elasticity=1.0, apart_s=60.0):
    """Rounds of one network in many processes, on a device whose speed wanders by 2 % and whose sentinel scatters."""
    wander = 0.02 * np.clip(rng.standard_normal(processes), -2, 2)
    series = []
    for p, drift in enumerate(wander):
        readings = np.exp(drift + 0.02 * rng.standard_normal(48))
        values = np.exp(elasticity * drift + 0.005 * rng.standard_normal(48))
        times_s = p * apart_s + 0.1 * np.arange(48)
        series.append(
            [a_round(v, sentinel_ms=s, started_s=t) for v, s, t in zip(values, readings, times_s, strict=True)]
        )
    return series


def test_a_drift_within_the_gate_is_divided_out_of_gated_rounds():
    series = drifting(np.random.default_rng(5), 60)
    history = SentinelHistory([r for process in series for r in process])
    state = history.reference(calibrate({}, "cpu"))
    mine = [process[::8] for process in series]
    plain = [estimate(rounds, state, "cpu") for rounds in mine]
    divided = [estimate(rounds, history.around(rounds, state), "cpu") for rounds in mine]
    assert {label.path for label in divided} == {"gated"}
    spread, before = (np.std(np.log([label.latency_ms for label in labels])) for labels in (divided, plain))
    assert spread < 0.35 * before
    truth = np.median([label.latency_ms for label in divided])
    assert np.mean([label.low_ms <= truth <= label.high_ms for label in divided]) > 0.9


def test_a_drift_within_the_gate_is_divided_out_as_far_as_it_is_believed_to_be_the_devices():
    rounds = [round_(1.04, 1.04, started_s=0.1 * n) for n in range(8)]
    state = Reference(1.0, 1.1, levels_ms=(1.04,) * 8)
    found = [estimate(rounds, replace(state, trust=trust), "cpu").latency_ms for trust in (0.0, 0.5, 1.0)]
    assert found == pytest.approx([1.04, 1.04**0.5, 1.0])


def test_how_far_a_network_follows_a_drift_within_the_gate_is_in_the_interval_and_not_in_the_verdict():
    rounds = [round_(v, 1.05) for v in (1.99, 1.99, 2.0, 2.0, 2.01, 2.01)]
    state = Reference(1.0, 1.1, beta_spread=0.3, levels_ms=(1.05,) * 6)
    label = estimate(rounds, state, "cpu")
    assert (label.path, label.latency_ms) == ("gated", pytest.approx(2.0 / 1.05))
    assert label.process_sd == pytest.approx(0.3 * np.log(1.05))
    assert label.precision == pytest.approx(estimate(rounds, replace(state, beta_spread=0.0), "cpu").precision)


def test_what_was_measured_before_levels_were_known_keeps_its_label():
    rounds = [round_(v, 1.05) for v in (1.99, 1.99, 2.0, 2.0, 2.01, 2.01)]
    assert estimate(rounds, Reference(1.0, 1.1), "cpu").latency_ms == 2.0


def test_a_slow_state_of_a_steady_sentinel_is_corrected_by_its_level_and_the_elasticity():
    rounds = [round_(2.0, 1.4 * (1 + 0.01 * i)) for i in range(6)]
    slow = Reference(1.0, 1.1, beta=0.5, levels_ms=(1.44,) * 6)
    label = estimate(rounds, slow, "cpu")
    assert (label.path, label.latency_ms) == ("ratio", pytest.approx(2.0 / 1.44**0.5))


def test_a_calibration_is_not_fooled_by_single_readings():
    """Planted: networks follow a drift of 3 %; single readings, one in eight, are up to twice as slow by themselves."""
    rng = np.random.default_rng(8)
    drift = np.repeat(0.03 * rng.standard_normal(12), 12)
    networks = {}
    for key in range(12):
        odd = np.where(rng.random(144) < 1 / 8, rng.uniform(0.15, 0.7, 144), 0.02 * rng.standard_normal(144))
        values = np.exp(drift + 0.003 * rng.standard_normal(144))
        chosen = np.arange(key, 144, 12)
        networks[str(key)] = [
            a_round(values[i], sentinel_ms=np.exp(drift[i] + odd[i]), started_s=0.05 * i, key=str(key)) for i in chosen
        ]
    assert calibrate(networks, "cpu").beta == pytest.approx(1.0, abs=0.2)
