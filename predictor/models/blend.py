"""Several models, each with the weight that its held-out predictions earn: choice and ensembling in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog
from torch import nn

from ... import registry
from ...arguments import Count, Seconds, Seed
from ...errors import InputRefusedError, UsageError
from ..estimator import LatencyModel, fit_held_out, learnt_groups, of_all_rows, params_of
from ..predictor import Array, State
from ..schedule import Stages

LEAST_WEIGHT = 0.02  # of a member that is worth its time at every prediction


class BlendLatency(LatencyModel):
    """Geometric mean of several models, weighted by how well each predicts rows that it has not seen.

    Every member predicts every row without its label, by leave-one-out or in 5 folds. The weights, positive with sum 1,
    minimise the absolute log error of the mean of these predictions; so a member that only adds noise gets none, and
    one that is best alone gets all. A member whose folds would not end within the budget is left out, except the first.

    Args:
        models: names in the registry, the quickest first; each has to have a slope.
        budget_s: time for all members, in seconds. What is left out depends on the machine: the weights tell.
        stages: for the members that take a schedule.
        steps: for the members that take steps; None for their own.
        random_state: seed of members and folds.

    Attributes:
        weights_: member -> weight, of those above 2 %.
        members_: the same members, fitted on all rows.
        held_out_ms_: ``(n,)`` predictions of the rows of ``fit`` without any label of their group; NaN for rows of
            weight 0, and for all after loading.

    References:
        Breiman, *Stacked regressions*, Machine Learning 24, 1996.
    """

    fitted_mark: ClassVar[str] = "members_"
    small: ClassVar[Mapping[str, Any]] = {"models": ("ridge", "gp"), "steps": 3}
    rows_count: ClassVar[str] = "cross-validation leaves out rows: a row of weight 2 is one row, two equal rows are two"
    leaves_out: ClassVar[bool] = True

    def __init__(
        self,
        models: Sequence[str] = ("ridge", "gp", "mlp"),
        budget_s: Seconds = 120.0,
        stages: Stages = (),
        steps: Count | None = None,
        random_state: Seed = 0,
    ) -> None:
        self.models = models
        self.budget_s = budget_s
        self.stages = stages
        self.steps = steps
        self.random_state = random_state

    def fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        groups: npt.ArrayLike | None = None,
    ) -> Self:
        """Learn from encodings ``X (n, d)`` and latencies ``y (n,)`` in ms; weights are 1 / relative variance.

        ``groups (n,)`` are numbers that rows of one network share: these are left out together.

        Raises:
            BadLabelError: a latency is not positive, a weight is negative, or there is not one group for each row.
            UsageError: no member, or one without a slope.
            UnknownNameError: a member that is not in the registry.
        """
        features, y_ms, weight = self._learnable(X, y, sample_weight)
        together = learnt_groups(groups, sample_weight, len(y_ms))
        members = {name: self._member(name) for name in self.models}
        if not members:
            raise UsageError("models=(); give the names of one or more models, such as ridge, gp, mlp")
        held: dict[str, Array] = {}
        start = perf_counter()
        for name, member in members.items():
            left_s = self.budget_s - (perf_counter() - start) if held else float("inf")
            found = fit_held_out(member, features, y_ms, weight, seed=self.random_state, groups=together, left_s=left_s)
            if found is not None:
                held[name] = found
        share = _shares(np.log(y_ms), np.log(np.stack(list(held.values()), axis=1)), weight)
        kept = share >= LEAST_WEIGHT
        share = share[kept] / share[kept].sum()
        names = [name for name, keep in zip(held, kept, strict=True) if keep]
        self.weights_: dict[str, float] = dict(zip(names, share.tolist(), strict=True))
        self.members_: dict[str, Any] = {name: members[name] for name in names}
        left_out = np.exp(np.log(np.stack([held[name] for name in names], axis=1)) @ share)
        self.held_out_ms_: Array = of_all_rows(left_out, sample_weight)
        return self

    def predict(self, X: npt.ArrayLike) -> Array:
        """Return the latencies ``(n,)`` in ms of the encodings ``X (n, d)``."""
        features = self._encoded(X)
        parts = [weight * np.log(self.members_[name].predict(features)) for name, weight in self.weights_.items()]
        return np.exp(np.sum(parts, axis=0))

    @property
    def module(self) -> nn.Module:
        """Return a new module ``(b, d) -> (b,)`` ms, its parameters frozen."""
        from ..modules import GeometricMean

        self._check_fitted()
        return GeometricMean([self.members_[name].module for name in self.weights_], list(self.weights_.values()))

    def get_state(self) -> State:
        """Return everything that ``predict`` needs."""
        self._check_fitted()
        arrays: dict[str, npt.NDArray[Any]] = {"support": self.support_}
        members: list[dict[str, Any]] = []
        for number, (name, member) in enumerate(self.members_.items()):
            state, config = member.get_state()
            arrays |= {f"{number}.{key}": array for key, array in state.items()}
            members.append({"model": name, "weight": self.weights_[name], "config": config})
        params = {"budget_s": float(self.budget_s), "random_state": self.random_state}
        return arrays, {"params": params, "members": members}

    @classmethod
    def from_state(cls, arrays: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Self:
        """Restore what ``get_state`` gave; an InputRefusedError tells what does not fit."""
        model = cls(**params_of(config, cls))
        model._restore_support(arrays)
        model.weights_, model.members_ = {}, {}
        members = config.get("members")
        for number, member in enumerate(members if isinstance(members, list) else []):
            try:
                name, weight, own = str(member["model"]), float(member["weight"]), dict(member["config"])
            except (KeyError, TypeError, ValueError) as error:
                raise InputRefusedError(
                    f"member {number} of the saved {cls.__name__} is {member!r}; expected model, weight and config"
                ) from error
            if name not in registry.names("model") or name == "blend" or not 0 < weight <= 1:
                raise InputRefusedError(f"member {number} of the saved {cls.__name__} is {name!r} of weight {weight}")
            state = {key.partition(".")[2]: a for key, a in arrays.items() if key.startswith(f"{number}.")}
            model.members_[name] = registry.load("model", name).from_state(state, own)
            model.weights_[name] = weight
        if not model.members_:
            raise InputRefusedError(f"members of the saved {cls.__name__} are {members!r}; expected one or more")
        widths = {member.n_features_in_ for member in model.members_.values()}
        if widths != {model.n_features_in_} or abs(sum(model.weights_.values()) - 1) > 1e-6:
            raise InputRefusedError(f"the members of the saved {cls.__name__} do not fit together: save it again")
        model.held_out_ms_ = np.full(1, np.nan)
        return model

    def _member(self, name: str) -> Any:
        kind = registry.load("model", name)
        if kind is type(self) or not hasattr(kind, "module"):
            raise UsageError(f"models={tuple(self.models)}: {name} has no slope, so it cannot be blended; leave it out")
        known = kind().get_params()
        wanted = {"stages": self.stages, "steps": self.steps, "random_state": self.random_state}
        return kind(**{key: value for key, value in wanted.items() if key in known and value not in (None, ())})


def _shares(log_y: Array, log_p: Array, weight: Array) -> Array:
    """Return ``share (k,)``, positive with sum 1, for which ``log_p (n, k) @ share`` has the least absolute error."""
    n, k = log_p.shape
    cost = np.concatenate([np.zeros(k), weight])
    bounds = np.block([[log_p, -np.eye(n)], [-log_p, -np.eye(n)]])
    found = linprog(cost, A_ub=bounds, b_ub=np.concatenate([log_y, -log_y]), A_eq=[[1.0] * k + [0.0] * n], b_eq=[1.0])
    share = np.clip(found.x[:k], 0, None)
    return share / share.sum()


MODEL = BlendLatency
