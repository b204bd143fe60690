"""Small changes of an architecture, and walks made of them: what feasibility and repair are built on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ..spaces.architecture import Architecture, KeepInputs
from ..spaces.space import SearchSpace
from .deriver import Scores, network_scores

Predict = Callable[[Sequence[Architecture]], NDArray[np.float64]]  # (n,) ms

_CHUNK = 256
_BARREN = 20_000  # uniform draws without a network within the budget, before draws are walked down to it
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
        lost = lost_by(space, current, near, scores)
        saving = sign * (latency_ms - predicted)
        usable = np.flatnonzero((saving > 0) & (predicted <= limit_ms))
        rate = np.where(np.abs(lost) < _NO_LOSS, 0.0, lost)[usable] / saving[usable]
        order = usable[np.lexsort((-saving[usable], rate))]
        step = next((i for i in order if space.is_connected(near[i])), None)
        if step is None:
            return
        current, latency_ms = near[step], float(predicted[step])


def lost_by(
    space: SearchSpace, current: Architecture, others: Sequence[Architecture], scores: Scores
) -> NDArray[np.float64]:
    """Return what score each of other architectures ``(n,)`` has less than the current one."""
    own, *rest = network_scores(scores, space, [current, *others])
    return own - np.array(rest)


def within(
    space: SearchSpace, predict: Predict, limit_ms: float, rng: np.random.Generator
) -> Iterator[tuple[Architecture, float]]:
    """Yield different random networks with their predicted latency, none above a limit; ends when it finds no more.

    They are uniform among those within the limit. Where 20,000 draws held none, 20 draws are walked down to it.
    """
    size, seen, barren = round(10 ** min(space.size_log10, 9)), set[Architecture](), 0
    while len(seen) < size and barren < _BARREN:
        sample = space.sample(min(_CHUNK, size), rng)
        barren += len(sample)
        for architecture, predicted_ms in zip(sample, predict(sample).tolist(), strict=True):
            if architecture not in seen and predicted_ms <= limit_ms and space.is_connected(architecture):
                barren = 0
                yield architecture, predicted_ms
            seen.add(architecture)
    flat = np.zeros((len(space.sites), max(space.widths)))
    for start in space.sample(min(20, size), rng):
        if space.is_connected(start):
            for architecture, predicted_ms in descend(space, start, predict, flat):
                if predicted_ms <= limit_ms and architecture not in seen:
                    seen.add(architecture)
                    yield architecture, predicted_ms
                    break


def mutated(
    space: SearchSpace, parent: Architecture, rng: np.random.Generator, *, rate: float | None = None
) -> Architecture:
    """Return a random single change, or with a rate a fresh draw at every site with that probability.

    A site under a rule keeps or changes all sites of its rule together, so that the rule holds.
    """
    if rate is None:
        near = neighbours(space, parent)
        return near[int(rng.integers(len(near)))]
    (fresh,) = space.sample(1, rng)
    return _mixed(space, parent, fresh, rate, rng)


def crossed(
    space: SearchSpace,
    one: Architecture,
    other: Architecture,
    rng: np.random.Generator,
    *,
    share: float = 0.5,
    modules: bool = False,
) -> Architecture:
    """Return a child that takes each site from either parent; sites under one rule come from the same.

    Args:
        space: Space of both parents.
        one: parent, of whom the child has what is not from the other.
        other: parent.
        rng: decides.
        share: Share of sites from the other parent, or of modules.
        modules: whether all sites whose names begin alike, up to the first ``/``, come from the same.
    """
    together = {site.name: site.name.partition("/")[0] for site in space.sites} if modules else {}
    return _mixed(space, one, other, share, rng, together)


def _mixed(
    space: SearchSpace,
    one: Architecture,
    other: Architecture,
    share: float,
    rng: np.random.Generator,
    together: Mapping[str, str] = MappingProxyType({}),
) -> Architecture:
    """Return an architecture with a share of its sites, by groups under a rule or given, from the other."""
    group = together or {name: rule.sites[0] for rule in space.rules for name in rule.sites}
    taken = {name: rng.random() < share for name in dict.fromkeys(group.get(s.name, s.name) for s in space.sites)}
    pairs = zip(space.sites, one.choices, other.choices, strict=True)
    mixed = ((b if (taken[group.get(site.name, site.name)] and b >= 0) or a < 0 else a) for site, a, b in pairs)
    return space.architecture(max(choice, 0) for choice in mixed)  # a site that comes in anew takes its first option


def _unused(space: SearchSpace, rule: KeepInputs, architecture: Architecture) -> list[int]:
    names = set(rule.sites)
    return [
        i
        for i, site in enumerate(space.sites)
        if site.name in names and architecture.choices[i] == site.options.index(rule.none)
    ]
