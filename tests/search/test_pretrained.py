"""Picking among networks: what is measured first, when it ends, and that no prediction has seen its own label."""

import numpy as np
import pytest

from tempograd.search import pretrained
from tempograd.search.pretrained import Pick, held_out_ms

RESIDUALS = np.linspace(-0.2, 0.2, 41)


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(pretrained, "TREES", 20)


def test_the_most_accurate_that_may_well_be_fast_enough_is_measured_first_and_the_first_that_is_ends_it():
    accuracy = np.array([90.0, 80.0, 70.0, 60.0])
    state = Pick(accuracy, np.array([40.0, 21.0, 18.0, 5.0]), RESIDUALS, 20.0)
    truth = {1: 20.5, 2: 19.0}
    assert state.run(lambda row: truth[row], 8) == 2
    assert state.measured_ms == {1: 20.5, 2: 19.0}  # 40 ms is out of reach, and 5 ms is not needed


def test_the_last_measurement_goes_to_a_safe_one():
    accuracy = np.array([80.0, 79.0, 70.0])
    state = Pick(accuracy, np.array([20.0, 20.0, 10.0]), RESIDUALS, 20.0)
    assert state.run(lambda row: [21.0, 21.0, 10.0][row], 2) == 2
    assert list(state.measured_ms) == [0, 2]


def test_where_none_is_likely_the_likeliest_is_tried_and_none_is_an_answer():
    state = Pick(np.array([80.0, 70.0]), np.array([90.0, 50.0]), RESIDUALS, 20.0)
    assert state.run(lambda row: 60.0, 5) is None
    assert set(state.measured_ms) == {0, 1}


def test_a_network_that_could_not_be_measured_is_no_answer():
    state = Pick(np.array([80.0, 70.0]), np.array([10.0, 10.0]), RESIDUALS, 20.0)
    assert state.run(lambda row: [np.nan, 9.0][row], 5) == 1


def test_of_equals_the_one_predicted_fastest_goes_first():
    assert Pick(np.array([80.0, 80.0]), np.array([12.0, 10.0]), RESIDUALS, 20.0).next() == 1


def test_measurements_tell_how_much_slower_another_device_is():
    accuracy, predicted = np.arange(60.0, 90.0), np.linspace(5.0, 34.0, 30)
    there, here = (Pick(accuracy, predicted, RESIDUALS / 10, 20.0, elsewhere=flag) for flag in (True, False))
    assert there.run(lambda row: 2 * predicted[row], 20) == here.run(lambda row: 2 * predicted[row], 20) == 5
    assert len(there.measured_ms) < len(here.measured_ms) / 2


def test_where_a_device_turns_out_to_be_faster_the_better_networks_that_may_be_within_are_measured_too():
    accuracy, predicted = np.arange(60.0, 90.0), np.linspace(5.0, 34.0, 30)
    state = Pick(accuracy, predicted, RESIDUALS / 10, 10.0, elsewhere=True)
    assert state.run(lambda row: predicted[row] / 2, 20) == 13  # as far as four measurements tell
    assert len(state.measured_ms) <= 6
    once = Pick(accuracy, predicted, RESIDUALS / 10, 10.0, elsewhere=True)
    assert once.run(lambda row: predicted[row] / 2, 1) == 5
    lucky = Pick(accuracy, predicted, RESIDUALS / 10, 10.0)  # of this device: a surprise tells nothing of the others
    assert lucky.run(lambda row: predicted[row] / 2, 20) == 5
    assert len(lucky.measured_ms) == 1


def test_of_what_is_not_measured_a_higher_chance_may_be_asked():
    state = Pick(np.array([80.0, 70.0]), np.array([21.0, 19.0]), RESIDUALS, 20.0)
    assert (state.next(), state.next(least=0.5)) == (0, 1)


def test_no_prediction_has_seen_its_own_label_and_rows_of_one_network_go_together():
    rng = np.random.default_rng(0)
    features = rng.random((60, 3))
    y_ms = np.exp(features @ np.array([2.0, 1.0, 0.0]))
    groups = np.arange(60) // 2
    spoiled = y_ms.copy()
    spoiled[0] *= 50
    told, residuals = held_out_ms(features, y_ms, groups)
    again, _ = held_out_ms(features, spoiled, groups)
    assert again[:2] == pytest.approx(told[:2])
    assert not np.allclose(again[2:], told[2:])
    assert residuals == pytest.approx(np.log(y_ms / told))
    assert np.std(residuals) < 0.3


def test_what_has_no_label_is_predicted_from_all_others():
    features = np.linspace(0, 1, 40)[:, None]
    y_ms = np.exp(2 * features[:, 0])
    y_ms[20] = np.nan
    told, residuals = held_out_ms(features, y_ms, np.arange(40))
    assert told[20] == pytest.approx(np.exp(2 * features[20, 0]), rel=0.1)
    assert len(residuals) == 39
