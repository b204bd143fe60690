"""Once-for-All's space at 224 pixels on this machine: does what is found hold its target, and is it worth the search?

    python benchmarks/ofa_224.py --table ofa.parquet --out ofa224/     # a quiet machine, about 15 minutes
    python benchmarks/ofa_224.py --table ofa.parquet --out /tmp/ofa224 --device simulated:seed=1 --count 60

``--table`` holds accuracies of networks of ``mbconv:family=ofa`` with their input size, 128 to 224 pixels in steps of
4. ``--count`` random networks are measured; latency is learnt from them, accuracy from the table. Then one search
without images for each of five targets, quantiles of the measured latencies, proved by ``search`` as always. Against it
stand 20 random networks whose *measured* latency is within 3 % of that of the network found, by the same predicted
accuracy.

One JSON line a target; the last line counts targets met with a latency of 93 to 100 % of them, and those where what is
found is predicted 1.5 points above the mean of the random ones. What was measured stays in ``OUT/run.db``: the same
command goes on.
"""

from __future__ import annotations

import argparse
import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tempograd import registry
from tempograd.data.dataset import LatencyDataset
from tempograd.data.store import Store
from tempograd.errors import TargetError
from tempograd.predictor.saved import SavedPredictor, load
from tempograd.profiler.plan import Items, named
from tempograd.profiler.verify import measure
from tempograd.spaces.space import SearchSpace
from tempograd.tasks.predicted import PredictedTask
from tempograd.verbs.accuracy import predicted_accuracy
from tempograd.verbs.collect import collect
from tempograd.verbs.fit import fit
from tempograd.verbs.search import search

SPACE = "mbconv:family=ofa,size=224,classes=1000,resolution_options=25"
COLUMN = "acc_imagenet_predicted_pct"
QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
WINDOW, NEAR, POINTS, AGAINST = (0.93, 1.0), 0.03, 1.5, 20
DRAWN = 5000  # random networks that are looked through for some of one predicted latency


class Drawn:
    """Random networks with their predicted latencies in ms: drawn and encoded once, for all targets."""

    def __init__(self, space: SearchSpace, predictor: SavedPredictor) -> None:
        self.networks = space.sample(DRAWN, np.random.default_rng(0))
        self.predicted_ms = predictor.predict(space.encode(self.networks, predictor.binding.encoding))


def rivals(
    space: SearchSpace,
    random: Drawn,
    model: PredictedTask,
    latency_ms: float,
    seed: int,
    asked: argparse.Namespace,
) -> list[float]:
    """Return predicted accuracies in per cent of random networks that are measured within 3 % of a latency."""
    drawn, predicted = random.networks, random.predicted_ms
    order = np.argsort(np.abs(predicted / latency_ms - 1), kind="stable")
    near = (drawn[i] for i in order if abs(predicted[i] / latency_ms - 1) < 2 * NEAR)
    found: list[float] = []
    place = registry.create("device", asked.device)
    while len(found) < AGAINST and (some := list(islice(near, AGAINST - len(found)))):
        with Store(asked.out / "run.db", write=True) as store:
            timed = measure(place, Items.of(space, some, batch=place.batch), named(asked.plan), store, seed=seed)
        for one, network in zip(timed, some, strict=True):
            if one.verdict == "ok" and abs(one.latency_ms / latency_ms - 1) < NEAR:
                found.append(100 * model.known(network))
    return found


def case(
    quantile: float, target_ms: float, space: SearchSpace, random: Drawn, model: PredictedTask, asked: Any
) -> dict[str, Any]:
    out = asked.out / f"q{quantile:g}"
    try:
        done = search(
            space, asked.out / "predictor", out, target_ms=target_ms, accuracy=f"table:{asked.table}:{COLUMN}",
            accuracy_rows=asked.rows, method=asked.method, device=asked.device, store=asked.out / "run.db",
            plan=asked.plan, random=0,
        )  # fmt: skip
    except TargetError as error:
        return {"quantile": quantile, "target_ms": target_ms, "verdict": "infeasible", "reason": str(error)}
    found = done.document["found"]
    own_ms = found["measured"]["latency_ms"]
    others = rivals(space, random, model, own_ms, round(1000 * quantile), asked)
    accuracy = 100 * model.known(space.from_key(found["key"]))
    above = accuracy - float(np.mean(others)) if others else None
    return {
        "quantile": quantile, "target_ms": target_ms, "verdict": done.document["verdict"], "latency_ms": own_ms,
        "share_of_target": own_ms / target_ms, "accuracy": accuracy, "against": len(others), "points_above": above,
        "seconds": done.document["seconds"], "found": found["text"],
    }  # fmt: skip


def targets_ms(space: SearchSpace, asked: argparse.Namespace) -> dict[str, float]:
    """Return the targets by quantile; they are kept, as labels move a little with all that is measured after them."""
    path = asked.out / "targets.json"
    kept: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    with Store(asked.out / "run.db") as store:
        y_ms = LatencyDataset.from_store(store, space=space.spec).ok().y_ms[: asked.count]
    found = {f"{quantile:g}": float(f"{np.quantile(y_ms, quantile):.4g}") for quantile in asked.quantiles} | kept
    path.write_text(json.dumps(found, indent=1))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="local")
    parser.add_argument("--method", default="ofa")
    parser.add_argument("--plan", default="quick")
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--rows", type=int, default=900, help="Rows of the table that accuracy is learnt from.")
    parser.add_argument("--quantiles", type=float, nargs="+", default=QUANTILES)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    space = registry.create("space", SPACE)
    collect(space, asked.out / "run.db", device=asked.device, count=asked.count, plan=asked.plan)
    if not (asked.out / "predictor").exists():
        fit(asked.out / "run.db", asked.out / "predictor", space=space.spec)
    model = predicted_accuracy(f"table:{asked.table}:{COLUMN}", space, rows=asked.rows)
    targets = targets_ms(space, asked)
    random = Drawn(space, load(asked.out / "predictor"))
    rows: list[dict[str, Any]] = []
    for quantile in asked.quantiles:
        rows.append(case(quantile, targets[f"{quantile:g}"], space, random, model, asked))
        print(json.dumps(rows[-1]), flush=True)
    held = [row for row in rows if WINDOW[0] <= row.get("share_of_target", 0) <= WINDOW[1]]
    worth = [row for row in rows if (row.get("points_above") or 0) >= POINTS]
    print(json.dumps({"targets": len(rows), "held": len(held), "worth": len(worth)}))


if __name__ == "__main__":
    main()
