"""Laws: distributions over the choices of a space, with parameters that a gradient can move.

A law has two faces. :meth:`Law.draw` gives the gates that the supernet runs; :meth:`Law.sample` gives architectures by
the deriver's own rule, and :meth:`Law.marginals` is the exact mean of the samples, differentiable in the parameters.
Rows are given for every site as if it decided something; ``SearchSpace.relax`` and the circuit multiply them by the
probability that it does. So a law over routes needs no more than a row of transitions at every block.

The laws stand in ``laws/``, one file each; a file there is found by its name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..spaces.space import SearchSpace
from .need import ANY, Need

Gates = dict[str, Tensor]

_NEVER = -1e9  # score of what is not taken: below any other, and still a number


class Law(nn.Module, ABC):
    """Base of all laws; ``parameters()`` are what a law step moves.

    Args:
        space: whose choices it is a law over.

    Attributes:
        names: the sites that it gives gates for, in the space's order.
        moves: what moves its parameters.
        needs: what it needs of a space.
        mixture: whether sites are drawn together, so that marginals do not say all where sites depend on others.
        settings: what it was made with beside space and generator: with it, two laws of a class are one.

    Raises:
        UsageError: the space has not what the law needs.
    """

    names: tuple[str, ...]
    moves: ClassVar[Literal["adam", "frank_wolfe"]] = "adam"
    needs: ClassVar[Need] = ANY
    mixture: ClassVar[bool] = False
    settings: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self.check(space)

    @classmethod
    def check(cls, space: SearchSpace) -> None:
        """Raise UsageError, with the reason, unless there is such a law over the space."""
        cls.needs.check(space, f"the law {cls.__module__.rpartition('.')[2]}")

    @abstractmethod
    def draw(self, generator: torch.Generator, *, tau: float) -> Gates:
        """Return gates ``site -> (K,)`` for one pass of the supernet, differentiable."""

    def draws(self, generator: torch.Generator, *, tau: float) -> tuple[Gates, ...]:
        """Return the gates of all passes of one step, where a law wants several that know of each other."""
        return (self.draw(generator, tau=tau),)

    def beside(self) -> Mapping[str, Collection[int]]:
        """Return the options by site that a law step runs although the last draw left them off: by default none."""
        return {}

    def stepped(self) -> None:
        """Do what is to be done after an optimiser moved the parameters along the last draw's gradient."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator) -> Gates:
        """Return ``n`` architectures by the deriver's own rule: one-hot gates ``site -> (n, K)``, no gradient."""

    @abstractmethod
    def marginals(self) -> Gates:
        """Return the exact mean of ``sample``, ``site -> (K,)``, differentiable."""

    @abstractmethod
    def entropy(self) -> Tensor:
        """Return the entropy of the sites' distributions in nats, summed: a scalar."""

    @abstractmethod
    def scores(self) -> Tensor:
        """Return ``(sites, K)``: what each option adds to an architecture's score, without gradient.

        The deriver maximises the sum over the sites that decide something, under the space's rules. It is the
        log-probability of the option; at a site that depends on others and decides about none, relative to its best,
        so that an architecture of more choices is not thought the less likely for that (under a rule, relative to what
        its best edges have on average); 0 for ``none`` at a site under
        a rule (how many are kept is not the law's to say) and -inf where there is no such option.
        """


class Product(Law):
    """Laws over different sites of one space, side by side.

    Args:
        space: all of whose sites they share out.
        laws: one or more.

    Raises:
        UsageError: a site belongs to no law, or to two.
    """

    def __init__(self, space: SearchSpace, laws: Sequence[Law]) -> None:
        super().__init__(space)
        self.names = tuple(site.name for site in space.sites)
        given = [name for law in laws for name in law.names]
        if sorted(given) != sorted(self.names):
            odd = sorted({name for name in self.names if given.count(name) != 1})
            raise UsageError(f"sites {', '.join(odd)} belong to no law or to two; every site needs exactly one")
        self.laws = nn.ModuleList(laws)
        self.settings = {str(n): dict(law.settings) for n, law in enumerate(laws)}

    def draw(self, generator: torch.Generator, *, tau: float) -> Gates:
        return self._joined([law.draw(generator, tau=tau) for law in self._all()])

    def draws(self, generator: torch.Generator, *, tau: float) -> tuple[Gates, ...]:
        drawn = [law.draws(generator, tau=tau) for law in self._all()]
        return tuple(self._joined([each[n % len(each)] for each in drawn]) for n in range(max(map(len, drawn))))

    def beside(self) -> Mapping[str, Collection[int]]:
        return {name: options for law in self._all() for name, options in law.beside().items()}

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


class Fixed(Law):
    """Options that are given: nothing is drawn, and nothing learnt.

    Args:
        space: whose sites.
        given: the option, by its index, at each site that it is a law over.
    """

    def __init__(self, space: SearchSpace, given: Mapping[str, int]) -> None:
        super().__init__(space)
        own = [site for site in space.sites if site.name in given]
        self.names = tuple(site.name for site in own)
        self._rows = {site.name: torch.eye(len(site.options))[given[site.name]] for site in own}

    def draw(self, generator: torch.Generator, *, tau: float) -> Gates:
        return dict(self._rows)

    def sample(self, n: int, generator: torch.Generator) -> Gates:
        return {name: row.expand(n, -1) for name, row in self._rows.items()}

    def marginals(self) -> Gates:
        return dict(self._rows)

    def entropy(self) -> Tensor:
        return torch.zeros(())

    def scores(self) -> Tensor:
        width = max(map(len, self._rows.values()))
        pad = nn.functional.pad
        rows = (row.log().clamp_min(_NEVER) for row in self._rows.values())
        return torch.stack([pad(row, (0, width - len(row)), value=-torch.inf) for row in rows])


def gumbel(shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Return standard Gumbel noise of a shape and type."""
    return -torch.empty(shape, dtype=dtype).exponential_(generator=generator).clamp_min(1e-30).log()


def one_hot(index: Tensor, like: Tensor) -> Tensor:
    """Return ``(..., K)`` one-hots of indices ``(...)``, of the width and type of ``like``."""
    return nn.functional.one_hot(index, like.shape[-1]).to(like.dtype)


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Return gates with the values of ``hard`` and the gradient of ``soft``, all ``(..., K)``."""
    return hard + (soft - soft.detach())  # in this order: exactly one-hot in value
