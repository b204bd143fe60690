"""What a target means in a space, before any training: smallest, median and largest predicted latency beside it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

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
    """Predicted latencies of a space, in ms.

    Attributes:
        smallest_ms, largest_ms: of the cheapest and dearest network found by a greedy walk from a uniform sample.
        median_ms: of the sample.
        target_ms: asked for, if any.
        share_within_target: of the sample; None without a target.
        smallest: the cheapest network, one that connects input and output.
    """

    smallest_ms: float
    median_ms: float
    largest_ms: float
    target_ms: float | None
    share_within_target: float | None
    smallest: Architecture

    def document(self) -> result.Feasibility:
        """Return the numbers as a part of the result's document."""
        return result.Feasibility(
            smallest_ms=self.smallest_ms,
            median_ms=self.median_ms,
            largest_ms=self.largest_ms,
            target_ms=self.target_ms,
            share_within_target=self.share_within_target,
        )

    def check(self) -> None:
        """Raise TargetError if even the smallest network is predicted above the target."""
        if self.target_ms is not None and self.target_ms < self.smallest_ms:
            raise TargetError(
                f"target {self.target_ms:.4g} ms is below the smallest network of the space, predicted at "
                f"{self.smallest_ms:.4g} ms ({self.smallest.key}); median {self.median_ms:.4g} ms, largest "
                f"{self.largest_ms:.4g} ms. Ask for at least {self.smallest_ms:.4g} ms or choose a smaller space"
            )


def feasibility(
    space: SearchSpace, predict: Predict, rng: np.random.Generator, *, target_ms: float | None = None
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
    share = None if target_ms is None else float(np.mean(predicted <= target_ms))
    return Feasibility(smallest_ms, float(np.median(predicted)), largest_ms, target_ms, share, smallest)
