import numpy as np
import pytest
import torch

from tempograd.errors import InputRefusedError, UsageError
from tempograd.predictor.metrics import mape_pct
from tempograd.predictor.models.mlp import LatencyMLP
from tempograd.predictor.models.ridge import RidgeLatency

TRAIN, TEST = slice(0, 600), slice(600, 800)


@pytest.fixture(scope="module")
def trained(parallel):
    return LatencyMLP(steps=1200, members=3, hidden=(64, 32)).fit(parallel.X[TRAIN], parallel.y_ms[TRAIN])


@pytest.mark.slow
def test_learns_branches_that_run_side_by_side_where_a_sum_cannot(trained, parallel):
    ridge = RidgeLatency().fit(parallel.X[TRAIN], parallel.y_ms[TRAIN])
    of_sum = mape_pct(parallel.true_ms[TEST], ridge.predict(parallel.X[TEST]))
    of_mlp = mape_pct(parallel.true_ms[TEST], trained.predict(parallel.X[TEST]))
    assert of_sum > 5
    assert of_mlp < of_sum / 3


def test_chooses_the_additive_backbone_on_an_additive_device(additive):
    assert LatencyMLP(steps=1, members=1).fit(additive.X, additive.y_ms).backbone_ == "additive"


def test_chooses_the_log_backbone_on_a_multiplicative_device(additive):
    y = np.exp(additive.X @ np.random.default_rng(0).normal(size=30))
    assert LatencyMLP(steps=1, members=1).fit(additive.X, y).backbone_ == "log"


@pytest.mark.parametrize("backbone", ["additive", "log", "none"])
def test_backbone_can_be_given(backbone, additive):
    model = LatencyMLP(backbone=backbone, steps=300, members=1, hidden=(32,)).fit(additive.X, additive.y_ms)
    assert model.backbone_ == backbone
    assert mape_pct(additive.y_ms, model.predict(additive.X)) < 6


def test_early_stopping_keeps_noise_out(additive):
    y = additive.true_ms * np.exp(0.3 * np.random.default_rng(0).standard_normal(500))
    ridge = RidgeLatency().fit(additive.X[:400], y[:400]).predict(additive.X[400:])
    model = LatencyMLP(steps=400, members=4, hidden=(128,), weight_decay=0.0).fit(additive.X[:400], y[:400])
    own = np.abs(model.predict(additive.X[:400]) / y[:400] - 1).mean()
    assert own > 0.1  # 400 steps without a stop learn the labels by heart
    assert mape_pct(additive.true_ms[400:], model.predict(additive.X[400:])) < 1.3 * mape_pct(
        additive.true_ms[400:], ridge
    )


def test_members_differ_and_are_averaged_in_log(trained):
    network = trained.network_
    x = torch.rand(5, 30, dtype=torch.float64)
    members = network.ensemble(((x - network.mean) * network.inverse).float()).double()
    assert members.shape == (3, 5)
    assert torch.all(members.std(dim=0) > 0)
    geometric = (network.backbone(x) * (network.scale * members).exp()).log().mean(dim=0).exp()
    torch.testing.assert_close(network(x), geometric)


def test_features_that_never_varied_have_no_influence(parallel):
    X = np.column_stack([parallel.X, np.zeros(800)])
    model = LatencyMLP(steps=20, members=1, hidden=(8,)).fit(X, parallel.y_ms)
    changed = X.copy()
    changed[:, -1] = 1.0
    np.testing.assert_array_equal(model.predict(changed), model.predict(X))


def test_another_seed_gives_another_predictor(parallel):
    first, second = (
        LatencyMLP(steps=20, members=1, hidden=(8,), random_state=seed).fit(parallel.X, parallel.y_ms)
        for seed in (0, 1)
    )
    assert not np.array_equal(first.predict(parallel.X), second.predict(parallel.X))


def test_leaves_the_global_state_of_torch_alone(parallel):
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    try:
        torch.set_num_threads(2)
        LatencyMLP(steps=2, members=1, hidden=(8,)).fit(parallel.X, parallel.y_ms).predict(parallel.X)
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), state)
    finally:
        torch.set_num_threads(threads)


def test_can_be_fitted_where_gradients_are_off(parallel):
    with torch.no_grad():
        inside = LatencyMLP(steps=20, members=1, hidden=(8,)).fit(parallel.X, parallel.y_ms)
    outside = LatencyMLP(steps=20, members=1, hidden=(8,)).fit(parallel.X, parallel.y_ms)
    np.testing.assert_array_equal(inside.predict(parallel.X), outside.predict(parallel.X))


def test_parameters_of_the_module_are_frozen(trained):
    assert not any(parameter.requires_grad for parameter in trained.module.parameters())


def test_few_rows_train_without_a_hold_out(additive):
    model = LatencyMLP(steps=20, members=2, hidden=(8,)).fit(additive.X[:6], additive.y_ms[:6])
    assert np.all(np.isnan(model.held_out_loss_))
    assert np.all(model.predict(additive.X[:6]) > 0)


@pytest.mark.parametrize("wrong", [{"members": 0}, {"steps": 0}, {"hidden": (0,)}, {"backbone": "cubic"}])
def test_refuses_parameters_out_of_range(wrong, additive):
    with pytest.raises(UsageError):
        LatencyMLP(**wrong).fit(additive.X, additive.y_ms)


def test_state_with_huge_sizes_is_refused_before_anything_is_allocated(trained):
    arrays, config = trained.get_state()
    for huge in ({"members": 10**12}, {"hidden": [10**12]}):
        with pytest.raises(InputRefusedError, match=r"ensemble.weights.0"):
            LatencyMLP.from_state(arrays, config | {"params": config["params"] | huge})


def test_state_with_an_unknown_backbone_is_refused(trained):
    arrays, config = trained.get_state()
    with pytest.raises(InputRefusedError, match="cubic"):
        LatencyMLP.from_state(arrays, config | {"backbone": "cubic"})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_module_compiles(trained):
    """To one graph with its way back: what Inductor would make of it is Inductor's affair, and takes a while."""
    x = torch.rand(7, 30)
    eager, compiled = trained.module, torch.compile(trained.module, fullgraph=True, backend="aot_eager")
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    eager(a).sum().backward()
    compiled(b).sum().backward()
    torch.testing.assert_close(compiled(x), eager(x))
    torch.testing.assert_close(a.grad, b.grad)
