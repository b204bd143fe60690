"""Laws: distributions over the choices of a space, with parameters that a gradient can move.

A law has two faces. :meth:`Law.draw` gives the gates that the supernet runs; :meth:`Law.sample` gives architectures by
the deriver's own rule, and :meth:`Law.marginals` is the exact mean of the samples, differentiable in the parameters.

At a site without a rule the sample is a plain categorical draw. Where ``KeepInputs`` asks for exactly ``keep`` of a
node's in-edges, edge strength is ``s_e = max_{o != none} p_eo``, normalised over the node; edges are drawn without
replacement by Gumbel-top-k on ``log s``, the operation of a kept edge from the softmax without ``none``.

References:
    Liu et al., *DARTS*, arXiv:1806.09055 (softmax, edge strength); Jang et al., arXiv:1611.01144 (Gumbel-softmax);
    Kool et al., *Stochastic beams*, arXiv:1903.06059 (Gumbel-top-k).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..spaces.architecture import KeepInputs
from ..spaces.space import SearchSpace

Gates = dict[str, Tensor]

_NEVER = -1e9  # logit of an option that is not there: its probability is exactly 0, and unlike -inf it has gradients


class Law(nn.Module, ABC):
    """Base of all laws; ``parameters()`` are what a law step moves."""

    @abstractmethod
    def draw(self, generator: torch.Generator, *, tau: float) -> Gates:
        """Return gates ``site -> (K,)`` for one pass of the supernet, differentiable."""

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

        The deriver maximises the sum over all sites under the space's rules. It is the log-probability of the option,
        0 for ``none`` at a site under a rule (how many are kept is not the law's to say) and -inf where there is no
        such option.
        """


@dataclass(frozen=True)
class _Nodes:
    """All nodes that keep the same number of in-edges; padded to ``(nodes, edges)``."""

    sites: Tensor  # (nodes, edges) index of the site, 0 where padded
    present: Tensor  # (nodes, edges)
    keep: int


class Softmax(Law):
    """Independent softmax at every site; the supernet runs the mixture.

    Args:
        space: whose sites and rules the law has.
        generator: draws the first logits, ``noise * N(0, 1)``.
        noise: their standard deviation.
    """

    def __init__(self, space: SearchSpace, generator: torch.Generator | None = None, *, noise: float = 1e-3) -> None:
        super().__init__()
        self.names = tuple(site.name for site in space.sites)
        self.widths = space.widths
        options = max(self.widths)
        self.logits = nn.Parameter(noise * torch.randn(len(self.names), options, generator=generator))
        self._absent = torch.arange(options) >= torch.tensor(self.widths)[:, None]
        self._none = torch.zeros(len(self.names), options, dtype=torch.bool)
        index = {name: i for i, name in enumerate(self.names)}
        for rule in space.rules:
            for name in rule.sites:
                self._none[index[name], space.sites[index[name]].options.index(rule.none)] = True
        keeps = sorted({rule.keep for rule in space.rules})
        self._nodes = [_nodes([rule for rule in space.rules if rule.keep == keep], index) for keep in keeps]

    def draw(self, generator: torch.Generator, *, tau: float) -> Gates:
        return self._gates(torch.softmax(self._masked() / tau, dim=-1))

    def sample(self, n: int, generator: torch.Generator) -> Gates:
        with torch.no_grad():
            live = self._live()
            choice = (live + gumbel((n, *live.shape), generator, live.dtype)).argmax(dim=-1)
            none = self._none.long().argmax(dim=-1)
            strength = self._log_strength()
            for nodes in self._nodes:
                keys = strength[nodes.sites].masked_fill(~nodes.present, _NEVER)
                keys = keys + gumbel((n, *keys.shape), generator, keys.dtype)
                kept = torch.zeros_like(keys, dtype=torch.bool)
                kept.scatter_(-1, keys.topk(nodes.keep, dim=-1).indices, True)
                sites = nodes.sites[nodes.present]
                choice[:, sites] = torch.where(kept[:, nodes.present], choice[:, sites], none[sites])
            return self._gates(nn.functional.one_hot(choice, live.shape[-1]).to(live.dtype))

    def marginals(self) -> Gates:
        inclusion = self.logits.new_ones(len(self.names))
        strength = self._log_strength()
        for nodes in self._nodes:
            weight = torch.softmax(strength[nodes.sites].masked_fill(~nodes.present, _NEVER), dim=-1)
            kept = inclusion_probability(weight, nodes.keep)[nodes.present]
            inclusion = inclusion.index_put((nodes.sites[nodes.present],), kept)
        chosen = inclusion[:, None] * torch.softmax(self._live(), dim=-1)
        return self._gates(torch.where(self._none, 1 - inclusion[:, None], chosen))

    def entropy(self) -> Tensor:
        log_p = torch.log_softmax(self._masked(), dim=-1)
        return -(log_p.exp() * log_p).sum()

    def scores(self) -> Tensor:
        log_p = torch.log_softmax(self._masked().detach(), dim=-1)
        return log_p.masked_fill(self._none, 0.0).masked_fill(self._absent, -torch.inf)

    def _masked(self) -> Tensor:
        return self.logits.masked_fill(self._absent, _NEVER)

    def _live(self) -> Tensor:
        """Return the logits without ``none`` at the sites under a rule."""
        return self._masked().masked_fill(self._none, _NEVER)

    def _log_strength(self) -> Tensor:
        return torch.log_softmax(self._masked(), dim=-1).masked_fill(self._none, _NEVER).amax(dim=-1)

    def _gates(self, rows: Tensor) -> Gates:
        return {
            name: row[..., :width]
            for name, row, width in zip(self.names, rows.unbind(dim=-2), self.widths, strict=True)
        }


class Gumbel(Softmax):
    """As ``Softmax``, but the supernet runs a draw: soft, or one option a site with the soft draw's gradient.

    Args:
        space, generator, noise: as for ``Softmax``.
        hard: one-hot gates, straight-through, so that a pass runs one option a site.
    """

    def __init__(
        self,
        space: SearchSpace,
        generator: torch.Generator | None = None,
        *,
        noise: float = 1e-3,
        hard: bool = True,
    ) -> None:
        super().__init__(space, generator, noise=noise)
        self.hard = hard

    def draw(self, generator: torch.Generator, *, tau: float) -> Gates:
        log_p = torch.log_softmax(self._masked(), dim=-1)
        noisy = log_p + gumbel(tuple(log_p.shape), generator, log_p.dtype)
        soft = torch.softmax(noisy / tau, dim=-1)
        if not self.hard:
            return self._gates(soft)
        one_hot = nn.functional.one_hot(noisy.argmax(dim=-1), soft.shape[-1]).to(soft.dtype)
        return self._gates(one_hot + (soft - soft.detach()))  # in this order: exactly one-hot in value


def gumbel(shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Return standard Gumbel noise."""
    return -torch.empty(shape, dtype=dtype).exponential_(generator=generator).clamp_min(1e-30).log()


def inclusion_probability(strength: Tensor, keep: int) -> Tensor:
    """Return the probability that each of ``n`` is among ``keep`` drawn without replacement, ``(..., n)``.

    ``q_e = s_e + sum_f s_f q_e(others after f)``; it sums to ``keep``. Entries of strength 0 are never drawn.

    Args:
        strength: ``(..., n)``, summing to 1.
        keep: how many are drawn; at least as many strengths must be positive.
    """
    if keep == 1:
        return strength
    n = strength.shape[-1]
    rest = strength[..., None, :].expand(*strength.shape, n).masked_fill(torch.eye(n, dtype=torch.bool), 0.0)
    total = rest.sum(dim=-1, keepdim=True)  # 1 - s_f as the sum of the others: no cancellation as s_f nears 1
    later = inclusion_probability(rest / total.clamp_min(torch.finfo(rest.dtype).tiny), keep - 1)
    return strength + (strength[..., :, None] * later).sum(dim=-2)


def _nodes(rules: list[KeepInputs], index: dict[str, int]) -> _Nodes:
    edges = max(len(rule.sites) for rule in rules)
    sites = torch.zeros(len(rules), edges, dtype=torch.long)
    present = torch.zeros(len(rules), edges, dtype=torch.bool)
    for i, rule in enumerate(rules):
        sites[i, : len(rule.sites)] = torch.tensor([index[name] for name in rule.sites])
        present[i, : len(rule.sites)] = True
    return _Nodes(sites, present, rules[0].keep)
