"""The best architecture within a budget, as a linear programme over options.

With a variable per option, "its site decides something and takes it", scores and costs that add up over options are
linear, and so are the rules and what depends on what. So the programme is exact for routes and depths too, where a
cost in terms of probabilities is a product.

References:
    Nayman et al., *HardCoRe-NAS*, arXiv:2102.11646 (the programme); Cheng et al., *SwiftNet*, arXiv:1906.08305
    (pruning).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from ..errors import TargetError, UsageError
from ..spaces.architecture import Architecture
from ..spaces.space import SearchSpace
from .budget import Budget, Rows
from .cost import CostModel, TableCost, WeightedSum
from .deriver import Scores, as_scores
from .law import Law
from .objective import CostTerm

Costs = Mapping[tuple[str, int], float]  # by site and index of the option, as ``Circuit.linear`` gives them

_WORST = -1e4  # stands for the score of an option that is never taken: a solver wants finite numbers
_TRACE = 1e-6  # a solver's zero
_CUTS = 200  # architectures without a path from input to output that are excluded one by one


def project(scores: Scores, space: SearchSpace, costs: Costs, budget: float) -> Architecture:
    """Return the architecture of the highest score whose cost is within the budget, exactly.

    Args:
        scores: ``(sites, K)``, as ``Law.scores``.
        space: Space of the architectures.
        costs: Costs of every option; what is missing costs nothing.
        budget: for the sum of the costs, what is always there taken off.

    Raises:
        TargetError: no architecture is within the budget; the message says the least cost.
    """
    columns = {(s.name, i): n for n, (s, i) in enumerate((s, i) for s in space.sites for i in range(len(s.options)))}
    cost = np.zeros(len(columns))
    for option, value in costs.items():
        cost[columns[option]] = value
    gain = np.concatenate([np.maximum(row[:k], _WORST) for row, k in zip(scores, space.widths, strict=True)])
    constraints = [*_structure(space, columns), LinearConstraint(cost[None], -np.inf, budget)]
    for _ in range(_CUTS):
        taken = _solve(-gain, constraints)
        if taken is None:
            least = _solve(cost, constraints[:-1])  # of those not excluded for want of a path
            says = "" if least is None else f"; the least is {float(cost @ least):.4g}"
            raise TargetError(
                f"no architecture of {space.spec} costs at most {budget:.4g}{says}; ask for at least that"
            )
        (architecture,) = space.decode(taken[None])
        if space.is_connected(architecture):
            return architecture
        constraints.insert(0, LinearConstraint(taken[None], -np.inf, taken.sum() - 1))
    raise TargetError(f"the {_CUTS} best networks within {budget:.4g} have no path from input to output; ask for more")


def within_target(law: Law, space: SearchSpace, term: CostTerm) -> Architecture:
    """Return an architecture of the highest score within the form's budget: a deriver.

    Where the cost adds up over options, the best there is; else by :func:`round_down`.

    Raises:
        UsageError: the form has no budget, the cost is a predictor's, or it multiplies choices where rules tie sites.
        TargetError: nothing is within it.
    """
    budget_ms, scores = term.form.budget_ms, as_scores(law.scores())
    if budget_ms is None:
        raise UsageError(f"{type(term.form).__name__} has no budget to project onto; derive by score")
    try:
        constant, costs = _linear(term.model)
    except UsageError:
        if space.rules:
            raise UsageError(
                f"{space.spec} ties sites together by rules, and its cost multiplies choices: no linear programme "
                "knows both; derive by score, and let repair meet the target"
            ) from None
        budget = Budget(space, term.model, budget_ms)
        rows = [row.detach().double().numpy() for row in law.marginals().values()]
        return round_down(scores, budget.inside(rows), budget)
    return project(scores, space, costs, budget_ms - constant)


def round_down(scores: Scores, rows: Rows, budget: Budget) -> Architecture:
    """Return an architecture of high score within the budget, where the cost multiplies choices.

    Block by block the linear programme is solved with the other blocks held, and the site that is left between two
    options takes the cheaper, until a round changes nothing. Of a cost that adds up over options, :func:`project` finds
    the best.

    Args:
        scores: ``(sites, K)``, as ``Law.scores``.
        rows: the distributions to begin with, within the budget.
        budget: the set to stay in.
    """
    gradient = [-np.maximum(row[: len(own)], _WORST) for row, own in zip(scores, rows, strict=True)]
    current, last = list(rows), None
    while last is None or any((a != b).any() for a, b in zip(current, last, strict=True)):
        last = current
        for block in budget.blocks:
            best = budget.vertex(current, gradient, block) or current
            _, slopes = budget.slopes(best)
            rounded = [_cheaper(row, slopes[i]) if i in block else row for i, row in enumerate(best)]
            if not _is_one_hot(current, block) or _gain(rounded, gradient) <= _gain(current, gradient):
                current = rounded
    return budget.space.architecture(int(row.argmax()) for row in current)


def prune(
    start: Architecture,
    weights: Mapping[str, float],
    space: SearchSpace,
    cost: Callable[[Architecture], float],
    budget: float,
) -> Architecture:
    """Drop edges by rising weight until the budget is met; an edge that the output hangs on stays.

    One that would leave others dead waits until these are gone, so that every step is one edge. A smaller budget gives
    a part of what a larger one gives.

    Args:
        start: the architecture to begin with.
        weights: Weights of the sites that may become ``none``.
        space: without rules on how many edges are kept.
        cost: Cost of an architecture.
        budget: for that cost.

    Raises:
        UsageError: the space says how many edges are kept, or a site has no ``none``.
        TargetError: the budget is not met when no edge can be dropped any more.
    """
    if space.rules:
        raise UsageError(f"{space.name} says how many edges a node keeps; prune in a space that does not")
    index = {site.name: i for i, site in enumerate(space.sites)}
    lacking = [name for name in weights if "none" not in space.sites[index[name]].options]
    if lacking:
        raise UsageError(f"sites {', '.join(lacking)} cannot be none; weigh others")
    none = {index[name]: space.sites[index[name]].options.index("none") for name in weights}
    order = [index[name] for name in sorted(weights, key=lambda name: weights[name])]
    current = start
    while cost(current) > budget:
        on = (i for i in order if current.choices[i] not in (none[i], -1))
        changed = ((i, space.changed(current, {i: none[i]})) for i in on)
        lighter = next((each for i, each in changed if _is_one_less(space, current, each, i)), None)
        if lighter is None:
            raise TargetError(f"{cost(current):.4g} is left when no edge can be dropped; the budget is {budget:.4g}")
        current = lighter
    return current


def _is_one_less(space: SearchSpace, one: Architecture, other: Architecture, site: int) -> bool:
    """Return whether another architecture differs at one site alone, and still connects input and output."""
    differing = [i for i, pair in enumerate(zip(one.choices, other.choices, strict=True)) if pair[0] != pair[1]]
    return differing == [site] and space.is_connected(other)


def _linear(model: CostModel) -> tuple[float, Costs]:
    """Return a cost as a constant and what each option adds.

    Raises:
        UsageError: it is no such sum.
    """
    if isinstance(model, TableCost):
        return model.circuit.linear(model.table)
    if not isinstance(model, WeightedSum):
        raise UsageError(f"{type(model).__name__} is no sum over options; use a table")
    constant, found = model.constant_ms, dict[tuple[str, int], float]()
    for weight, part in model.terms:
        fixed, costs = _linear(part)
        constant += weight * fixed
        for option, cost in costs.items():
            found[option] = found.get(option, 0.0) + weight * cost
    return constant, found


def _cheaper(row: NDArray[np.float64], slope: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the one-hot of the cheapest option that a row has some of."""
    return np.eye(len(row))[np.where(row > _TRACE, slope, np.inf).argmin()]


def _is_one_hot(rows: Rows, block: Sequence[int]) -> bool:
    """Return whether the rows of a block are each at one option."""
    return all((rows[i] == 1).any() for i in block)


def _gain(rows: Rows, gradient: Rows) -> float:
    return sum(float(row @ slope) for row, slope in zip(rows, gradient, strict=True))


def _structure(space: SearchSpace, columns: Mapping[tuple[str, int], int]) -> list[LinearConstraint]:
    """Return: a site takes one option if it decides something, else none; rules keep so many edges."""
    rows: list[NDArray[np.float64]] = []
    right: list[float] = []
    for site in space.sites:
        row = np.zeros(len(columns))
        row[[columns[site.name, i] for i in range(len(site.options))]] = 1.0
        row[[columns[option] for option in site.when]] = -1.0
        rows.append(row)
        right.append(0.0 if site.when else 1.0)
    options, whens = ({site.name: getattr(site, what) for site in space.sites} for what in ("options", "when"))
    for rule in space.rules:
        row = np.zeros(len(columns))
        row[[columns[name, options[name].index(rule.none)] for name in rule.sites]] = 1.0
        left, when = float(len(rule.sites) - rule.keep), whens[rule.sites[0]]
        row[[columns[option] for option in when]] = -left
        rows.append(row)
        right.append(0.0 if when else left)
    bounds: Any = np.array(right)  # the stub knows single bounds only
    return [LinearConstraint(np.array(rows), bounds, bounds)]


def _solve(objective: NDArray[np.float64], constraints: list[LinearConstraint]) -> NDArray[np.float64] | None:
    found = milp(objective, constraints=constraints, integrality=np.ones(len(objective)), bounds=Bounds(0, 1))
    return None if found.x is None else np.round(found.x)
