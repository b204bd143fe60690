import numpy as np
import pytest

from tempograd.predictor.evaluate import BadSplitError, covered, split_rows


def test_no_label_is_in_two_parts_of_a_split():
    labels = np.random.default_rng(0).integers(0, 150, 400)
    learn, choose, test = split_rows(labels, 100, 40, seed=3)
    parts = [set(labels[rows].tolist()) for rows in (learn, choose, test)]
    assert (len(learn), len(choose)) == (100, 40)
    assert not parts[0] & parts[1]
    assert not parts[2] & (parts[0] | parts[1])
    assert parts[2]
    by_name = split_rows(np.arange(400), 100, 40, seed=3)
    assert (learn == by_name[0]).all()  # so that both ways to split can be compared
    with pytest.raises(BadSplitError, match="others, too few for 40 rows to choose by"):
        split_rows(labels, 350, 40, seed=3)


@pytest.mark.parametrize(("train", "valid"), [(0, 10), (100, 0), (60, 40), (50, -1)])
def test_refuses_a_split_that_leaves_nothing(train, valid):
    with pytest.raises(BadSplitError, match=f"train={train}, valid={valid} of 100 rows"):
        split_rows(np.arange(100), train, valid, seed=0)


def test_what_intervals_hold_is_told_for_every_third():
    predicted = np.arange(1.0, 10.0)
    measured = np.where(predicted < 4, predicted * 1.5, predicted)
    held = covered(measured, predicted, 0.9 * predicted, 1.1 * predicted)
    assert (held["coverage_fast_pct"], held["coverage_slow_pct"]) == (0, 100)
    assert held["coverage_pct"] == pytest.approx(200 / 3)
    assert held["width_pct"] == pytest.approx(20)


@pytest.mark.parametrize("tested", [1, 2])
def test_a_third_without_a_network_has_no_coverage(tested):
    held = covered(np.ones(tested), np.ones(tested), 0.9 * np.ones(tested), 1.1 * np.ones(tested))
    assert (held["coverage_pct"], held["coverage_fast_pct"]) == (100, 100)
    assert np.isnan(held["coverage_slow_pct"])
