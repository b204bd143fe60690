"""Routes as a Markov chain: every block's own distribution over the blocks that may follow, beside one over operations.

References:
    Fang et al., *DenseNAS*, arXiv:1906.09607.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...errors import UsageError
from ...spaces.space import SearchSpace
from ..law import Gates, Law
from .softmax import Softmax
from .two_path import TwoPath


class Product(Law):
    """Laws over different sites of one space, side by side.

    Args:
        space: all of whose sites they share out.
        laws: one or more.

    Raises:
        UsageError: a site belongs to no law, or to two.
    """

    def __init__(self, space: SearchSpace, laws: Sequence[Law]) -> None:
        super().__init__()
        self.names = tuple(site.name for site in space.sites)
        given = [name for law in laws for name in law.names]
        if sorted(given) != sorted(self.names):
            odd = sorted({name for name in self.names if given.count(name) != 1})
            raise UsageError(f"sites {', '.join(odd)} belong to no law or to two; every site needs exactly one")
        self.laws = nn.ModuleList(laws)

    def draw(self, generator: torch.Generator, *, tau: float) -> Gates:
        return self._joined([law.draw(generator, tau=tau) for law in self._all()])

    def stepped(self) -> None:
        for law in self._all():
            law.stepped()

    def sample(self, n: int, generator: torch.Generator) -> Gates:
        return self._joined([law.sample(n, generator) for law in self._all()])

    def marginals(self) -> Gates:
        return self._joined([law.marginals() for law in self._all()])

    def entropy(self) -> Tensor:
        return torch.stack([law.entropy() for law in self._all()]).sum()

    def scores(self) -> Tensor:
        rows = {name: row for law in self._all() for name, row in zip(law.names, law.scores(), strict=True)}
        width = max(map(len, rows.values()))
        pad = nn.functional.pad
        return torch.stack([pad(rows[n], (0, width - len(rows[n])), value=-torch.inf) for n in self.names])

    def _all(self) -> list[Law]:
        return [law for law in self.laws if isinstance(law, Law)]

    def _joined(self, parts: Sequence[Gates]) -> Gates:
        joined = {name: row for part in parts for name, row in part.items()}
        return {name: joined[name] for name in self.names}


class MarkovRoute(Product):
    """``softmax`` over a block's successors, or a stage's depths; two operations at a time at all other sites.

    Args:
        space: some of whose sites decide which others there are.
        generator: draws the first logits.
        noise: their standard deviation.
        hard: of the two operations one is on, straight-through.

    Raises:
        UsageError: no site of the space depends on another.
    """

    def __init__(
        self,
        space: SearchSpace,
        generator: torch.Generator | None = None,
        *,
        noise: float = 1e-3,
        hard: bool = False,
    ) -> None:
        routes = {name for site in space.sites for name, _ in site.when}
        if not routes:
            raise UsageError(f"{space.name} has no routes: no site depends on another; use two_path")
        others = [site.name for site in space.sites if site.name not in routes]
        operations = TwoPath(space, generator, noise=noise, sites=others, hard=hard)
        super().__init__(space, [Softmax(space, generator, noise=noise, sites=routes), operations])


LAW = MarkovRoute
