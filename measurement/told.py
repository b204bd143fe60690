"""A latency that was not measured here: a table tells it, or a predictor says it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from .label import Estimate
from .measurement import Measurement, Verdict


@dataclass(frozen=True)
class Told(Measurement):
    """A latency without rounds.

    Attributes:
        label: in ms, with its interval.
        known: whether somebody measured it; what is only predicted is never trusted.

    >>> one = Told("key", "space", "table", {}, "", "", label=Estimate(2.0, 1.9, 2.1, "told", 0, 0), known=False)
    >>> one.latency_ms, one.verdict
    (2.0, 'predicted')
    """

    label: Estimate | None = None
    known: bool = True

    @cached_property
    def estimate(self) -> Estimate | None:
        """Return the label as it was told."""
        return self.label

    @cached_property
    def verdict(self) -> Verdict:
        """Return ``ok`` for what was measured by others, else ``predicted``."""
        return "ok" if self.known else "predicted"
