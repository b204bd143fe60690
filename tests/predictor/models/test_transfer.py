import numpy as np
import pytest

from tempograd.errors import UsageError
from tempograd.predictor.linear import Linear
from tempograd.predictor.models.transfer import TransferLatency


def spearman(a, b):
    return np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1]


@pytest.fixture
def counts(parallel):
    return parallel.X.reshape(800, 6, 5).sum(axis=1)


@pytest.fixture
def like(counts, parallel):
    """A device like the new one, learnt from many samples."""
    return TransferLatency().fit(counts[100:], parallel.true_ms[100:]).line_


def test_a_like_source_device_helps(parallel, counts, like):
    errors = []
    for seed in range(8):
        rows = np.random.default_rng(seed).permutation(100)[:10]
        alone = TransferLatency().fit(counts[rows], parallel.y_ms[rows])
        helped = TransferLatency(sources=(like,)).fit(counts[rows], parallel.y_ms[rows])
        assert alone.source_share_ == 0
        assert helped.source_share_ > 0.5
        errors.append([np.mean(np.abs(m.predict(counts) / parallel.true_ms - 1)) for m in (alone, helped)])
    without, with_source = np.mean(errors, axis=0)
    assert with_source < 0.9 * without


@pytest.mark.parametrize("seed", range(4))
def test_an_unlike_source_device_does_no_harm(parallel, counts, seed):
    rng = np.random.default_rng(seed)
    sources = tuple(Linear(rng.standard_normal(5), 0.0) for _ in range(3))
    rows = rng.permutation(800)[:20]
    alone = TransferLatency().fit(counts[rows], parallel.y_ms[rows])
    model = TransferLatency(sources=sources).fit(counts[rows], parallel.y_ms[rows])
    assert spearman(model.predict(counts), parallel.true_ms) > spearman(alone.predict(counts), parallel.true_ms) - 0.03


def test_neither_level_nor_unit_of_a_source_matters(parallel, counts, like):
    other = Linear(1000 * like.coef, 1000 * like.intercept + 7)
    found = [TransferLatency(sources=(s,)).fit(counts[:20], parallel.y_ms[:20]).predict(counts) for s in (like, other)]
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_what_is_saved_holds_the_sources(parallel, counts, like):
    model = TransferLatency(sources=(like,)).fit(counts[:20], parallel.y_ms[:20])
    again = TransferLatency.from_state(*model.get_state())
    np.testing.assert_array_equal(again.predict(counts), model.predict(counts))
    assert again.source_share_ == model.source_share_


def test_left_out_predictions_are_those_without_the_row(parallel, counts):
    model = TransferLatency((5,)).fit(counts[:60], parallel.y_ms[:60])
    seen = np.mean(np.abs(model.predict(counts[:60]) / parallel.y_ms[:60] - 1))
    held = np.mean(np.abs(model.held_out_ms_ / parallel.y_ms[:60] - 1))
    new = np.mean(np.abs(model.predict(counts[60:]) / parallel.y_ms[60:] - 1))
    assert seen < held
    assert held == pytest.approx(new, rel=0.3)


def test_refuses_blocks_that_do_not_add_up(parallel):
    with pytest.raises(UsageError, match="add up to 7"):
        TransferLatency((3, 4)).fit(parallel.X, parallel.y_ms)


def test_refuses_a_source_over_other_features(parallel):
    with pytest.raises(UsageError, match="over 3 features; the features are 30"):
        TransferLatency(sources=(Linear(np.zeros(3), 0.0),)).fit(parallel.X, parallel.y_ms)


@pytest.mark.parametrize("seed", range(3))
def test_a_hundred_networks_of_a_new_device_at_least_halve_the_error_of_the_other_devices_predictor(
    parallel, counts, seed
):
    """Though that is brought to the new device's level: it is faster at some operations than at others."""
    costs_ms = np.random.default_rng(seed).uniform(0.2, 2.0, 5)
    new_ms, learnt, others = 0.5 + counts @ costs_ms, np.arange(100), np.arange(100, 800)
    old = TransferLatency().fit(counts, parallel.y_ms)
    adapted = TransferLatency(sources=(old.line_,)).fit(counts[learnt], new_ms[learnt])
    level = np.median(new_ms[learnt] / old.predict(counts[learnt]))
    wrong = [np.mean(np.abs(ms / new_ms[others] - 1)) for ms in (
        adapted.predict(counts[others]), level * old.predict(counts[others])
    )]  # fmt: skip
    assert wrong[0] < 0.5 * wrong[1]
    assert wrong[1] > 0.02
