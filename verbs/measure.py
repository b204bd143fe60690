"""``measure``: how fast any network is on a device, as a file, bytes or a torch module, and how far to believe it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..arguments import Seed
from ..arguments import check as check_arguments
from ..devices.device import Place
from ..errors import InputRefusedError, UsageError
from ..profiler.networks import Network, Told, measure_networks
from ..profiler.plan import named
from .networks import Refused, Shape, asked, file_of, kept_in, opened_networks, placed
from .outcome import INTERRUPTED, PARTIAL, UNRELIABLE, Outcome, Progress, plain, silent, table

COLUMNS = ("network", "inputs", "latency", "95% interval", "verdict")
_SHOWN = 3
_FRACTIONS = ("float", "bfloat", "double")  # kinds of numbers that are fed normal ones
FAILED = ("failed", "quarantined", "censored", "refused")


def measure(
    models: Sequence[Any],
    *,
    device: str | Place = "local",
    shape: Shape = None,
    precision: str | None = None,
    store: Path | None = None,
    plan: str = "standard",
    seed: Seed = 0,
    again: bool = False,
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Outcome:
    """Measure networks that belong to no space, each in three processes or more; what a store has is not repeated.

    ``models`` are paths of ONNX files, folders with a ``network.onnx``, bytes, ONNX models or torch modules. ``shape``
    fixes inputs that are open. With ``again``, a store's earlier processes of the same network do not count.

    Raises:
        UsageError: no network, or an argument that is not allowed.
        InputRefusedError: the only network given is refused; of several, the others are measured.
    """
    check_arguments(measure, locals())
    if not models:
        raise UsageError("no network; name ONNX files, such as: tempograd measure model.onnx")
    place, timing = placed(device, precision), named(plan)
    progress("opening", 0, len(models))
    with opened_networks(models, shape) as found:
        refused = [one for one in found if isinstance(one, Refused)]
        if refused and len(found) == 1:
            raise refused[0].named
        networks = {one.key: one for one in found if isinstance(one, Network)}
        with kept_in(store if networks else None) as kept:
            told = measure_networks(
                place, list(networks.values()), timing, kept, seed=seed, again=again,
                progress=lambda done, total: progress("measuring", done, total), stop=stop,
            )  # fmt: skip
        rows = [_refused(one) if isinstance(one, Refused) else told_of(one, told.get(one.key)) for one in found]
    document = plain({
        "device": place.fingerprint.id, "store": None if store is None else str(store), "plan": plan, "seed": seed,
        "networks": rows,
    })  # fmt: skip
    return Outcome(document, _text(rows), _exit_code(rows, stop), _following(rows, device, shape))


def told_of(network: Network, told: Told | None) -> dict[str, Any]:
    """Return what is told of a network, as ``--json`` prints it."""
    about = {"name": network.name, "key": network.key, "source": network.source, "onnx_digest": network.digest}
    about |= {name: network.facts[name] for name in ("inputs", "parameters", "operators")}
    if told is None:
        return about | {"verdict": "interrupted", "latency_ms": None}
    m, estimate = told.measurement, told.estimate
    if estimate is None:
        failure = None if m.failure is None else asdict(m.failure)
        return about | {
            "verdict": told.verdict,
            "latency_ms": None,
            "failure": failure,
            "processes": len(told.processes),
        }
    statistics = {} if m.statistics is None else asdict(m.statistics)
    return about | {
        "verdict": told.verdict, "latency_ms": estimate.latency_ms, "low_ms": estimate.low_ms,
        "high_ms": estimate.high_ms, "path": estimate.path, "processes": len(told.processes),
        "measured": told.measured, "clock": m.clock, "processes_ms": [one.latency_ms for one in told.processes],
        "statistics": statistics, **m.beside_time,
    }  # fmt: skip


def inputs_of(row: Mapping[str, Any]) -> str:
    """Return the sizes at which a network ran, for people: an open batch ran as 1."""
    shapes = ["x".join(map(str, one["shape"])) or "scalar" for one in row.get("inputs", ())]
    return ", ".join(shapes[:_SHOWN]) + (", ..." if len(shapes) > _SHOWN else "") or "-"


def _refused(one: Refused) -> dict[str, Any]:
    failure = {"cause": "refused", "phase": "load", "detail": str(one.error)}
    return {"name": one.name, "source": one.source, "verdict": "refused", "latency_ms": None, "failure": failure}


def _exit_code(rows: Sequence[Mapping[str, Any]], stop: threading.Event | None) -> int:
    verdicts = {row["verdict"] for row in rows}
    if stop is not None and stop.is_set() and "interrupted" in verdicts:
        return INTERRUPTED
    if [(row.get("failure") or {}).get("cause") for row in rows] == ["refused"]:
        return InputRefusedError.exit_code
    if verdicts & set(FAILED):
        return PARTIAL
    return 0 if verdicts == {"ok"} else UNRELIABLE


def _following(rows: Sequence[Mapping[str, Any]], device: str | Place, shape: Shape) -> str | None:
    """Return the next command: on networks that were measured alone, as it would fail on the others."""
    if any(row["verdict"] in ("noisy", "hot") for row in rows):
        return "tempograd doctor"
    timed = [row for row in rows if row["source"] and row["latency_ms"] is not None]
    if not timed or not isinstance(device, str):
        return None
    sources = list(dict.fromkeys(row["source"] for row in timed))
    if len(sources) > 1 and len(timed) == len(rows) == len(sources):
        return f"tempograd compare {' '.join(map(file_of, sources))}{asked(device, shape)}"
    fixed = shape if len(rows) == 1 else _shape_of(timed[0])
    return f"tempograd profile {file_of(sources[0])}{asked(device, fixed)}"


def _shape_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the shapes at which a network was measured, as ``--shape`` takes them."""
    return tuple(f"{given['name']}={'x'.join(map(str, given['shape']))}" for given in row["inputs"])


def _text(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [table(COLUMNS, [cells_of(row) for row in rows])]
    for row in rows:
        whole = [one["name"] for one in row.get("inputs", ()) if not one["dtype"].startswith(_FRACTIONS)]
        if whole:
            lines.append(f"{row['name']}: {', '.join(whole)}: fed 0 and 1, as whole numbers are")
        if row.get("failure"):
            lines.append(f"{row['name']}: {row['failure']['detail']}")
        elif row["verdict"] == "hot":
            lines.append(f"{row['name']}: {row['processes']} processes, and the device throttled; let it cool down")
        elif row["verdict"] == "noisy":
            lines.append(
                f"{row['name']}: of {row['processes']} processes fewer than three are steady and say the same, "
                "or others say less; a quieter machine gives a better number"
            )
    return "\n".join(lines)


def cells_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a network's cells of a table for people, under ``COLUMNS``."""
    if row["latency_ms"] is None:
        return row["name"], inputs_of(row), "-", "-", row["verdict"]
    low, high = ("?" if row[end] is None else f"{row[end]:.4g}" for end in ("low_ms", "high_ms"))
    return row["name"], inputs_of(row), f"{row['latency_ms']:.4g} ms", f"{low} .. {high}", row["verdict"]
