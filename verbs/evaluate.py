"""``evaluate``: judge a predictor on any latency table."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..data.table import read_table
from ..predictor.evaluate import METRICS, Judgement, judge_in_full
from .fit import estimator_of
from .outcome import Outcome, Progress, plain, silent, space_of
from .outcome import table as aligned


def evaluate(
    table: Path,
    *,
    space: str,
    column: str,
    train: int = 900,
    valid: int = 100,
    seeds: int = 3,
    model: str = "mlp",
    progress: Progress = silent,
) -> Outcome:
    """Judge a predictor on a table: learn from ``train`` rows, choose the encoding on ``valid``, test on the rest."""
    chosen = space_of(space)
    found = read_table(table, chosen, column)
    encodings = {name: chosen.encode(found.architectures, name) for name in chosen.encodings}
    if valid == 0:
        encodings = {chosen.encodings[0]: encodings[chosen.encodings[0]]}

    def create(seed: int) -> Any:
        return estimator_of(model, random_state=seed)

    parts: list[Judgement] = []
    for seed in range(seeds):
        progress("judging", seed, seeds)
        parts.append(judge_in_full(create, encodings, found.y_ms, train=train, valid=valid, seeds=[seed]))
    progress("judging", seeds, seeds)
    by_seed = [asdict(part.by_seed[0]) for part in parts]
    document: dict[str, Any] = {
        "table": str(table), "space": chosen.spec, "column": column, "model": model, "train": train, "valid": valid,
        "test": len(found.y_ms) - train - valid, "not_measured": found.not_measured, "seeds": seeds,
        "encodings": [part.picks[0] for part in parts],
    }  # fmt: skip
    for metric in METRICS:
        values = np.array([scores[metric] for scores in by_seed], float)
        document[metric] = plain({"mean": float(values.mean()), "sd": float(values.std(ddof=1)) if seeds > 1 else 0.0})
    rows = [(metric, f"{document[metric]['mean']:.4g}", f"{document[metric]['sd']:.2g}") for metric in METRICS]
    head = f"{model} on {column}: {train} + {valid} rows, {document['test']} tested, encoding {document['encodings']}\n"
    return Outcome(document, head + aligned(("metric", "mean", "s.d."), rows))
