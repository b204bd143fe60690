"""The Pareto front of candidates: those that no other beats in quality and cost at once; and the pick from it.

References:
    Lu et al., *NSGA-Net*, arXiv:1810.03522; Cheng et al., *ScaleNAS*, arXiv:2011.14584 (one search, a pick for every
    budget).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ..errors import TargetError, UsageError
from ..spaces.architecture import Architecture
from ..spaces.space import SearchSpace
from .deriver import as_scores, derive, score
from .law import Law
from .objective import CostTerm

_DRAWN = 256  # architectures of a law among which a front is looked for
_SEED = 0


def front(quality: ArrayLike, cost: ArrayLike) -> NDArray[np.intp]:
    """Return the places of the front, by rising cost and quality; of equal candidates the first.

    Args:
        quality: ``(n,)``, more is better.
        cost: ``(n,)``, less is better.
    """
    better, dearer = np.asarray(quality, float), np.asarray(cost, float)
    order = np.lexsort((-better, dearer))
    best = np.maximum.accumulate(better[order])
    return order[np.r_[True, best[1:] > best[:-1]]] if len(order) else order


def pick(quality: ArrayLike, cost: ArrayLike, budget: float) -> int:
    """Return the place of the best quality within a budget; of equal ones the cheapest.

    >>> pick([0.7, 0.9, 0.8], [1.0, 3.0, 2.0], 2.5)
    2

    Args:
        quality: ``(n,)``, more is better.
        cost: ``(n,)``, less is better.
        budget: the most that may be spent.

    Raises:
        TargetError: every candidate costs more; the message says the least.
    """
    places, dearer = front(quality, cost), np.asarray(cost, float)
    fitting = places[dearer[places] <= budget]
    if not len(fitting):
        least = f", the cheapest {dearer.min():.4g}" if dearer.size else ""
        raise TargetError(
            f"none of {dearer.size} candidates is within {budget:.4g}{least}; ask for at least that, or for more"
        )
    return int(fitting[-1])


def front_pick(law: Law, space: SearchSpace, term: CostTerm) -> Architecture:
    """Return, of what a law derives and samples, the highest score within the form's target: a deriver.

    Raises:
        UsageError: the form has no target, or learns from what is derived.
        TargetError: no candidate is within it.
    """
    form = term.form
    if form.aim_ms is None:
        raise UsageError(f"{type(form).__name__} has no target to pick within; derive by score")
    if form.learns:
        raise UsageError(
            f"{type(form).__name__} learns from what is derived, and a pick is always within it; derive by score"
        )
    drawn = law.sample(_DRAWN, torch.Generator().manual_seed(_SEED))
    rows = torch.cat([drawn[site.name] for site in space.sites], dim=1).numpy()
    sampled = [a for a in space.decode(rows) if space.is_connected(a)]
    candidates = list(dict.fromkeys([derive(law, space), *sampled]))
    scores = as_scores(law.scores())
    with torch.no_grad():
        cost_ms = term.model(space.gates(candidates)).double().numpy()
    return candidates[pick([score(scores, a) for a in candidates], cost_ms, form.aim_ms)]
