"""Evolution whose children take whole modules from another parent, and flip what is taken or left.

Who stays is peeled off: the front of cost and score first, then the front of what is left, and so on; of one that there
is no room for, the best scores (the authors' code keeps its cheapest). Each of them has one child: a share of its
modules is replaced by those of another, and each of its parts flips with a probability. Depths come by modules alone.
No child predicted above the target is asked about.

References:
    Cheng et al., *ScaleNAS*, arXiv:2011.14584.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ...errors import UsageError
from ...metric import Metric
from ...spaces.architecture import Architecture
from ...spaces.space import SearchSpace
from ..front import front
from ..need import is_part
from ..neighbourhood import crossed
from ..queries import Queries
from ..trace import Query

_TRIES = 50  # for a child that may be asked about
_FRESH = 3  # the first of so many queries is random


@dataclass(frozen=True)
class ModuleEvolution:
    """Evolution by modules.

    Attributes:
        queries: networks whose score is asked for, where the problem does not say how many.
        population: networks that have a child.
        share: Share of modules that a child takes from the other parent.
        rate: Rate of mutation: how likely a part flips.
    """

    queries: int = 200
    population: int = 20
    share: float = 0.25
    rate: float = 0.2

    def __post_init__(self) -> None:
        if self.population < 2:
            raise UsageError(f"population={self.population}; allowed: from 2")

    def ask(self, queries: Queries) -> None:
        """Use up the queries, or end where no network is left to ask about."""
        rng, metric = np.random.default_rng(queries.problem.seed), queries.problem.task.metric
        fresh = queries.draws(rng)
        queries.ask(islice(fresh, max(self.population, queries.budget // _FRESH)))
        while queries.left and queries.known:
            alive = peeled(list(queries.known.values()), metric)[: self.population]
            children: dict[Architecture, None] = {}
            for parent in alive:
                child = self._child(queries, parent.architecture, alive, rng)
                if child is not None:
                    children.setdefault(child)
            if not children:
                stranger = next((each for each in fresh if queries.is_new(each)), None)
                if stranger is None:
                    return
                children.setdefault(stranger)
            queries.ask(children)

    def _child(
        self, queries: Queries, parent: Architecture, alive: Sequence[Query], rng: np.random.Generator
    ) -> Architecture | None:
        """Return a child that may be asked about, or None where many in a row may not."""
        space = queries.problem.space
        for _ in range(_TRIES):
            other = alive[int(rng.integers(len(alive)))].architecture
            child = flipped(space, crossed(space, parent, other, rng, share=self.share, modules=True), rng, self.rate)
            if queries.may_ask(child):
                return child
        return None


def flipped(space: SearchSpace, parent: Architecture, rng: np.random.Generator, rate: float) -> Architecture:
    """Return an architecture in which each part is taken or left otherwise with a probability."""
    flips = rng.random(len(space.sites)) < rate
    changes = {
        i: 1 - parent.choices[i]
        for i, site in enumerate(space.sites)
        if flips[i] and is_part(site) and parent.choices[i] >= 0
    }
    return space.changed(parent, changes)


def peeled(queries: Sequence[Query], metric: Metric) -> list[Query]:
    """Return networks by fronts, each by falling score and predicted latency."""
    left, order = list(queries), list[Query]()
    while left:
        places = front([metric.merit(query.score) for query in left], [query.predicted_ms for query in left]).tolist()
        order += [left[i] for i in reversed(places)]
        left = [query for i, query in enumerate(left) if i not in set(places)]
    return order
