"""Learning from measurements: choose an encoding, fit a model, predict every network without having seen it.

Whatever learns does so here: a store's predictor, a table's, and every judgement of how good these are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone

from .. import registry
from ..arguments import check
from ..errors import UsageError
from .choice import choose_encoding
from .estimator import Groups, fit_held_out
from .interval import GROUPS, SMALLEST_GROUP, Conformal
from .linear import Linear
from .metrics import Scores
from .plain import model_class
from .predictor import Array

if TYPE_CHECKING:
    from torch import nn

MANY_ROWS = 100  # networks, from which a Gaussian process is better than a line
LINE, PROCESS = "transfer", "gp"  # the models of few networks, and of many
CENSORED_WEIGHT = 0.1  # of the mean weight: what is known of a censored network is one side of its latency


@dataclass(frozen=True)
class Censored:
    """Networks of which only a lower bound is known.

    Attributes:
        encodings: name -> ``(m, d)``.
        above_ms: ``(m,)`` what each latency is known to be above.
        groups: ``(m,)`` numbers that rows of one network share, those of the measured networks included.
    """

    encodings: Mapping[str, Array]
    above_ms: Array
    groups: Groups


@dataclass(frozen=True)
class Learnt:
    """A fitted model, and what it says of networks that it had not seen.

    Attributes:
        model: its name.
        encoding: the name of the encoding that its features are.
        predictor: fitted on all rows.
        y_ms: ``(n,)`` labels.
        held_out_ms: ``(n,)`` predictions, each without any label of its network.
        judging: ``(n,)`` flags of the rows whose labels are good enough to judge by.
        alone: ``(n,)`` flags of the rows whose network has no other row.
        error_by_encoding: mean held-out error, capped, of each encoding that there was to choose among, as a share.
        censored: networks learnt from of which only a bound is known.
    """

    model: str
    encoding: str
    predictor: Any
    y_ms: Array
    held_out_ms: Array
    judging: npt.NDArray[np.bool_]
    alone: npt.NDArray[np.bool_]
    error_by_encoding: Mapping[str, float]
    censored: int = 0

    @cached_property
    def conformal(self) -> Conformal:
        """Return the residuals of the held-out predictions, for intervals.

        Where enough rows are alone with their network, theirs count: a network that was never seen is drawn as these
        are, and networks of many names, which are easy, are seldom new (Good, *The population frequencies of species
        and the estimation of population parameters*, Biometrika 1953).
        """
        rows = self.judging & self.alone
        rows = rows if rows.sum() >= GROUPS * SMALLEST_GROUP else self.judging
        return Conformal.fit(self.y_ms[rows], self.held_out_ms[rows])

    @property
    def scores(self) -> Scores:
        """Return how near the held-out predictions are to the labels."""
        return Scores.of(self.y_ms[self.judging], self.held_out_ms[self.judging])

    @property
    def module(self) -> nn.Module:
        """Return a new module ``(b, d) -> (b,)`` ms of a model that has a slope."""
        return self.predictor.module

    def upper_bound(self, coverage: float) -> nn.Module:
        """Return the upper end of the interval of a coverage, such as 0.95: a module ``(b, d) -> (b,)`` ms."""
        from .modules import ScaledModule

        return ScaledModule(self.module, float(np.exp(self.conformal.log_half_width(coverage))))


def learn(
    encodings: Mapping[str, npt.ArrayLike],
    y_ms: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    *,
    model: str,
    blocks: Mapping[str, Sequence[int]] | None = None,
    choosing: npt.NDArray[np.bool_] | None = None,
    judging: npt.NDArray[np.bool_] | None = None,
    censored: Censored | None = None,
    seed: int = 0,
    **arguments: Any,
) -> Learnt:
    """Learn latency, or another positive quantity, from networks.

    Args:
        encodings: name -> ``(n, d)``, from simple to rich; one is chosen by held-out rows, see `choice`.
        y_ms: ``(n,)``.
        weight: ``(n,)`` 1 / relative variance of the label; None for all the same.
        groups: ``(n,)`` numbers that rows of one network share, which are held out together; None if none are.
        model: name in the registry.
        blocks: name of an encoding -> numbers of consecutive features in each of its blocks, where it has several.
        choosing: ``(n,)`` flags of rows that help to choose the encoding only, and are not learnt from.
        judging: ``(n,)`` flags of rows whose labels are good enough to judge by; None for all.
        censored: networks of which only a bound is known: those that the model would put too low are learnt from.
        seed: Seed of choice, model and folds.
        arguments: Arguments of the model; what is None or not among its own is left out.

    Raises:
        UsageError: rows of fewer than two networks, or arguments that the model refuses.
    """
    y = np.asarray(y_ms, float)
    known = {name: np.asarray(X, float) for name, X in encodings.items()}
    counted = np.ones(len(y)) if weight is None else np.asarray(weight, float)
    together = np.arange(len(y)) if groups is None else np.asarray(groups)
    if len(np.unique(together)) < 2:
        raise UsageError(f"all {len(y)} rows are of one network; allowed: 2 networks or more, since one is held out")
    arguments = arguments | {"random_state": seed}
    judge = estimator_of(model, **arguments) if stated(model, "literal") else None
    name, errors = choose_encoding(known, y, counted, groups=together, judge=judge, seed=seed)
    rows = np.ones(len(y), bool) if choosing is None else ~choosing
    features, labels, counted, together = known[name][rows], y[rows], counted[rows], together[rows]
    predictor, n = estimator_of(model, blocks=(blocks or {}).get(name, ()), **arguments), len(labels)
    if censored is not None and len(censored.above_ms):
        first: Any = clone(predictor)
        bounded = censored.encodings[name]
        low = first.fit(features, labels, sample_weight=counted).predict(bounded) < censored.above_ms
        features, labels = np.vstack([features, bounded[low]]), np.concatenate([labels, censored.above_ms[low]])
        counted = np.concatenate([counted, np.full(int(low.sum()), CENSORED_WEIGHT * counted.mean())])
        together = np.concatenate([together, censored.groups[low]])
    held_out_ms = fit_held_out(predictor, features, labels, counted, seed=seed, groups=together)
    assert held_out_ms is not None  # there was no limit of time
    judges = (np.ones(len(rows), bool) if judging is None else judging)[rows]
    _, network, many = np.unique(together[:n], return_inverse=True, return_counts=True)
    alone = many[network] == 1
    return Learnt(model, name, predictor, labels[:n], held_out_ms[:n], judges, alone, errors, len(labels) - n)


def default_model(networks: int, sources: Sequence[object]) -> str:
    """Return the model for so many networks, with or without other devices to transfer from."""
    return LINE if sources or networks < MANY_ROWS else PROCESS


def source_line(
    X: npt.ArrayLike, y_ms: npt.ArrayLike, weight: npt.ArrayLike | None = None, *, blocks: Sequence[int]
) -> Linear:
    """Return another device's latency in ms as a line, such as a model takes among its ``sources``.

    Args:
        X: ``(n, d)`` of the sparing encoding.
        y_ms: ``(n,)``.
        weight: ``(n,)`` 1 / relative variance of the label; None for all the same.
        blocks: numbers of consecutive features in each block.
    """
    return estimator_of(LINE, blocks=blocks).fit(X, y_ms, sample_weight=weight).line_


def stated(model: str, what: str) -> bool:
    """Return what a model states of itself, such as ``frugal``; see `estimator.LatencyModel`."""
    return bool(getattr(model_class(model), what, False))


def check_taken(model: str, **given: object) -> None:
    """Raise UsageError where a model is given an argument that it does not take; None and nothing are not given."""
    for name, value in given.items():
        if value and not _takes(model, name):
            said = f"{name}={value}" if isinstance(value, int) else f"{name} are given"
            wanted = [one for one, its in given.items() if its]
            able = [other for other in registry.names("model") if all(_takes(other, one) for one in wanted)]
            named = f", or name one of {', '.join(able)}" if able else f"; no model takes {' and '.join(wanted)}"
            raise UsageError(f"{said}, and the model {model} takes none: leave them out{named}")


def _takes(model: str, argument: str) -> bool:
    return argument in signature(model_class(model)).parameters


def estimator_of(model: str, **wanted: Any) -> Any:
    """Return an unfitted model; arguments that are None or that the model does not take are left out."""
    create = model_class(model)
    known = create().get_params()
    taken = {key: value for key, value in wanted.items() if key in known and value is not None}
    check(registry.load("model", model), taken, what=f"model {model}")
    return create(**taken)
