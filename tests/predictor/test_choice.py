import numpy as np
import pytest

from tempograd.predictor.choice import capped_log_errors, choose_encoding, held_out_errors, simplest_of_the_best
from tempograd.predictor.models.lookup import LookupLatency


@pytest.mark.slow
def test_the_encoding_that_tells_more_is_chosen(parallel):
    rng = np.random.default_rng(0)
    encodings = {"noise": rng.standard_normal((800, 6)), "half": parallel.X[:, :15], "all": parallel.X}
    chosen, errors = choose_encoding(encodings, parallel.y_ms)
    assert errors["all"] < 0.5 * errors["half"] < 0.5 * errors["noise"]
    assert chosen == "all"


def test_a_model_may_judge_for_itself(parallel):
    """Scaled columns are the same to a model that learns, and not to a table that is given."""
    table_ms = np.linspace(0.1, 3.0, parallel.X.shape[1])
    encodings, y_ms = {"scaled": parallel.X * table_ms, "own": parallel.X}, 1 + parallel.X @ table_ms
    errors = held_out_errors(encodings, y_ms, judge=LookupLatency(table_ms, calibrate=True))
    assert errors["own"].mean() < 1e-6 < 0.01 < errors["scaled"].mean()


def test_one_encoding_is_no_choice(parallel):
    assert choose_encoding({"only": parallel.X}, parallel.y_ms) == ("only", {})


def test_one_network_near_zero_does_not_decide():
    y, p = np.ones(10), np.full(10, 1.01)
    y[0] = 1e-6
    assert capped_log_errors(y, p).mean() < 0.06
    p[3] = np.nan
    assert np.isfinite(capped_log_errors(y, p)).all()
    assert len(capped_log_errors(y, p)) == 9


def test_a_lead_within_doubt_does_not_count_and_one_beyond_does():
    """Of two encodings that are equally good, fewer rows flip the order of the means, and not the choice."""
    rng = np.random.default_rng(0)
    flips, picks = [], []
    for _ in range(200):
        common = rng.gamma(2, 0.02, 100)  # what is hard for one is hard for the other
        errors = {"simple": common + 0.01 * rng.random(100), "rich": common + 0.01 * rng.random(100)}
        flips.append(errors["simple"].mean() > errors["rich"].mean())
        picks.append(simplest_of_the_best(errors))
    assert 60 < sum(flips) < 140
    assert picks.count("simple") > 150
    worse = {"simple": common + 0.004, "middle": common + 0.001 * rng.random(100), "rich": common}
    assert simplest_of_the_best(worse) == "rich"
    same = {"simple": common, "rich": common}
    assert simplest_of_the_best(same) == "simple"
