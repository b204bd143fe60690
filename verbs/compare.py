"""``compare``: which of several networks is faster on a device, and whether one became slower than it was."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

from msgspec import Meta

from ..arguments import Seconds, Seed
from ..arguments import check as check_arguments
from ..data.store import Store
from ..devices.device import Model, Place, TellsKernels
from ..errors import InputRefusedError, MismatchError, TempogradError, UsageError
from ..graphs.network import MODELS
from ..measurement.measurement import Measurement
from ..profiler.compare import Compared, Difference, Variant, against, answered
from ..profiler.compare import compare as run
from ..profiler.networks import Network
from .measure import COLUMNS, cells_of
from .networks import Shape, accepted_networks, kept_in, placed
from .outcome import MISSED, PARTIAL, UNRELIABLE, Outcome, Progress, plain, silent, table

Tolerance = Annotated[float, Meta(ge=0, le=10)]
BUDGET_S = 60.0
HIDES = 0.05  # half width of an interval around no difference that tells nothing
WATCH_S = 1.0  # that kernels are watched for the page
NAMED = 10  # networks of a store that a message names
_SQLITE = b"SQLite format 3\0"


def compare(
    models: Sequence[Any],
    *,
    devices: Sequence[str | Place] = ("local",),
    shape: Shape = None,
    precisions: Sequence[str] = (),
    baseline: Any = None,
    tolerance: Tolerance = 0.05,
    budget_s: Seconds = BUDGET_S,
    store: Path | None = None,
    seed: Seed = 0,
    out: Path | None = None,
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Outcome:
    """Compare networks, and each of them on several devices or in several precisions, with the first.

    It ends when each difference is shown with its size or can only be small, a gate when that is decided; else after
    ``budget_s`` seconds, though not before four processes. ``out`` is an HTML page, on which each family of kernels
    stands before and after where the device tells kernels.

    ``baseline`` is a network, timed in the same processes, or a store in which a network of the same name was measured
    before; then the last network given must not be slower than it by more than ``tolerance``, or the exit code is 8.

    Raises:
        UsageError: fewer than two to compare, or an argument that is not allowed.
        InputRefusedError: a network is refused, or the baseline is not there.
        MismatchError: the baseline's store is of another device, or holds no such network.
    """
    began_s = time.monotonic()
    check_arguments(compare, locals())
    if out is not None:
        from ..report.compare import check_place

        check_place(out)
    if isinstance(baseline, str | Path) and not Path(baseline).exists():
        raise InputRefusedError(
            f"--baseline {baseline} is not there; give an ONNX file, a folder that holds network.onnx, or a store in "
            "which a network of the same name was measured"
        )
    before = baseline if _is_store(baseline) else None
    given = list(models) if baseline is None or before is not None else [baseline, *models]
    if not given:
        raise UsageError("no network; name ONNX files, such as: tempograd compare a.onnx b.onnx")
    if len(given) * len(devices) * max(len(precisions), 1) < 2 and before is None:
        raise UsageError("one network alone; give two, each by itself, two devices, two precisions, or a baseline")
    places = [placed(device, one) for device in devices for one in (precisions or [None])]
    labels = _labels(devices, precisions)
    _check_different(places, labels)
    progress("opening", 0, len(given))
    with accepted_networks(given, shape) as found:
        networks = _different(found)
        old = [] if before is None else _stored(Path(before), networks[-1], places[-1])
        variants = [Variant(place, network) for place in places for network in networks]
        with kept_in(store) as kept:
            results = run(
                variants, kept, seed=seed, stop=stop, budget_s=budget_s - (time.monotonic() - began_s),
                enough=_enough(baseline is not None and before is None, tolerance),
                progress=lambda done, total: progress("comparing", done, total),
            )  # fmt: skip
        kernels = None if out is None else [_kernels(one, progress) for one in variants]
    names = [f"{v.network.name}{f' ({labels[places.index(v.device)]})' if len(places) > 1 else ''}" for v in variants]
    rows = [_row(name, one) for name, one in zip(names, results, strict=True)]
    gate = None
    if baseline is not None:
        last = results[-1]
        difference = last.difference if before is None else against(last.measurements, old)
        gate = _gate(difference, tolerance, str(baseline if isinstance(baseline, str | Path) else "baseline"))
    document = plain({
        "first": names[0], "devices": [place.fingerprint.id for place in places], "seed": seed,
        "store": None if store is None else str(store), "networks": rows, "gate": gate, "budget_s": budget_s,
        "ended": results[0].ended,
        "seconds": time.monotonic() - began_s,
    })  # fmt: skip
    if out is not None:
        from ..report.compare import write_comparison

        document["page"] = str(write_comparison(document, [plain(one) for one in kernels or ()], out))
    return Outcome(document, _text(document), _exit_code(rows, gate))


def _enough(gate: bool, tolerance: float) -> Callable[[Sequence[Difference]], bool]:
    """Return what ends a comparison: each difference is told closely, or a gate's last one is decided."""
    if gate:
        return lambda told: told[-1].low > tolerance or told[-1].high <= tolerance
    return lambda told: all(map(answered, told))


def _kernels(variant: Variant, progress: Progress) -> dict[str, Any]:
    """Return the share of each family of kernels of a network, and how many kernels; why not, where nobody tells."""
    progress("watching kernels", 0, 1)
    place, network = variant.device, variant.network
    if not isinstance(place, TellsKernels):
        return {"why": "this device tells no kernels", "families": {}}
    try:
        watched = place.profile(Model(network.key, network.path, network.digest, own_batch=True), seconds=WATCH_S)
    except TempogradError as error:  # the times stand without it
        return {"why": str(error), "families": {}}
    whole_ms = sum(kernel.ms for kernel in watched.kernels) or 1.0
    families: dict[str, dict[str, float]] = {}
    for kernel in watched.kernels:
        one = families.setdefault(kernel.family, {"kernels": 0, "share": 0.0})
        one["kernels"] += 1
        one["share"] += kernel.ms / whole_ms
    return {"why": None, "families": families}


def _is_store(baseline: Any) -> bool:
    if not isinstance(baseline, str | Path) or not Path(baseline).is_file():
        return False
    with Path(baseline).open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _labels(devices: Sequence[str | Place], precisions: Sequence[str]) -> list[str]:
    told = [d if isinstance(d, str) else d.fingerprint.place for d in devices]
    told = told if len(devices) > 1 or not precisions else [""]
    return [" ".join(filter(None, (d, p))) for d in told for p in (precisions or [""])]


def _check_different(places: Sequence[Place], labels: Sequence[str]) -> None:
    """Refuse two devices that are one and the same.

    Raises:
        UsageError: they are.
    """
    known: dict[str, str] = {}
    for place, label in zip(places, labels, strict=True):
        if place.fingerprint.id in known:
            raise UsageError(
                f"devices {known[place.fingerprint.id]} and {label} are one and the same; allowed: devices that "
                "differ. To see how far equal ones come apart, give the network twice on one device"
            )
        known[place.fingerprint.id] = label


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
        there = [] if len(timed) > 1 else _timed_names(opened, names, id_)
    if len(timed) < 2:
        more = f" and {len(there) - NAMED} more" if len(there) > NAMED else ""
        held = f"; it holds {', '.join(there[:NAMED]) or 'no network'}{more}" if not others else ""
        elsewhere = f"; its networks are of device {', '.join(others)}" if others else ""
        raise MismatchError(
            f"--baseline {path} holds no latency of {network.name!r} on this device ({id_}){held}{elsewhere}. Measure "
            f"one into it here: tempograd measure OLD.onnx --store {quote(str(path))}"
        )
    newest = timed[-1].onnx_digest
    return [m for m in timed if m.onnx_digest == newest]


def _timed_names(store: Store, names: Mapping[str, str], fingerprint_id: str) -> list[str]:
    """Return the names of networks that a device has a latency of."""
    rows = store.measurements(space=MODELS, fingerprint_id=fingerprint_id)
    timed = {m.key for m in rows if m.failure is None and m.estimate is not None}
    return sorted(name for name, key in names.items() if key in timed)


def _row(name: str, one: Compared) -> dict[str, Any]:
    network, estimate, told = one.variant.network, one.estimate, one.told
    about: dict[str, Any] = {
        "name": name, "key": network.key, "source": network.source, "device": one.variant.device.fingerprint.id,
        "verdict": one.verdict, "processes": len(one.measurements), "latency_ms": None, "difference": None,
        "inputs": network.facts["inputs"],
    }  # fmt: skip
    if estimate is None:
        return about | {"failure": None if told.failure is None else asdict(told.failure)}
    about |= {"latency_ms": estimate.latency_ms, "low_ms": estimate.low_ms, "high_ms": estimate.high_ms}
    if one.difference is not None:
        about["difference"] = _told(one.difference)
    return about


def _told(difference: Difference) -> dict[str, Any]:
    return asdict(difference) | {
        "side": difference.side, "text": difference.text, "answered": answered(difference),
    }  # fmt: skip


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
    if gate is not None:
        return UNRELIABLE if gate["verdict"] == "unreliable" else 0
    return UNRELIABLE if any(_hides(row["difference"]) for row in rows[1:]) else 0


def _hides(difference: Mapping[str, Any] | None) -> bool:
    """Return whether no difference is shown, and the interval could hide any."""
    if difference is None:
        return True
    return difference["side"] == "none" and (difference["high"] - difference["low"]) / 2 > HIDES


def _text(d: Mapping[str, Any]) -> str:
    rows, gate = d["networks"], d["gate"]
    said = ["" if row["difference"] is None else str(row["difference"]["text"]) for row in rows]
    cells = [(*cells_of(row), words) for row, words in zip(rows, said, strict=True)]
    lines = [table((*COLUMNS, "against the first"), cells)]
    lines += [f"{row['name']}: {row['failure']['detail']}" for row in rows if row.get("failure")]
    told = [row["difference"] for row in rows if row["difference"] is not None]
    lines.append(f"processes: {min(row['processes'] for row in rows)}, in {d['seconds']:.0f} s")
    if gate is None and not all(one["answered"] for one in told):
        lines[-1] += {
            "budget": f": the budget of {d['budget_s']:g} s ended before the interval was narrow; a larger --budget-s "
            "or a quieter machine narrows it",
            "processes": ", the most there are, and the interval is still wide; a quieter machine narrows it",
        }.get(d["ended"], "")
    if gate is not None:
        word = {"pass": "PASS", "fail": "FAIL", "unreliable": "UNRELIABLE"}[gate["verdict"]]
        how = "no latency to compare" if gate["difference"] is None else gate["difference"]["text"]
        lines.append(
            f"{word}: {rows[-1]['name']} against {gate['baseline']}: {how}; allowed {gate['tolerance']:.1%} slower"
        )
    return "\n".join(lines)
