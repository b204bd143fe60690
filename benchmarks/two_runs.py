"""Do two runs over the same networks agree? Kendall's tau, swapped pairs, and how often the intervals meet.

python benchmarks/two_runs.py first.db second.db [--space SPEC]

The stores are separate: each run took its own reference state, calibration and processes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from tempograd.data.dataset import LatencyDataset
from tempograd.data.store import Store

GAP = 0.05  # a pair whose order should not depend on the run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", type=Path, nargs=2)
    parser.add_argument("--space")
    arguments = parser.parse_args()
    runs: list[LatencyDataset] = []
    for path in arguments.stores:
        with Store(path) as store:
            runs.append(LatencyDataset.from_store(store, space=arguments.space))
    print(json.dumps({which: compare(*runs, ok=which == "ok") for which in ("all", "ok")}, indent=1))


def compare(one: LatencyDataset, other: LatencyDataset, *, ok: bool) -> dict[str, float]:
    """Return how the labels of the networks in both agree."""
    if ok:
        one, other = one.ok(), other.ok()
    places = {key: n for n, key in enumerate(other.keys)}
    both = [(n, places[key]) for n, key in enumerate(one.keys) if key in places]
    i, j = np.array(both).T
    a, b = one.y_ms[i], other.y_ms[j]
    logs = np.log(b / a)
    meet = (one.low_ms[i] <= other.high_ms[j]) & (other.low_ms[j] <= one.high_ms[i])
    gap, swapped = 0, 0
    level = np.log(a * b) / 2
    for n in range(len(level)):  # a row at a time: all pairs at once would take gigabytes
        far = np.abs(level[n + 1 :] - level[n]) > GAP
        gap += int(far.sum())
        swapped += int((far & ((a[n + 1 :] - a[n]) * (b[n + 1 :] - b[n]) < 0)).sum())
    return {
        "networks": len(both),
        "kendall": float(kendalltau(a, b).statistic),
        "swapped_pairs_pct": 100 * swapped / gap,
        "median_abs_difference_pct": 100 * float(np.median(np.abs(logs))),
        "p95_abs_difference_pct": 100 * float(np.quantile(np.abs(logs), 0.95)),
        "median_ratio": float(np.exp(np.median(logs))),
        "sd_of_one_pct": 100 * float(np.sqrt(np.mean(logs**2) / 2)),
        "intervals_meet_pct": 100 * float(meet.mean()),
    }


if __name__ == "__main__":
    main()
