"""Laws: distributions over the choices of a space, with parameters that a gradient can move.

A law has two faces. :meth:`Law.draw` gives the gates that the supernet runs; :meth:`Law.sample` gives architectures by
the deriver's own rule, and :meth:`Law.marginals` is the exact mean of the samples, differentiable in the parameters.
Rows are given for every site as if it decided something; ``SearchSpace.relax`` and the circuit multiply them by the
probability that it does. So a law over routes needs no more than a row of transitions at every block.

The laws stand in ``laws/``, one file each; a file there is found by its name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

Gates = dict[str, Tensor]


class Law(nn.Module, ABC):
    """Base of all laws; ``parameters()`` are what a law step moves.

    A law that cannot be one over the space given raises UsageError with the reason when it is made.

    Attributes:
        names: the sites that it gives gates for, in the space's order.
    """

    names: tuple[str, ...]

    @abstractmethod
    def draw(self, generator: torch.Generator, *, tau: float) -> Gates:
        """Return gates ``site -> (K,)`` for one pass of the supernet, differentiable."""

    def draws(self, generator: torch.Generator, *, tau: float) -> tuple[Gates, ...]:
        """Return the gates of all passes of one step, where a law wants several that know of each other."""
        return (self.draw(generator, tau=tau),)

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
        so that an architecture of more choices is not thought the less likely for that; 0 for ``none`` at a site under
        a rule (how many are kept is not the law's to say) and -inf where there is no such option.
        """


def gumbel(shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Return standard Gumbel noise."""
    return -torch.empty(shape, dtype=dtype).exponential_(generator=generator).clamp_min(1e-30).log()


def one_hot(index: Tensor, like: Tensor) -> Tensor:
    """Return ``(..., K)`` one-hots of indices ``(...)``, of the width and type of ``like``."""
    return nn.functional.one_hot(index, like.shape[-1]).to(like.dtype)


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Return gates that are exactly ``hard`` and have the gradient of ``soft``."""
    return hard + (soft - soft.detach())  # in this order: exactly one-hot in value
