import numpy as np
import pytest

from tempograd.errors import UsageError
from tempograd.predictor.design import d_optimal
from tempograd.predictor.models.transfer import TransferLatency


def information(X, rows):
    z = np.column_stack([np.ones(len(rows)), X[rows]])
    return np.linalg.slogdet(z.T @ z + 1e-6 * np.eye(z.shape[1]))[1]


def test_a_design_tells_more_than_random_rows():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 4, (500, 6)).astype(float)
    design = d_optimal(X, 15, rng)
    assert len(set(design)) == 15
    assert information(X, design) > max(information(X, rng.permutation(500)[:15]) for _ in range(200)) + 1


def test_a_longer_design_begins_with_the_shorter_and_goes_on_from_what_is_measured():
    X = np.random.default_rng(0).standard_normal((200, 5))
    long = d_optimal(X, 20, np.random.default_rng(1))
    assert d_optimal(X, 8, np.random.default_rng(1)) == long[:8]
    assert d_optimal(X, 12, np.random.default_rng(1), taken=long[:8]) == long[8:]


def test_refuses_more_than_there_are():
    with pytest.raises(UsageError, match="5 candidates"):
        d_optimal(np.eye(5), 6, np.random.default_rng(0))


def test_a_design_beats_random_rows_at_predicting(additive):
    counts = additive.X.reshape(500, 6, 5)[:, :, 1:].sum(axis=1)
    errors = {"design": [], "random": []}
    for seed in range(5):
        rng = np.random.default_rng(seed)
        order = rng.permutation(500)
        for name, rows in (("design", order[:400][d_optimal(counts[order[:400]], 20, rng)]), ("random", order[:20])):
            p = TransferLatency().fit(counts[rows], additive.true_ms[rows]).predict(counts)
            errors[name].append(np.mean(np.abs(p / additive.true_ms - 1)))
    assert np.mean(errors["design"]) < np.mean(errors["random"])


def test_blocks_count_alike_however_many_features_they_have():
    rng = np.random.default_rng(0)
    few, many = rng.standard_normal((300, 1)), rng.standard_normal((300, 40))
    X = np.hstack([few, many])
    spread = [np.std(few[d_optimal(X, 10, rng, blocks=blocks)]) for blocks in ((), (1, 40))]
    assert spread[1] > 1.5 * spread[0]
