from math import log

import numpy as np
import pytest

from tempograd.data.repeatability import Label, outliers, pair_up, spread


def test_only_networks_with_two_numbers_make_pairs():
    labels = [Label("a", 1.0), Label("b", 2.0), Label("c", None), Label("a", 1.1), Label("c", 3.0), Label("a", 9.0)]
    assert pair_up(labels) == {"a": pytest.approx(log(1.1))}


def test_the_spread_is_that_of_one_label_not_of_a_difference():
    rng = np.random.default_rng(0)
    first, second = 0.02 * rng.standard_normal((2, 4000))
    assert spread({str(i): d for i, d in enumerate(first - second)}) == pytest.approx(0.02, rel=0.05)
    assert np.isnan(spread({}))


def test_an_outlier_is_found_and_chance_is_not():
    rng = np.random.default_rng(1)
    chance = {str(i): d for i, d in enumerate(0.01 * rng.standard_normal(50))}
    assert outliers(chance) == set()
    assert outliers(chance | {"wrong": log(1.6)}) == {"wrong"}
    assert outliers({"a": 0.001, "b": 0.0, "c": 0.01}) == set()  # below the floor nothing is an outlier
