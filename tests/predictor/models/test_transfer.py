import numpy as np
import pytest

from tempograd.errors import UsageError
from tempograd.predictor.models.transfer import TransferLatency


def spearman(a, b):
    return np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1]


@pytest.fixture
def counts(parallel):
    return parallel.X.reshape(800, 6, 5).sum(axis=1)


def test_a_like_source_device_helps(parallel, counts):
    like = np.log(parallel.true_ms)[:, None]
    X, rows = np.hstack([counts, like]), np.arange(20)
    alone = TransferLatency((5,)).fit(counts[rows], parallel.y_ms[rows])
    helped = TransferLatency((5, 1), sources=True).fit(X[rows], parallel.y_ms[rows])
    assert helped.uses_sources_
    assert spearman(helped.predict(X), parallel.true_ms) > spearman(alone.predict(counts), parallel.true_ms) + 0.02


@pytest.mark.parametrize("seed", range(4))
def test_an_unlike_source_device_does_no_harm(parallel, counts, seed):
    rng = np.random.default_rng(seed)
    X = np.hstack([counts, rng.standard_normal((800, 3))])
    rows = rng.permutation(800)[:20]
    alone = TransferLatency((5,)).fit(counts[rows], parallel.y_ms[rows]).predict(counts)
    model = TransferLatency((5, 3), sources=True).fit(X[rows], parallel.y_ms[rows])
    assert spearman(model.predict(X), parallel.true_ms) > spearman(alone, parallel.true_ms) - 0.05
    if not model.uses_sources_:
        np.testing.assert_allclose(model.predict(X), alone)


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
