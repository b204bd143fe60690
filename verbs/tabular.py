"""``search`` on a public table: latency learnt from so many rows, accuracies asked for under a budget."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dataset import FEW_ROWS
from ..data.result import RESULT
from ..data.table import Table, conditions_for, read_accuracies, read_table
from ..errors import UsageError
from ..predictor.design import d_optimal
from ..predictor.interval import COVERAGE
from ..predictor.learn import Learnt, default_model, learn, stated
from ..search.price import Price
from ..search.tabular import search_table
from ..shown import counted
from ..spaces.space import SearchSpace
from ..tasks.table import TableTask, table_column
from .accuracy import predicted_accuracy
from .fit import blocks_of, encodings_of
from .kind import Kind
from .outcome import MISSED, Outcome, go_on, plain, space_of
from .request import SearchRequest

QUERIES = 100  # accuracies that may be asked for
CANDIDATES = 2000  # rows that a design chooses from


class SearchOnTable(Kind):
    """Searches on a table."""

    def __call__(self, request: SearchRequest) -> Outcome:
        """Search a table, look up what was found, and say what was lost against the best network there is.

        Raises:
            UsageError: no such file or column, no network that both have, or too few rows.
        """
        task, latency, asked = str(request.training.task), request.table.latency or "", request.what
        accuracy_column, latency_column = table_column(task), table_column(latency)
        assert accuracy_column is not None  # the request was checked
        assert latency_column is not None
        space, rows, upper_bound = space_of(asked.space), request.table.latency_rows, request.pricing.upper_bound
        of_accuracy, of_latency = conditions_for([accuracy_column[0], latency_column[0]], request.table.where)
        read = read_accuracies(accuracy_column[0], space, accuracy_column[1], where=of_accuracy)
        table = read_table(latency_column[0], space, latency_column[1], where=of_latency)
        accuracies = read.shares
        latencies_ms = dict(zip(table.architectures, table.y_ms.tolist(), strict=True))
        known = {a: accuracy for a, accuracy in accuracies.items() if a in latencies_ms}
        if not known:
            raise UsageError(
                f"no network of {accuracy_column[0]} has a latency in {latency_column[0]}: take tables of one"
            )
        self.progress("fitting", 0, 1)
        learnt = learn_latency(space, table, rows, seed=asked.seed)
        spec, asked_rows = request.training.accuracy, request.training.accuracy_rows
        accuracy = None if spec is None else predicted_accuracy(
            spec, space, rows=asked_rows, where=request.table.where, seed=asked.seed
        )  # fmt: skip
        self.progress("fitting", 1, 1)
        result = search_table(
            space, self.method, TableTask(task, known), latencies_ms,
            price_of(learnt, space, upper_bound=upper_bound), target_ms=request.target_ms or 0.0,
            queries=asked.queries or QUERIES, seed=asked.seed, progress=self._told, accuracy=accuracy,
        )  # fmt: skip
        predicted_ms = price_of(learnt, space).predict([result.found.architecture])
        low, high = learnt.conformal.interval(predicted_ms, COVERAGE)
        provenance = {
            "predictor": {"model": learnt.model, "encoding": learnt.encoding, "rows": rows, "table": latency},
            "device": {"table": str(latency_column[0]), "column": latency_column[1]},
            "predicted_interval_ms": (float(low[0]), float(high[0])), "networks": len(known),
            "without_latency": len(accuracies) - len(known), "asked": request.asked(self.cost),
            "command": self.command, "remarks": list(dict.fromkeys([*table.remarks, *read.remarks])),
            "training": {} if accuracy is None else {"trained": False, **accuracy.told},
        }  # fmt: skip
        result.save(asked.out, provenance)
        document = plain(json.loads((asked.out / RESULT).read_text()))
        code = 0 if result.verdict == "pass" else MISSED
        return Outcome(document, self.text(asked.out), code, folders=(asked.out,))

    def again(self, request: SearchRequest) -> Outcome:
        """Search once more: what stands in a table is never unreliable, and such a result was written by another."""
        return self(request)

    def text(self, out: Path) -> str:
        """Return the result in a folder for people."""
        return _text(plain(json.loads((out / RESULT).read_text())))

    def _told(self, stage: str, done: int, total: int, numbers: Mapping[str, float]) -> None:
        go_on(self.stop)
        self.progress(stage, done, total)


def met_by(share: float | None) -> str:
    """Return what share of sampled networks a target leaves, and what it means if that is all of them."""
    if share is None:
        return ""
    if share >= 1:
        return "; every sampled network meets the target, so it asks for nothing: one below the median would"
    told = "more than 99%" if share > 0.99 else "fewer than 1%" if 0 < share < 0.01 else f"{share:.0%}"
    return f"; {told} of networks meet the target"


def _text(d: Mapping[str, Any]) -> str:
    """Return a result for people."""
    table, found = d["feasibility"], d["found"]
    lines = [
        *d["remarks"],
        f"predicted from {counted(d['predictor']['rows'], 'row')}: smallest {table['smallest_ms']:.4g} ms, median "
        f"{table['median_ms']:.4g}, largest {table['largest_ms']:.4g}{met_by(table['share_within_target'])}",
        f"{d['verdict'].upper()}: {found['measured']['latency_ms']:.4g} ms in the table against a target of "
        f"{d['target_ms']:.4g} ms, predicted {found['predicted_ms']:.4g} ms; {d['latencies_looked_up']} looked up",
        f"accuracy {found['accuracy']:.2%} {_how(d)}",
    ]
    if d["optimum"] is None:
        lines.append("no network of the table is within the target")
    else:
        lost = "" if d["regret_points"] is None else f": {d['regret_points']:.2f} points lost"
        lines.append(f"the best within the target has {d['optimum']['accuracy']:.2%}{lost}")
    return "\n".join([*lines, found["text"], d["rebuild"]])


def _how(d: Mapping[str, Any]) -> str:
    told, queries = d["training"], d["queries"]
    if told:
        rho = told["scores"]["spearman"]
        return f"in the table; predictions were followed, learnt from {told['rows']} rows (Spearman {rho:.3f})"
    return f"after {queries['used']} of {queries['budget']} queries"


def price_of(learnt: Learnt, space: SearchSpace, *, upper_bound: bool = False) -> Price:
    """Return what networks cost by what was learnt, or by the upper end of its interval."""
    module = learnt.upper_bound(COVERAGE) if upper_bound else learnt.module
    return Price(module, space, learnt.encoding, conformal=None if upper_bound else learnt.conformal)


def learn_latency(space: SearchSpace, table: Table, rows: int, *, seed: int = 0) -> Learnt:
    """Learn latency from ``rows`` rows: by ``gp`` on random ones, or where they are few by ``transfer`` on chosen ones.

    Raises:
        UsageError: fewer than 19 rows, or more than the table has.
    """
    if not FEW_ROWS <= rows <= len(table.y_ms):
        raise UsageError(
            f"{rows} rows to learn latency from; allowed: {FEW_ROWS} to {len(table.y_ms)}, what the table has measured"
        )
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(table.y_ms))
    model = default_model(rows, ())
    if not stated(model, "frugal"):
        taken = order[:rows]
    else:
        networks = space.groups([table.architectures[i] for i in order])
        different = order[np.sort(np.unique(networks, return_index=True)[1])]
        candidates = (different if len(different) >= rows else order)[:CANDIDATES]
        counts = space.counts([table.architectures[i] for i in candidates])
        taken = candidates[d_optimal(counts, rows, rng)]
    architectures, y_ms = [table.architectures[i] for i in taken], table.y_ms[taken]
    return learn(
        {name: space.encode(architectures, name) for name in encodings_of(space, model)}, y_ms,
        groups=space.groups(architectures), model=model, blocks=blocks_of(space), stages=space.schedule,
        seed=seed,
    )  # fmt: skip
