"""Which networks of a space are timed.

A campaign may grow: the first 300 networks of a campaign of 500 are the campaign of 300, blind duplicates included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..errors import UsageError
from ..predictor.design import d_optimal
from ..spaces.architecture import Architecture
from ..spaces.canonical import canonical
from ..spaces.space import SearchSpace

MAX_ENUMERATED_LOG10 = 6
DESIGN_POOL = 2000  # candidates that a design chooses from
POOL = 64  # candidates from which a stratified pick takes the extreme one


def choose(space: SearchSpace, count: int, *, seed: int, stratified: float = 0.1) -> list[Architecture]:
    """Return ``count`` different architectures; a larger count begins with the smaller one.

    Args:
        space: where they come from.
        count: how many.
        seed: Seed of the choice.
        stratified: share that is not drawn uniformly but as the most extreme of 64 in a random direction of the
            composition (how many sites take each option): the lightest and heaviest networks, that uniform draws
            hardly ever meet.

    Raises:
        UsageError: the space has fewer, or the share is not within [0, 1].
    """
    if not 0 <= stratified <= 1:
        raise UsageError(f"stratified={stratified!r}; allowed: from 0 to 1")
    uniform = iter(space.sample(count, np.random.default_rng([seed, 1])))
    extremes = _extremes(space, np.random.default_rng([seed, 2]))
    found: dict[Architecture, None] = {}
    for position in range(count):
        pick = next(extremes) if int((position + 1) * stratified) > int(position * stratified) else None
        while pick is None or pick in found:
            pick = next(uniform)
        found[pick] = None
    return list(found)


def distinct(space: SearchSpace, progress: Callable[[int], None] | None = None) -> list[Architecture]:
    """Return one architecture for every different network of a space, in random order that never changes.

    Architectures are the same network if one becomes the other by renaming nodes, once identities, zeros and dead
    branches are gone and equal work on equal inputs is done once; see `spaces.canonical`.

    Args:
        space: it must be small enough to enumerate.
        progress: called with how many architectures were looked at.

    Raises:
        UsageError: the space is too large.
    """
    if space.size_log10 > MAX_ENUMERATED_LOG10:
        raise UsageError(
            f"{space.spec} has about 10^{space.size_log10:.0f} architectures, too many to go through (up to "
            f"10^{MAX_ENUMERATED_LOG10:g}); give a number of networks instead"
        )
    found: dict[str, Architecture] = {}
    for number, architecture in enumerate(space.enumerate()):
        found.setdefault(canonical(space.network_graph(architecture)), architecture)
        if progress is not None and number % 100 == 99:
            progress(number + 1)
    kept = list(found.values())
    return [kept[i] for i in np.random.default_rng(0).permutation(len(kept))]


def choose_by_design(space: SearchSpace, count: int, *, seed: int) -> list[Architecture]:
    """Return ``count`` architectures, a D-optimal design in the counts of their options; see `choose` for the rest."""
    most = min(max(DESIGN_POOL, 2 * count), int(10 ** min(space.size_log10, 9) + 0.5))
    candidates = space.sample(max(most, count), np.random.default_rng([seed, 3]))
    counts = space.counts(candidates)
    rows = d_optimal(counts, count, np.random.default_rng([seed, 4]))
    return [candidates[row] for row in rows]


def _extremes(space: SearchSpace, rng: np.random.Generator) -> Iterator[Architecture]:
    options = sorted({option for site in space.sites for option in site.options})
    table = [[options.index(option) for option in site.options] for site in space.sites]
    pool = POOL if space.size_log10 > np.log10(4 * POOL) else 1
    while True:
        candidates = space.sample(pool, rng)
        counts = np.zeros((pool, len(options)))
        for row, candidate in zip(counts, candidates, strict=True):
            taken = zip(table, candidate.choices, strict=True)
            np.add.at(row, [site[choice] for site, choice in taken if choice >= 0], 1)
        yield candidates[int(np.argmax(counts @ rng.standard_normal(len(options))))]
