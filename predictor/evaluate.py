"""Judging a model on a table: split by seed, choose the encoding on validation rows only, score on the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from .metrics import Scores, mape_pct
from .predictor import Array, Predictor

METRICS = ("within_1_pct", "within_5_pct", "within_10_pct", "mape_pct", "spearman", "kendall")

Summary = dict[str, dict[str, float]]  # metric -> {"mean": over seeds, "sd": over seeds}


class BadSplitError(UsageError, ValueError):
    """A split that leaves nothing to learn from or to test on."""


@dataclass(frozen=True)
class Judgement:
    """How well a model does on a table.

    Attributes:
        scores: over all test rows.
        scores_without_excluded: over the test rows that were not flagged; None if none were given.
        picks: the encoding chosen for each seed.
        by_seed: scores over all test rows, one a seed.
    """

    scores: Summary
    scores_without_excluded: Summary | None
    picks: tuple[str, ...]
    by_seed: tuple[Scores, ...]


def judge(
    model_factory: Callable[[int], Predictor],
    X: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    y_ms: npt.ArrayLike,
    *,
    train: int,
    valid: int,
    seeds: Sequence[int],
    sample_weight: npt.ArrayLike | None = None,
) -> Summary:
    """Return mean and standard deviation over seeds of every metric; see ``judge_in_full`` for the arguments.

    The standard deviation of one seed is NaN.
    """
    judgement = judge_in_full(
        model_factory, X, y_ms, train=train, valid=valid, seeds=seeds, sample_weight=sample_weight
    )
    return judgement.scores


def judge_in_full(
    model_factory: Callable[[int], Predictor],
    X: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    y_ms: npt.ArrayLike,
    *,
    train: int,
    valid: int,
    seeds: Sequence[int],
    sample_weight: npt.ArrayLike | None = None,
    exclude: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
) -> Judgement:
    """Judge a model: for every seed split into train, valid and test, learn from train, score on test.

    Args:
        model_factory: seed -> an unfitted predictor.
        X: encodings ``(n, d)``, or several by name: for each seed the one with the lowest MAPE on valid is taken.
        y_ms: latencies ``(n,)``.
        train: rows to learn from.
        valid: rows to choose the encoding by; all others are the test.
        seeds: one split and one model each.
        sample_weight: ``(n,)``, for learning only: every test row counts the same.
        exclude: ``(n,)`` flags of rows (networks without a path from input to output, say) without which the test is
            scored a second time; they are learnt from all the same.
        groups: ``(n,)`` labels of equal networks; test rows of a group that was learnt from are left out.

    Raises:
        BadSplitError: no row is left to train or test on, or an array has another length.
    """
    encodings = _named(X)
    y = np.asarray(y_ms, float)
    weight = None if sample_weight is None else np.asarray(sample_weight, float)
    flagged = np.zeros(len(y), bool) if exclude is None else np.asarray(exclude, bool)
    labels = np.arange(len(y)) if groups is None else np.asarray(groups)
    _check_split(encodings, [y, flagged, labels, *([] if weight is None else [weight])], train, valid, seeds)
    everything: list[Scores] = []
    kept: list[Scores] = []
    picks: list[str] = []
    for seed in seeds:
        learn, choose, test = split_rows(labels, train, valid, seed)
        pick, predictor = _best(model_factory, encodings, y, weight, learn, choose, seed)
        predicted = predictor.predict(encodings[pick][test])
        picks.append(pick)
        everything.append(Scores.of(y[test], predicted))
        if exclude is not None:
            usual = ~flagged[test]
            kept.append(Scores.of(y[test][usual], predicted[usual]))
    return Judgement(_summary(everything), _summary(kept) if kept else None, tuple(picks), tuple(everything))


def covered(y_ms: Array, p_ms: Array, low_ms: Array, high_ms: Array) -> dict[str, float]:
    """Return how many of the measurements lie within their intervals, in all and in every third of the predictions.

    The width is the median of ``(high - low) / p``, in per cent.
    """
    inside = (y_ms >= low_ms) & (y_ms <= high_ms)
    thirds = np.array_split(np.argsort(p_ms, kind="stable"), 3)
    shares = {
        f"coverage_{name}_pct": 100 * float(inside[third].mean())
        for name, third in zip(("fast", "middle", "slow"), thirds, strict=True)
    }
    width_pct = 100 * float(np.median((high_ms - low_ms) / p_ms))
    return {"coverage_pct": 100 * float(inside.mean())} | shares | {"width_pct": width_pct}


def _named(X: npt.ArrayLike | Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
    named = X if isinstance(X, Mapping) else {"X": X}
    return {name: np.asarray(array, float) for name, array in named.items()}


def _check_split(
    encodings: Mapping[str, Array],
    columns: Sequence[npt.NDArray[np.generic]],
    train: int,
    valid: int,
    seeds: Sequence[int],
) -> None:
    n = len(columns[0])
    lengths = {len(array) for array in [*encodings.values(), *columns]}
    if lengths != {n} or not seeds or not encodings:
        raise BadSplitError(
            f"all arrays must have as many rows as y_ms ({n}), found {sorted(lengths)}; give a seed too"
        )
    if train < 1 or valid < 0 or train + valid >= n or (valid == 0 and len(encodings) > 1):
        raise BadSplitError(
            f"train={train}, valid={valid} of {n} rows: train must be >= 1, some rows must be left to test, "
            f"and {len(encodings)} encodings need valid >= 1 if they are to be chosen among"
        )


def split_rows(
    labels: npt.NDArray[np.generic], train: int, valid: int, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the rows to learn from, to choose by and to test on; no label is among two of them.

    Those to learn from depend on the seed alone, not on the labels.

    Raises:
        BadSplitError: no row is left to learn from or to test on, or too few to choose by.
    """
    if train < 1 or valid < 0 or train + valid >= len(labels):
        raise BadSplitError(
            f"train={train}, valid={valid} of {len(labels)} rows: train must be >= 1, and some rows be left to test"
        )
    order = np.random.default_rng(seed).permutation(len(labels))
    learn, rest = np.split(order, [train])
    rest = rest[~np.isin(labels[rest], labels[learn])]
    choose, test = np.split(rest, [valid])
    test = test[~np.isin(labels[test], labels[choose])]
    if len(choose) < valid or len(test) == 0:
        raise BadSplitError(
            f"seed {seed}: besides the {len(np.unique(labels[learn]))} networks of {train} rows to learn from there "
            f"are {len(np.unique(labels[rest]))} others, too few for {valid} rows to choose by and some to test on; "
            "learn from fewer"
        )
    return learn, choose, test


def _best(
    model_factory: Callable[[int], Predictor],
    encodings: Mapping[str, Array],
    y: Array,
    weight: Array | None,
    learn: npt.NDArray[np.int64],
    choose: npt.NDArray[np.int64],
    seed: int,
) -> tuple[str, Predictor]:
    """Return the name of the encoding that does best on the rows to choose by, and the predictor learnt on it."""
    fitted: dict[str, tuple[float, Predictor]] = {}
    for name, X in encodings.items():
        chosen_weight = None if weight is None else weight[learn]
        predictor = model_factory(seed).fit(X[learn], y[learn], sample_weight=chosen_weight)
        error = mape_pct(y[choose], predictor.predict(X[choose])) if len(encodings) > 1 else 0.0
        fitted[name] = (error, predictor)
    pick = min(fitted, key=lambda name: fitted[name][0])
    return pick, fitted[pick][1]


def _summary(scores: Sequence[Scores]) -> Summary:
    table = {metric: np.array([getattr(score, metric) for score in scores], float) for metric in METRICS}
    return {
        metric: {"mean": float(values.mean()), "sd": float(values.std(ddof=1)) if len(values) > 1 else float("nan")}
        for metric, values in table.items()
    }
