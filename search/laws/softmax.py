"""Independent softmax at every site.

At a site without a rule the sample is a plain categorical draw. Where ``KeepInputs`` asks for exactly ``keep`` of a
node's in-edges, edge strength is ``s_e = max_{o != none} p_eo``, normalised over the node; edges are drawn without
replacement by Gumbel-top-k on ``log s``, the operation of a kept edge from the softmax without ``none``.

References:
    Liu et al., *DARTS*, arXiv:1806.09055 (softmax, edge strength); Kool et al., *Stochastic beams*, arXiv:1903.06059
    (Gumbel-top-k).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...arguments import NonNegative
from ...spaces.architecture import KeepInputs
from ...spaces.space import SearchSpace
from ..law import Gates, Law, gumbel, one_hot

NEVER = -1e9  # logit of an option that is not there: its probability is exactly 0, and unlike -inf it has gradients


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
        sites: those that it is a law over; None for all.
        none: whether ``none`` is an option where no rule counts a node's edges. In a mixture it only scales what
            a node is given, and BatchNorm undoes that (DARTS, 2.4): what it saves is seen, what it costs is not.
    """

    def __init__(
        self,
        space: SearchSpace,
        generator: torch.Generator | None = None,
        *,
        noise: NonNegative = 1e-3,
        sites: Collection[str] | None = None,
        none: bool = True,
    ) -> None:
        super().__init__(space)
        self.settings = {"none": none}
        own = [site for site in space.sites if sites is None or site.name in sites]
        self.names = tuple(site.name for site in own)
        self.widths = tuple(len(site.options) for site in own)
        options = max(self.widths)
        self.logits = nn.Parameter(noise * torch.randn(len(self.names), options, generator=generator))
        self._absent = torch.arange(options) >= torch.tensor(self.widths)[:, None]
        self._none = torch.zeros(len(self.names), options, dtype=torch.bool)
        index = {name: i for i, name in enumerate(self.names)}
        rules = [rule for rule in space.rules if index.keys() >= set(rule.sites)]
        for rule in rules:
            for name in rule.sites:
                self._none[index[name], own[index[name]].options.index(rule.none)] = True
        ruled = {name for rule in rules for name in rule.sites}
        self._left_out = torch.tensor(
            [
                [not none and site.name not in ruled and site.options[i : i + 1] == ("none",) for i in range(options)]
                for site in own
            ]
        )
        self._nodes = [_nodes([r for r in rules if r.keep == keep], index) for keep in sorted({r.keep for r in rules})]
        deciding = {name for site in space.sites for name, _ in site.when}
        self._relative = torch.tensor([bool(site.when) and site.name not in deciding for site in own])

    def draw(self, generator: torch.Generator, *, tau: float) -> Gates:
        return self._gates(torch.softmax(self._masked() / tau, dim=-1))

    def sample(self, n: int, generator: torch.Generator) -> Gates:
        with torch.no_grad():
            live = self._live()
            choice = (live + gumbel((n, *live.shape), generator, live.dtype)).argmax(dim=-1)
            none = self._none.long().argmax(dim=-1)
            strength = self._log_strength()
            for nodes in self._nodes:
                keys = strength[nodes.sites].masked_fill(~nodes.present, NEVER)
                keys = keys + gumbel((n, *keys.shape), generator, keys.dtype)
                kept = torch.zeros_like(keys, dtype=torch.bool)
                kept.scatter_(-1, keys.topk(nodes.keep, dim=-1).indices, True)
                sites = nodes.sites[nodes.present]
                choice[:, sites] = torch.where(kept[:, nodes.present], choice[:, sites], none[sites])
            return self._gates(one_hot(choice, live))

    def marginals(self) -> Gates:
        inclusion = self.logits.new_ones(len(self.names))
        strength = self._log_strength()
        for nodes in self._nodes:
            weight = torch.softmax(strength[nodes.sites].masked_fill(~nodes.present, NEVER), dim=-1)
            kept = inclusion_probability(weight, nodes.keep)[nodes.present]
            inclusion = inclusion.index_put((nodes.sites[nodes.present],), kept)
        chosen = inclusion[:, None] * torch.softmax(self._live(), dim=-1)
        return self._gates(torch.where(self._none, 1 - inclusion[:, None], chosen))

    def entropy(self) -> Tensor:
        log_p = torch.log_softmax(self._masked(), dim=-1)
        return -(log_p.exp() * log_p).sum()

    def scores(self) -> Tensor:
        log_p = torch.log_softmax(self._masked().detach(), dim=-1)
        best, strength = log_p.amax(dim=-1), self._log_strength().detach()
        for nodes in self._nodes:  # so that the best edges that a node may keep add nothing together
            kept = strength[nodes.sites].masked_fill(~nodes.present, NEVER).topk(nodes.keep, dim=-1).values
            level = kept.mean(dim=-1, keepdim=True).expand(nodes.sites.shape)
            best = best.index_put((nodes.sites[nodes.present],), level[nodes.present])
        log_p = torch.where(self._relative[:, None], log_p - best[:, None], log_p)
        return log_p.masked_fill(self._none, 0.0).masked_fill(self._absent, -torch.inf)

    def _masked(self) -> Tensor:
        return self.logits.masked_fill(self._absent | self._left_out, NEVER)

    def _live(self) -> Tensor:
        """Return the logits without ``none`` at the sites under a rule."""
        return self._masked().masked_fill(self._none, NEVER)

    def _log_strength(self) -> Tensor:
        return torch.log_softmax(self._masked(), dim=-1).masked_fill(self._none, NEVER).amax(dim=-1)

    def _gates(self, rows: Tensor) -> Gates:
        return {
            name: row[..., :width]
            for name, row, width in zip(self.names, rows.unbind(dim=-2), self.widths, strict=True)
        }


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


LAW = Softmax
