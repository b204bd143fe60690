from math import log

import numpy as np
import pytest

from tempograd.measurement.repeatability import Pair, outliers, pair_up, representative, spread
from tempograd.measurement.rounds import Failure

from .conftest import make


def pairs(differences, *, sigma=0.0, gated=True, name=""):
    return [Pair(f"{name}{i}", float(d), sigma, gated) for i, d in enumerate(differences)]


def test_only_networks_with_two_numbers_make_pairs(fingerprint):
    failed = make("c", [], fingerprint, failure=Failure("crashed", "run", 11))
    rows = [make(key, [y] * 6, fingerprint) for key, y in (("a", 1.0), ("b", 2.0), ("a", 1.1), ("c", 3.0), ("a", 9.0))]
    (found,) = pair_up([failed, *rows])
    assert found == ("a", pytest.approx(log(1.1)), 0.0, True)


def test_the_spread_is_that_of_one_label_not_of_a_difference():
    rng = np.random.default_rng(0)
    first, second = 0.02 * rng.standard_normal((2, 4000))
    assert spread(pairs(first - second)) == pytest.approx(0.02, rel=0.05)
    assert np.isnan(spread([]))


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


def test_what_an_interval_admits_is_no_outlier():
    chance = pairs(0.01 * np.random.default_rng(1).standard_normal(50))
    assert outliers(chance + pairs([0.2], sigma=0.06, gated=False, name="wide")) == set()
