"""What a search loses that follows predicted accuracy and latency, against the best of a table where all is known.

    python benchmarks/predicted_accuracy.py --table ofa.parquet [--rows 900] [--lookups 3] [--out predicted.jsonl]

The table is of ``mbconv:family=ofa``: latency columns ``help:*``, and accuracies of every network. For each column:
targets at five quantiles of its latencies, both predictors from as many rows of the table, and three searches for each
target, every one told the latency predictor and allowed as many look-ups:

- ``lightnas``: gradients by predicted accuracy, over the space; the answer is one of the table's networks, the most
  accurate within the target of those looked up;
- ``evolution``, ``random_search``: ask the table for as many accuracies as the gradient search learnt from. A table has
  so few of the space's networks that no child would be among them: here a child is the one of the table's networks,
  predicted within the target and not asked yet, that is nearest to a mutation of its parent.

Regret is in points against the best network whose true latency is within the target; a violation is an answer above it.
Then what each finds in the whole space within the target, all by the same predictors: ``lightnas`` once, the others
with ``--asks`` questions.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from tempograd import registry
from tempograd.data.table import Table, read_accuracies, read_table
from tempograd.predictor.learn import learn
from tempograd.search.method import Found, Method, Problem
from tempograd.search.need import ANY
from tempograd.search.neighbourhood import mutated
from tempograd.search.price import Price
from tempograd.search.queries import Queries
from tempograd.search.tabular import search_table
from tempograd.search.training import Training
from tempograd.spaces.space import SearchSpace
from tempograd.tasks.predicted import PredictedTask
from tempograd.tasks.table import TableTask
from tempograd.verbs.accuracy import learn_accuracy

SPACE = "mbconv:family=ofa,size=224,classes=1000,resolution_options=25"
ACCURACY = "acc_imagenet_predicted_pct"
QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
METHODS = ("lightnas", "evolution", "random_search")


def price_from(space: SearchSpace, table: Table, rows: int, seed: int) -> Price:
    """Return latency learnt from so many random rows, by one-hots: they are as good as totals here, and faster."""
    taken = np.random.default_rng(seed).permutation(len(table.y_ms))[:rows]
    networks = [table.architectures[i] for i in taken]
    encoded = {"raw": space.encode(networks, "raw")}
    learnt = learn(encoded, table.y_ms[taken], groups=space.groups(networks), model="gp", seed=seed)
    return Price(learnt.module, space, "raw", conformal=learnt.conformal)


class NearestChildren:
    """Evolution over a table's networks: the best quarter of 40 are parents, a tenth of a parent's sites mutate."""

    accepts = frozenset({"queries"})
    needs = ANY

    def __call__(self, problem: Problem) -> Found:
        rng, queries, space = np.random.default_rng(problem.seed), Queries(problem, 100), problem.space
        queries.ask(islice(queries.draws(rng), 40))
        members = [a for a in queries.members() or [] if a not in queries.known]
        members = [members[i] for i in np.flatnonzero(problem.predict()(members) <= queries.limit_ms)]
        rows = space.encode(members, "raw")
        left = np.ones(len(members), bool)
        while queries.left and left.any():
            ranked = sorted(queries.known.values(), key=queries.merit, reverse=True)[:10]
            parent = ranked[int(rng.integers(len(ranked)))].architecture
            child = space.encode([mutated(space, parent, rng, rate=0.1)], "raw")
            distance = np.abs(rows - child).sum(axis=1) + np.where(left, 0, np.inf)
            nearest = int(distance.argmin())
            left[nearest] = False
            queries.ask([members[nearest]])
        return queries.found(0.0)


def in_table(
    space: SearchSpace,
    price: Price,
    model: PredictedTask,
    task: TableTask,
    latencies: dict[Any, float],
    target_ms: float,
    asked: argparse.Namespace,
) -> Iterator[dict[str, Any]]:
    for name in METHODS:
        start, queries = process_time(), asked.rows
        method = Method("evolution", NearestChildren()) if name == "evolution" else registry.create("method", name)
        found = search_table(
            space, method, task, latencies, price, target_ms=target_ms, queries=queries,
            lookups=asked.lookups, seed=asked.seed, accuracy=model if name == "lightnas" else None,
        )  # fmt: skip
        yield {
            "where": "table", "method": name, "verdict": found.verdict, "regret": found.regret_points,
            "lookups": len(found.lookups), "seconds": process_time() - start,
        }  # fmt: skip


def in_space(
    space: SearchSpace, price: Price, model: PredictedTask, target_ms: float, asked: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    for name in METHODS:
        start = process_time()
        problem = Problem(
            space=space, proxy=space, price=price, task=model, accuracy=model, target_ms=target_ms, lam=None,
            reference_ms=target_ms, training=Training(), seed=asked.seed, queries=asked.asks,
        )  # fmt: skip
        found = registry.create("method", name).find(problem).architecture
        yield {
            "where": "space", "method": name, "accuracy": 100 * model.known(found),
            "share_of_target": float(price.predict([found])[0]) / target_ms, "seconds": process_time() - start,
        }  # fmt: skip


def cases(asked: argparse.Namespace, done: set[tuple[str, float]]) -> Iterator[dict[str, Any]]:
    space = registry.create("space", SPACE)
    shares = read_accuracies(asked.table, space, ACCURACY).shares
    model = learn_accuracy(ACCURACY, space, shares, rows=asked.rows, seed=asked.seed)
    print(json.dumps(dict(model.told)))
    for column in (c for c in pq.ParquetFile(asked.table).schema_arrow.names if c.startswith("help:")):
        if all((column, q) in done for q in QUANTILES):
            continue
        table = read_table(asked.table, space, column)
        latencies = dict(zip(table.architectures, table.y_ms.tolist(), strict=True))
        task = TableTask(ACCURACY, {a: shares[a] for a in latencies if a in shares})
        price = price_from(space, table, asked.rows, asked.seed)
        for quantile in QUANTILES:
            if (column, quantile) in done:
                continue
            target_ms = float(np.quantile(table.y_ms, quantile))
            found = [*in_table(space, price, model, task, latencies, target_ms, asked)]
            found += [*in_space(space, price, model, target_ms, asked)] if asked.asks else []
            for row in found:
                yield {"column": column, "quantile": quantile, "target_ms": target_ms} | row


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return for every method its regrets, violations and look-ups, and how it does in the whole space."""
    found: dict[str, Any] = {}
    for name in METHODS:
        mine = [row for row in rows if row["method"] == name and row["where"] == "table"]
        kept = np.array([row["regret"] for row in mine if row["verdict"] == "pass"])
        found[name] = {
            "cases": len(mine), "violations": sum(row["verdict"] == "fail" for row in mine),
            "median_regret": float(np.median(kept)), "mean_regret": float(kept.mean()),
            "worst_regret": float(kept.max()), "none_lost": int((kept < 1e-9).sum()),
            "lookups": float(np.mean([row["lookups"] for row in mine])),
            "seconds": float(np.median([row["seconds"] for row in mine])),
        }  # fmt: skip
        wide = [row for row in rows if row["method"] == name and row["where"] == "space"]
        if wide:
            found[name]["in the space"] = {
                "accuracy": float(np.mean([row["accuracy"] for row in wide])),
                "seconds": float(np.median([row["seconds"] for row in wide])),
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=900)
    parser.add_argument("--lookups", type=int, default=3)
    parser.add_argument("--asks", type=int, default=1000, help="Questions in the whole space; 0 leaves that out.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("predicted.jsonl"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in asked.out.read_text().splitlines()] if asked.out.exists() else []
    with asked.out.open("a") as file:
        for row in cases(asked, {(row["column"], row["quantile"]) for row in rows}):
            rows.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
    print(json.dumps(summary(rows), indent=1))


if __name__ == "__main__":
    main()
