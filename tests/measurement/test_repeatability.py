from dataclasses import replace
from math import log

import numpy as np
import pytest

from tempograd.measurement.label import FLOOR
from tempograd.measurement.repeatability import (
    AGAIN,
    Pair,
    across,
    agree,
    counted,
    outliers,
    pair_up,
    process_sd,
    representative,
    settled,
    spread,
    usual,
    verdict_across,
)
from tempograd.measurement.rounds import Failure
from tempograd.profiler.plan import QUICK

from .conftest import make


def pairs(differences, *, sigma=0.0, gated=True, name=""):
    return [Pair(f"{name}{i}", float(d), sigma, gated) for i, d in enumerate(differences)]


def test_only_networks_with_two_numbers_make_pairs(fingerprint):
    failed = make("c", [], fingerprint, failure=Failure("crashed", "run", 11))
    rows = [make(key, [y] * 6, fingerprint) for key, y in (("a", 1.0), ("b", 2.0), ("a", 1.1), ("c", 3.0), ("a", 9.0))]
    (found,) = pair_up([failed, *rows])
    assert found == ("a", pytest.approx(log(1.1)), 0.0, True, QUICK.target)
    more = pair_up([*rows, make("a", [9.9] * 6, fingerprint)])
    assert [pair.difference for pair in more] == pytest.approx([log(1.1), log(1.1)])


def test_the_spread_is_that_of_one_label_not_of_a_difference():
    rng = np.random.default_rng(0)
    first, second = 0.02 * rng.standard_normal((2, 4000))
    assert spread(pairs(first - second)) == pytest.approx(0.02, rel=0.05)
    assert np.isnan(spread([]))


@pytest.mark.parametrize("sigma", [0.0, 0.01])
def test_what_differs_between_processes_is_what_their_rounds_do_not_explain(sigma):
    rng = np.random.default_rng(1)
    planted = 0.02
    found = process_sd(pairs(np.hypot(2**0.5 * planted, sigma) * rng.standard_normal(4000), sigma=sigma))
    assert found == pytest.approx(planted, rel=0.05)


def test_it_is_never_below_the_floor_nor_told_by_a_few_pairs():
    rng = np.random.default_rng(2)
    assert process_sd(pairs(0.01 * rng.standard_normal(200), sigma=0.01)) == FLOOR
    assert process_sd(pairs([0.1] * 4)) == process_sd([]) == FLOOR
    assert process_sd(pairs([0.1] * 5)) == pytest.approx(0.1 / 1.96 / 2**0.5)


def test_corrected_labels_count_only_where_there_is_nothing_better():
    gated, corrected = pairs([0.01] * 5), pairs([0.1] * 5, gated=False)
    assert representative(gated + corrected) == gated
    assert representative(gated[:4] + corrected) == gated[:4] + corrected


def test_an_outlier_is_found_and_chance_is_not():
    chance = pairs(0.01 * np.random.default_rng(1).standard_normal(50))
    assert outliers(chance) == set()
    assert outliers(chance + pairs([log(1.6)], name="wrong")) == {"wrong0"}
    assert outliers(pairs([0.001, 0.0, 0.01])) == set()  # below the floor nothing is an outlier
    assert outliers([]) == set()


@pytest.mark.parametrize(("apart", "beyond"), [(1.1, False), (1.4, True)])
def test_few_pairs_are_held_to_what_their_plan_asks_for(apart, beyond, fingerprint):
    """One pair alone is as far apart as most pairs are: that makes it no matter of chance."""
    rows = [make("a", [y] * 6, fingerprint) for y in (1.0, apart)]
    found = pair_up(rows)
    assert outliers(found) == ({"a"} if beyond else set())
    assert usual(found) == ([] if beyond else found)
    assert outliers(pairs([log(apart)] * 5)) == set()  # five of them are how this device is


def test_what_an_interval_admits_is_no_outlier():
    chance = pairs(0.01 * np.random.default_rng(1).standard_normal(50))
    assert outliers(chance + pairs([0.2], sigma=0.06, gated=False, name="wide")) == set()


def test_pairs_are_of_one_plan_and_not_of_what_was_measured_again_for_its_noise(fingerprint):
    rows = [make("a", [y] * 6, fingerprint) for y in (1.0, 1.2)]
    other = replace(rows[1], plan=rows[1].plan | {"name": "another"})
    assert pair_up([rows[0], other]) == []
    assert pair_up([rows[0], replace(rows[1], replicate=AGAIN)]) == []
    assert len(pair_up([rows[0], replace(rows[1], replicate=1)])) == 1


def test_measured_again_a_network_counts_once_and_by_its_best_verdict():
    rows = {("a", 0): "noisy", ("a", AGAIN): "noisy", ("a", AGAIN + 1): "ok", ("b", 0): "noisy", ("b", 1): "ok"}
    assert settled(rows) == {("a", 0): "ok", ("b", 0): "noisy", ("b", 1): "ok"}


def test_what_repeatability_is_taken_from_holds_no_outlier():
    good = pairs([0.01, -0.01] * 5)
    assert usual(good + pairs([log(1.6)], name="wrong")) == good


def test_an_interval_covers_every_process_and_how_labels_repeat(fingerprint):
    told, *others = (make("a", [y, 1.001 * y] * 3, fingerprint) for y in (1.0, 0.998, 1.09))
    alone = across(told, [told], float("nan"))
    assert (alone.low_ms, alone.high_ms) == (told.estimate.low_ms, told.estimate.high_ms)
    wide = across(told, [told, *others], float("nan"))
    assert wide.latency_ms == told.latency_ms
    assert wide.low_ms < 0.998 < 1.09 < wide.high_ms
    known = across(told, [told], 0.03)
    assert known.high_ms == pytest.approx(told.latency_ms * (1 + 1.96 * 0.03), rel=0.01)
    assert known.low_ms == pytest.approx(told.latency_ms * (1 - 1.96 * 0.03), rel=0.01)


@pytest.mark.parametrize(
    ("latencies_ms", "counts", "verdict"),
    [
        ([1.0], 1, "ok"),
        ([1.0, 1.1, 1.05], 3, "ok"),
        ([1.0, 1.0, 1.6], 3, "noisy"),
        ([1.0, 1.0, 1.6, 1.01], 3, "ok"),  # one that was slow throughout is left out
        ([1.0, 1.6, 1.61, 1.62], 4, "noisy"),  # nothing makes one fast by chance
    ],
)
def test_a_number_over_processes_is_noisy_where_they_disagree(latencies_ms, counts, verdict, fingerprint):
    rows = [make("a", [y] * 6, fingerprint) for y in latencies_ms]
    assert {m.verdict for m in rows} == {"ok"}
    assert len(counted(rows)) == counts
    assert verdict_across(rows[0], rows) == verdict
    assert agree(rows, more=1) or len(rows) - counts < 2
    noisy = make("a", [1.0, 2.0] * 3, fingerprint)
    assert verdict_across(noisy, [noisy]) == "noisy"


def test_a_number_rests_on_three_processes_that_are_ok_or_covers_all(fingerprint):
    ok, other = (make("a", [y] * 6, fingerprint) for y in (1.0, 1.01))
    rough = [make("a", [y, 1.2 * y] * 3, fingerprint) for y in (1.3, 1.4, 1.25, 1.35)]
    assert {m.verdict for m in rough} == {"noisy"}
    assert verdict_across(ok, [ok]) == verdict_across(ok, [ok, other]) == "ok"
    for rows in ([ok, *rough], [ok, other, *rough]):
        assert verdict_across(ok, rows) == "noisy"
        told = across(ok, rows, float("nan"))
        assert told.low_ms <= 1.0 < max(m.latency_ms for m in rough) <= told.high_ms
    assert verdict_across(ok, [ok, other, ok, *rough]) == "ok"
    same = [make("a", [y, 1.2 * y] * 3, fingerprint) for y in (0.93, 0.94)]  # by their medians
    assert {m.verdict for m in same} == {"noisy"}
    assert verdict_across(ok, [ok, *same]) == "ok"


def test_a_fast_process_is_not_left_out_for_being_noisy(fingerprint):
    ok = [make("a", [y] * 6, fingerprint) for y in (1.0, 1.01, 1.0)]
    faster = make("a", [0.5, 0.6] * 3, fingerprint)
    assert faster.verdict == "noisy"
    assert not agree([*ok, faster])
    assert verdict_across(ok[0], [*ok, faster]) == "noisy"
    assert across(ok[0], [*ok, faster], float("nan")).low_ms <= faster.latency_ms
