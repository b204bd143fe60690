"""What is asked of a law beside accuracy and cost.

References:
    Huang et al., *TopoNAS*, arXiv:2011.09300 (passive-aggressive validity; its formula here is tempograd's own, with
    the step of Crammer et al., *Online passive-aggressive algorithms*, JMLR 2006); Liu et al., *H-DAS*,
    arXiv:2101.04028 (depth, number of cells); Tan et al., *MSG-DAS*, arXiv:2107.04324 (distillation from the mixture).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import UsageError
from ..spaces.circuit import Circuit, Sum, activity
from ..spaces.space import SearchSpace
from ..spaces.wiring import Wiring
from ..tasks.task import divergence
from .forms import from_zero, positive
from .law import Law
from .laws.combination import Combination

Teaching = Literal["mixture", "mean"]
Distance = Callable[[Tensor, Tensor], Tensor]
"""How far logits are from those of a teacher, see `Task.distillation`."""


class Regulariser:
    """Adds to the loss of a law step, or moves the law after it; does neither by default."""

    def penalty(self, law: Law) -> Tensor:
        """Return what is added to the loss, a scalar."""
        return torch.zeros(())

    def stepped(self, law: Law) -> None:
        """Do what is to be done after a law step."""


class Entropy(Regulariser):
    """``weight * entropy``: a law that makes up its mind; a negative weight keeps it open."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def penalty(self, law: Law) -> Tensor:
        return self.weight * law.entropy()


class Depth(Regulariser):
    """``-weight * depth``: deep cells.

    Depth is the expected length of the walk from the nodes back to a cell's inputs, each step along one of a node's
    kept edges: 0 at the inputs, ``d_i = sum_j p_ij (d_j + 1)`` at node i, averaged over the nodes.

    Raises:
        UsageError: the space is not one of cells.
    """

    def __init__(self, weight: float, space: SearchSpace) -> None:
        self.weight, self.cells = weight, cells(space)
        self._none = {site.name: site.options.index("none") for site in space.sites if "none" in site.options}

    def penalty(self, law: Law) -> Tensor:
        return -self.weight * self.depth(law)

    def depth(self, law: Law) -> Tensor:
        """Return the mean depth of all nodes, a scalar."""
        marginals, found = law.marginals(), list[Tensor]()
        for cell in self.cells:
            states = [torch.zeros(())] * len(cell[0])
            for node in cell:
                kept = torch.stack([1 - marginals[edge][self._none[edge]] for edge, _ in node])
                share = kept / kept.sum().clamp_min(torch.finfo(kept.dtype).tiny)
                states.append((share * (torch.stack([states[source] for _, source in node]) + 1)).sum())
            found += states[len(cell[0]) :]
        return torch.stack(found).mean()


class Length(Regulariser):
    """``weight * cells``: few cells, where a space chooses how many there are.

    Cells are the nodes of a graph of which some are there for certain options only, as in `staged`; their number is the
    sum of the probabilities that each is there.

    Raises:
        UsageError: every network of the space has as many cells as any other.
    """

    def __init__(self, weight: float, space: SearchSpace) -> None:
        reached = activity(space.sites)
        graphs = [[reached[node[0][0]] for node in graph] for graph in space.wiring]
        chosen = [terms for terms in graphs if any(term is not None for term in terms)]
        if not chosen:
            raise UsageError(f"{space.name} has as many cells whatever is chosen; leave the weight of their number out")
        self.weight, self.always = weight, sum(term is None for terms in chosen for term in terms)
        self._sum = Circuit(Sum(tuple(term for terms in chosen for term in terms if term is not None)))

    def penalty(self, law: Law) -> Tensor:
        return self.weight * self.cells(law)

    def cells(self, law: Law) -> Tensor:
        """Return the expected number of cells, a scalar."""
        return self.always + self._sum.cost({}, law.marginals())


class PassiveAggressive(Regulariser):
    """Takes invalid topologies out of a law over sets of edges, and lets it alone while there are hardly any.

    A node with inputs and no reader, or with a reader and no inputs, is invalid; the output of a cell reads its last
    node. While more than ``most`` are expected, the sets' logits take the smallest step that meets the bound to first
    order, at most ``cap`` times the gradient.

    Args:
        space: whose nodes may keep any number of edges.
        most: expected invalid nodes allowed.
        cap: longest step.

    Raises:
        UsageError: the space says how many edges are kept, so that every topology is valid, or has no nodes.
    """

    def __init__(self, space: SearchSpace, most: float = 0.05, cap: float = 10.0) -> None:
        if space.rules:
            raise UsageError(f"every topology of {space.name} is valid; leave passive-aggressive regularisation out")
        self.cells, self.most, self.cap = cells(space), from_zero("most", most), positive("cap", cap)

    def stepped(self, law: Law) -> None:
        if not isinstance(law, Combination):
            raise UsageError("passive-aggressive regularisation needs the law combination, over sets of edges")
        excess = self.invalid(law) - self.most
        if float(excess.detach()) <= 0:
            return
        (gradient,) = torch.autograd.grad(excess, [law.sets])
        with torch.no_grad():
            law.sets.sub_(min(self.cap, float(excess.detach() / gradient.square().sum())) * gradient)

    def invalid(self, law: Combination) -> Tensor:
        """Return the expected number of invalid nodes, a scalar; exact, as nodes are independent."""
        kept = dict(zip(law.names, law.kept(), strict=True))
        empty, first, found = law.empty(), 0, torch.zeros(())
        for cell in self.cells:
            inputs = len(cell[0])
            for n in range(len(cell)):
                unread = [1 - kept[edge] for later in cell[n + 1 :] for edge, source in later if source == inputs + n]
                silent = torch.stack(unread).prod() if unread else torch.zeros(())
                found = found + empty[first + n] * (1 - silent) + (1 - empty[first + n]) * silent
            first += len(cell)
        return found


@dataclass(frozen=True)
class Distillation:
    """``weight * tau^2 * D(path, teacher)``, both softened by ``tau``; the teacher has no gradient.

    ``D`` is the task's distance: of classes and maps the divergence over classes, of heat maps that over places.

    Attributes:
        weight: Weight of the divergence beside cross-entropy.
        tau: temperature of both.
        teacher: the ``mixture`` of all options, or the cheaper ``mean`` of a step's own paths.
    """

    weight: float = 1.0
    tau: float = 2.0
    teacher: Teaching = "mixture"

    def __call__(self, logits: Tensor, teacher: Tensor, distance: Distance = divergence) -> Tensor:
        """Return what is added to a path's loss, from logits as the task has them."""
        return self.weight * self.tau**2 * distance(logits / self.tau, teacher.detach() / self.tau)


def cells(space: SearchSpace) -> Wiring:
    """Return the cells of a space with their nodes and in-edges, see `SearchSpace.wiring`.

    Raises:
        UsageError: the space is not one of cells.
    """
    if not space.wiring:
        raise UsageError(f"{space.name} has no cells, whose depth or topology could be regularised")
    return space.wiring
