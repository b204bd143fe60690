import numpy as np
import pytest
import torch

from tempograd.errors import InputRefusedError, UsageError
from tempograd.predictor.models import gp
from tempograd.predictor.models.gp import GaussianProcessLatency
from tempograd.predictor.schedule import Schedule, fit_schedules

# two branches of two operations each side by side, then two operations in a row: what `parallel` is made of
LIVE = [tuple(range(5 * site + 1, 5 * site + 5)) for site in range(6)]
COSTS = [tuple(range(4 * site, 4 * site + 4)) for site in range(6)]
STAGES = (
    (
        ((-1,), LIVE[0], COSTS[0]), ((0,), LIVE[1], COSTS[1]), ((-1,), LIVE[2], COSTS[2]), ((2,), LIVE[3], COSTS[3]),
        ((1, 3), (), ()),
    ),
)  # fmt: skip


def solid(table):
    """Leave out networks with a site that takes nothing: there a branch is dead, and not just free."""
    kept = (table.choices > 0).all(axis=1)
    return table.X[kept], table.y_ms[kept], table.true_ms[kept]


def mape(y, p):
    return 100 * np.mean(np.abs(p / y - 1))


@pytest.mark.slow
def test_held_out_predictions_are_as_good_as_those_of_new_networks(parallel):
    model = GaussianProcessLatency().fit(parallel.X[:400], parallel.y_ms[:400])
    new = mape(parallel.y_ms[400:], model.predict(parallel.X[400:]))
    held = mape(parallel.y_ms[:400], model.held_out_ms_)
    seen = mape(parallel.y_ms[:400], model.predict(parallel.X[:400]))
    assert held == pytest.approx(new, rel=0.3)
    assert seen < 0.7 * held


def test_held_out_predictions_follow_their_rows(additive):
    weight = np.ones(500)
    weight[::5] = 0
    held = GaussianProcessLatency(steps=5).fit(additive.X, additive.y_ms, sample_weight=weight).held_out_ms_
    np.testing.assert_array_equal(np.isnan(held), weight == 0)
    assert mape(additive.true_ms[weight > 0], held[weight > 0]) < 1


@pytest.mark.slow
def test_a_schedule_finds_branches_that_run_side_by_side(parallel, monkeypatch):
    monkeypatch.setattr(gp, "MANY", 100)  # held-out predictions in folds would learn a schedule in each
    X, y, true = solid(parallel)
    plain = GaussianProcessLatency().fit(X[:120], y[:120]).predict(X[120:])
    scheduled = GaussianProcessLatency(STAGES).fit(X[:120], y[:120]).predict(X[120:])
    assert mape(true[120:], scheduled) < 0.5 * mape(true[120:], plain)


@pytest.mark.slow
def test_an_outlier_moves_its_neighbours_little(additive):
    X, true = additive.X[:250], additive.true_ms[:250]
    y = true.copy()
    y[::20] *= 3
    clean = np.arange(250) % 20 != 0
    model = GaussianProcessLatency().fit(X, y)
    assert mape(true[clean], model.predict(X[clean])) < 1.5


@pytest.mark.slow
def test_many_rows_are_carried_by_fewer(parallel, monkeypatch):
    monkeypatch.setattr(gp, "MAX_SUPPORT", 200)
    monkeypatch.setattr(gp, "BATCH", 200)
    X, y_ms, unseen = parallel.X[:400], parallel.y_ms[:400], slice(400, None)
    sparse = GaussianProcessLatency().fit(X, y_ms)
    assert sparse.network_.alpha.shape == (200,)
    new = mape(parallel.y_ms[unseen], sparse.predict(parallel.X[unseen]))
    assert mape(y_ms, sparse.held_out_ms_) == pytest.approx(new, rel=0.4)
    monkeypatch.undo()
    full = GaussianProcessLatency().fit(X, y_ms)
    assert new < 1.5 * mape(parallel.y_ms[unseen], full.predict(parallel.X[unseen]))


def test_refuses_no_steps(additive):
    with pytest.raises(UsageError, match="steps=0"):
        GaussianProcessLatency(steps=0).fit(additive.X, additive.y_ms)


@pytest.mark.slow
def test_state_with_a_schedule_survives(parallel):
    X, y, _ = solid(parallel)
    model = GaussianProcessLatency(STAGES, steps=5).fit(X, y)
    arrays, config = model.get_state()
    again = GaussianProcessLatency.from_state(arrays, config)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    far = [[[[-1], [99], [0]], [[0], [], []]]]
    for stages in (far, [[[[3], [], []]]], [[]], "x", None, [[[[-1], [1], [0]]]]):
        with pytest.raises(InputRefusedError, match="stages"):
            GaussianProcessLatency.from_state(arrays, config | {"stages": stages})


@pytest.mark.slow
def test_a_schedule_learns_the_costs_of_the_longer_branch(parallel):
    X, y, _ = solid(parallel)
    (schedule,) = fit_schedules(STAGES, X, y, np.ones((1, len(y))))
    ready_ms = schedule(torch.from_numpy(X)).numpy()[:, 0] * y.mean()
    cost = np.array([0.0, 0.1, 0.7, 2.0, 0.4])[(X.reshape(-1, 6, 5).argmax(2))] * np.linspace(0.6, 1.4, 6)
    longer = np.maximum(cost[:, :2].sum(1), cost[:, 2:4].sum(1))
    assert np.corrcoef(ready_ms, longer)[0, 1] > 0.97


def test_a_dead_branch_takes_no_time():
    schedule = Schedule(STAGES).requires_grad_(False)
    x = torch.zeros(1, 30, dtype=torch.float64)
    assert float(schedule(x)) == 0
    x[0, [1, 6]] = 1
    alone = float(schedule(x))
    x[0, 11] = 1  # the other branch begins and never ends
    assert alone > 0
    assert float(schedule(x)) == pytest.approx(alone)
