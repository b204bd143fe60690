"""Accuracy learnt from a column of a table that others published: what ``--accuracy`` names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from ..data.table import LEAST, conditions_for, read_accuracies
from ..errors import UsageError
from ..predictor.learn import MANY_ROWS, learn
from ..shown import counted
from ..spaces.architecture import Architecture
from ..spaces.encoding import OneHots
from ..spaces.space import SearchSpace
from ..tasks.predicted import PredictedTask
from ..tasks.table import table_column

ROWS = 900  # that are learnt from, unless it is said how many


def predicted_accuracy(
    spec: str, space: SearchSpace, *, rows: int | None = None, where: tuple[str, ...] = (), seed: int = 0
) -> PredictedTask:
    """Return what predicts accuracy in a space, learnt from ``table:FILE:COLUMN``.

    Args:
        spec: Spec of the table; its networks are of the space.
        space: searched.
        rows: to learn from, random ones; None for 900, or all of a table that has fewer.
        where: conditions ``COLUMN=VALUE`` that rows must meet.
        seed: Seed of the choice of rows, and of the model.

    Raises:
        UsageError: the spec names no table, or there are fewer rows than asked for.
        InputRefusedError: the file cannot be read, or the column holds no accuracies.
    """
    column = table_column(spec)
    if column is None:
        raise UsageError(f"--accuracy {spec}; allowed: table:FILE:COLUMN")
    (own,) = conditions_for([column[0]], where)
    read = read_accuracies(column[0], space, column[1], where=own)
    return learn_accuracy(spec, space, read.shares, rows=rows, seed=seed)


def learn_accuracy(
    name: str, space: SearchSpace, shares: Mapping[Architecture, float], *, rows: int | None = None, seed: int = 0
) -> PredictedTask:
    """Return what predicts accuracy, learnt from some networks of ``shares``: by ``gp``, of few by ``ridge``.

    Raises:
        UsageError: fewer than 20 rows, more than there are, or all of one accuracy.
    """
    count = min(ROWS, len(shares)) if rows is None else rows
    if not LEAST <= count <= len(shares):
        raise UsageError(
            f"{counted(count, 'row')} to learn accuracy from; allowed: {LEAST} to {len(shares)}, what {name} has"
            if len(shares) >= LEAST
            else f"{name} has {counted(len(shares), 'network')} of {space.spec}; allowed: from {LEAST}, to learn from"
        )
    known = list(shares)
    taken = [known[i] for i in np.random.default_rng(seed).permutation(len(known))[:count]]
    percent = np.array([100 * shares[a] for a in taken])
    if np.ptp(percent) == 0:
        raise UsageError(f"all {count} networks of {name} have {percent[0]:g} %: nothing can be learnt")
    encodings = [each.name for each in space.encodings if isinstance(each, OneHots) and each.slope]
    model = "gp" if count >= MANY_ROWS else "ridge"
    learnt = learn(
        {each: space.encode(taken, each) for each in encodings}, percent, groups=space.groups(taken), model=model,
        seed=seed,
    )  # fmt: skip
    told = {"model": model, "encoding": learnt.encoding, "rows": count, "scores": asdict(learnt.scores)}
    return PredictedTask(name, space, learnt.module, learnt.encoding, float(percent.std()), told)
