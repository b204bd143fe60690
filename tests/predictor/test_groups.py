"""What is known of a network under one name is not held out under another."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from tempograd import registry
from tempograd.predictor.choice import choose_encoding
from tempograd.predictor.estimator import BadLabelError, LatencyModel, fit_held_out, folds
from tempograd.predictor.models import gp
from tempograd.predictor.models.gp import GaussianProcessLatency
from tempograd.predictor.models.ridge import RidgeLatency
from tempograd.predictor.models.transfer import TransferLatency

NAMES = 4  # of every network


def lottery(networks, seed=0):
    """Return encodings, labels and groups of networks with several names, and a latency of which nothing is told."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(networks), NAMES)
    X = (rng.standard_normal((networks, 6))[groups] > 0).astype(float) + 0.01 * rng.standard_normal((len(groups), 6))
    X = np.hstack([X, np.eye(networks)[groups]])  # as a rich encoding, which knows its own network again
    order = rng.permutation(len(groups))
    return X[order], np.exp(rng.standard_normal(networks))[groups][order], groups[order]


def held(model, X, y_ms, groups):
    return fit_held_out(model, X, y_ms, np.ones(len(y_ms)), seed=0, groups=groups)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        GaussianProcessLatency(steps=15),
        TransferLatency(),
        RidgeLatency(),
        registry.load("model", "blend")(models=("ridge", "gp"), steps=5),
    ],
    ids=lambda model: type(model).__name__,
)
def test_nothing_is_learnt_where_nothing_can_be(model):
    X, y_ms, groups = lottery(40)
    by_name = spearmanr(y_ms, held(model, X, y_ms, None))[0]
    assert by_name > 0.6  # the trap is one
    assert spearmanr(y_ms, held(model, X, y_ms, groups))[0] < 0.25


@pytest.mark.slow
def test_nor_with_so_many_rows_that_they_are_left_out_by_formula(monkeypatch):
    monkeypatch.setattr(gp, "MANY", 50)
    for support in (2000, 120):
        monkeypatch.setattr(gp, "MAX_SUPPORT", support)
        X, y_ms, groups = lottery(60)
        assert spearmanr(y_ms, held(GaussianProcessLatency(steps=10), X, y_ms, None))[0] > 0.6
        assert spearmanr(y_ms, held(GaussianProcessLatency(steps=10), X, y_ms, groups))[0] < 0.25


@pytest.mark.parametrize("support", [60, 30])
def test_the_formula_is_a_fit_without_the_group(support):
    rng, groups = np.random.default_rng(0), np.repeat(np.arange(25), [1] * 5 + [2] * 5 + [3] * 15)[:60]
    z, target = (torch.from_numpy(rng.standard_normal(shape)) for shape in ((60, 4), (60,)))
    kernel, variance = gp._Kernel(4), torch.ones(60, dtype=torch.float64)
    carriers = torch.arange(0, 60, 60 // support)
    _, left_out = gp._solve(kernel, z, target, variance, carriers, groups)
    noise = (kernel.noise.exp() * variance + gp.JITTER).numpy()
    across, y = kernel(z, z[carriers]).numpy(), target.numpy()
    for group in range(groups.max() + 1):
        rows, kept = np.flatnonzero(groups == group), np.flatnonzero(groups != group)
        if support == 60:
            expected = across[rows][:, kept] @ np.linalg.solve(
                across[np.ix_(kept, kept)] + np.diag(noise[kept]), y[kept]
            )
        else:
            own = kernel(z[carriers], z[carriers]).numpy() + gp.JITTER * np.eye(support)
            inner = own + (across[kept] / noise[kept, None]).T @ across[kept]
            expected = across[rows] @ np.linalg.solve(inner, across[kept].T @ (y[kept] / noise[kept]))
        np.testing.assert_allclose(left_out.numpy()[rows], expected, rtol=0.02, atol=0.002)


def test_transfer_leaves_out_what_it_says():
    """One strength and one scale: the mean of the posterior, without the group."""
    X, y_ms, groups = lottery(15)
    model = TransferLatency()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempograd.predictor.models.transfer.STRENGTHS", (1.0,))
        patch.setattr("tempograd.predictor.models.transfer.SCALES", (1.0,))
        left_out = held(model, X, y_ms, groups)
    z = (X - X.mean(axis=0)) / X.std(axis=0) / np.sqrt(X.shape[1])
    target = (y_ms - y_ms.mean()) / y_ms.std()
    kernel = z @ z.T + 1
    for group in range(15):
        rows, kept = groups == group, groups != group
        inner = kernel[np.ix_(kept, kept)] + np.eye(kept.sum())
        expected = y_ms.mean() + y_ms.std() * kernel[np.ix_(rows, kept)] @ np.linalg.solve(inner, target[kept])
        np.testing.assert_allclose(left_out[rows], np.maximum(expected, model.floor_ms_), rtol=1e-6)


def test_groups_of_one_change_nothing(parallel):
    X, y_ms = parallel.X[:120], parallel.y_ms[:120]
    for model in (GaussianProcessLatency(steps=5), TransferLatency(), RidgeLatency()):
        alone = held(model, X, y_ms, None)
        np.testing.assert_array_equal(held(model, X, y_ms, np.random.default_rng(0).permutation(120)), alone)


def test_no_fold_has_a_group_on_both_sides():
    groups = np.random.default_rng(0).integers(0, 30, 200)
    parts = list(folds(groups, 0))
    assert len(parts) == 5
    assert sorted(np.concatenate([test for _, test in parts]).tolist()) == list(range(200))
    assert not any(set(groups[learn].tolist()) & set(groups[test].tolist()) for learn, test in parts)


@pytest.mark.slow
def test_the_choice_of_an_encoding_is_not_led_by_names():
    """An encoding that only knows networks again is worthless for those never seen."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), NAMES)
    cause = (rng.random((60, 3)) > 0.5).astype(float)[groups]
    y_ms = 1 + cause.sum(axis=1) + 0.5 * rng.random(60)[groups]
    encodings = {"names": np.eye(60)[groups], "cause": cause}
    assert choose_encoding(encodings, y_ms)[0] == "names"
    chosen, errors = choose_encoding(encodings, y_ms, groups=groups)
    assert chosen == "cause"
    assert errors["cause"] < 0.8 * errors["names"]


class Foreign(LatencyModel):
    """A plug-in from before there were groups: it leaves out single rows."""

    fitted_mark = "known_"
    leaves_out = True

    def fit(self, X, y, sample_weight=None):
        self.known_ = {row.tobytes(): label for row, label in zip(X, y, strict=True)}
        self.held_out_ms_ = np.asarray(y)
        return self

    def predict(self, X):
        return np.array([self.known_.get(row.tobytes(), 1.0) for row in X])


def test_a_model_that_takes_no_groups_is_held_out_by_folds():
    X = np.repeat(np.arange(10.0), 2)[:, None]
    assert (held(Foreign(), X, np.full(20, 2.0), np.repeat(np.arange(10), 2)) == 1.0).all()


@pytest.mark.parametrize("groups", [np.zeros(3, int), np.zeros((80, 1), int)])
def test_groups_must_be_one_for_each_row(groups):
    X, y_ms, _ = lottery(20)
    with pytest.raises(BadLabelError, match="one for each network"):
        TransferLatency().fit(X, y_ms, groups=groups)
