import numpy as np
import pytest
import torch

from tempograd.errors import InputRefusedError, UsageError
from tempograd.predictor.models.blend import BlendLatency


def mape(y, p):
    return 100 * np.mean(np.abs(p / y - 1))


def quick(*models, **more):
    return BlendLatency(models=models, steps=20, **more)


@pytest.mark.slow
def test_the_better_member_gets_the_weight(additive, parallel):
    """A ridge is all that sums need; what runs side by side needs more."""
    blend = quick("ridge", "gp").fit(parallel.X[:300], parallel.y_ms[:300])
    assert blend.weights_.get("gp", 0) > 0.8
    assert sum(blend.weights_.values()) == pytest.approx(1)


@pytest.mark.slow
def test_is_no_worse_than_its_members_on_new_networks(parallel):
    X, y = parallel.X, parallel.y_ms
    blend = quick("ridge", "gp").fit(X[:300], y[:300])
    alone = [quick(name).fit(X[:300], y[:300]) for name in ("ridge", "gp")]
    assert mape(y[300:], blend.predict(X[300:])) < 1.05 * min(mape(y[300:], m.predict(X[300:])) for m in alone)
    promised, found = mape(y[:300], blend.held_out_ms_), mape(y[300:], blend.predict(X[300:]))
    assert 0.8 * found < promised < 2 * found  # members are judged with less than all rows, so rather too severely


def test_one_member_is_that_member(additive):
    blend = quick("ridge").fit(additive.X, additive.y_ms)
    np.testing.assert_allclose(blend.predict(additive.X), blend.members_["ridge"].predict(additive.X), rtol=1e-12)


def test_members_beyond_the_budget_are_left_out_but_never_the_first(parallel):
    blend = quick("ridge", "gp", budget_s=0).fit(parallel.X[:300], parallel.y_ms[:300])
    assert blend.weights_ == {"ridge": 1.0}


@pytest.mark.slow
def test_the_module_predicts_the_same_and_has_a_slope(parallel):
    blend = quick("ridge", "gp").fit(parallel.X[:300], parallel.y_ms[:300])
    x = torch.tensor(parallel.X[300:310], requires_grad=True)
    latency = blend.module.double()(x)
    latency.sum().backward()
    np.testing.assert_allclose(latency.detach().numpy(), blend.predict(parallel.X[300:310]), rtol=1e-5)
    assert x.grad is not None
    assert bool(x.grad.any())


@pytest.mark.parametrize(
    ("models", "names"), [((), "give the names"), (("trees",), "no slope"), (("blend",), "no slope")]
)
def test_refuses_members_that_cannot_be_blended(additive, models, names):
    with pytest.raises(UsageError, match=names):
        quick(*models).fit(additive.X, additive.y_ms)


@pytest.mark.parametrize(
    "members",
    [
        None,
        [],
        [{}],
        [{"model": "blend", "weight": 1.0, "config": {}}],
        [{"model": "ridge", "weight": 0, "config": {}}],
    ],
)
def test_refuses_a_damaged_state(additive, members):
    arrays, config = quick("ridge").fit(additive.X, additive.y_ms).get_state()
    with pytest.raises(InputRefusedError, match=r"member"):
        BlendLatency.from_state(arrays, config | {"members": members})
