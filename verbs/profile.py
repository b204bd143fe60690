"""``profile``: how fast a network is, and which of its kernels cost the time."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from textwrap import wrap
from typing import Any

from ..arguments import Seed
from ..arguments import check as check_arguments
from ..devices.device import Model, Place, TellsKernels
from ..errors import DeviceError, UsageError
from ..graphs.kernels import Kernel, Profile
from ..profiler.advice import advise
from ..profiler.networks import Network, Told, measure_networks
from ..profiler.plan import named
from ..profiler.roofline import Rates, measure_rates
from ..shown import counted
from .measure import told_of
from .networks import Shape, asked, file_of, kept_in, one_network, placed
from .outcome import UNRELIABLE, Outcome, Progress, plain, silent

COLUMNS = 60
TOP = 12  # kernels in the text; --json has all
DISTURBED = 1.1  # times the undisturbed time from which the watching is told of


def profile(
    model: Any,
    *,
    device: str | Place = "local",
    shape: Shape = None,
    precision: str | None = None,
    store: Path | None = None,
    plan: str = "standard",
    seed: Seed = 0,
    out: Path | None = None,
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Outcome:
    """Measure a network, and say where its time goes: each kernel's share of the undisturbed time, and its limit.

    Shares are those that the runtime tells while it watches itself, which slows a network down; they are scaled to the
    time that was measured without. ``out`` is an HTML page with pictures.

    Raises:
        UsageError: the device does not tell kernels, or an argument is not allowed.
        InputRefusedError: the network is refused, or has graphs within nodes, which nobody can see through.
        DeviceError: the device cannot be reached, or the network failed on it.
    """
    check_arguments(profile, locals())
    place, timing = placed(device, precision), named(plan)
    if not isinstance(place, TellsKernels):
        raise UsageError(
            f"device {device} tells no kernels; allowed: local, runtime=onnxruntime, openvino or litert. measure works"
        )
    if out is not None:
        from ..report.profile import check_place

        check_place(out)
    progress("opening", 0, 1)
    with one_network(model, shape) as network:
        progress("watching kernels", 0, 1)
        watched = place.profile(Model(network.key, network.path, network.digest, own_batch=True))
        with kept_in(store) as kept:
            told = measure_networks(
                place, [network], timing, kept, seed=seed, stop=stop,
                progress=lambda done, total: progress("measuring", done, total),
            ).get(network.key)  # fmt: skip
        rates = _rates(place, told, seed, progress, stop)
    assert told is not None
    document = plain(_document(network, told, watched, rates, place.fingerprint.id))
    if isinstance(model, str | Path) and Path(model).is_dir():
        from .found import choices_of

        document["choices"] = choices_of(Path(model), document["kernels"])
    if out is not None:
        from ..report.profile import write_profile

        document["page"] = str(write_profile(document, out))
    code = 0 if told.verdict == "ok" else UNRELIABLE
    return Outcome(document, text_of(document), code, _following(network, device, shape))


def _rates(place: Place, told: Told | None, seed: int, progress: Progress, stop: threading.Event | None) -> Rates:
    """Measure the device's limits once the network has a latency.

    Raises:
        DeviceError: it has none.
        KeyboardInterrupt: it was stopped.
    """
    if told is None or (stop is not None and stop.is_set()):
        raise KeyboardInterrupt
    if told.estimate is None:
        failure = told.measurement.failure
        why = "no valid round" if failure is None else f"{failure.cause} in {failure.phase}: {failure.detail}"
        raise DeviceError(f"the network gave no latency: {why}")
    progress("measuring the device's limits", 0, 1)
    return measure_rates(place, seed=seed, stop=stop)


def _document(network: Network, told: Told, watched: Profile, rates: Rates, device: str) -> dict[str, Any]:
    whole = told_of(network, told)
    sum_ms = sum(kernel.ms for kernel in watched.kernels) or 1.0
    shares = [kernel.ms / sum_ms for kernel in watched.kernels]
    ms = [share * whole["latency_ms"] for share in shares]
    rows = [_row(k, share, t, rates) for k, share, t in zip(watched.kernels, shares, ms, strict=True)]
    nodes = sum(network.facts["operators"].values())
    return whole | {
        "device": device, "nodes": nodes, "watched_ms": median(watched.runs_ms), "watched_runs": len(watched.runs_ms),
        "watched_sum_ms": sum_ms, "alone": watched.alone, "unseen": list(watched.unseen), "rates": asdict(rates),
        "kernels": rows, "families": _families(rows),
        "advice": [asdict(one) for one in advise(watched.kernels, ms, rates)],
    }  # fmt: skip


def _row(kernel: Kernel, share: float, ms: float, rates: Rates) -> dict[str, Any]:
    bound, least_ms = rates.bound(kernel)
    told = {name: value for name, value in asdict(kernel).items() if name != "ms"}
    return told | {
        "signature": kernel.signature, "share": share, "ms": ms, "bound": bound, "least_ms": least_ms,
        "of_best": min(1.0, least_ms / ms) if ms > 0 else None,
    }  # fmt: skip


def _families(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    groups: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["family"]].append(row)
    told = [
        {"family": family, "kernels": len(mine)}
        | {name: sum(row[name] for row in mine) for name in ("ms", "share", "macs", "least_ms")}
        for family, mine in groups.items()
    ]
    return sorted(told, key=lambda row: -row["ms"])


def _following(network: Network, device: str | Place, shape: Shape) -> str | None:
    if not network.source or not isinstance(device, str):
        return None
    return f"tempograd compare {file_of(network.source)} OTHER.onnx{asked(device, shape)}"


def text_of(d: Mapping[str, Any]) -> str:
    """Return a profile for people, in lines of 60 columns as far as names allow."""
    lines = [
        f"{d['name']}: {d['latency_ms']:.4g} ms [{d['low_ms']:.4g}, {d['high_ms'] or float('inf'):.4g}] {d['verdict']}",
        f"{counted(len(d['kernels']), 'kernel')} of {counted(d['nodes'], 'node')}; MACs "
        f"{sum(k['macs'] for k in d['kernels']) / 1e6:.4g} M",
        "",
        f"{'share':>6} {'ms':>8}  {'kernel':<22} bound",
    ]
    ordered = sorted(d["kernels"], key=lambda row: -row["ms"])
    for row in ordered[:TOP]:
        best = "" if row["of_best"] is None else f" {row['of_best']:.0%}"
        lines.append(f"{row['share']:>6.1%} {row['ms']:>8.3g}  {_short(row):<22} {row['bound']}{best}")
        lines.append(f"{'':>17}{_shapes(row)}")
    rest = ordered[TOP:]
    if rest:
        lines.append(f"{sum(r['share'] for r in rest):>6.1%} {sum(r['ms'] for r in rest):>8.3g}  {len(rest)} others")
    lines += ["", f"{'share':>6} {'ms':>8}  family"]
    lines += [
        f"{f['share']:>6.1%} {f['ms']:>8.3g}  {f['family']}, {counted(f['kernels'], 'kernel')}" for f in d["families"]
    ]
    if d.get("choices"):
        lines += ["", f"{'share':>6} {'ms':>8}  choice"]
        lines += [
            f"{c['share']:>6.1%} {c['ms']:>8.3g}  {c['site'] or 'of no choice'} {c['option']}".rstrip()
            for c in d["choices"][:TOP]
        ]
    rates = d["rates"]
    lines += [
        "",
        f"limits here: {rates['gmacs']:.3g} GMAC/s, {rates['gbps']:.3g} GB/s, {rates['dispatch_us']:.2g} us a node;",
        "the percentage is how close a kernel comes to its limit",
        *_caveats(d),
    ]
    if d["advice"]:
        lines += ["", *wrap(f"try first: {d['advice'][0]['text']}", COLUMNS)]
    return "\n".join(lines)


def _caveats(d: Mapping[str, Any]) -> list[str]:
    slower = d["watched_sum_ms"] / d["latency_ms"]
    if d["alone"]:
        lines = [
            "this runtime tells no times: each kernel was timed alone, and",
            f"together they take {slower:.2f} times the network's time",
        ]
        more = f"{', '.join(d['unseen'][:3])}{' ...' if len(d['unseen']) > 3 else ''}"
        return [*lines, *([f"not seen alone, and given what is left: {more}"] if d["unseen"] else [])]
    lines = ["kernels' times are the runtime's shares of the time measured"]
    if slower > DISTURBED:
        lines.append(f"without watching: watched, they add up to {slower:.2f} times it,")
        lines.append("so shares of the smallest kernels are too large")
    else:
        lines.append("without watching")
    return lines


def _short(row: Mapping[str, Any]) -> str:
    name = row["origin"][-1] if row["origin"] else row["name"]
    room = 22 - len(row["op"]) - 1
    return f"{row['op']} {name if len(name) <= room else '..' + name[-(room - 2) :]}" if room > 4 else row["op"][:22]


def _shapes(row: Mapping[str, Any]) -> str:
    """Return what a kernel reads first and what it writes, and the size of its window."""
    first = "x".join(map(str, row["inputs"][0]["shape"])) if row["inputs"] else ""
    last = "x".join(map(str, row["outputs"][0]["shape"])) if row["outputs"] else ""
    window = row["attributes"].get("kernel_shape")
    text = f"{first} > {last}" + (f", {'x'.join(map(str, window))}" if window else "")
    return text[:60]
