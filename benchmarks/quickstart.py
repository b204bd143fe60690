"""The quickstart: how long each of its parts takes, and whether what it finds beats random networks of equal latency.

    python benchmarks/quickstart.py --out quickstarts/ [--device local] [--seeds 5] [--random 6]

Every seed is a quickstart of its own: networks, labels, task, law and training are drawn anew. Against the network
found stand random ones of the same store whose *measured* latency is within 3 % of its own, no two the same network,
trained by the same recipe. What is compared is test accuracy, paired over seeds: the mean of the differences beside
its standard error. A seed that is there is not run again. The last line printed is the summary, as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch

from tempograd.data.dataset import LatencyDataset
from tempograd.data.store import Store
from tempograd.search.evaluator import train
from tempograd.search.training import recipe
from tempograd.spaces.architecture import Architecture
from tempograd.spaces.canonical import canonical
from tempograd.spaces.saved import load_architecture
from tempograd.spaces.space import SearchSpace
from tempograd.tasks.load import load_task
from tempograd.verbs import quickstart as quickly
from tempograd.verbs.outcome import REMARK

NEAR = 0.03  # of the latency of the network found
HEADER = "| seed | found, ms | test accuracy | random, mean of n | difference | verdict | s | of which CPU s |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="local")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--random", type=int, default=6, help="networks of equal latency that are trained, per seed")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = [_row(given.out / f"seed-{seed}", given.device, seed, given.random) for seed in range(given.seeds)]
    print("\n".join([HEADER, "|" + "---|" * (HEADER.count("|") - 1), *map(_line, rows)]))
    differences = [100 * (row["found"] - fmean(row["random"])) for row in rows if row["random"]]
    error = stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else float("nan")
    print(json.dumps({
        "seeds": len(differences), "difference_points": fmean(differences), "standard_error": error,
        "in_standard_errors": fmean(differences) / error, "seconds": fmean(row["seconds"] for row in rows),
    }))  # fmt: skip


class _Stages:
    """CPU seconds of this process and of those that ended, by the stage that was told last."""

    def __init__(self) -> None:
        self.cpu_s: dict[str, float] = {}
        self._stage, self._since_s = "start", _cpu_s()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now_s = _cpu_s()
        self.cpu_s[self._stage] = self.cpu_s.get(self._stage, 0.0) + now_s - self._since_s
        self._since_s = now_s
        if total != REMARK:
            self._stage = stage


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _row(folder: Path, device: str, seed: int, count: int) -> dict[str, Any]:
    """Return one seed's quickstart and the random networks of equal latency, from its file if it is there."""
    path = folder / "row.json"
    if path.is_file():
        return json.loads(path.read_text())
    clock = _Stages()
    outcome = quickly.quickstart(folder, device=device, seed=seed, progress=clock)
    result = outcome.document["result"]
    space, found = load_architecture(folder / "result")
    drawn = {each.key for each in space.sample(quickly.COUNT, np.random.default_rng([seed, 1]))}  # as `collect` draws
    latency_ms = result["found"]["measured"]["latency_ms"]
    random = _random(folder / "run.db", space, found, latency_ms, drawn)[:count]
    task = load_task(quickly.TASK, seed=seed).fitted(space)
    how = recipe("small", epochs=quickly.TRAIN_EPOCHS)
    row = {
        "seed": seed, "verdict": result["verdict"], "latency_ms": latency_ms,
        "found": result["found"]["accuracy"],
        "random": [train(each, space, task, how, seed=seed).score for each in random],
        "seconds": outcome.document["seconds"], "stages": clock.cpu_s, "of_search": result["seconds"],
        "measured": len(result["repairs"]),
    }  # fmt: skip
    path.write_text(json.dumps(row))
    return row


def _random(
    path: Path, space: SearchSpace, found: Architecture, latency_ms: float, drawn: set[str]
) -> list[Architecture]:
    """Return networks drawn uniformly, with trusted labels near a latency; all different, and none the one found."""
    with Store(path) as opened:
        dataset = LatencyDataset.from_store(opened, space=space.spec)
    form = canonical(space.network_graph(found))
    kept: dict[str, Architecture] = {}
    for row in dataset.rows:
        if row.key in drawn and row.verdict == "ok" and abs(row.latency_ms / latency_ms - 1) <= NEAR:
            architecture = space.from_key(row.key)
            kept.setdefault(canonical(space.network_graph(architecture)), architecture)
    kept.pop(form, None)
    return list(kept.values())


def _line(row: dict[str, Any]) -> str:
    random, seconds = row["random"], row["stages"]
    mean = fmean(random) if random else float("nan")
    parts = [f"{name} {s:.0f}" for name, s in seconds.items()]
    return (
        f"| {row['seed']} | {row['latency_ms']:.4g} | {row['found']:.1%} | {mean:.1%} of {len(random)} | "
        f"{100 * (row['found'] - mean):+.1f} | {row['verdict']} | {row['seconds']:.0f} | {', '.join(parts)} |"
    )


if __name__ == "__main__":
    main()
