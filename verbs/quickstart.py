"""``quickstart``: the main job, once, small."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import outputs
from ..predictor.saved import check_place, load
from ..report.report import is_report
from ..search.result import earlier
from .collect import collect, held, repeated
from .fit import fit, outcome_of
from .outcome import REMARK, Outcome, Progress, go_on, silent, space_of
from .report import report
from .search import search

SPACE = "nasbench201:cells=1,width=8,size=16,channels=1"
TASK = "synthetic:noise=0.12,spread=0.25"  # on which networks of one latency differ by many points
METHOD = "la_darts:one_path=true,batch=16"  # of 64, there are too few steps for a law to learn anything
COUNT, RANDOM = 150, 2  # networks measured to learn from, and random ones to compare with
EPOCHS, TRAIN_EPOCHS, FINALISTS = 12, 10, 8


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

    The target is half way from the fast tenth of sampled networks to their median, as predicted. Once a
    search has begun, its predictor stays as it is: run again, the search goes on, or its result is kept.
    """
    started = time.monotonic()
    progress("the main job, once, small: a minute or two on two quiet cores, some five on slow ones", 0, REMARK)
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
    target_ms = float(f"{fast + (middle - fast) / 2:.3g}")
    found = search(
        SPACE, predictor, result, target_ms=target_ms, task=TASK, method=METHOD, device=device,
        epochs=EPOCHS, train_epochs=TRAIN_EPOCHS, finalists=FINALISTS, random=RANDOM, seed=seed, command=command,
        progress=progress, stop=stop,
    )  # fmt: skip
    report(result, page)
    document = {
        "seconds": time.monotonic() - started, "collect": collected.document, "fit": fitted.document,
        "result": found.document, "report": str(page),
    }  # fmt: skip
    told = (_measured(collected), fitted.text, found.text, *_noise(collected.document, found.document), f"wrote {page}")
    return Outcome(document, "\n\n".join(told), found.exit_code)


def _measured(collected: Outcome) -> str:
    """Return what was measured to learn from; what spoke against a label is for `collect`, not for a first look."""
    d = collected.document
    if not d["doubts"]:
        return collected.text
    verdicts = ", ".join(f"{n} {verdict}" for verdict, n in sorted(d["verdicts"].items()))
    return "\n".join((f"{held(d)}: {verdicts}", *repeated(d)))


def _noise(collected: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a machine that was not quiet means for the number that counts, and what to do."""
    measured = result["found"]["measured"]
    processes = [one["verdict"] for one in measured["processes"]]
    held = processes.count("ok")
    if result["verdict"] == "unreliable":
        yield (
            "This machine was too busy to say whether the network meets the target. Close what else runs and give the "
            "same command again: it measures this one network anew, in a minute, and keeps everything else."
        )
    elif measured["verdict"] != "ok":
        yield (
            f"This machine was not quiet: {held} of {len(processes)} processes that timed the final network were ok. "
            "It passes all the same, as noise only ever adds time, and the whole interval is within the target."
        )
    elif collected["doubts"] or held < len(processes):
        yield (
            f"This machine was not quiet. That makes the predictor coarser, but not the verdict: it rests on the "
            f"{held} of {len(processes)} processes that timed the final network while the machine held still."
        )
