import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from tempograd.errors import InputRefusedError, TempogradError
from tempograd.predictor.models.trees import TreesLatency


@pytest.fixture(scope="module")
def trained(parallel):
    return TreesLatency(trees=60).fit(parallel.X, parallel.y_ms)


def test_arrays_predict_what_scikit_learn_predicts_on_new_rows(trained, parallel):
    with threadpool_limits(1, user_api="openmp"):
        theirs = HistGradientBoostingRegressor(
            max_iter=60,
            max_leaf_nodes=15,
            learning_rate=0.05,
            max_features=0.3,
            min_samples_leaf=3,
            early_stopping=False,
            random_state=0,
        ).fit(parallel.X, np.log(parallel.y_ms))
    rows = np.random.default_rng(0).random((3000, 30))
    np.testing.assert_allclose(trained.predict(rows), np.exp(theirs.predict(rows)), rtol=1e-9)


def test_has_no_slope(trained):
    assert not hasattr(trained, "module")


def test_another_layout_of_the_trees_never_passes(monkeypatch, parallel):
    monkeypatch.setattr(HistGradientBoostingRegressor, "predict", lambda self, X: np.zeros(len(X)))
    with pytest.raises(TempogradError, match="scikit-learn"):
        TreesLatency(trees=2).fit(parallel.X, parallel.y_ms)


@pytest.mark.parametrize(("column", "value"), [(0, 30), (0, -1), (0, 0.5), (2, 10**6), (2, 0), (3, 0)])
def test_trees_that_point_astray_are_refused(trained, column, value):
    arrays, config = trained.get_state()
    nodes = arrays["nodes"].copy()
    inner = int(np.flatnonzero(nodes[:, 2] != np.arange(len(nodes)))[-1])
    nodes[inner, column] = value
    with pytest.raises(InputRefusedError, match="circles"):
        TreesLatency.from_state(arrays | {"nodes": nodes}, config)


@pytest.mark.parametrize("roots", [np.array([-1]), np.array([10**6]), np.array([], int)])
def test_roots_outside_the_table_are_refused(trained, roots):
    arrays, config = trained.get_state()
    with pytest.raises(InputRefusedError):
        TreesLatency.from_state(arrays | {"roots": roots}, config)
