"""From a law to one architecture: the one with the highest score that the space allows.

Where sites depend on others it is found from the last site back, as Viterbi finds a route. Under a ``KeepInputs`` rule
these are DARTS' top edges: per edge the best operation that is not ``none``, and of a node's edges the ``keep``
strongest. At free sites it is the most probable choice, unless that cuts the input off from the output (NAS-Bench-201
allows ``none`` everywhere): then the most probable choice that does not.

References:
    Liu et al., *DARTS*, arXiv:1806.09055; Fang et al., *DenseNAS*, arXiv:1906.09607 (routes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..errors import TargetError, UsageError
from ..spaces.architecture import Architecture, KeepInputs
from ..spaces.space import SearchSpace
from .law import Law
from .laws.combination import Combination
from .objective import CostTerm

Scores = NDArray[np.float64]
Deriver = Callable[[Law, SearchSpace, CostTerm], Architecture]

_TRIES = 20_000  # architectures looked at for one that is connected
_BARREN = 1000  # draws without one


def derive(law: Law, space: SearchSpace, term: CostTerm | None = None) -> Architecture:
    """Return the architecture of the highest score among those that connect input and output; the cost plays no part.

    Raises:
        TargetError: none of the first 20,000 architectures by score is connected.
    """
    scores = as_scores(law.scores())
    for architecture in islice(ranked(scores, space), _TRIES):
        if space.is_connected(architecture):
            return architecture
    raise TargetError(
        f"the {_TRIES} most probable networks of {space.spec} have no path from input to output; "
        "search with more warm-up epochs or a smaller latency weight"
    )


def argmax_combination(law: Law, space: SearchSpace, term: CostTerm | None = None) -> Architecture:
    """Return the most probable set of edges of every node with their best operations, which need not be the best edges.

    Where these do not connect input and output, what :func:`derive` gives.

    Raises:
        UsageError: the law is not one over sets of edges.
    """
    if not isinstance(law, Combination):
        raise UsageError(f"{type(law).__name__} knows no sets of edges; use the law combination")
    best = law.best()
    return best if space.is_connected(best) else derive(law, space)


def as_scores(scores: Tensor) -> Scores:
    """Return a law's scores ``(sites, K)`` as an array."""
    return scores.detach().cpu().double().numpy()


def score(scores: Scores, architecture: Architecture) -> float:
    """Return an architecture's score, the sum over what it decides; at free sites their log-probability."""
    choices = np.array(architecture.choices)
    return float(scores[np.arange(len(scores)), choices][choices >= 0].sum())


def network_scores(scores: Scores, space: SearchSpace, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
    """Return the scores ``(n,)`` of what is computed: what lies on no path counts as if it were ``none``.

    So no walk sets an edge that leads nowhere to what the law likes, and takes that for a better network.
    """
    flat = np.concatenate([row[:width] for row, width in zip(scores, space.widths, strict=True)])
    return space.pruned.encode(space, architectures).astype(np.float64) @ flat


def viterbi(scores: Scores, space: SearchSpace) -> Architecture:
    """Return the architecture of the highest score where sites depend on others.

    From the last site back, the score of an option is its own and the best of all that it decides about; the sites
    under a rule are settled together.
    """
    index = {site.name: i for i, site in enumerate(space.sites)}
    total, best = scores.copy(), dict[int, int]()
    for rule, sites in reversed(_together(space)):
        choices, value = _settled(total, space, rule, sites)
        best |= choices
        for name, option in space.sites[sites[0]].when:
            total[index[name], option] += value
    return space.architecture(best[i] for i in range(len(space.sites)))


def _together(space: SearchSpace) -> list[tuple[KeepInputs | None, tuple[int, ...]]]:
    """Return the sites, by index, each alone or all under one rule, where the first of them stands."""
    index = {site.name: i for i, site in enumerate(space.sites)}
    ruled = {name: rule for rule in space.rules for name in rule.sites}
    found: list[tuple[KeepInputs | None, tuple[int, ...]]] = []
    for i, site in enumerate(space.sites):
        rule = ruled.get(site.name)
        if rule is None:
            found.append((None, (i,)))
        elif site.name == rule.sites[0]:
            found.append((rule, tuple(index[name] for name in rule.sites)))
    return found


def _settled(
    scores: Scores, space: SearchSpace, rule: KeepInputs | None, sites: Sequence[int]
) -> tuple[dict[int, int], float]:
    """Return the best options of sites that stand together, by site, and their score."""
    if rule is None:
        row = scores[sites[0], : space.widths[sites[0]]]
        return {sites[0]: int(row.argmax())}, float(row.max())
    none = space.sites[sites[0]].options.index(rule.none)
    live = {i: np.where(np.arange(scores.shape[1]) == none, -np.inf, scores[i]) for i in sites}
    kept = sorted(live, key=lambda site: -live[site].max())[: rule.keep]
    value = float(sum(live[i].max() for i in kept))
    return {i: int(row.argmax()) if i in kept else none for i, row in live.items()}, value


def draws(scores: Scores, space: SearchSpace, rng: np.random.Generator) -> Iterator[Architecture]:
    """Yield random architectures that connect input and output, drawn by the Gumbel-max trick.

    Each is the best of the scores with Gumbel noise. Where sites depend on others each is drawn by itself: noise that
    is summed along a route has its maximum on the longest one. It ends where none of 1,000 is connected.
    """
    routes, barren = any(site.when for site in space.sites), 0
    while barren < _BARREN:
        noisy = scores + rng.gumbel(size=scores.shape)
        drawn = _apart(noisy, space) if routes else next(ranked(noisy, space))
        connected = space.is_connected(drawn)
        barren = 0 if connected else barren + 1
        if connected:
            yield drawn


def _apart(scores: Scores, space: SearchSpace) -> Architecture:
    """Return the architecture of the best options at every site by itself, or at the sites under one rule."""
    best: dict[int, int] = {}
    for rule, sites in _together(space):
        best |= _settled(scores, space, rule, sites)[0]
    return space.architecture(best[i] for i in range(len(space.sites)))


def ranked(scores: Scores, space: SearchSpace) -> Iterator[Architecture]:
    """Yield architectures by falling score: the sites under a rule at their best, the free ones from best to worst.

    Where sites depend on others, the best only.
    """
    if any(site.when for site in space.sites):
        yield viterbi(scores, space)
        return
    best, together = [0] * len(space.sites), _together(space)
    for rule, sites in together:
        for i, option in _settled(scores, space, rule, sites)[0].items():
            best[i] = option
    free = [sites[0] for rule, sites in together if rule is None]
    orders = [np.argsort(-scores[i, : space.widths[i]], kind="stable") for i in free]
    for places in _best_first([scores[i, order] for i, order in zip(free, orders, strict=True)]):
        for i, order, place in zip(free, orders, places, strict=True):
            best[i] = int(order[place])
        found = space.architecture(best)
        if found.choices == tuple(best):  # else it stands for another, which comes with a score of its own
            yield found


def _best_first(rows: list[NDArray[np.float64]]) -> Iterator[tuple[int, ...]]:
    """Yield places into rows of falling values, by falling sum; every combination once."""
    start = (0,) * len(rows)
    heap: list[tuple[float, tuple[int, ...], int]] = [(0.0, start, 0)]
    while heap:
        lost, places, first = heappop(heap)
        yield places
        for site in range(first, len(rows)):  # only from the last site moved on: no combination is reached twice
            place = places[site] + 1
            if place < len(rows[site]):
                step = float(rows[site][place - 1] - rows[site][place])
                heappush(heap, (lost + step, (*places[:site], place, *places[site + 1 :]), site))
