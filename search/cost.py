"""What networks cost: models that price gates in milliseconds, and a whole law by its expectation.

``TableCost`` adds up entries of a table, ``WeightedSum`` other costs, which may have other units. ``PredictorCost``
knows three ways to show a law to a predictor:

===========  =================================================================================================
``sampled``  the mean over sampled architectures, straight-through: ``E = encode(sample) + (R - stop(R))`` with
             ``R = relax(marginals)``. The predictor only sees points of the kind it was trained on, and a linear
             one gives the exact expected latency and its exact gradient.
``direct``   at ``relax(marginals)``: one point, but inside the simplex, where a predictor was never trained.
``draw``     at the very gates that the supernet ran.
===========  =================================================================================================

An encoding without a slope in the gates (features of the compiled graph) is priced by swaps: of every sampled
architecture all changes of one site are predicted too, in one batch, and what each changes is the slope of its gate.

References:
    Xu et al., *LA-DARTS*, arXiv:2001.06392 (predictor); Luo et al., *LightNAS*, arXiv:2208.14446 (fed with the draw).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from ..errors import UnknownNameError, UsageError
from ..spaces.architecture import Architecture
from ..spaces.circuit import Circuit
from ..spaces.space import SearchSpace
from .law import Gates, Law

Feed = Literal["sampled", "direct", "draw"]
FEEDS: tuple[Feed, ...] = ("sampled", "direct", "draw")


class CostModel(Protocol):
    """Prices gates, differentiably."""

    def __call__(self, gates: Mapping[str, Tensor]) -> Tensor:
        """Return the cost ``(...)`` in ms of gates ``site -> (..., K)``."""
        ...

    def expected(self, law: Law, generator: torch.Generator, drawn: Gates | None = None) -> Tensor:
        """Return the law's cost in ms, a scalar; ``drawn`` are the gates that the supernet ran."""
        ...

    @property
    def pairs(self) -> frozenset[frozenset[str]] | None:
        """Return the pairs of sites whose gates are multiplied; None where the cost is no polynomial in the gates."""
        ...

    def identity(self) -> list[Any]:
        """Return what two equal costs share, as JSON-ready values."""
        ...


@dataclass(frozen=True)
class TableCost:
    """A sum-product circuit over a table of costs: exact at one-hot gates and in expectation.

    Args:
        circuit: Circuit of the space.
        table: cost in ms (or any other unit) by the circuit's keys.
    """

    circuit: Circuit
    table: Mapping[str, float]

    def __call__(self, gates: Mapping[str, Tensor]) -> Tensor:
        return self.circuit.cost(self.table, gates)

    def expected(self, law: Law, generator: torch.Generator, drawn: Gates | None = None) -> Tensor:
        return self(law.marginals())

    @property
    def pairs(self) -> frozenset[frozenset[str]] | None:
        return self.circuit.pairs

    def identity(self) -> list[Any]:
        return ["TableCost", sha256(json.dumps(sorted(self.table.items())).encode()).hexdigest()]


@dataclass(frozen=True)
class WeightedSum:
    """Several costs, each times a weight, and a constant.

    Args:
        terms: weights and costs; a weight turns the cost's unit into ms.
        constant_ms: what every network costs.
    """

    terms: tuple[tuple[float, CostModel], ...]
    constant_ms: float = 0.0

    def __call__(self, gates: Mapping[str, Tensor]) -> Tensor:
        return self._sum([cost(gates) for _, cost in self.terms])

    def expected(self, law: Law, generator: torch.Generator, drawn: Gates | None = None) -> Tensor:
        return self._sum([cost.expected(law, generator, drawn) for _, cost in self.terms])

    @property
    def pairs(self) -> frozenset[frozenset[str]] | None:
        found = [cost.pairs for _, cost in self.terms]
        known = [pairs for pairs in found if pairs is not None]
        return frozenset[frozenset[str]]().union(*known) if len(known) == len(found) else None

    def identity(self) -> list[Any]:
        return [self.constant_ms, *([weight, cost.identity()] for weight, cost in self.terms)]

    @property
    def feed(self) -> Feed | None:
        """Return how a law is shown to the predictors in it; None where there is none."""
        return next((feed for _, cost in self.terms if (feed := getattr(cost, "feed", None)) is not None), None)

    def _sum(self, values: list[Tensor]) -> Tensor:
        weighted = [weight * value for (weight, _), value in zip(self.terms, values, strict=True)]
        return torch.stack(weighted).sum(dim=0) + self.constant_ms


class PredictorCost:
    """A latency predictor as a cost. It is frozen: gradients pass through it into the gates only.

    Args:
        module: ``(b, d) -> (b,)`` ms; copied, so that the caller's stays as it is.
        space: whose encoding the predictor was trained on.
        encoding: that encoding's name; None for the space's default.
        feed: how a law is shown to the predictor.
        draws: architectures drawn per call where the feed is ``sampled``.

    Raises:
        UnknownNameError: no such feed or encoding.
        UsageError: fewer than one draw.
    """

    def __init__(
        self,
        module: nn.Module,
        space: SearchSpace,
        encoding: str | None = None,
        *,
        feed: Feed = "sampled",
        draws: int = 4,
    ) -> None:
        if feed not in FEEDS:
            raise UnknownNameError("feed", feed, FEEDS)
        if draws < 1:
            raise UsageError(f"draws={draws}; allowed: a whole number from 1")
        self.swaps = not space.encoding(encoding).slope
        if self.swaps and feed != "sampled":
            raise UsageError(f"feed={feed!r}: the encoding {encoding!r} has no slope in the gates; use feed='sampled'")
        self.module = deepcopy(module).eval().requires_grad_(False)
        self.space, self.encoding, self.feed, self.draws = space, encoding, feed, draws
        numbers = (*self.module.parameters(), *self.module.buffers())
        like = next((number for number in numbers if number.is_floating_point()), torch.zeros(()))
        self._dtype, self._device = like.dtype, like.device

    def __call__(self, gates: Mapping[str, Tensor]) -> Tensor:
        if self.swaps:
            return self._by_swaps(gates)
        return self.predict(self.space.relax(gates, self.encoding))

    def expected(self, law: Law, generator: torch.Generator, drawn: Gates | None = None) -> Tensor:
        if self.feed == "sampled":
            return self.sampled(law, generator, self.draws)
        if self.feed == "direct":
            return self(law.marginals())
        if drawn is None:
            raise UsageError("feed='draw' prices the gates that the network ran; pass them as drawn=...")
        return self(drawn)

    def sampled(self, law: Law, generator: torch.Generator, draws: int) -> Tensor:
        """Return the mean over ``draws`` sampled architectures, straight-through."""
        if self.swaps:
            marginals = law.marginals()
            corners = law.sample(draws, generator)
            return self._by_swaps({s: c + (marginals[s] - marginals[s].detach()) for s, c in corners.items()}).mean()
        relaxed = self.space.relax(law.marginals(), self.encoding)
        corners = self.space.relax(law.sample(draws, generator), self.encoding)
        return self.predict(corners + (relaxed - relaxed.detach())).mean()

    def _by_swaps(self, gates: Mapping[str, Tensor]) -> Tensor:
        """Return the latency ``(...)`` of the architectures nearest to the gates, with the effect of swaps as slope.

        A swap at one site may break a rule of the space (a third input kept, say); its features are those of the graph
        that it makes all the same.
        """
        rows = {site.name: gates[site.name].reshape(-1, len(site.options)) for site in self.space.sites}
        own = torch.stack([rows[site.name].argmax(dim=1) for site in self.space.sites], dim=1)
        gate = torch.cat([rows[site.name] for site in self.space.sites], dim=1)
        shape = gates[self.space.sites[0].name].shape[:-1]
        if not (gate.requires_grad and torch.is_grad_enabled()):
            return self._latency(own).to(gate.dtype).reshape(shape)
        all_choices = [own]
        for column, site in enumerate(self.space.sites):
            for option in range(len(site.options)):
                swapped = own.clone()
                swapped[:, column] = option
                all_choices.append(swapped)
        choices, place = torch.cat(all_choices).unique(dim=0, return_inverse=True)
        latency = self._latency(choices)[place].reshape(len(all_choices), -1)  # (1 + options of all sites, rows)
        effect = (latency[1:] - latency[0]).T.to(gate.dtype)
        linear = (effect * (gate - gate.detach())).sum(dim=1)
        return (latency[0].to(gate.dtype) + linear).reshape(shape)

    def _latency(self, choices: Tensor) -> Tensor:
        """Return the latencies `(n,)` in ms of option indices `(n, sites)`."""
        architectures = [Architecture(self.space.spec, tuple(row)) for row in choices.tolist()]
        with torch.no_grad():
            return self.predict(torch.from_numpy(self.space.encode(architectures, self.encoding)))

    def predict(self, encoded: Tensor) -> Tensor:
        """Return the latency ``(...)`` in ms of encodings ``(..., d)``."""
        rows = encoded.reshape(-1, encoded.shape[-1]).to(self._device, self._dtype)
        return self.module(rows).reshape(encoded.shape[:-1]).to(encoded.device)

    @property
    def pairs(self) -> frozenset[frozenset[str]] | None:
        return None

    def identity(self) -> list[Any]:
        digest = sha256()
        for name, value in self.module.state_dict().items():
            digest.update(name.encode() + value.detach().cpu().numpy().tobytes())
        return ["PredictorCost", self.encoding, self.feed, self.draws, digest.hexdigest()]
