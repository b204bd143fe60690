"""LA-DARTS, small: what the weight of latency does to the measured latency and to the accuracy of the network found.

    python benchmarks/la_darts.py --predictor predictor/ --store run.db [--task digits] [--out la_darts.jsonl]

For every weight and seed: search, derive, train from scratch. Then all networks are measured together on the device,
in interleaved rounds, so that drift is not confounded with the weight. Prints Spearman(weight, measured latency), and
for every weight the mean latency and accuracy beside those of weight 0.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from scipy.stats import spearmanr


def one(job: dict[str, Any]) -> dict[str, Any]:
    """Search at one weight with one seed, and train what is derived."""
    import torch

    from tempograd import registry
    from tempograd.predictor import saved
    from tempograd.search.evaluator import train
    from tempograd.search.method import Problem
    from tempograd.search.price import Price
    from tempograd.search.training import Training
    from tempograd.tasks.load import load_task

    torch.set_num_threads(1)
    kept = saved.load(Path(job["predictor"]))
    space, proxy = registry.create("space", kept.binding.space), registry.create("space", job["proxy"])
    price = Price(kept.predictor.module, space, kept.binding.encoding)
    predict = price.predict
    reference_ms = float(np.median(predict(space.sample(2000, np.random.default_rng(0)))))
    task = load_task(job["task"], seed=job["seed"])
    training = Training(epochs=job["train_epochs"])
    problem = Problem(
        space=space, proxy=proxy, price=price, task=task, target_ms=None, lam=job["lam"],
        reference_ms=reference_ms, training=training, seed=job["seed"],
    )  # fmt: skip
    start = perf_counter()
    found = registry.create("method", f"la_darts:epochs={job['epochs']}").find(problem)
    searched = perf_counter() - start
    trained = train(found.architecture, space, task.fitted(space), training, seed=job["seed"])
    return job | {
        "key": found.architecture.key,
        "predicted_ms": float(predict([found.architecture])[0]),
        "accuracy": trained.score,
        "entropy": found.trace.columns()["entropy"][-1],
        "search_s": searched,
        "train_s": perf_counter() - start - searched,
    }


def measured(rows: list[dict[str, Any]], store: Path, device_spec: str, space_spec: str) -> None:
    """Add the measured latency to every row."""
    from tempograd import registry
    from tempograd.data.store import Store
    from tempograd.profiler.plan import PRECISE, Items
    from tempograd.profiler.verify import measure

    space, device = registry.create("space", space_spec), registry.create("device", device_spec)
    items = Items.of(space, [space.from_key(row["key"]) for row in rows], batch=device.batch)
    with Store(store, write=True) as opened:
        found = {m.key: m for m in measure(device, items, PRECISE, opened)}
    for row in rows:
        row["measured_ms"], row["verdict"] = found[row["key"]].latency_ms, found[row["key"]].verdict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictor", required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--device", default="local")
    parser.add_argument("--task", default="digits")
    parser.add_argument("--proxy", default="darts:layers=3,width=4,size=8,channels=1")
    parser.add_argument("--lams", type=float, nargs="+", default=[0.0, 0.1, 0.3, 1.0, 3.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--train-epochs", type=int, default=25)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("la_darts.jsonl"))
    arguments = parser.parse_args()
    from tempograd.predictor import saved

    shared = {k: getattr(arguments, k) for k in ("predictor", "task", "proxy", "epochs", "train_epochs")}
    jobs = [shared | {"lam": lam, "seed": seed} for seed in range(arguments.seeds) for lam in arguments.lams]
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        rows = []
        for row in pool.map(one, jobs):
            print(json.dumps(row), flush=True)
            rows.append(row)
    measured(rows, arguments.store, arguments.device, saved.load(Path(arguments.predictor)).binding.space)
    arguments.out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    latency = np.array([row["measured_ms"] for row in rows])
    lam = np.array([row["lam"] for row in rows])
    accuracy = np.array([row["accuracy"] for row in rows])
    base = lam == 0
    print(json.dumps({"spearman_lam_measured": float(spearmanr(lam, latency).statistic), "networks": len(rows)}))
    for value in arguments.lams:
        own = lam == value
        print(json.dumps({
            "lam": value,
            "measured_ms": float(latency[own].mean()),
            "measured_sd_ms": float(latency[own].std(ddof=1)),
            "less_latency_pct": 100 * (1 - float(latency[own].mean() / latency[base].mean())),
            "accuracy": float(accuracy[own].mean()),
            "accuracy_sd": float(accuracy[own].std(ddof=1)),
            "accuracy_minus_lam0": float(accuracy[own].mean() - accuracy[base].mean()),
        }))  # fmt: skip


if __name__ == "__main__":
    main()
