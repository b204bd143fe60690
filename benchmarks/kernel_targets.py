"""Does a network that kernels price at a target meet it as measured, in a space none of whose networks was timed whole?

    python benchmarks/kernel_targets.py --space mbconv:family=ofa,size=224 --device local       # half an hour, quiet
    python benchmarks/kernel_targets.py --space mbconv:width=0.25,size=32 --device simulated:slow=1 --limit 40

Kernels of a few sampled networks are timed, with these networks whole, for which the seconds are printed. Of many
drawn networks, for each of five targets from the fast to the slow end of what is priced, the one with the most
multiply-accumulates that is priced below the target is built and measured. What it is off by corrects the price,
and up to three are tried. One JSON line a network measured, and one for all.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from tempograd import registry
from tempograd.data.store import Store
from tempograd.predictor.kernels import KernelPredictor
from tempograd.profiler.choose import choose
from tempograd.profiler.plan import STANDARD, Items
from tempograd.profiler.verify import measure
from tempograd.verbs import kernels
from tempograd.verbs.kernel_price import by_kernels, sums

TARGETS = (0.15, 0.3, 0.5, 0.7, 0.85)  # quantiles of what drawn networks are priced at
DRAWN = 1000
TRIES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="mbconv:family=ofa,size=224")
    parser.add_argument("--device", default="local")
    parser.add_argument("--sampled", type=int, default=16, help="networks whose kernels are timed")
    parser.add_argument("--limit", type=int, default=600, help="kernels")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    space, device = registry.create("space", asked.space), registry.create("device", asked.device)
    began = perf_counter()
    with TemporaryDirectory() as folder:
        store = Path(folder, "k.db")
        kernels.collect(
            [],
            store,
            device=asked.device,
            space=asked.space,
            networks=asked.sampled,
            limit=asked.limit,
            seed=asked.seed,
        )
        measuring_s = perf_counter() - began
        kernels.fit(store, Path(folder, "k"))
        kept = KernelPredictor.load(Path(folder, "k"))
        price = by_kernels(space, kept, sums(space, device, kept, seed=asked.seed), upper_bound=False)
        drawn = choose(space, space.at_most(DRAWN), seed=asked.seed + 1)
        priced = np.asarray(price.predict(drawn))
        macs = np.array([space.network_graph(one).macs() for one in drawn])
        first, met, ratio = 0, 0, 1.0
        for share in TARGETS:
            target_ms = float(np.quantile(priced, share))
            for tries in range(1, TRIES + 1):
                best = int(np.argmax(np.where(ratio * priced <= target_ms, macs, -1)))
                with Store(Path(folder, f"{share}-{tries}.db"), write=True) as kept_in:
                    (found,) = measure(device, Items.of(space, [drawn[best]]), STANDARD, kept_in)
                row = {"target_ms": target_ms, "try": tries, "priced_ms": ratio * float(priced[best])}
                print(json.dumps(row | {"measured_ms": found.latency_ms, "verdict": found.verdict}), flush=True)
                if found.latency_ms <= target_ms:
                    first, met = first + (tries == 1), met + 1
                    break
                ratio = max(ratio, found.latency_ms / float(priced[best]))
    told = {"space": space.spec, "device": asked.device, "met": met, "at_first": first, "of": len(TARGETS)}
    print(json.dumps(told | {"kernels": len(kept.known), "measuring_s": measuring_s}))


if __name__ == "__main__":
    main()
