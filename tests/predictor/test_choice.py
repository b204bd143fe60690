import numpy as np

from tempograd.predictor.choice import capped_log_error, choose_encoding, held_out_errors


def test_the_encoding_that_tells_more_is_chosen(parallel):
    rng = np.random.default_rng(0)
    encodings = {"noise": rng.standard_normal((800, 6)), "half": parallel.X[:, :15], "all": parallel.X}
    errors = held_out_errors(encodings, parallel.y_ms)
    assert errors["all"] < 0.5 * errors["half"] < 0.5 * errors["noise"]
    assert choose_encoding(encodings, parallel.y_ms) == "all"


def test_one_encoding_is_no_choice(parallel):
    assert choose_encoding({"only": parallel.X}, parallel.y_ms) == "only"


def test_one_network_near_zero_does_not_decide():
    y, p = np.ones(10), np.full(10, 1.01)
    y[0] = 1e-6
    assert capped_log_error(y, p) < 0.06
    p[3] = np.nan
    assert np.isfinite(capped_log_error(y, p))
