"""What a network is good at, as a number: its name, its unit, and whether more of it is better.

Nothing in the house assumes accuracy: whoever compares, sorts or shows such numbers asks the metric.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan

SHARE = "share"  # a unit: 0 to 1, shown in per cent


@dataclass(frozen=True)
class Metric:
    """The number by which networks of a task are compared.

    Attributes:
        name: as people say it, ``accuracy``, ``mIoU``, ``perplexity``.
        higher_is_better: its direction.
        unit: ``share`` for a number from 0 to 1, which is shown in per cent; else what stands behind the number.
        chance: what guessing gets; None if it is not known.

    Example:
        >>> perplexity = Metric("perplexity", higher_is_better=False, unit="")
        >>> perplexity.better(12.5, 20.0), perplexity.format(12.5), Metric().format(0.958)
        (True, '12.5', '95.8%')
    """

    name: str = "accuracy"
    higher_is_better: bool = True
    unit: str = SHARE
    chance: float | None = None

    def merit(self, value: float) -> float:
        """Return the value, its sign changed where less is better: more merit is always better; NaN is the worst."""
        return float("-inf") if isnan(value) else value if self.higher_is_better else -value

    def better(self, value: float, other: float) -> bool:
        """Return whether a value is better than another one."""
        return self.merit(value) > self.merit(other)

    def format(self, value: float | None, *, digits: int = 1) -> str:
        """Return a value with its unit.

        Args:
            value: Value of this metric; None is shown as a dash.
            digits: behind the point, in per cent; other units have four figures.
        """
        if value is None:
            return "-"
        if self.unit == SHARE:
            return f"{value:.{digits}%}"
        return f"{value:.4g} {self.unit}".rstrip()

    def gap(self, value: float, other: float) -> str:
        """Return how much better a value is than another one: ``1.3 points`` of a share, else in its unit."""
        lead = self.merit(value) - self.merit(other)
        if self.unit == SHARE:
            return f"{100 * lead:.1f} points"
        return f"{lead:.4g} {self.unit}".rstrip()

    @property
    def direction(self) -> str:
        """Return ``higher is better`` or ``lower is better``."""
        return "higher is better" if self.higher_is_better else "lower is better"


ACCURACY = Metric()
