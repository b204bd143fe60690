"""Topology learnt by itself: a distribution over the sets of in-edges of a node, beside one over operations.

References:
    Gu et al., *DOTS*, arXiv:2010.00969; Huang et al., *TopoNAS*, arXiv:2011.09300.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import torch
from torch import Tensor, nn

from ...arguments import NonNegative
from ...spaces.architecture import Architecture
from ...spaces.space import SearchSpace
from ..law import Gates, gumbel, one_hot
from ..need import CELLS, Need
from .softmax import NEVER, Softmax

_MOST = 5  # in-edges of a node whose subsets are listed
_SURE = 1e-6  # how near to 0 and 1 the probability of an edge is told apart in scores


class Combination(Softmax):
    """``G_eo = t_e p_eo`` and ``G_e,none = 1 - t_e``, where ``t_e`` is the probability of the sets that hold edge e.

    A node keeps the number of edges that the space's rule says, or, without a rule, any number. A temperature above 1
    softens the sets only: topology is annealed from an open mind, operations are compared all the while.

    Args:
        space: whose nodes have in-edges that may be ``none``.
        generator: draws the first logits, of operations and of sets.
        noise: their standard deviation.
        empty: without a rule, whether a node may keep no edge at all.

    Raises:
        UsageError: the space has no nodes with in-edges, or too many of them at one.
    """

    needs = CELLS & Need(
        f"at most {_MOST} in-edges at a node, whose sets are listed, of nodes that are always there",
        lambda space: max(map(len, space.nodes), default=0) <= _MOST and not any(site.when for site in space.sites),
    )

    def __init__(
        self,
        space: SearchSpace,
        generator: torch.Generator | None = None,
        *,
        noise: NonNegative = 1e-3,
        empty: bool = True,
    ) -> None:
        super().__init__(space, generator, noise=noise)
        index = {name: i for i, name in enumerate(self.names)}
        keep = {rule.sites: rule.keep for rule in space.rules}
        sets = [list(_sets(len(node), keep.get(node), empty=empty)) for node in space.nodes]
        self.space = space
        self.settings = {**self.settings, "empty": empty}
        self._holds = torch.zeros(len(sets), max(map(len, sets)), len(self.names))  # (nodes, sets, sites)
        self._missing = torch.ones(self._holds.shape[:2], dtype=torch.bool)
        for n, (node, subsets) in enumerate(zip(space.nodes, sets, strict=True)):
            for place, subset in enumerate(subsets):
                self._missing[n, place] = False
                self._holds[n, place, [index[node[edge]] for edge in subset]] = 1.0
        edges = [index[name] for node in space.nodes for name in node]
        for i in edges:
            self._none[i, space.sites[i].options.index("none")] = True
        self._edge = torch.zeros(len(self.names), dtype=torch.bool)
        self._edge[edges] = True
        self.sets = nn.Parameter(noise * torch.randn(self._missing.shape, generator=generator))

    def draw(self, generator: torch.Generator, *, tau: float) -> Gates:
        return self._mixture(tau)

    def marginals(self) -> Gates:
        return self._mixture(1.0)

    def sample(self, n: int, generator: torch.Generator) -> Gates:
        with torch.no_grad():
            live, sets = self._live(), self._all_sets()
            choice = (live + gumbel((n, *live.shape), generator, live.dtype)).argmax(dim=-1)
            place = (sets + gumbel((n, *sets.shape), generator, sets.dtype)).argmax(dim=-1)  # (n, nodes)
            return self._gates(one_hot(self._dropped(choice, place), live))

    def best(self) -> Architecture:
        """Return the architecture of the most probable set of every node and its most probable operations.

        The most probable set need not be that of the most probable edges.
        """
        with torch.no_grad():
            chosen = self._dropped(self._live().argmax(dim=-1)[None], self._all_sets().argmax(dim=-1)[None])
            return self.space.architecture(chosen[0].tolist())

    def entropy(self) -> Tensor:
        found = self.sets.new_zeros(())
        for logits in (self._live(), self._all_sets()):
            log_p = torch.log_softmax(logits, dim=-1)
            found = found - (log_p.exp() * log_p).sum()
        return found

    def scores(self) -> Tensor:
        with torch.no_grad():
            kept = self.kept().clamp(_SURE, 1 - _SURE)
            log_p = torch.log_softmax(self._live(), dim=-1) + torch.where(self._edge, kept.logit(), 0.0)[:, None]
            return log_p.masked_fill(self._none, 0.0).masked_fill(self._absent, -torch.inf)

    def kept(self, tau: float = 1.0) -> Tensor:
        """Return ``(sites,)`` the probability that each edge is kept, 1 at sites that are no edges."""
        probability = torch.softmax(self._all_sets() / tau, dim=-1)
        held = (probability[..., None] * self._holds.to(probability)).sum(dim=(0, 1))
        return torch.where(self._edge, held, 1.0)

    def empty(self) -> Tensor:
        """Return ``(nodes,)`` the probability that each node keeps no edge."""
        bare = (self._holds.sum(dim=-1) == 0) & ~self._missing
        return (torch.softmax(self._all_sets(), dim=-1) * bare).sum(dim=-1)

    def _mixture(self, tau: float) -> Gates:
        kept = self.kept(tau)[:, None]
        rows = kept * torch.softmax(self._live() / min(tau, 1.0), dim=-1)
        return self._gates(torch.where(self._none, 1 - kept, rows))

    def _all_sets(self) -> Tensor:
        return self.sets.masked_fill(self._missing, NEVER)

    def _dropped(self, choice: Tensor, place: Tensor) -> Tensor:
        """Return choices ``(n, sites)`` with ``none`` on the edges outside the sets ``(n, nodes)``."""
        held = self._holds[torch.arange(len(self._holds)), place].sum(dim=1).bool()
        return torch.where(self._edge & ~held, self._none.long().argmax(dim=-1), choice)


def _sets(edges: int, keep: int | None, *, empty: bool) -> Iterator[tuple[int, ...]]:
    for size in [keep] if keep is not None else range(0 if empty else 1, edges + 1):
        yield from combinations(range(edges), size)


LAW = Combination
