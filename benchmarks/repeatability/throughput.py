"""What a label costs from outside: seconds a network through each peer's own command line, beside one campaign of ours.

Each peer is timed on five networks, one process a network, as its manual has it; its fastest is its figure (T1). Ours
is a campaign from admission to rows on the disk, by plan `quick` and `standard`, with the shares of its wall time (T2).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from tempograd import registry
from tempograd.data.store import Store
from tempograd.devices.places.local import LocalDevice
from tempograd.profiler.campaign import run
from tempograd.profiler.choose import choose
from tempograd.profiler.plan import QUICK, STANDARD, Items

from .tools.openvino import NO_AMX

SPACE = "nasbench201:cells=1"
NETWORKS = {QUICK: 300, STANDARD: 100}
LIMIT_S = 120.0
_SETUP = (
    f"from {__package__}.harness import load; run = load([['', {{path!r}}, '']])[0].run"  # as the peers load it inside
)
_BENCHMARK_APP = "from openvino.tools.benchmark.main import main; main()"  # what its console script does
_TORCH = "from torch.utils.benchmark import Timer; print(Timer('run()', globals=globals()).adaptive_autorange())"


def commands(path: str, core: int) -> dict[str, list[str]]:
    """Return peer -> the command that times one network."""
    setup = _SETUP.format(path=path)
    python = [sys.executable, "-P"]
    timeit = ["-m", "pyperf", "timeit", "--fast", f"--affinity={core}", "--inherit-environ=OMP_NUM_THREADS"]
    options = [
        "-d",
        "CPU",
        "-api",
        "sync",
        "-hint",
        "none",
        "-nstreams",
        "1",
        "-nthreads",
        "1",
        "-pin",
        "NO",
        "-t",
        "1",
    ]
    return {
        "pyperf timeit --fast": [*python, *timeit, "-s", setup, "run()"],
        "torch Timer in a new process": [*python, "-c", f"{setup}; {_TORCH}"],
        "benchmark_app -t 1": [*python, "-c", _BENCHMARK_APP, "-m", path, *options],
    }


def write(out: Path, models: Sequence[tuple[str, str, str]]) -> None:
    """Write ``throughput.json`` into the folder of raw data, unless it is there."""
    target = out / "throughput.json"
    if target.exists():
        return
    core = LocalDevice().timed_cores[0]
    peers: dict[str, list[float]] = {}
    for _, path, _ in models:
        for peer, command in commands(path, core).items():
            seconds = _seconds(command, core)
            if seconds is not None:
                peers.setdefault(peer, []).append(seconds)
            else:
                print(f"{peer}: left out, it failed, is not installed, or took over {LIMIT_S:.0f} s", file=sys.stderr)
    campaigns: dict[str, object] = {}
    space = registry.create("space", SPACE)
    with TemporaryDirectory() as folder, Store(Path(folder, "run.db"), write=True) as store:
        for plan, networks in NETWORKS.items():
            items = Items.of(space, choose(space, networks, seed=1))
            campaigns[plan.name] = asdict(run(LocalDevice(), items, plan, store, seed=1))
    target.write_text(json.dumps({"peers": peers, "campaigns": campaigns}, indent=1) + "\n")


def _seconds(command: list[str], core: int) -> float | None:
    begin = time.perf_counter()
    try:
        with TemporaryDirectory() as folder:
            subprocess.run(
                command, capture_output=True, check=True, cwd=folder, timeout=LIMIT_S,
                env={NO_AMX[0]: NO_AMX[1], **os.environ}, preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return time.perf_counter() - begin
