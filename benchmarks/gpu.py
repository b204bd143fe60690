"""Labels of nasbench201 and darts on one NVIDIA GPU, how well they repeat, and what a predictor learns from them.

python benchmarks/gpu.py --out gpu/ [--minutes 8] [--counts 1000,500] [--ways SPEC ...] [--stages repeat,collect,...]

torch is enough; ONNX Runtime's CUDA and TensorRT providers, TensorRT and TensorRT-RTX are taken where they start. Each
way is measured in turn, as far as the minutes reach; the same command goes on where it stopped. The last line is JSON:

* R1: the median over networks of the standard deviation of ln(label) between fresh measuring processes;
* C1: the share of intervals that hold the median of all processes;
* hold: measured latency over target of the network that LA-DARTS finds under the lower quartile of all labels.

``--rehearse`` runs the same steps, small, on the CPU: to see that the script works before a GPU is paid for.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from tempograd.data.store import Store
from tempograd.devices.device import Device
from tempograd.errors import DeviceError, TempogradError
from tempograd.measurement.measurement import Measurement
from tempograd.profiler.choose import choose
from tempograd.profiler.plan import Items, named
from tempograd.profiler.timer import clock_of
from tempograd.profiler.verify import measure
from tempograd.registry import create
from tempograd.verbs.collect import collect
from tempograd.verbs.fit import fit
from tempograd.verbs.outcome import plain
from tempograd.verbs.search import search

SPACES = ("nasbench201", "darts")
WAYS = (
    "local:runtime=torch,provider=cuda,cuda_graph=true",
    "local:runtime=torch,provider=cuda",
    "local:runtime=onnxruntime,provider=cuda",
    "local:runtime=onnxruntime,provider=tensorrt",
    "local:runtime=tensorrt,cuda_graph=true",
    "local:runtime=tensorrt_rtx,cuda_graph=true",
)
SMALL = ("nasbench201:cells=1,width=8,size=16", "darts:layers=3,width=4,size=16")
PLAN = "quick"
STAGES = ("repeat", "collect", "fit", "search")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    parser.add_argument("--spaces", nargs="+", default=SPACES)
    parser.add_argument("--counts", default="1000,500", help="networks of each space")
    parser.add_argument("--stages", default="repeat,collect,fit", help=f"which of {', '.join(STAGES)}")
    parser.add_argument("--minutes", type=float, default=8.0, help="for everything; what is missing is said")
    parser.add_argument("--networks", type=int, default=12, help="of each space, timed again by every process")
    parser.add_argument("--processes", type=int, default=6, help="fresh ones")
    parser.add_argument("--ways", nargs="+", default=WAYS)
    parser.add_argument("--rehearse", action="store_true")
    arguments = parser.parse_args()
    spaces, ways, counts = arguments.spaces, arguments.ways, [int(n) for n in arguments.counts.split(",")]
    if unknown := set(arguments.stages.split(",")) - set(STAGES):
        parser.error(f"--stages holds {', '.join(sorted(unknown))}; allowed: {', '.join(STAGES)}")
    if arguments.rehearse:
        spaces, ways, counts = SMALL, ("local:runtime=torch",), [80, 80]
        arguments.networks, arguments.processes = 4, 3
    usable, missing = usable_ways(ways)
    if not usable:
        for way, why in missing.items():
            print(f"{way}: {why}", file=sys.stderr)
        sys.exit(
            "gpu.py: none of these runs here; it needs one NVIDIA GPU and a torch that sees it (see tempograd devices)"
        )
    arguments.out.mkdir(parents=True, exist_ok=True)
    deadline_s = time.monotonic() + 60 * arguments.minutes
    found: dict[str, Any] = {"rehearsal": arguments.rehearse, "missing": missing, "ways": {}}
    for way, device in usable.items():
        found["ways"][way] = {"fingerprint": json.loads(device.fingerprint.to_json())}
        for space, count in zip(spaces, counts, strict=True):
            if time.monotonic() > deadline_s:
                found["ways"][way][space] = "no time was left"
                continue
            name = f"{way.split('=', 1)[1]}-{space}".translate(str.maketrans(":,=", "---"))
            result = one(way, space, count, arguments, deadline_s, arguments.out / name)
            found["ways"][way][space] = result
            print(json.dumps(plain({"way": way, "space": space, **result})), file=sys.stderr)
    (arguments.out / "gpu.json").write_text(json.dumps(plain(found), indent=1))
    print(json.dumps(plain(found)))


def usable_ways(ways: tuple[str, ...]) -> tuple[dict[str, Device], dict[str, str]]:
    """Return the devices that open, and why the others do not."""
    usable: dict[str, Device] = {}
    missing: dict[str, str] = {}
    for way in ways:
        try:
            device: Device = create("device", way)
            device.open().close()
            usable[way] = device
        except DeviceError as error:
            missing[way] = str(error)
    return usable, missing


def one(
    way: str, space: str, count: int, arguments: argparse.Namespace, deadline_s: float, path: Path
) -> dict[str, Any]:
    """Go through the stages asked for: time a few networks in every process, collect, fit, search."""
    store, predictor, stages = path.with_suffix(".db"), path.with_suffix(".predictor"), arguments.stages.split(",")
    found: dict[str, Any] = {}
    stop = threading.Event()
    timer = threading.Timer(max(1.0, deadline_s - time.monotonic()), stop.set)
    timer.start()
    try:
        if "repeat" in stages:
            found |= repeated(way, space, arguments.networks, arguments.processes, deadline_s)
        if "collect" in stages:
            found |= collected(way, space, count, store, stop)
        if "fit" in stages:
            card = fit(store, predictor, model="gp").document
            keep = ("scored", "scores", "noise_floor_mape_pct", "interval_pct")
            found["predictor"] = {key: card[key] for key in keep}
        if "search" in stages:
            found |= searched(way, space, store, predictor, path.with_suffix(".search"), stop)
    except TempogradError as error:
        found["error"] = f"{type(error).__name__}: {error}"
    finally:
        timer.cancel()
    return found


def collected(way: str, space: str, count: int, store: Path, stop: threading.Event) -> dict[str, Any]:
    """Collect, and return what the run and its rows say."""
    summary = collect(space, store, device=way, count=count, plan=PLAN, stop=stop).document
    keep = (
        "networks", "measured", "verdicts", "seconds", "networks_per_hour", "timed_share", "sentinel_share",
        "gated_share", "rejected", "repeatability", "pairs", "doubts", "interrupted",
    )  # fmt: skip
    return {"collected": {key: summary[key] for key in keep}, "rows": states(store)}


def searched(way: str, space: str, store: Path, predictor: Path, out: Path, stop: threading.Event) -> dict[str, Any]:
    """Search with LA-DARTS under the lower quartile of the labels, and return what was measured of the find."""
    with Store(store) as opened:
        labels = [m.latency_ms for m in opened.measurements() if m.verdict == "ok"]
    target_ms = float(np.quantile(labels, 0.25))
    result = search(
        space, predictor, out, target_ms=target_ms, device=way, store=store, epochs=4, train_epochs=4,
        train_threads=4, random=0, stop=stop,
    ).document  # fmt: skip
    return {"target_ms": target_ms, "search": result}


def repeated(way: str, space: str, networks: int, processes: int, deadline_s: float) -> dict[str, Any]:
    """Return R1 and C1 over fresh processes, each with a reference state of its own."""
    chosen = create("space", space)
    labels: dict[str, list[Measurement]] = defaultdict(list)
    for process in range(processes):
        if time.monotonic() > deadline_s:
            break
        device: Device = create("device", way)
        items = Items.of(chosen, choose(chosen, networks, seed=1), batch=device.batch)
        for m in measure(device, items, named(PLAN), seed=process):
            if m.estimate is not None:
                labels[m.key].append(m)
    spreads: list[float] = []
    inside: list[bool] = []
    for rows in labels.values():
        if len(rows) < 2:
            continue
        latencies = np.array([m.latency_ms for m in rows])
        spreads.append(float(np.log(latencies).std(ddof=1)))
        middle = float(np.median(latencies))
        inside += [m.estimate.low_ms <= middle <= m.estimate.high_ms for m in rows if m.estimate]
    return {
        "R1_pct": 100 * float(np.median(spreads)) if spreads else None,
        "C1_pct": 100 * float(np.mean(inside)) if inside else None,
        "processes": max(map(len, labels.values()), default=0),
        "clock": clock_of(create("device", way).fingerprint),
    }


def states(store: Path) -> dict[str, Any]:
    """Return medians over all rounds of what the device said of itself, and how long networks took to build."""
    told: dict[str, list[float]] = defaultdict(list)
    host_bound = rounds = 0
    with Store(store) as opened:
        for m in opened.measurements():
            told["build_ms"].append(float(m.environment.get("build_ms", 0.0)))
            told["load_ms"].append(float(m.environment.get("load_ms", 0.0)))
            for r in m.rounds:
                rounds += 1
                for name, value in r.state.items():
                    told[name].append(value)
                if r.gpu_ms:
                    told["gpu_ms"].append(float(np.median(r.gpu_ms)))
                    told["wall_ms"].append(float(np.median(r.wall_ms)))
                    # where launching takes as long as computing, the host is what was timed (trtexec's rule)
                    host_bound += r.state.get("enqueue_ms", 0.0) > 0.8 * float(np.median(r.gpu_ms))
    medians = {name: float(np.median(values)) for name, values in told.items()}
    return medians | {"rounds": rounds, "host_bound_pct": 100 * host_bound / max(rounds, 1)}


if __name__ == "__main__":
    main()
