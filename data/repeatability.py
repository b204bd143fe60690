"""How far two measuring processes agree on the same network: the figure that every interval is widened by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from math import log
from typing import NamedTuple

import numpy as np

SIGMAS = 4.0  # a duplicate further off than this many is no matter of chance
FLOOR = 0.005  # relative standard deviation below which no label is believed


class Label(NamedTuple):
    """A number that one measuring process gave for one network; None if it gave none."""

    key: str
    latency_ms: float | None


def pair_up(labels: Iterable[Label]) -> dict[str, float]:
    """Return key -> ln of the ratio of its first two labels, for every network that has two."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for key, latency_ms in labels:
        if latency_ms is not None:
            found[key].append(latency_ms)
    return {key: log(values[1] / values[0]) for key, values in found.items() if len(values) > 1}


def spread(differences: dict[str, float]) -> float:
    """Return the relative standard deviation between processes; NaN if there are no pairs."""
    if not differences:
        return float("nan")
    return float(np.sqrt(np.mean(np.square(list(differences.values()))) / 2))


def outliers(differences: dict[str, float]) -> set[str]:
    """Return the networks whose two labels lie further apart than four sigmas.

    Sigma is that of most pairs (from the median), so that one wrong label cannot hide behind the spread that it makes.
    """
    if not differences:
        return set()
    sigma = max(1.4826 * float(np.median(np.abs(list(differences.values())))), FLOOR * 2**0.5)
    return {key for key, difference in differences.items() if abs(difference) > SIGMAS * sigma}
