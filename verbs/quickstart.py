"""``quickstart``: the main job, once, small."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from .. import outputs
from ..predictor.saved import check_place, load
from ..report.report import is_report
from ..search.result import earlier
from .collect import collect
from .fit import fit, outcome_of
from .outcome import REMARK, Outcome, Progress, go_on, silent, space_of
from .report import report
from .search import search

SPACE = "darts:layers=5,width=8,size=16,channels=1"
COUNT, RANDOM = 200, 2  # networks measured to learn from, and random ones to compare with
EPOCHS, TRAIN_EPOCHS = 7, 12
PROXY = "darts:layers=3,width=4,size=8,channels=1"


def quickstart(
    out: Path,
    *,
    device: str = "local",
    seed: int = 0,
    command: str = "",
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Outcome:
    """Run the main job once, small, into ``out``: collect, fit, search under a target, re-measure, report.

    The target is a quarter of the way from the fast tenth of sampled networks to their median, as predicted. Once a
    search has begun, its predictor stays as it is: run again, the search goes on, or its result is kept.
    """
    started = time.monotonic()
    progress("the main job, once, small: some 3 minutes on two quiet cores, twice as long on slow ones", 0, REMARK)
    store, predictor, result, page = out / "run.db", out / "predictor", out / "result", out / "report.html"
    check_place(predictor)
    earlier(result)
    outputs.check([page], is_report)
    if told := outputs.foreign(out, [store.name]):
        progress(told, 0, REMARK)
    collected = collect(SPACE, store, device=device, count=COUNT, plan="quick", seed=seed, progress=progress, stop=stop)
    go_on(stop)
    if not (result.exists() and predictor.exists()):
        fit(store, predictor, seed=seed, progress=progress)
        go_on(stop)
    fitted = outcome_of(list(load(predictor).heads.values()), space_of(SPACE), seed)
    fast, middle = (fitted.document["of_space"][share] for share in ("tenth", "median"))
    target_ms = float(f"{fast + (middle - fast) / 4:.3g}")
    found = search(
        SPACE, predictor, result, target_ms=target_ms, device=device, proxy=PROXY, epochs=EPOCHS,
        train_epochs=TRAIN_EPOCHS, random=RANDOM, seed=seed, command=command, progress=progress, stop=stop,
    )  # fmt: skip
    report(result, page)
    document = {
        "seconds": time.monotonic() - started, "collect": collected.document, "fit": fitted.document,
        "result": found.document, "report": str(page),
    }  # fmt: skip
    text = "\n\n".join((collected.text, fitted.text, found.text, f"wrote {page}"))
    return Outcome(document, text, found.exit_code)
