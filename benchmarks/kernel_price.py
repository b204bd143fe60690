"""A space priced by kernels, beside a predictor of whole networks from as many timed things.

    python benchmarks/kernel_price.py [--space SPEC] [--device SPEC] [--budgets 16,32,64,128] [--test 60] [--seeds 3]

For every budget: so many networks of the space are timed, and a predictor is learnt from them (``transfer`` below 100,
``gp`` from there); and kernels of eight networks of the space with these networks whole, as many in all, are timed and
give a price (`verbs.kernel_price`). Both predict networks that neither saw. A thing that is timed costs about the same
time whatever it is, most of which goes into starting and into rounds; seconds are printed beside.

A simulated device adds up kernels exactly, so it says what is lost by learning and by noise, and nothing of what is
lost by adding: for that, name ``local``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from tempograd import registry
from tempograd.data.store import Store
from tempograd.devices.device import Place
from tempograd.errors import UsageError
from tempograd.predictor.kernels import KernelPredictor
from tempograd.predictor.metrics import Scores
from tempograd.predictor.saved import load
from tempograd.profiler.choose import choose
from tempograd.profiler.plan import QUICK, Items
from tempograd.profiler.verify import measure
from tempograd.spaces.architecture import Architecture
from tempograd.spaces.space import SearchSpace
from tempograd.verbs import kernels
from tempograd.verbs.collect import collect
from tempograd.verbs.fit import fit
from tempograd.verbs.kernel_price import by_kernels, sums

WHOLE = 8  # networks whose kernels are timed, and which are timed whole


def tested(space: SearchSpace, device: Place, count: int) -> dict[Architecture, float]:
    """Return networks that nobody learns from, with their latencies."""
    drawn = [one for one in choose(space, 3 * count, seed=10_000) if space.is_connected(one)][:count]
    with TemporaryDirectory() as folder, Store(Path(folder, "run.db"), write=True) as store:
        rows = {m.key: m for m in measure(device, Items.of(space, drawn), QUICK, store)}
    return {one: rows[one.key].latency_ms for one in drawn if one.key in rows and rows[one.key].estimate}


def by_networks(
    space: SearchSpace, spec: str, budget: int, seed: int, folder: Path, test: Sequence[Architecture]
) -> Any:
    model = "transfer" if budget < 100 else "gp"
    collect(space.spec, folder / "whole.db", device=spec, count=budget, plan="quick", seed=seed)
    fit(folder / "whole.db", folder / "whole", model=model, seed=seed)
    kept = load(folder / "whole")
    return kept.predict(space.encode(list(test), kept.binding.encoding)), {"model": model}


def by_their_kernels(
    space: SearchSpace, spec: str, budget: int, seed: int, folder: Path, test: Sequence[Architecture]
) -> Any:
    limit = max(budget - WHOLE - 2, 10)  # an empty network and a chain are timed too
    done = kernels.collect([], folder / "k.db", device=spec, space=space.spec, networks=WHOLE, limit=limit, seed=seed)
    kernels.fit(folder / "k.db", folder / "k")
    kept = KernelPredictor.load(folder / "k")
    told = sums(space, registry.create("device", spec), kept, seed=seed)
    price = by_kernels(space, kept, told, upper_bound=False, seed=seed)
    about = {"kernels": done.document["kernels"], "out_of_support": told.named, "line": price.told["line"]["mape_pct"]}
    return price.predict(list(test)), about


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="nasbench201:cells=1,width=8,size=16")
    parser.add_argument("--device", default="simulated:slow=1,overhead_us=20")
    parser.add_argument("--budgets", type=lambda text: [int(one) for one in text.split(",")], default=[16, 32, 64, 128])
    parser.add_argument("--test", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    space = registry.create("space", asked.space)
    truth = tested(space, registry.create("device", asked.device), asked.test)
    y_ms = np.array(list(truth.values()))
    for seed in range(asked.seeds):
        for budget in asked.budgets:
            for name, how in (("networks", by_networks), ("kernels", by_their_kernels)):
                began = perf_counter()
                row: dict[str, Any] = {"by": name, "budget": budget, "seed": seed, "tested": len(y_ms)}
                with TemporaryDirectory() as folder:
                    try:
                        predicted, about = how(space, asked.device, budget, seed, Path(folder), list(truth))
                        row |= about | asdict(Scores.of(y_ms, predicted))
                    except UsageError as error:
                        row["refused"] = str(error)
                print(json.dumps(row | {"seconds": perf_counter() - began}), flush=True)


if __name__ == "__main__":
    main()
