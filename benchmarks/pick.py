"""What ``tempograd pick`` loses, and how often it measures, on a table where every latency is known.

    python benchmarks/pick.py --table timm.parquet --latency i7_12700h_inductor_fp32_ms --accuracy top1_best_pretrained

19 targets: at 5 % to 95 % of the latencies of the networks that have an accuracy. What the table says of a network's
own latency is used for no prediction of it; it is what a measurement would have said. Beside it: people who pick by
multiply-accumulates, the most accurate of what has no more of them than the median network as fast as the target.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from tempograd.data.table_file import open_table
from tempograd.search.pretrained import Pick, held_out_ms
from tempograd.verbs.pick import read_pretrained


def by_macs(macs: np.ndarray, accuracy: np.ndarray, y_ms: np.ndarray, target_ms: float) -> float:
    """Return what the choice by multiply-accumulates takes, in units of the target."""
    near = np.abs(np.log(y_ms / target_ms)) < 0.1
    rows = np.flatnonzero(macs <= np.median(macs[near]))
    return float(y_ms[rows[accuracy[rows].argmax()]] / target_ms)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--latency", required=True)
    parser.add_argument("--accuracy", required=True)
    parser.add_argument("--macs", default="gmacs")
    parser.add_argument("--most", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    file = open_table(asked.table)
    y_ms, accuracy, macs = (file.numbers(name).values for name in (asked.latency, asked.accuracy, asked.macs))
    both = np.isfinite(y_ms) & np.isfinite(accuracy)
    read = read_pretrained(asked.table, accuracy=asked.accuracy, latency=asked.latency)
    predicted_ms, residuals = held_out_ms(read.features, read.given_ms, read.groups, seed=asked.seed)
    rows, found = np.flatnonzero(both), []
    for share in np.arange(1, 20) / 20:
        target_ms = float(np.quantile(y_ms[both], share))
        state = Pick(accuracy[rows], predicted_ms[rows], residuals, target_ms)
        row = state.run(lambda row: float(y_ms[rows[row]]), asked.most)
        best = float(accuracy[both & (y_ms <= target_ms)].max())
        found.append({
            "target_ms": target_ms, "verdict": "fail" if row is None else "pass",
            "regret": None if row is None else best - float(state.accuracy[row]), "measured": len(state.measured_ms),
            "by_macs_over_target": by_macs(macs[both], accuracy[both], y_ms[both], target_ms),
        })  # fmt: skip
        print(json.dumps(found[-1]), flush=True)
    over = [one["by_macs_over_target"] for one in found]
    print(json.dumps({
        "targets": len(found), "violations": sum(one["verdict"] != "pass" for one in found),
        "none_lost": sum(one["regret"] is not None and one["regret"] < 1e-9 for one in found),
        "worst_regret": max(one["regret"] or 0.0 for one in found),
        "measurements": float(np.mean([one["measured"] for one in found])),
        "by_macs_above_target": sum(one > 1 for one in over), "by_macs_worst": max(over),
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
