"""Small changes of an architecture, and walks made of them: what feasibility and repair are built on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf

import numpy as np
from numpy.typing import NDArray

from ..spaces.architecture import Architecture, KeepInputs
from ..spaces.space import SearchSpace
from .deriver import Scores, is_connected, score

Predict = Callable[[Sequence[Architecture]], NDArray[np.float64]]  # (n,) ms

_NO_LOSS = 1e-6  # a change that costs no score: the largest saving goes first


def neighbours(space: SearchSpace, architecture: Architecture) -> list[Architecture]:
    """Return every architecture one change away.

    A change is another option at one site; under a rule it is another operation on a kept edge, or one kept edge
    given up for another, so that the rule still holds. Sites that come in with the change take their first option.
    """
    ruled = {name: rule for rule in space.rules for name in rule.sites}
    found: list[Architecture] = []
    for i, (site, width) in enumerate(zip(space.sites, space.widths, strict=True)):
        rule = ruled.get(site.name)
        none = site.options.index(rule.none) if rule else -1
        taken = architecture.choices[i]
        if taken in (none, -1):
            continue
        live = [option for option in range(width) if option != none]
        found += [space.changed(architecture, {i: option}) for option in live if option != taken]
        if rule:
            for j in _unused(space, rule, architecture):
                found += [space.changed(architecture, {i: none, j: option}) for option in live]
    return found


def descend(
    space: SearchSpace,
    start: Architecture,
    predict: Predict,
    scores: Scores,
    *,
    sign: int = 1,
    limit_ms: float = inf,
) -> Iterator[tuple[Architecture, float]]:
    """Yield ``(architecture, predicted_ms)`` along a greedy walk to lower latency, the start first.

    Each step is the single change that loses least score, or gains most, per predicted latency saved; among equals, the
    one that saves most.

    Args:
        space: to walk in; only networks that connect input and output are stepped on.
        start: first architecture.
        predict: latency in ms.
        scores: ``(sites, K)`` of the law; zeros for the steepest walk.
        sign: 1 to walk down, -1 to walk up.
        limit_ms: nothing above it is stepped on.
    """
    current, latency_ms = start, float(predict([start])[0])
    while True:
        yield current, latency_ms
        near = neighbours(space, current)
        predicted = predict(near)
        lost = score(scores, current) - np.array([score(scores, other) for other in near])
        saving = sign * (latency_ms - predicted)
        usable = np.flatnonzero((saving > 0) & (predicted <= limit_ms))
        rate = np.where(np.abs(lost) < _NO_LOSS, 0.0, lost)[usable] / saving[usable]
        order = usable[np.lexsort((-saving[usable], rate))]
        step = next((i for i in order if is_connected(space, near[i])), None)
        if step is None:
            return
        current, latency_ms = near[step], float(predicted[step])


def _unused(space: SearchSpace, rule: KeepInputs, architecture: Architecture) -> list[int]:
    names = set(rule.sites)
    return [
        i
        for i, site in enumerate(space.sites)
        if site.name in names and architecture.choices[i] == site.options.index(rule.none)
    ]
