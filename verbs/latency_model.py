"""Learning latency from so many rows of a table, as well as so many rows allow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from ..data.table import Table
from ..errors import UsageError
from ..predictor.choice import choose_encoding
from ..predictor.design import d_optimal
from ..predictor.interval import Conformal
from ..spaces.space import SearchSpace
from .fit import FEW_ROWS, MIN_ROWS, encodings_of, estimator_of

CANDIDATES = 2000  # rows that a design chooses from


@dataclass(frozen=True)
class LatencyModel:
    """A predictor learnt from some rows of a table.

    Attributes:
        model: its name.
        encoding: that it was trained on.
        rows: how many latencies it saw.
        module: ``(b, d) -> (b,)`` ms.
        conformal: its residuals on rows left out.
    """

    model: str
    encoding: str
    rows: int
    module: nn.Module
    conformal: Conformal


def learn_latency(space: SearchSpace, table: Table, rows: int, *, seed: int = 0) -> LatencyModel:
    """Learn latency from ``rows`` rows: from few by ``transfer`` on rows chosen by design, else by ``gp`` on random ones.

    Raises:
        UsageError: fewer than 19 rows, or more than the table has.
    """
    if not FEW_ROWS <= rows <= len(table.y_ms):
        raise UsageError(
            f"{rows} rows to learn latency from; allowed: {FEW_ROWS} to {len(table.y_ms)}, what the table has measured"
        )
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(table.y_ms))
    model = "gp" if rows >= MIN_ROWS else "transfer"
    if model == "gp":
        taken = order[:rows]
    else:
        candidates = order[:CANDIDATES]
        counts = space.encode([table.architectures[i] for i in candidates], "counts")
        taken = candidates[d_optimal(counts, rows, rng)]
    architectures, y_ms = [table.architectures[i] for i in taken], table.y_ms[taken]
    encodings = {name: space.encode(architectures, name) for name in encodings_of(space, model)}
    encoding = choose_encoding(encodings, y_ms, seed=seed)
    blocks = space.count_blocks if encoding == "counts" else ()
    estimator = estimator_of(model, random_state=seed, stages=space.schedule, blocks=blocks)
    estimator.fit(encodings[encoding], y_ms)
    return LatencyModel(model, encoding, rows, estimator.module, Conformal.fit(y_ms, estimator.held_out_ms_))
