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
from tempograd.predictor.metrics import Scores, noise_floor_mape_pct
from tempograd.verbs.fit import estimator_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--space", help="which, if the store holds several")
    parser.add_argument("--model", default="mlp")
    parser.add_argument("--encoding", help="default: the one with the lowest error on a tenth of the rows learnt from")
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 100, 200, 500, 1000, 2000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="figure")
    arguments = parser.parse_args()
    with Store(arguments.store) as store:
        dataset = LatencyDataset.from_store(store, space=arguments.space)
    space = registry.create("space", dataset.space)
    ok = np.flatnonzero([verdict == "ok" for verdict in dataset.verdict])
    test = np.random.default_rng(0).choice(ok, len(ok) // 5, replace=False)
    rest = np.setdiff1d(np.arange(len(dataset.y_ms)), test)
    names = [arguments.encoding] if arguments.encoding else list(space.encodings)
    encoded = {name: dataset.encode(space, name) for name in names}
    rows: list[dict[str, object]] = []
    for size in (n for n in arguments.sizes if n <= len(rest)):
        scores: list[Scores] = []
        for seed in range(arguments.seeds):
            learn = np.random.default_rng([seed, size]).choice(rest, size, replace=False)
            name = names[0] if len(names) == 1 else _chosen(arguments.model, encoded, dataset, learn, seed)
            model = estimator_of(arguments.model, random_state=seed)
            model.fit(encoded[name][learn], dataset.y_ms[learn], sample_weight=dataset.weight[learn])
            scores.append(Scores.of(dataset.y_ms[test], model.predict(encoded[name][test])))
        mape = [s.mape_pct for s in scores]
        rows.append({
            "networks": size, "mape_pct": float(np.mean(mape)), "sd": float(np.std(mape, ddof=1)),
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


def _chosen(model: str, encoded: dict[str, np.ndarray], dataset: LatencyDataset, learn: np.ndarray, seed: int) -> str:
    """Return the encoding that does best on a tenth of the rows when learnt from the others."""
    cut = max(len(learn) // 10, 5)
    errors: dict[str, float] = {}
    for name, X in encoded.items():
        fitted = estimator_of(model, random_state=seed)
        fitted.fit(X[learn[cut:]], dataset.y_ms[learn[cut:]], sample_weight=dataset.weight[learn[cut:]])
        errors[name] = Scores.of(dataset.y_ms[learn[:cut]], fitted.predict(X[learn[:cut]])).mape_pct
    return min(errors, key=errors.__getitem__)


def _draw(rows: list[dict[str, object]], floor: float) -> Figure:
    figure = Figure(figsize=(6.4, 3.6))
    axes = figure.subplots()
    sizes, means, spreads = ([row[name] for row in rows] for name in ("networks", "mape_pct", "sd"))
    axes.errorbar(sizes, means, yerr=spreads, marker="o", capsize=3, color="#0a5fb4", label="held-out error")
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
