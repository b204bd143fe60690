"""One offline HTML page from a result directory.

The page holds everything: pictures as inline SVG, their data as ``data:`` addresses, no script, nothing loaded from
anywhere, which its content security policy also forbids. The same result gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from .. import outputs
from ..data.result import Result, read_result
from ..metric import ACCURACY
from . import captions
from .examples import examples
from .formatting import digits, ms, score
from .layout import rendered
from .table import Table

MEANINGS = {
    "ok": "the interval is as narrow as the plan asked for",
    "noisy": "the interval is wider than the plan asked for, or processes disagree",
    "hot": "the device was throttling",
    "censored": "stopped by the time limit: the latency is above it",
    "failed": "the network did not run",
    "quarantined": "the network failed again in a second process",
    "predicted": "an estimate, not a measurement",
}
PATHS = {
    "gated": "rounds taken in the device's reference state",
    "ratio": "too few rounds in the reference state; corrected by the sentinel's drift",
    "plain": "too few rounds in the reference state, and the sentinel does not explain the drift: taken as they came",
    "told": "not measured here: a table or a predictor tells it",
}
is_report = outputs.marked(b"<!doctype html>", b'<meta name="generator" content="tempograd">')


def write_report(result_dir: Path, out: Path) -> Path:
    """Write the report of a result directory as one HTML file and return its path.

    Args:
        result_dir: what ``tempograd search`` wrote; only ``result.json`` is read.
        out: the HTML file; replaced whole, never half written.

    Raises:
        InputRefusedError: no result there, or one that is malformed, newer, or contradicts itself.
        UsageError: something else than a report is at ``out``.
        StoreError: the page cannot be written.
    """
    page = render(read_result(result_dir))
    outputs.write({out: page.encode()}, is_report)
    return out


def render(result: Result) -> str:
    """Return the HTML page of a result, which loads nothing from elsewhere."""
    return rendered(
        "page.html",
        r=result,
        answer=answer(result),
        comparison=comparison(result),
        pareto=captions.pareto(result),
        pictures=[make(result) for make in (examples, captions.parity, captions.trace, captions.drift, captions.cells)],
        repairs=_repairs_table(result),
        provenance=_provenance(result),
        meanings=MEANINGS,
        paths=PATHS,
    )


def answer(result: Result) -> str:
    """Return what the verdict means, in a sentence or two, with what to do next."""
    measured, target = result.found.measured, ms(result.target_ms)
    if result.verdict == "unreliable":
        return (
            f"There is no answer yet: the measurement is {measured.verdict} ({MEANINGS[measured.verdict]}), so its "
            "number must not be used. Run `tempograd doctor`, quiet the device and run the same search: it measures "
            "this network again."
        )
    if result.verdict == "measured":
        return "No target was asked for: the network was found at a fixed weight of latency and then measured."
    if result.verdict == "fail":
        return (
            f"The network found does not fit: as measured on the device it is above the target of {target}. "
            "Do not deploy it for this target; search again, or ask for more time."
        )
    fits = f"The network found fits: as measured on the device it is within the target of {target}."
    if measured.verdict == "noisy":
        fits += " The measurement is noisy, but noise only ever adds time, and its whole interval is within the target."
    if measured.high_ms is not None and result.target_ms is not None and measured.high_ms > result.target_ms:
        fits += " The interval reaches above the target, so it may miss by a little when measured again."
    return fits


def comparison(result: Result) -> str:
    """Return how the score found compares with random networks of trusted latency within the same limit."""
    found = result.found
    if result.verdict == "unreliable":
        return "Not compared with random networks: it is not known what it costs."
    scores = [rival.score for rival in result.counted if rival.score is not None]
    metric = result.metric.value
    if found.score is None or not scores:
        return "No random network of trusted latency within the same limit to compare with."
    beaten = sum(metric.better(found.score, other) for other in scores)
    spread = f", s.d. {score(stdev(scores), metric, 2)}" if len(scores) > 1 else ""
    better = "More accurate" if metric.name == ACCURACY.name else f"Better by {metric.name} ({metric.direction})"
    return (
        f"{better} than {beaten} of {len(scores)} random networks within the same limit "
        f"(their mean {score(mean(scores), metric)}{spread}); every network trained once."
    )


def _repairs_table(result: Result) -> Table:
    names = ("key", "text", "predicted_ms", "measured_ms", "verdict")
    return Table("measured", {name: [getattr(step, name) for step in result.repairs] for name in names})


def _provenance(result: Result) -> dict[str, list[tuple[str, str]]]:
    """Return heading -> rows of name and value; headings without rows are left out."""
    asked = {
        "command": result.command, "space": result.space, "method": result.method, "task": result.task,
        "seed": result.seed, "target_ms": result.target_ms, "lam": result.lam, "schema": 1,
    }  # fmt: skip
    sections: dict[str, Mapping[str, Any]] = {
        "What was asked": {name: value for name, value in asked.items() if value is not None},
        "Device": result.device,
        "Predictor": {k: v for k, v in result.predictor.model_dump().items() if k != "scores" and v is not None},
        "Predictor's held-out scores": result.predictor.scores,
        "Versions": result.versions,
        "Environment while measuring": result.environment,
        "Wall time (seconds)": result.seconds,
    }
    return {title: rows for title, tree in sections.items() if (rows := list(_flat(tree)))}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return digits(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
