"""Which sentinel tells that a device is slow, and which labels are wrong if it does not? All kinds, in the same rounds.

    python benchmarks/sentinels.py [--seconds 110] [--loads none python convolutions]

Every round reads every kind of sentinel before and after a burst of one network, in random order, while another core is
busy with a load: a Python program, or convolutions in torch. A label is the median of the gated rounds among six rounds
of a network, as with plan ``quick``; it is compared with the network's fast end, the 10 % quantile of its rounds. For
each kind are told: the share of gated rounds, of those that were more than 10 % above the fast end, of sixes that
give a label (three gated rounds or more), of labels more than 5 and 10 % above the middle label error, and the common
share. The last line is all of it, as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempograd import registry
from tempograd.devices import host, sentinels
from tempograd.devices.host import choose_cores, idle_cores
from tempograd.devices.runtime.engines.onnxruntime import OnnxRuntime
from tempograd.devices.worker import timing
from tempograd.measurement.label import GATE, MIN_GATED
from tempograd.measurement.rounds import BRACKET_TOLERANCE
from tempograd.profiler.plan import Items

SPACES = {
    "darts:layers=5,width=8,size=16,channels=1": 8,
    "nasbench201:cells=1,width=16": 4,
    "mbconv:family=proxyless,size=16,width=0.5,stages=4,layers=3,channels=1": 4,
}
LOADS = {
    "none": "",
    "python": "import json\nd = {str(i): [i] * 10 for i in range(5000)}\nwhile 1: json.loads(json.dumps(d))",
    "convolutions": "import torch\ntorch.set_num_threads(1)\nm = torch.nn.Conv2d(32, 32, 3, padding=1)\n"
    "x = torch.randn(16, 32, 32, 32)\nwhile 1: m(x)",
}
ROUNDS = 6  # a label
BURST_MS = 10.0


@contextmanager
def busy(load: str, cores: list[int]) -> Generator[None]:
    """Run a load on a core beside."""
    if not LOADS[load]:
        yield
        return
    bound = f"import os\nos.sched_setaffinity(0, {cores})\n{LOADS[load]}"
    other = subprocess.Popen([sys.executable, "-c", bound])
    try:
        time.sleep(3.0)
        yield
    finally:
        other.kill()
        other.wait()


def rounds(programs: list[Any], readers: list[Any], seconds: float) -> NDArray[np.float64]:
    """Return ``(n, 2 + 2 k)``: network, its value in ms, and each kind's fastest reading before and after."""
    rng, rows, end = np.random.default_rng(0), list[list[float]](), time.monotonic() + seconds

    def read() -> list[float]:
        found = [0.0] * len(readers)
        for kind in rng.permutation(len(readers)):
            found[kind] = min(timing.sentinel_ms(readers[kind], threads=1))
        return found

    for program in [*readers, *programs]:
        timing.warm_up(program.run, lambda: None)
    blocks = [timing.block_of(timing.warm_up(program.run, lambda: None).fastest_ms) for program in programs]
    while time.monotonic() < end:
        for network in rng.permutation(len(programs)):
            before = read()
            burst = timing.burst(programs[network], lambda: None, burst_ms=BURST_MS, block=blocks[network])
            rows.append([float(network), float(np.quantile(burst.cpu_ms, 0.25)), *before, *read()])
    return np.array(rows)


def judged(rows: NDArray[np.float64], kinds: int) -> list[dict[str, float]]:
    """Return what each kind would have made of the same rounds."""
    network, value = rows[:, 0].astype(int), rows[:, 1]
    before, after = rows[:, 2 : 2 + kinds], rows[:, 2 + kinds :]
    fast = {n: float(np.quantile(value[network == n], 0.1)) for n in np.unique(network)}
    excess = value / np.array([fast[n] for n in network])
    told: list[dict[str, float]] = []
    for kind in range(kinds):
        reading, drift = np.minimum(before, after)[:, kind], np.abs(np.log(before[:, kind] / after[:, kind]))
        noise = 1.4826 * float(np.median(drift))
        gated = (reading <= GATE * np.quantile(reading, 0.05)) & (drift <= max(BRACKET_TOLERANCE, 3 * noise))
        labels, asked = list[float](), 0
        for n in fast:
            own = np.flatnonzero(network == n)
            for first in range(0, len(own) - ROUNDS + 1, ROUNDS):
                six = own[first : first + ROUNDS]
                asked += 1
                if gated[six].sum() >= MIN_GATED:
                    labels.append(float(np.median(excess[six][gated[six]])))
        errors = np.array(labels) / np.median(labels)
        shares = [np.corrcoef(np.log(value[network == n]), np.log(reading[network == n]))[0, 1] ** 2 for n in fast]
        told.append({
            "fastest_ms": float(reading.min()), "gated": float(gated.mean()),
            "slow_of_gated": float((excess[gated] > 1.1).mean()), "labelled": len(labels) / asked,
            "off_by_5": float((errors > 1.05).mean()), "off_by_10": float((errors > 1.1).mean()),
            "common_share": float(np.median(shares)),
        })  # fmt: skip
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=110.0)
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=list(LOADS))
    arguments = parser.parse_args()
    groups, allowed = host.core_groups(), host.allowed_cores()
    timed = choose_cores(1, groups, allowed)
    beside = idle_cores(timed, groups, allowed)
    if not beside:
        raise SystemExit("one core only: there is none for a load beside the one that is timed")
    runtime = OnnxRuntime()
    runtime.start()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        programs: list[Any] = []
        for spec, count in SPACES.items():
            space = registry.create("space", spec)
            items = Items.of(space, space.sample(count, np.random.default_rng(3)))
            for key in items.keys:
                path, _ = items.build(key, Path(folder))
                programs.append(runtime.load(path.read_bytes(), Path(folder)))
        readers = [runtime.load(sentinels.read(kind), Path(folder)) for kind in sentinels.KINDS]
        with suppress(AttributeError):
            os.sched_setaffinity(0, timed)
        for load in arguments.loads:
            with busy(load, beside):
                rows = rounds(programs, readers, arguments.seconds)
            result[load] = dict(zip(sentinels.KINDS, judged(rows, len(readers)), strict=True))
            print(f"{load}, {len(rows)} rounds")
            for kind, told in result[load].items():
                print(f"  {kind:12}", "  ".join(f"{name} {value:.3f}" for name, value in told.items()), flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
