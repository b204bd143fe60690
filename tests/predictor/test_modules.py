"""The torch face of the models: what each computes is its formula, in a precision of its own."""

import numpy as np
import pytest
import torch

from tempograd.predictor.modules import (
    Ensemble,
    GeometricMean,
    LinearModule,
    LogLinearModule,
    ResidualModule,
    ScaledModule,
    matern,
    one_thread,
)

COEF = np.array([0.5, -0.25, 2.0])
X = torch.rand(5, 3, dtype=torch.float64)


def line(x, intercept=1.0):
    return (intercept + x.numpy() @ COEF).astype(float)


def test_a_line_is_bent_into_its_floor_and_nowhere_else():
    assert np.allclose(LinearModule(COEF, 1.0)(X).detach(), line(X))
    bent = LinearModule(COEF, 1.0, floor_ms=0.1)
    assert np.allclose(bent(X).detach(), line(X), rtol=1e-3)
    far = bent(torch.tensor([[-50.0, 0, 0]])).item()
    assert 0.1 <= far < 0.101
    x = torch.tensor([[-2.2, 0, 0]], dtype=torch.float64, requires_grad=True)
    bent(x).sum().backward()
    assert x.grad[0, 0] > 0  # there is a slope to leave the floor by


def test_a_line_of_logarithms_is_never_below_zero():
    assert np.allclose(LogLinearModule(COEF, 1.0)(X).detach(), np.exp(line(X)))


def test_making_a_module_draws_nothing_from_the_callers_generator():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    LinearModule(COEF, 1.0)
    Ensemble((3, 4, 1), 2, torch.Generator().manual_seed(1), torch.float64)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_ensemble_begins_as_nothing_and_its_members_are_their_own():
    ensemble = Ensemble((3, 8, 1), 4, torch.Generator().manual_seed(1), torch.float64)
    assert not ensemble(X).any()
    with torch.no_grad():
        ensemble.weights[-1].normal_(generator=torch.Generator().manual_seed(2))
    found = ensemble(X)
    assert found.shape == (4, 5)
    assert torch.allclose(ensemble(X.expand(4, 5, 3)), found)
    hidden = (X @ ensemble.weights[0][2] + ensemble.biases[0][2]).relu()
    assert torch.allclose(found[2], (hidden @ ensemble.weights[1][2] + ensemble.biases[1][2])[:, 0])


def test_a_residual_multiplies_its_backbone_and_leaves_out_what_never_varied():
    ensemble = Ensemble((3, 8, 1), 4, torch.Generator().manual_seed(1), torch.float64)
    module = ResidualModule(LinearModule(COEF, 1.0), ensemble, np.zeros(3), np.array([1.0, 2.0, 0.0]), 0.5)
    assert torch.allclose(module(X), module.backbone(X))
    with torch.no_grad():
        ensemble.weights[-1].normal_(generator=torch.Generator().manual_seed(2))
    expected = module.backbone(X) * torch.exp(0.5 * ensemble(X * torch.tensor([1.0, 2.0, 0.0])).mean(0))
    assert torch.allclose(module(X), expected)


def test_several_predictors_are_one_by_their_weighted_logarithms():
    two, three = LogLinearModule(COEF, 0.0), LogLinearModule(COEF, 1.0)
    assert torch.allclose(GeometricMean([two, three], [0.25, 0.75])(X), LogLinearModule(COEF, 0.75)(X))
    assert torch.allclose(ScaledModule(two, 1.5)(X), 1.5 * two(X))


def test_half_precision_around_a_module_rounds_no_latency():
    module = LinearModule(COEF, 1.0, floor_ms=0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(module(X.float()), module(X.float().double()))


def test_materns_kernel_is_one_at_home_and_falls():
    distance = torch.tensor([0.0, 0.01, 1.0, 100.0], dtype=torch.float64, requires_grad=True)
    found = matern(distance)
    assert found[0].item() == pytest.approx(1, abs=1e-6)
    assert (found.diff() < 0).all()
    found.sum().backward()
    assert distance.grad.isfinite().all()


def test_torch_has_its_threads_again():
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="it"), one_thread():
        raise ValueError(f"it had {torch.get_num_threads()}")
    assert torch.get_num_threads() == before
