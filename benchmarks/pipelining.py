"""Does building and loading the next batch disturb the one that is being timed? The same networks, in turn.

python benchmarks/pipelining.py [--space nasbench201:cells=1] [--networks 64] [--repeats 6]

*overlapped*: the next batch is built and loaded on the other cores while one is timed, as always where a core is left.
*alone*: nothing else runs meanwhile. In turn, on one store each; the labels of every network are compared, and how long
either takes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from tempograd import registry
from tempograd.data.store import Store
from tempograd.devices.places.local import LocalDevice
from tempograd.profiler.plan import QUICK, Items
from tempograd.profiler.verify import measure


class Alone(LocalDevice):
    """A device that says no core is left: what prepares then waits its turn."""

    def environment(self) -> dict[str, Any]:
        return super().environment() | {"idle_cores": list(self.timed_cores)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="nasbench201:cells=1")
    parser.add_argument("--networks", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=6)
    arguments = parser.parse_args()
    space = registry.create("space", arguments.space)
    drawn = [
        a for a in space.sample(3 * arguments.networks, np.random.default_rng(0)) if space.network_graph(a).macs() > 0
    ][: arguments.networks]
    items = Items.of(space, drawn)
    devices = {"overlapped": LocalDevice(), "alone": Alone()}
    labels: dict[str, list[list[float]]] = {name: [] for name in devices}
    seconds: dict[str, list[float]] = {name: [] for name in devices}
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder, "store.db"), write=True) as store:
        measure(devices["overlapped"], items, QUICK, store, batch_size=16)  # calibrates
        for repeat in range(arguments.repeats):
            for name in sorted(devices, reverse=bool(repeat % 2)):
                start = time.perf_counter()
                found = measure(devices[name], items, QUICK, store, seed=repeat + 1, batch_size=16)
                seconds[name].append(time.perf_counter() - start)
                labels[name].append([m.latency_ms for m in found])
    logs = {name: np.log(np.array(rows)) for name, rows in labels.items()}
    difference = np.nanmedian(logs["overlapped"], axis=0) - np.nanmedian(logs["alone"], axis=0)
    within = {name: float(np.nanmedian(np.nanstd(values, axis=0, ddof=1))) for name, values in logs.items()}
    result = {
        "space": space.spec,
        "networks": len(items.keys),
        "repeats": arguments.repeats,
        "label_overlapped_over_alone": float(np.exp(np.nanmedian(difference))),
        "wilcoxon_p": float(wilcoxon(difference[np.isfinite(difference)]).pvalue),
        "cv_pct": {name: 100 * value for name, value in within.items()},
        "seconds": {name: float(np.median(values)) for name, values in seconds.items()},
        "speed_up": float(np.median(np.divide(seconds["alone"], seconds["overlapped"]))),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
