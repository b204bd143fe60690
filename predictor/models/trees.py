"""Boosted trees on log latency: strong where options interact, but without a slope to follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from ...arguments import Count, Positive, Seed, Share
from ...errors import InputRefusedError, TempogradError
from ..estimator import LatencyModel, array_of, params_of, tempered
from ..predictor import Array, State

CHUNK_ROWS = 1024  # rows walked down all trees at once: bounds the memory of the walk


class TreesLatency(LatencyModel):
    """Histogram gradient boosting (Ke et al., *LightGBM*, NeurIPS 2017) on log latency; no ``module``.

    The fitted trees are kept as plain arrays, and predictions are made from these: what is saved is what was judged.

    Args:
        trees: boosting rounds.
        leaves: most leaves of a tree.
        learning_rate: share of each tree that counts.
        feature_share: share of the features tried at each split.
        random_state: seed of the feature draws.

    Attributes:
        nodes_: ``(k, 5)`` one row a node: feature, threshold, left child, right child, log ms added (leaves).
        roots_: ``(trees,)`` rows at which the trees begin.
        baseline_: log ms.
    """

    fitted_mark: ClassVar[str] = "baseline_"
    small: ClassVar[Mapping[str, Any]] = {"trees": 40, "learning_rate": 0.12}
    rows_count: ClassVar[str] = "histogram bins and smallest leaves count rows, not weight"

    def __init__(
        self,
        trees: Count = 800,
        leaves: Count = 15,
        learning_rate: Positive = 0.05,
        feature_share: Share = 0.3,
        random_state: Seed = 0,
    ) -> None:
        self.trees = trees
        self.leaves = leaves
        self.learning_rate = learning_rate
        self.feature_share = feature_share
        self.random_state = random_state

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Learn from encodings ``X (n, d)`` and latencies ``y (n,)`` in ms; weights are 1 / relative variance.

        Raises:
            BadLabelError: a latency is not positive, or a weight is negative.
        """
        features, y_ms, weight = self._learnable(X, y, sample_weight)
        regressor: Any = HistGradientBoostingRegressor  # its inferred type allows no early_stopping=False
        boosting = regressor(
            max_iter=self.trees,
            max_leaf_nodes=self.leaves,
            learning_rate=self.learning_rate,
            max_features=self.feature_share,
            min_samples_leaf=min(3, len(features)),
            early_stopping=False,
            random_state=self.random_state,
        )
        # on busy cores OpenMP's threads wait for each other far longer than they work
        with threadpool_limits(1, user_api="openmp"):
            boosting.fit(features, np.log(y_ms), sample_weight=tempered(weight))
            expected = boosting.predict(features)
        self.nodes_, self.roots_, baseline = _plain_trees(boosting)
        learnt = _walk(features, self.nodes_, self.roots_) + baseline
        if not np.allclose(learnt, expected, rtol=0, atol=1e-9):
            # the trees are read from private attributes: another layout must never pass unnoticed
            raise TempogradError("this version of scikit-learn lays out its trees differently: install 1.6 to 1.9")
        self.baseline_ = baseline
        return self

    def predict(self, X: npt.ArrayLike) -> Array:
        """Return the latencies ``(n,)`` in ms of the encodings ``X (n, d)``."""
        return np.exp(_walk(self._encoded(X), self.nodes_, self.roots_) + self.baseline_)

    def get_state(self) -> State:
        """Return everything that ``predict`` needs."""
        self._check_fitted()
        arrays = {"nodes": self.nodes_, "roots": self.roots_, "baseline": np.array([self.baseline_])}
        return arrays | {"support": self.support_}, {"params": self.get_params()}

    @classmethod
    def from_state(cls, arrays: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Self:
        """Restore what ``get_state`` gave; an InputRefusedError tells what does not fit."""
        model = cls(**params_of(config, cls))
        width = model._restore_support(arrays)
        model.nodes_ = array_of(arrays, "nodes", (None, 5))
        model.roots_ = array_of(arrays, "roots", (None,)).astype(np.int64)
        _check_trees(model.nodes_, model.roots_, width)
        (model.baseline_,) = map(float, array_of(arrays, "baseline", (1,)))
        return model


def _plain_trees(boosting: Any) -> tuple[Array, npt.NDArray[np.int64], float]:
    """Return the nodes of all trees, the rows of their roots, and the baseline; a leaf leads to itself."""
    tables: list[Array] = []
    roots: list[int] = []
    offset = 0
    for (tree,) in boosting._predictors:
        raw = tree.nodes
        own, leaf = np.arange(len(raw)), raw["is_leaf"].astype(bool)
        table = np.column_stack(
            [
                np.where(leaf, 0, raw["feature_idx"]),
                np.where(leaf, 0.0, raw["num_threshold"]),
                np.where(leaf, own, raw["left"]) + offset,
                np.where(leaf, own, raw["right"]) + offset,
                np.where(leaf, raw["value"], 0.0),
            ]
        )
        tables.append(table.astype(float))
        roots.append(offset)
        offset += len(raw)
    baseline = float(np.asarray(boosting._baseline_prediction).item())
    return np.concatenate(tables), np.asarray(roots, np.int64), baseline


def _walk(X: Array, nodes: Array, roots: npt.NDArray[np.int64]) -> Array:
    """Return the sum of the leaves that each row of ``X (n, d)`` reaches, ``(n,)``."""
    feature, left, right = (nodes[:, column].astype(np.int64) for column in (0, 2, 3))
    threshold, value = nodes[:, 1], nodes[:, 4]
    total = np.empty(len(X))
    for start in range(0, len(X), CHUNK_ROWS):
        rows = X[start : start + CHUNK_ROWS]
        at = np.broadcast_to(roots, (len(rows), len(roots)))
        while True:
            goes_left = np.take_along_axis(rows, feature[at], axis=1) <= threshold[at]
            below = np.where(goes_left, left[at], right[at])
            if np.array_equal(below, at):
                break
            at = below
        total[start : start + CHUNK_ROWS] = value[at].sum(axis=1)
    return total


def _check_trees(nodes: Array, roots: npt.NDArray[np.int64], width: int) -> None:
    """Refuse trees that point outside their table or in circles: a walk must end."""
    own, children = np.arange(len(nodes)), nodes[:, 2:4]
    leaf = (children == own[:, None]).all(axis=1)
    whole = np.all(nodes[:, [0, 2, 3]] == np.floor(nodes[:, [0, 2, 3]]))
    downward = np.all(leaf | (children > own[:, None]).all(axis=1)) and np.all(children < len(nodes))
    in_range = np.all((nodes[:, 0] >= 0) & (nodes[:, 0] < width)) and np.all((roots >= 0) & (roots < len(nodes)))
    if not (len(roots) and whole and downward and in_range):
        raise InputRefusedError(
            "the saved trees point outside their table or in circles: the file is damaged; fit and save again"
        )


MODEL = TreesLatency
