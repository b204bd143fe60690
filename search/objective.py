"""What a law step minimises: the task's loss and cost terms.

A :class:`CostModel` prices gates in milliseconds and a whole law by its expectation; a :class:`Form` says how the price
enters the loss. ``PredictorCost`` knows three ways to show a law to a predictor:

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
    Xu et al., *LA-DARTS*, arXiv:2001.06392 (linear form, predictor); Luo et al., *LightNAS*, arXiv:2208.14446 (learned
    multiplier).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar, Literal, Protocol

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


@dataclass(frozen=True)
class TableCost:
    """A sum-product circuit over a table of costs: exact at one-hot gates and in expectation.

    Args:
        circuit: of the space.
        table: cost in ms (or any other unit) by the circuit's keys.
    """

    circuit: Circuit
    table: Mapping[str, float]

    def __call__(self, gates: Mapping[str, Tensor]) -> Tensor:
        return self.circuit.cost(self.table, gates)

    def expected(self, law: Law, generator: torch.Generator, drawn: Gates | None = None) -> Tensor:
        return self(law.marginals())


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
        space.check_encoding(encoding)
        self.swaps = encoding in space.graph_encodings
        if self.swaps and feed != "sampled":
            raise UsageError(f"feed={feed!r}: the encoding {encoding!r} has no slope in the gates; use feed='sampled'")
        self.module = deepcopy(module).eval().requires_grad_(False)
        self.space, self.encoding, self.feed, self.draws = space, encoding, feed, draws
        like = next(iter((*self.module.parameters(), *self.module.buffers())), torch.zeros(()))
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


class Form(ABC):
    """How a cost enters the loss; one class a form. ``lam`` is its weight now; ``learns`` says whether that moves."""

    lam: float
    learns: ClassVar[bool] = False

    @abstractmethod
    def penalty(self, cost_ms: Tensor) -> Tensor:
        """Return what is added to the task's loss."""

    def update(self, derived_ms: float) -> None:  # noqa: B027  (most forms have nothing to learn)
        """Learn from the cost of the architecture that would be derived now; called after every law step."""


class Linear(Form):
    """``lam * C / C_ref``: a fixed weight without a unit.

    Args:
        lam: the weight.
        reference_ms: latency of a reference network.
    """

    def __init__(self, lam: float, reference_ms: float) -> None:
        if not (isfinite(lam) and lam >= 0):
            raise UsageError(f"lam={lam}; allowed: a number from 0")
        self.lam, self.reference_ms = lam, positive("reference_ms", reference_ms)

    def penalty(self, cost_ms: Tensor) -> Tensor:
        return self.lam * cost_ms / self.reference_ms


class LearnedMultiplier(Form):
    """``lam * (C / T - 1)`` with ``lam`` learnt by ascent on the derived architecture's violation.

    Args:
        target_ms: T; must be feasible, or ``lam`` grows without end.
        eta: step of the ascent.
        two_sided: let ``lam`` go below 0 while the derived network is faster than T, which pushes latency up to T.
            Else T is a budget: ``lam >= 0``. LightNAS also drops ``lam`` to 0 whenever its sign disagrees with the
            violation; that is left out, since on planted problems it ended above T nine times in ten.
    """

    learns = True

    def __init__(self, target_ms: float, eta: float = 0.3, *, two_sided: bool = False) -> None:
        self.lam, self.target_ms, self.two_sided = 0.0, positive("target_ms", target_ms), two_sided
        self.eta = positive("eta", eta)

    def penalty(self, cost_ms: Tensor) -> Tensor:
        return self.lam * (cost_ms / self.target_ms - 1)

    def update(self, derived_ms: float) -> None:
        violation = derived_ms / self.target_ms - 1
        self.lam += self.eta * violation
        if not self.two_sided:
            self.lam = max(0.0, self.lam)


@dataclass(frozen=True)
class CostTerm:
    """One cost in the objective."""

    model: CostModel
    form: Form

    def __call__(self, law: Law, generator: torch.Generator, drawn: Gates | None = None) -> Tensor:
        """Return the penalty of a law, a scalar to add to the task's loss."""
        return self.form.penalty(self.model.expected(law, generator, drawn))


def positive(name: str, value: float) -> float:
    """Return the value, or raise UsageError unless it is finite and above 0."""
    if not (isfinite(value) and value > 0):
        raise UsageError(f"{name}={value}; allowed: a number above 0")
    return value
