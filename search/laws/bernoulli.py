"""The meta-graph: every edge of a graph has a probability, which answers move and no gradient does.

Masks are drawn by Gibbs sweeps. A sweep goes through the edges in random order and draws each given the others; an edge
whose change would leave a dead edge, one out of a node that nothing enters, stays as it is. In the long run this is the
law of independent edges, given that none is dead.

An answer moves the probabilities by how much better than usual it was, ``W += eta A (mask - W)``: the natural gradient
of the mean of independent edges. With ``spread`` an edge that is on passes a share of what it got to the edges on that
share a node with it, since nodes work in chains.

References:
    Cheng et al., *SwiftNet*, arXiv:1906.08305 (meta-graph, Gibbs sampling, propagation of weights; the paper gives no
    rule: update and propagation are ours).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...arguments import NonNegative
from ...errors import UsageError
from ...spaces.architecture import Architecture
from ...spaces.space import SearchSpace
from ..law import Gates, Law, one_hot
from ..need import EDGES

_SURE = 1e-6  # how near to 0 and 1 a probability is told apart in scores
_OPEN = 0.05  # probabilities are drawn from as if no surer than this, so that no edge is given up for good


class Bernoulli(Law):
    """A probability for every edge; nothing that a gradient moves.

    Args:
        space: whose sites are edges of a graph, each of them or none.
        generator: draws the first probabilities.
        noise: standard deviation of their logits; with 0 all are 1/2.
        eta: step of :meth:`learn`.
        spread: share that an edge passes on, from 0 to 1.

    Attributes:
        weights: ``(sites,)`` probabilities of the edges.
        mask: ``(sites,)`` the mask that the last sweep ended with, of 0 and 1.

    Raises:
        UsageError: the sites are no edges of a graph, or a step or share is out of range.
    """

    needs = EDGES
    weights: Tensor
    mask: Tensor

    def __init__(
        self,
        space: SearchSpace,
        generator: torch.Generator | None = None,
        *,
        noise: NonNegative = 0.0,
        eta: float = 0.1,
        spread: float = 0.0,
    ) -> None:
        super().__init__(space)
        if not eta > 0 or not 0 <= spread <= 1:
            raise UsageError(f"eta={eta}, spread={spread}; allowed: a step above 0, a share from 0 to 1")
        self.space, self.eta, self.spread = space, eta, spread
        self.names = tuple(site.name for site in space.sites)
        self._none = torch.tensor([site.options.index("none") for site in space.sites])
        self.register_buffer("weights", torch.sigmoid(noise * torch.randn(len(self.names), generator=generator)))
        self.register_buffer("mask", torch.zeros(len(self.names), dtype=torch.long))
        ends = torch.tensor(space.edges)
        shared = (ends[:, None, :, None] == ends[None, :, None, :]).any(dim=-1).any(dim=-1)
        self._touching = (shared & ~torch.eye(len(ends), dtype=torch.bool)).float()

    def sweep(self, generator: torch.Generator) -> Architecture:
        """Draw every edge once, in random order, given the others; return the architecture of the mask."""
        mask = self.mask.tolist()
        chance = self.weights.clamp(_OPEN, 1 - _OPEN).tolist()
        uniform = torch.rand(len(mask), generator=generator).tolist()
        for edge in torch.randperm(len(mask), generator=generator).tolist():
            other = [*mask[:edge], 1 - mask[edge], *mask[edge + 1 :]]
            if self._is_clean(other):
                mask[edge] = int(uniform[edge] < chance[edge])
        self.mask.copy_(torch.tensor(mask))
        return self.architecture(mask)

    def learn(self, architecture: Architecture, advantage: float) -> None:
        """Move the probabilities along an answer that was ``advantage`` better than usual."""
        mask = self.mask_of(architecture).to(self.weights)
        step = self.eta * advantage * (mask - self.weights)
        neighbours = self._touching * mask[:, None] * mask[None]
        passed = (self.spread * step)[:, None] * neighbours / neighbours.sum(dim=1, keepdim=True).clamp_min(1)
        self.weights.add_(step + passed.sum(dim=0)).clamp_(0, 1)

    def mask_of(self, architecture: Architecture) -> Tensor:
        """Return ``(sites,)``: 1 for the edges that an architecture has."""
        return (torch.tensor(architecture.choices) != self._none).long()

    def architecture(self, mask: list[int]) -> Architecture:
        """Return the architecture of a mask; its dead edges are forgotten."""
        return self.space.architecture((on != none) for on, none in zip(mask, self._none.tolist(), strict=True))

    def best(self) -> Architecture:
        """Return the architecture of the edges that are more likely than not."""
        return self.architecture((self.weights > 0.5).long().tolist())

    def draw(self, generator: torch.Generator, *, tau: float) -> Gates:
        return {name: row[0] for name, row in self.space.gates([self.sweep(generator)]).items()}

    def sample(self, n: int, generator: torch.Generator) -> Gates:
        on = torch.rand((n, len(self.names)), generator=generator) < self.weights
        return self._gates(one_hot(torch.where(on, 1 - self._none, self._none), torch.zeros(2)))

    def marginals(self) -> Gates:
        return self._gates(self._rows(self.weights))

    def entropy(self) -> Tensor:
        rows = self._rows(self.weights)
        return -torch.special.xlogy(rows, rows).sum()

    def scores(self) -> Tensor:
        return self._rows(self.weights.clamp(_SURE, 1 - _SURE)).log()

    def _is_clean(self, mask: list[int]) -> bool:
        return torch.equal(self.mask_of(self.architecture(mask)), torch.tensor(mask))

    def _rows(self, on: Tensor) -> Tensor:
        """Return ``(sites, 2)``: the probabilities of both options."""
        rows = torch.stack([1 - on, on], dim=1)
        return torch.where(self._none[:, None] == 0, rows, rows.flip(1))

    def _gates(self, rows: Tensor) -> Gates:
        return dict(zip(self.names, rows.unbind(dim=-2), strict=True))


LAW = Bernoulli
