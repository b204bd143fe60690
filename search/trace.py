"""What happened in each epoch of a search, or at each query."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from ..errors import InputRefusedError
from ..spaces.architecture import Architecture


@dataclass(frozen=True)
class Epoch:
    """One epoch.

    Attributes:
        epoch: its number, from 0.
        phase: ``warm_up`` (weights only) or ``search``.
        loss_weights, loss_law: mean loss of weight and of law steps; None where there were none.
        entropy: Entropy of the law, in nats.
        cost_sampled_ms, cost_direct_ms: the law's predicted latency as the mean over sampled architectures, and at
            its relaxed encoding; their gap is what a predictor fed with probabilities would be wrong by.
        derived_ms: predicted latency of the architecture that would be derived now.
        lam: weight of the cost.
        tau: temperature.
        seconds: wall time.
    """

    epoch: int
    phase: Literal["warm_up", "search"]
    loss_weights: float | None
    loss_law: float | None
    entropy: float
    cost_sampled_ms: float
    cost_direct_ms: float
    derived_ms: float
    lam: float
    tau: float
    seconds: float


@dataclass(frozen=True)
class Query:
    """One score that was asked for, by training or in a table.

    Attributes:
        architecture: asked about.
        predicted_ms: its latency as predicted.
        score: by the task's metric, on examples that the search may see.
    """

    architecture: Architecture
    predicted_ms: float
    score: float


@dataclass
class Trace:
    """The epochs of a search, in order."""

    epochs: list[Epoch] = field(default_factory=list[Epoch])

    def columns(self) -> dict[str, list[Any]]:
        """Return the epochs as columns."""
        return {f.name: [getattr(epoch, f.name) for epoch in self.epochs] for f in fields(Epoch)}

    def rows(self) -> list[dict[str, Any]]:
        """Return the epochs as JSON-ready rows."""
        return [asdict(epoch) for epoch in self.epochs]

    @classmethod
    def from_rows(cls, rows: list[dict[str, Any]]) -> Trace:
        """Read what ``rows`` gave.

        Raises:
            InputRefusedError: a row of another schema.
        """
        try:
            return cls([Epoch(**row) for row in rows])
        except TypeError as error:
            raise InputRefusedError(f"the trace has other columns ({error}); start this search anew") from error
