"""``compare``: which of several networks is faster on a device, and whether one became slower than it was."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from ..arguments import Seed
from ..arguments import check as check_arguments
from ..data.store import Store
from ..devices.device import Place
from ..errors import MismatchError, UsageError
from ..graphs.network import MODELS
from ..measurement.measurement import Measurement
from ..profiler.compare import Compared, Difference, Variant, against
from ..profiler.compare import compare as run
from ..profiler.networks import Network
from .networks import Shape, accepted_networks, kept_in, placed
from .outcome import MISSED, PARTIAL, UNRELIABLE, Outcome, Progress, plain, silent, table

Tolerance = Annotated[float, Meta(ge=0, le=10)]
_SQLITE = b"SQLite format 3\0"


def compare(
    models: Sequence[Any],
    *,
    devices: Sequence[str | Place] = ("local",),
    shape: Shape = None,
    precisions: Sequence[str] = (),
    baseline: Any = None,
    tolerance: Tolerance = 0.05,
    store: Path | None = None,
    seed: Seed = 0,
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Outcome:
    """Compare networks, and each of them on several devices or in several precisions, with the first.

    ``baseline`` is a network, timed in the same processes, or a store in which a network of the same name was measured
    before; then the last network given must not be slower than it by more than ``tolerance``, or the exit code is 8.

    Raises:
        UsageError: fewer than two to compare, or an argument that is not allowed.
        InputRefusedError: a network is refused.
        MismatchError: the baseline's store is of another device, or holds no such network.
    """
    check_arguments(compare, locals())
    before = baseline if _is_store(baseline) else None
    given = list(models) if baseline is None or before is not None else [baseline, *models]
    if not given:
        raise UsageError("no network; name ONNX files, such as: tempograd compare a.onnx b.onnx")
    if len(given) * len(devices) * max(len(precisions), 1) < 2 and before is None:
        raise UsageError("one network alone; give two, two devices, two precisions, or --baseline")
    places = [placed(device, one) for device in devices for one in (precisions or [None])]
    labels = _labels(devices, precisions)
    progress("opening", 0, len(given))
    with accepted_networks(given, shape) as found:
        networks = _different(found)
        old = [] if before is None else _stored(Path(before), networks[-1], places[-1])
        variants = [Variant(place, network) for place in places for network in networks]
        with kept_in(store) as kept:
            results = run(
                variants, kept, seed=seed, stop=stop, progress=lambda done, total: progress("comparing", done, total)
            )
    names = [f"{v.network.name}{f' ({labels[places.index(v.device)]})' if len(places) > 1 else ''}" for v in variants]
    rows = [_row(name, one) for name, one in zip(names, results, strict=True)]
    gate = None
    if baseline is not None:
        last = results[-1]
        difference = last.difference if before is None else against(last.measurements, old)
        gate = _gate(difference, tolerance, str(baseline if isinstance(baseline, str | Path) else "baseline"))
    document = plain({
        "first": names[0], "devices": [place.fingerprint.id for place in places], "seed": seed,
        "store": None if store is None else str(store), "networks": rows, "gate": gate,
    })  # fmt: skip
    return Outcome(document, _text(rows, gate), _exit_code(rows, gate))


def _is_store(baseline: Any) -> bool:
    if not isinstance(baseline, str | Path) or not Path(baseline).is_file():
        return False
    with Path(baseline).open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _labels(devices: Sequence[str | Place], precisions: Sequence[str]) -> list[str]:
    told = [d if isinstance(d, str) else d.fingerprint.place for d in devices]
    told = told if len(devices) > 1 or not precisions else [""]
    return [" ".join(filter(None, (d, p))) for d in told for p in (precisions or [""])]


def _different(found: Sequence[Network]) -> list[Network]:
    """Return the networks under keys and names that differ, those given twice too."""
    networks: list[Network] = []
    for one in found:
        copies = sum(other.key.partition(".")[0] == one.key for other in networks)
        alike = sum(other.name.partition(" #")[0] == one.name for other in networks)
        name = f"{one.name} #{alike + 1}" if alike else one.name
        networks.append(replace(one, key=f"{one.key}.{copies + 1}" if copies else one.key, name=name))
    return networks


def _stored(path: Path, network: Network, place: Place) -> list[Measurement]:
    """Return the processes of a network of the same name, or the same graph, in a store of earlier times.

    Raises:
        MismatchError: none on this device.
    """
    with Store(path) as opened:
        id_ = place.fingerprint.id
        names = {row.name: row.key for row in opened.models() if "kernel" not in row.facts}
        key = names.get(network.name, network.key)
        rows = list(opened.measurements(space=MODELS, fingerprint_id=id_, key=key))
        others = sorted({f for space, f in opened.sets() if space == MODELS} - {id_})
    timed = [m for m in rows if m.failure is None and m.estimate is not None]
    if len(timed) < 2:
        held = f"; it holds {', '.join(sorted(names)) or 'no network'}" if not others else ""
        elsewhere = f"; its networks are of device {', '.join(others)}" if others else ""
        raise MismatchError(
            f"--baseline {path} holds no latency of {network.name!r} on this device ({id_}){held}{elsewhere}. Measure "
            f"one into it here: tempograd measure OLD.onnx --store {path}"
        )
    newest = timed[-1].onnx_digest
    return [m for m in timed if m.onnx_digest == newest]


def _row(name: str, one: Compared) -> dict[str, Any]:
    network, estimate, told = one.variant.network, one.estimate, one.told
    about: dict[str, Any] = {
        "name": name, "key": network.key, "source": network.source, "device": one.variant.device.fingerprint.id,
        "verdict": told.verdict, "processes": len(one.measurements), "latency_ms": None, "difference": None,
    }  # fmt: skip
    if estimate is None:
        return about | {"failure": None if told.failure is None else asdict(told.failure)}
    about |= {"latency_ms": estimate.latency_ms, "low_ms": estimate.low_ms, "high_ms": estimate.high_ms}
    if one.difference is not None:
        about["difference"] = _told(one.difference)
    return about


def _told(difference: Difference) -> dict[str, Any]:
    return asdict(difference) | {"side": difference.side, "text": difference.text}


def _gate(difference: Difference | None, tolerance: float, baseline: str) -> dict[str, Any]:
    """Return the gate's word: ``fail`` where the last is shown to be slower, ``unreliable`` where nobody can tell."""
    if difference is None:
        return {"verdict": "unreliable", "baseline": baseline, "tolerance": tolerance, "difference": None}
    wide = (difference.high - difference.low) / 2 > max(tolerance, 0.02) and difference.high > tolerance
    verdict = "fail" if difference.low > tolerance else "unreliable" if wide else "pass"
    return {"verdict": verdict, "baseline": baseline, "tolerance": tolerance, "difference": _told(difference)}


def _exit_code(rows: Sequence[Mapping[str, Any]], gate: Mapping[str, Any] | None) -> int:
    if gate is not None and gate["verdict"] == "fail":
        return MISSED
    if any(row["latency_ms"] is None for row in rows):
        return PARTIAL
    return UNRELIABLE if gate is not None and gate["verdict"] == "unreliable" else 0


def _text(rows: Sequence[Mapping[str, Any]], gate: Mapping[str, Any] | None) -> str:
    cells = [
        (row["name"], "-" if row["latency_ms"] is None else f"{row['latency_ms']:.4g} ms", _said(row, rows[0]["name"]))
        for row in rows
    ]
    lines = [table(("network", "latency", "against the first"), cells)]
    lines += [f"{row['name']}: {row['failure']['detail']}" for row in rows if row.get("failure")]
    if gate is not None:
        word = {"pass": "PASS", "fail": "FAIL", "unreliable": "UNRELIABLE"}[gate["verdict"]]
        how = "no latency to compare" if gate["difference"] is None else gate["difference"]["text"]
        lines.append(
            f"{word}: {rows[-1]['name']} against {gate['baseline']}: {how}; allowed {gate['tolerance']:.1%} slower"
        )
    return "\n".join(lines)


def _said(row: Mapping[str, Any], first: str) -> str:
    if row["difference"] is not None:
        return str(row["difference"]["text"])
    return "" if row["latency_ms"] is not None or row["name"] == first else row["verdict"]
