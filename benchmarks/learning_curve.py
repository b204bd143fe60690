"""How the predictor's error falls with the number of networks, beside the noise of the labels it is scored on.

python benchmarks/learning_curve.py --store run.db --sizes 50 100 200 500 1000 2000 [--out curve.svg]

Every size is a fresh random part of the rows; the test rows, a fifth of those with verdict ok, are never learnt from.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tempograd import registry
from tempograd.data.dataset import LatencyDataset
from tempograd.data.store import Store
from tempograd.predictor.learn import learn
from tempograd.predictor.metrics import Scores, noise_floor_mape_pct
from tempograd.verbs.fit import blocks_of, encodings_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--space", help="which, if the store holds several")
    parser.add_argument("--device", help="its fingerprint, if the store holds several")
    parser.add_argument("--model", default="gp")
    parser.add_argument("--encoding", help="default: the one that fit chooses")
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 100, 200, 500, 1000, 2000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="figure")
    arguments = parser.parse_args()
    with Store(arguments.store) as store:
        dataset = LatencyDataset.from_store(store, space=arguments.space, fingerprint_id=arguments.device)
    space = registry.create("space", dataset.space)
    ok = np.flatnonzero([verdict == "ok" for verdict in dataset.verdict])
    test = np.random.default_rng(0).choice(ok, len(ok) // 5, replace=False)
    groups = space.groups([space.from_key(key) for key in dataset.keys])
    rest = np.flatnonzero(~np.isin(groups, groups[test]))
    names = [arguments.encoding] if arguments.encoding else list(encodings_of(space, arguments.model))
    encoded = {name: dataset.encode(space, name) for name in names}
    labels, weight = dataset.y_ms, dataset.weight
    rows: list[dict[str, object]] = []
    for size in (n for n in arguments.sizes if n <= len(rest)):
        scores: list[Scores] = []
        for seed in range(arguments.seeds):
            taught = np.random.default_rng([seed, size]).choice(rest, size, replace=False)
            learnt = learn(
                {name: X[taught] for name, X in encoded.items()}, labels[taught], weight[taught], groups[taught],
                model=arguments.model, blocks=blocks_of(space), stages=space.schedule, seed=seed,
            )  # fmt: skip
            predicted = learnt.predictor.predict(encoded[learnt.encoding][test])
            scores.append(Scores.of(dataset.y_ms[test], predicted))
        mape = [s.mape_pct for s in scores]
        rows.append({
            "networks": size, "mape_pct": float(np.mean(mape)),
            "sd": float(np.std(mape, ddof=1)) if len(mape) > 1 else None,
            "within_5_pct": float(np.mean([s.within_5_pct for s in scores])),
            "spearman": float(np.mean([s.spearman for s in scores])),
        })  # fmt: skip
    floor = noise_floor_mape_pct(dataset.half_width[test] / 1.96)
    result = {
        "space": dataset.space, "model": arguments.model, "rows": len(dataset.y_ms), "test": len(test),
        "noise_floor_mape_pct": floor, "repeatability": dataset.repeatability, "curve": rows,
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    if arguments.out:
        _draw(rows, floor).savefig(arguments.out)


def _draw(rows: list[dict[str, object]], floor: float) -> Figure:
    figure = Figure(figsize=(6.4, 3.6))
    axes = figure.subplots()
    sizes, means, spreads = ([row[name] for row in rows] for name in ("networks", "mape_pct", "sd"))
    bars = None if None in spreads else spreads
    axes.errorbar(sizes, means, yerr=bars, marker="o", capsize=3, color="#0a5fb4", label="held-out error")
    axes.axhline(floor, color="#5d6675", linestyle="--", linewidth=1, label="noise of the labels")
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes], minor=False)
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("networks measured")
    axes.set_ylabel("mean absolute error (%)")
    axes.legend(frameon=False)
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    main()
