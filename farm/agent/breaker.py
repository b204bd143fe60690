"""The circuit breaker of a device: one that fails job after job takes none, for longer and longer, then for good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

FIRST_S, LONGEST_S = 60.0, 3600.0
MOST_OPENINGS = 5
WITHIN_S = 24 * 3600.0

Position = Literal["closed", "open", "half_open", "quarantined"]


@dataclass
class Breaker:
    """Whether a device may be given work; times are seconds since the epoch, so that a restart forgets nothing.

    Closed, it takes work. `trip` opens it for 1 minute, then it is half open: a `probe` that fails opens it again for
    twice as long, up to an hour, and one that succeeds closes it. The fifth opening out of closed within 24 h is a
    quarantine, until somebody calls `release`.

    Attributes:
        openings: when it went from closed to open, of the last 24 h.
        until_s: when it is half open; None if it is closed.
        pause_s: how long it was opened for the last time.
        quarantined: for good.
        reason: why it is not closed.
    """

    openings: list[float] = field(default_factory=list[float])
    until_s: float | None = None
    pause_s: float = 0.0
    quarantined: bool = False
    reason: str = ""

    def position(self, now_s: float) -> Position:
        """Return where it stands."""
        if self.quarantined:
            return "quarantined"
        if self.until_s is None:
            return "closed"
        return "open" if now_s < self.until_s else "half_open"

    def trip(self, reason: str, now_s: float) -> None:
        """Open it: the device fails alike on too many networks, or cannot be reached."""
        self.openings = [at_s for at_s in self.openings if now_s - at_s < WITHIN_S] + [now_s]
        self.reason = reason
        if len(self.openings) >= MOST_OPENINGS:
            self.quarantined = True
            self.reason = f"{reason} (opened {len(self.openings)} times in 24 h)"
        self._open(FIRST_S, now_s)

    def probe(self, failure: str | None, now_s: float) -> None:
        """Take the outcome of a known-good network on the half-open device; None means that it ran."""
        if failure is None:
            self.until_s, self.reason = None, ""
        else:
            self.reason = failure
            self._open(min(2 * self.pause_s, LONGEST_S), now_s)

    def release(self) -> None:
        """Close it, and forget."""
        self.openings, self.until_s, self.quarantined, self.reason = [], None, False, ""

    def _open(self, pause_s: float, now_s: float) -> None:
        self.pause_s = pause_s
        self.until_s = now_s + pause_s

    def record(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Breaker:
        """Read what ``record`` wrote."""
        return cls(**record)
