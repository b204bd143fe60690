"""What a search loses against the best network there is: public tables, where all is known.

    python benchmarks/regret.py --tables FOLDER [--seeds 3] [--queries 100] [--columns NAME] [--out regret.jsonl]

``FOLDER`` holds ``nasbench201.parquet``. For every latency column: targets at five quantiles of its latencies, a
predictor from 900 and from 20 rows, and every method with the same predictor and as many accuracies. Regret is in
points of CIFAR-100 accuracy after 200 epochs against the best network whose true latency is within the target; a case
is a violation where the network given back is above it. Then HELP's Table 4 (Gold 6226 at 8, 11 and 14 ms).

A run that was stopped goes on: finished cases are lines of ``--out``. ``--summary`` reads them and makes the tables.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from scipy.stats import wilcoxon

from tempograd import registry
from tempograd.data.table import read_accuracies, read_table
from tempograd.errors import TargetError
from tempograd.search.tabular import search_table
from tempograd.tasks.table import TableTask
from tempograd.verbs.tabular import learn_latency, price_of

ACCURACY = "acc_cifar100_test200"
QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
METHODS = ("surrogate_search", "regularized_evolution", "random_search")  # the first against the others
HELP_TABLE_4 = {"help:gold_6226": {8.0: 67.3, 11.0: 70.2, 14.0: 72.1}}


def cases(arguments: argparse.Namespace, done: set[tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    path = arguments.tables / "nasbench201.parquet"
    space = registry.create("space", "nasbench201")
    accuracies = read_accuracies(path, space, ACCURACY).shares
    known = [c for c in pq.ParquetFile(path).schema_arrow.names if c.startswith(("help:", "latbench:"))]
    for seed, column, rows in product(range(arguments.seeds), arguments.columns or known, arguments.rows):
        table = read_table(path, space, column)
        latencies = dict(zip(table.architectures, table.y_ms.tolist(), strict=True))
        task = TableTask(ACCURACY, {a: accuracies[a] for a in latencies if a in accuracies})
        targets = {f"q{q}": float(np.quantile(table.y_ms, q)) for q in QUANTILES}
        targets |= {f"{ms:g} ms": ms for ms in HELP_TABLE_4.get(column, {})}
        todo = [(n, t, m) for n, t in targets.items() for m in METHODS if (column, rows, seed, n, m) not in done]
        if not todo:
            continue
        start = perf_counter()
        learnt = learn_latency(space, table, rows, seed=seed)
        fit_s = perf_counter() - start
        for name, target_ms, method in todo:
            row = {"column": column, "rows": rows, "seed": seed, "target": name, "method": method,
                   "target_ms": target_ms, "model": learnt.model, "encoding": learnt.encoding}  # fmt: skip
            try:
                found = search_table(
                    space, registry.create("method", method), task, latencies, price_of(learnt, space),
                    target_ms=target_ms, queries=arguments.queries, seed=seed,
                )  # fmt: skip
            except TargetError as error:
                yield row | {"refused": str(error)}
                continue
            best = max(accuracies[a] for a, ms in latencies.items() if a in accuracies and ms <= target_ms)
            yield row | {
                "accuracy": 100 * found.found.accuracy, "latency_ms": found.found.latency_ms, "optimum": 100 * best,
                "verdict": found.verdict, "regret": found.regret_points, "queries": len(found.queries),
                "lookups": len(found.lookups), "seconds": found.seconds, "fit_seconds": fit_s,
            }  # fmt: skip


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return for every number of rows and method: regret, violations, lookups, and the paired test against ours."""
    found: dict[str, Any] = {}
    main, *others = METHODS
    for count in sorted({row["rows"] for row in rows}, reverse=True):
        mine = [r for r in rows if r["rows"] == count and r["target"].startswith("q")]
        cells = {m: {(r["column"], r["seed"], r["target"]): r for r in mine if r["method"] == m} for m in METHODS}
        for method, cell in cells.items():
            kept = [r for r in cell.values() if r.get("verdict") == "pass"]
            regret = np.array([r["regret"] for r in kept])
            found[f"{count} rows, {method}"] = {
                "cases": len(cell), "refused": sum("refused" in r for r in cell.values()),
                "violations": sum(r.get("verdict") == "fail" for r in cell.values()),
                "median_regret": float(np.median(regret)), "mean_regret": float(regret.mean()),
                "regret_p90": float(np.quantile(regret, 0.9)), "optimum_found": float(np.mean(regret <= 1e-9)),
                "lookups_mean": float(np.mean([r["lookups"] for r in kept])),
                "queries_max": max(r["queries"] for r in kept),
            }  # fmt: skip
        for other in others:
            both = [k for k in cells[main] if all(cells[m].get(k, {}).get("verdict") == "pass" for m in (main, other))]
            ours, theirs = (np.array([cells[m][k]["regret"] for k in both]) for m in (main, other))
            test = wilcoxon(ours, theirs, alternative="less")
            found[f"{count} rows, {main} against {other}"] = {
                "pairs": len(both), "better": int((ours < theirs).sum()), "worse": int((ours > theirs).sum()),
                "wilcoxon_p": float(test.pvalue),
            }  # fmt: skip
        for column, published in HELP_TABLE_4.items():
            for ms, theirs in published.items():
                ours = [r for r in rows if (r["column"], r["rows"], r["target"], r["method"]) ==
                        (column, count, f"{ms:g} ms", main) and "accuracy" in r]  # fmt: skip
                if ours:
                    found[f"{count} rows, HELP Table 4, {column} at {ms:g} ms"] = {
                        "published": theirs, "optimum": ours[0]["optimum"], "accuracy": [r["accuracy"] for r in ours],
                        "latency_ms": [r["latency_ms"] for r in ours],
                    }  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--rows", type=int, nargs="+", default=[900, 20])
    parser.add_argument("--columns", nargs="+")
    parser.add_argument("--out", type=Path, default=Path("regret.jsonl"))
    parser.add_argument("--summary", action="store_true", help="Only read what is there.")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    lines = chosen.out.read_text().splitlines() if chosen.out.exists() else []
    rows = [json.loads(line) for line in lines]
    if not chosen.summary:
        if chosen.tables is None:
            parser.error("--tables FOLDER is needed, unless with --summary")
        done = {(r["column"], r["rows"], r["seed"], r["target"], r["method"]) for r in rows}
        with chosen.out.open("a") as file:
            for row in cases(chosen, done):
                rows.append(row)
                file.write(json.dumps(row) + "\n")
                file.flush()
                print(*row.values(), flush=True)
    print(json.dumps(summary(rows), indent=1))


if __name__ == "__main__":
    main()
