"""What a target means in a space, before any training: smallest, median and largest latency beside it.

Where networks of the space were measured, their latencies stand beside the predicted ones, and count for more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from math import floor, log10

import numpy as np

from ..data import result
from ..errors import TargetError
from ..spaces.architecture import Architecture
from ..spaces.space import SearchSpace
from .neighbourhood import Predict, descend

SAMPLE = 2000
_STARTS = 3  # walks to either end, from the best of the sample


@dataclass(frozen=True)
class Feasibility:
    """Latencies of a space, in ms, predicted but for ``measured``.

    Attributes:
        smallest_ms, largest_ms: Latencies of the fastest and the slowest network found by a greedy walk from a uniform
            sample.
        median_ms: Median of the sample.
        target_ms: asked for, if any.
        share_within_target: Share of the sample; None without a target.
        smallest: the cheapest network, one that connects input and output.
        measured_ms: networks that connect input and output, and were measured.
    """

    smallest_ms: float
    median_ms: float
    largest_ms: float
    target_ms: float | None
    share_within_target: float | None
    smallest: Architecture
    measured_ms: Mapping[Architecture, float] = field(default_factory=dict[Architecture, float])

    def document(self) -> result.Feasibility:
        """Return the numbers as a part of the result's document."""
        return result.Feasibility(
            smallest_ms=self.smallest_ms,
            median_ms=self.median_ms,
            largest_ms=self.largest_ms,
            target_ms=self.target_ms,
            share_within_target=self.share_within_target,
            measured=self._measured(),
            verdict="predicted",
        )

    def _measured(self) -> result.MeasuredRange | None:
        values = sorted(self.measured_ms.values())
        if not values:
            return None
        return result.MeasuredRange(
            smallest_ms=values[0],
            median_ms=float(np.median(values)),
            largest_ms=values[-1],
            networks=len(values),
            verdict="ok",
        )

    def check(self) -> None:
        """Raise TargetError if the smallest network is predicted above the target, and none was measured within it."""
        measured = self._measured()
        if self.target_ms is None or self.target_ms >= self.smallest_ms:
            return
        if measured is None:
            raise TargetError(
                f"target {self.target_ms:.4g} ms is below the smallest network of the space, predicted at "
                f"{self.smallest_ms:.4g} ms ({self.smallest.key}); median {self.median_ms:.4g} ms, largest "
                f"{self.largest_ms:.4g} ms. Ask for at least {_from(self.smallest_ms)} ms or choose a smaller space"
            )
        if self.target_ms < measured.smallest_ms:
            raise TargetError(
                f"target {self.target_ms:.4g} ms is below the smallest network of the space: {measured.networks} were "
                f"measured, at {measured.smallest_ms:.4g} to {measured.largest_ms:.4g} ms (median "
                f"{measured.median_ms:.4g}), and none is predicted below {self.smallest_ms:.4g} ms "
                f"({self.smallest.key}). Ask for at least "
                f"{_from(min(self.smallest_ms, measured.smallest_ms))} ms or choose a smaller space"
            )


def _from(ms: float) -> str:
    """Return a number of four digits that is not below a latency, so that asking for it is not refused.

    >>> _from(0.08689216), _from(1.0), _from(123456.0)
    ('0.0869', '1', '1.235e+05')
    """
    short = float(f"{ms:.4g}")
    return f"{short if short >= ms else short + 10.0 ** (floor(log10(ms)) - 3):.4g}"


def feasibility(
    space: SearchSpace,
    predict: Predict,
    rng: np.random.Generator,
    *,
    target_ms: float | None = None,
    measured_ms: Mapping[Architecture, float] | None = None,
) -> Feasibility:
    """Return what networks of a space cost, from 2,000 sampled ones (all, if there are fewer) and greedy walks."""
    sample = space.sample(space.at_most(SAMPLE), rng)
    predicted = predict(sample)
    order = np.argsort(predicted, kind="stable")
    flat = np.zeros((len(space.sites), max(space.widths)))
    ends: dict[int, list[tuple[Architecture, float]]] = {}
    for sign in (1, -1):
        starts = islice((sample[i] for i in order[::sign] if space.is_connected(sample[i])), _STARTS)
        ends[sign] = [list(descend(space, start, predict, flat, sign=sign))[-1] for start in starts]
    smallest, smallest_ms = min(ends[1], key=lambda end: end[1])
    largest_ms = max(end[1] for end in ends[-1])
    known = {one: ms for one, ms in (measured_ms or {}).items() if space.is_connected(one)}
    share = None if target_ms is None else float(np.mean(predicted <= target_ms))
    return Feasibility(smallest_ms, float(np.median(predicted)), largest_ms, target_ms, share, smallest, known)
