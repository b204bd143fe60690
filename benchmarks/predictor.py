"""The predictor on public tables: every protocol, beside the simple baselines.

    python benchmarks/predictor.py --tables FOLDER [--part brp] [--seeds 5] [--out FILE.json]

``FOLDER`` holds ``nasbench201.parquet`` and ``fbnet.parquet``: option indices ``e0..`` or ``b0..``, latencies in ms.
All selection is on the rows learnt from; nothing depends on a device's name. What is in the JSON file is not done
again, and several runs may share it; its tables are printed at the end.

* ``brp``: 900 rows to learn from and 100 to choose by, all other networks tested, with the default model's intervals;
  ``brp200``: 200 to learn from. Ten columns, unless ``--columns`` says otherwise; ``all`` for every one.
* ``help``: HELP's Table 3: pool 0-899, test 900-1899, the middle 80 % of each device, 10 samples, Spearman.
* ``nasflat``: 20 samples on each target, 900 labels on each source, Spearman over all other networks.
* ``gradient``: every single-operation swap with a true effect above 5 %, predicted against tabulated, Spearman.
* ``speed``: networks a second of one core with encodings ready, and seconds of one core to fit 1,000 rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from scipy.stats import spearmanr

from tempograd import registry
from tempograd.predictor.design import d_optimal
from tempograd.predictor.learn import estimator_of, learn
from tempograd.verbs.evaluate import COVERED, evaluate
from tempograd.verbs.fit import encodings_of

EAGER = ("help:gold_6226", "help:2080ti_1")  # the columns of the table that are no compiled graphs
MODELS = ("gp", "ridge", "trees", "sklearn_gp")
DEFAULT = "gp"
TURNS = 8  # of every model where speeds are compared; the first is a warm-up
WITHIN = ("within_1_pct", "within_5_pct", "within_10_pct")
SIX = ("titan_rtx_256", "gold_6226", "pixel2", "raspi4", "eyeriss", "fpga")
NVIDIA, TITAN = "1080ti_1 1080ti_32", "titan_rtx_1 titan_rtx_32"
PHONES = "silver_4114 silver_4210r samsung_a50 pixel3 essential_ph_1 samsung_s7"
NASFLAT = {
    "ND": (f"{NVIDIA} 1080ti_256 {PHONES}", " ".join(SIX)),
    "N4": ("latbench:* eyeriss pixel2", "1080ti_1 2080ti_1 titan_rtx_1"),
    "FD": (f"{NVIDIA} 1080ti_64 {PHONES}", "fpga raspi4 eyeriss"),
    "F1": (f"2080ti_1 essential_ph_1 silver_4114 {TITAN}", "eyeriss fpga raspi4 samsung_a50 samsung_s7"),
    "F3": ("essential_ph_1 pixel2 pixel3 raspi4 samsung_s7", f"{NVIDIA} 2080ti_1 {TITAN}"),
    "F4": (
        "1080ti_64 2080ti_1 eyeriss gold_6226 gold_6240 raspi4 samsung_s7 silver_4210r " + TITAN,
        "1080ti_1 pixel2 essential_ph_1",
    ),
}  # fmt: skip


def columns_of(table: Any) -> list[str]:
    return [name for name in table.column_names if name.startswith(("help:", "latbench:"))]


def brp(folder: Path, keep: Keep, seeds: int, models: Sequence[str], train: int, columns: Sequence[str]) -> None:
    """Judge every model on every column of NAS-Bench-201."""
    path = folder / "nasbench201.parquet"
    known = columns_of(pq.read_table(path))
    asked = columns or [c for c in known if c.startswith("latbench:") or c in EAGER]
    for column, model in product(known if asked == ["all"] else asked, models):

        def judged(column: str = column, model: str = model) -> dict[str, Any]:
            done = evaluate(path, space="nasbench201", columns=[column], train=train, seeds=seeds, model=model)
            return done.document

        print(column, model, _scores(keep(f"{column} {model}", judged)), flush=True)


def _scores(done: dict[str, Any]) -> str:
    within = "/".join(f"{done[key]['mean']:.1f}" for key in WITHIN)
    errors = "/".join(f"{done[key]['sd'] / done['seeds'] ** 0.5:.1f}" for key in WITHIN if done[key]["sd"] is not None)
    return f"{within} ({errors or '-'}), {done['mape_pct']['mean']:.2f}"


def help_table(folder: Path, seeds: int) -> dict[str, Any]:
    """Run HELP's Table 3: 10 samples, 900 labels of networks 0-899 on each source."""
    table, space = pq.read_table(folder / "nasbench201.parquet").slice(0, 1900), registry.create("space", "nasbench201")
    rows = zip(*(table.column(f"e{i}").to_pylist() for i in range(6)), strict=True)
    X = space.encode([space.architecture(row) for row in rows], "counts")
    blocks = space.encoding("counts").blocks(space)
    labels = {column: table.column(column).to_numpy().astype(float) for column in columns_of(table)}
    first = [labels[f"help:{device}"][:900] for device in NASFLAT["ND"][0].split()]
    sources = tuple(estimator_of("transfer", blocks=blocks).fit(X[:900], y).line_ for y in first)
    found: dict[str, Any] = {}
    for device in SIX:
        y = labels[f"help:{device}"]
        low, high = np.quantile(y, [0.1, 0.9])
        middle = (y >= low) & (y <= high)
        pool, test = np.flatnonzero(middle[:900]), 900 + np.flatnonzero(middle[900:])
        for sampling, others in product(("random", "d_optimal"), ((), sources)):
            scores = []
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                learn = rng.permutation(pool)
                told = np.hstack([X[:, -blocks[-1] :], *(line(X)[:, None] for line in others)])
                kinds = (blocks[-1], len(others)) if others else ()
                learn = learn[:10] if sampling == "random" else learn[d_optimal(told[learn], 10, rng, blocks=kinds)]
                model = estimator_of("transfer", blocks=blocks, sources=others).fit(X[learn], y[learn])
                scores.append(spearmanr(model.predict(X[test]), y[test]).statistic)
            way = f"{sampling}{' sources' if others else ''}"
            found[f"{device} {way}"] = {"mean": float(np.mean(scores)), "sd": float(np.std(scores, ddof=1))}
    for way in ("random", "d_optimal", "random sources", "d_optimal sources"):
        each = {k.removesuffix(f" {way}"): v["mean"] for k, v in found.items() if k.partition(" ")[2] == way}
        found[f"mean {way}"] = {"mean": float(np.mean(list(each.values())))}
        print(f"HELP Table 3, 10 samples, {way}: {found[f'mean {way}']['mean']:.3f}", each, flush=True)
    return found


def nasflat(folder: Path, seeds: int) -> dict[str, Any]:
    """Run NASFLAT's sets, 20 samples: with and without sources, drawn at random and chosen."""
    found: dict[str, Any] = {}
    for name, (sources, targets) in NASFLAT.items():
        file, space = ("nasbench201", "nasbench201") if name[0] == "N" else ("fbnet", "mbconv")
        path = folder / f"{file}.parquet"
        known = columns_of(pq.read_table(path))

        def named(text: str, known: list[str] = known) -> list[str]:
            wanted = [[c for c in known if c.startswith("latbench:")] if d == "latbench:*" else [f"help:{d}"]
                      for d in text.split()]  # fmt: skip
            return [column for columns in wanted for column in columns if column in known]

        for sampling, others in product(("random", "d_optimal"), ((), named(sources))):
            done = evaluate(path, space=space, columns=named(targets), source_columns=others, train=20, valid=0,
                            seeds=seeds, model="transfer", sampling=sampling).document  # fmt: skip
            way = f"{sampling}{' sources' if others else ''}"
            each = {d["column"]: d["spearman"] for d in done["devices"]}
            found[f"{name} {way}"] = {"mean": float(np.mean([v["mean"] for v in each.values()])), "devices": each}
            used = [round(d["source_share"]["mean"], 2) for d in done["devices"]]
            print(f"{name} {way:20} {found[f'{name} {way}']['mean']:.3f}",
                  {k.rpartition(":")[2]: round(v["mean"], 3) for k, v in each.items()}, used, flush=True)  # fmt: skip
    return found


def gradient(folder: Path, seeds: int) -> dict[str, Any]:
    """Judge the slope that a search uses: the effect of swaps, at sampled networks of the i7."""
    from tempograd.search.cost import PredictorCost

    table = pq.read_table(folder / "nasbench201.parquet")
    space = registry.create("space", "nasbench201")
    column = next(c for c in table.column_names if "i7" in c)
    y = {tuple(r): v for *r, v in zip(*(table.column(f"e{i}").to_pylist() for i in range(6)),
                                       table.column(column).to_pylist(), strict=True)}  # fmt: skip
    y = {k: v for k, v in y.items() if v is not None and np.isfinite(v)}
    keys = list(y)
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(keys))
        learn = [space.architecture(keys[i]) for i in order[:900]]
        labels = np.array([y[a.choices] for a in learn])
        at = [space.architecture(keys[i]) for i in order[1000:1300]]
        for model, encoding in (("gp", "compiled"), ("mlp", "pruned")):
            fitted = estimator_of(model, random_state=seed, stages=space.schedule)
            fitted.fit(space.encode(learn, encoding), labels)
            cost = PredictorCost(fitted.module, space, encoding)
            gates = {site: gate.requires_grad_() for site, gate in space.gates(at).items()}
            cost(gates).sum().backward()
            true, predicted = [], []
            for n, architecture in enumerate(at):
                for column_number, site in enumerate(space.sites):
                    slope = gates[site.name].grad[n]
                    for option in range(len(site.options)):
                        other = list(architecture.choices)
                        other[column_number] = option
                        if option != architecture.choices[column_number] and tuple(other) in y:
                            effect = y[tuple(other)] - y[architecture.choices]
                            if abs(effect) > 0.05 * y[architecture.choices]:
                                true.append(effect)
                                predicted.append(float(slope[option] - slope[architecture.choices[column_number]]))
            found.setdefault(f"{model} {encoding}", []).append(float(spearmanr(true, predicted).statistic))
    result = {k: {"mean": float(np.mean(v)), "sd": float(np.std(v))} for k, v in found.items()}
    print("gradient", result, flush=True)
    return result


def speed(folder: Path, _: int) -> dict[str, float]:
    """Count networks predicted a second of one core, encodings ready: models take turns, the middle turn counts."""
    table = pq.read_table(folder / "nasbench201.parquet")
    space = registry.create("space", "nasbench201")
    y = table.column("latbench:desktop-cpu-core-i7-7820x-fp32").to_numpy().astype(float)
    rows = np.random.default_rng(0).permutation(np.flatnonzero(np.isfinite(y)))[:1000]
    architectures = [space.architecture([table.column(f"e{i}")[int(n)].as_py() for i in range(6)]) for n in rows]
    encodings = {name: space.encode(architectures, name) for name in encodings_of(space, "gp")}
    torch.set_num_threads(1)
    start = process_time()
    learnt = learn(encodings, y[rows], groups=space.groups(architectures), model="gp", stages=space.schedule)
    found = {"fit_1000_seconds": process_time() - start}
    many, pruned = np.tile(encodings[learnt.encoding], (20, 1)), np.tile(encodings["pruned"], (20, 1))
    x = torch.from_numpy(pruned).float()
    single, ensemble = (estimator_of("mlp", members=m, steps=20).fit(encodings["pruned"], y[rows]) for m in (1, 5))
    tried: dict[str, Callable[[], Any]] = {
        "single_mlp": lambda: single.module(x),
        "ensemble_of_5": lambda: ensemble.module(x),
        "ensemble_of_5_with_interval": lambda: learnt.conformal.interval(ensemble.predict(pruned)),
        "gp": lambda: learnt.predictor.predict(many),
        "gp_with_interval": lambda: learnt.conformal.interval(learnt.predictor.predict(many)),
    }
    rates: dict[str, list[float]] = {name: [] for name in tried}
    with torch.no_grad():
        for _turn in range(TURNS):
            for name, predict in tried.items():
                start = process_time()
                predict()
                rates[name].append(len(x) / (process_time() - start))
    found |= {f"{name}_networks_per_second": float(np.median(told[1:])) for name, told in rates.items()}
    print(found, {name: (round(min(told)), round(max(told))) for name, told in rates.items()}, flush=True)
    return found


class Keep:
    """Results by part and name, in a JSON file; what is there already is not computed again."""

    def __init__(self, path: Path, part: str) -> None:
        self.path, self.part = path, part

    def _read(self) -> dict[str, Any]:
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def __call__(self, name: str, compute: Callable[[], Any]) -> Any:
        known = self._read().get(self.part, {})
        if name in known:
            return known[name]
        result = compute()
        found = self._read()  # again: another run may have added to it
        found.setdefault(self.part, {})[name] = result
        written = self.path.with_suffix(".new")
        written.write_text(json.dumps(found, indent=1))
        written.replace(self.path)
        return result


def page(found: dict[str, Any]) -> str:
    """Return the tables, in Markdown."""
    parts: list[str] = []
    for part, rows in (("brp", 900), ("brp200", 200)):
        results = found.get(part, {})
        if results:
            splits = min(d["seeds"] for d in results.values())
            models = [m for m in MODELS if any(name.endswith(f" {m}") for name in results)]
            columns = list(dict.fromkeys(name.rpartition(" ")[0] for name in results))
            parts.append(f"### {rows} networks to learn from, 100 to choose by, all others tested\n\n"
                         f"Within 1/5/10 % (standard errors over {splits} splits of networks), mean error in %.\n\n"
                         + _table(("device", *models), [(_name(c), *(_scores(results[f"{c} {m}"])
                           if f"{c} {m}" in results else "-" for m in models)) for c in columns]))  # fmt: skip
    judged = {name: d for name, d in found.get("brp", {}).items() if name.endswith(f" {DEFAULT}")}
    if judged:
        rows = [(_name(name.rpartition(" ")[0]), *(f"{d[key]['mean']:.1f}" for key in COVERED))
                for name, d in judged.items()]  # fmt: skip
        head = ("device", "covered %", "fast third", "middle", "slow", "width %")
        parts.append("### Intervals of 90 %, default model, 900 networks\n\n" + _table(head, rows))
    for part, title in (
        ("help", "HELP, Table 3: 10 samples, Spearman"),
        ("nasflat", "NASFLAT's sets: 20 samples, Spearman"),
    ):
        if part in found:
            ways = ("random", "d_optimal", "random sources", "d_optimal sources")
            names = dict.fromkeys(name.partition(" ")[0] for name in found[part])
            rows = [(n, *(f"{found[part][f'{n} {way}']['mean']:.3f}" for way in ways)) for n in names]
            head = ("", "drawn at random", "chosen", "random, with source devices", "chosen, with source devices")
            parts.append(f"### {title}\n\n" + _table(head, rows))
    if "gradient" in found:
        rows = [(name, f"{d['mean']:.3f} ({d['sd']:.3f})") for name, d in found["gradient"].items()]
        parts.append("### Effect of single swaps, Spearman\n\n" + _table(("model and encoding", "mean (s.d.)"), rows))
    if "speed" in found:
        rows = [(name.replace("_", " "), f"{value:,.0f}") for name, value in found["speed"].items()]
        parts.append("### Speed\n\n" + _table(("what", "value"), rows))
    return "\n".join(parts)


def _name(column: str) -> str:
    return column.partition(":")[2]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = ("brp", "brp200", "help", "nasflat", "gradient", "speed")
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--part", action="append", choices=every)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--columns", default="")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("predictor.json"))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    models, columns = chosen.models.split(","), [c for c in chosen.columns.split(",") if c]
    for part in chosen.part or every:
        keep = Keep(chosen.out, part)
        if part.startswith("brp"):
            brp(chosen.tables, keep, chosen.seeds, models, 200 if part == "brp200" else 900, columns)
        else:
            run = {"help": help_table, "nasflat": nasflat, "gradient": gradient, "speed": speed}[part]
            for name, result in run(chosen.tables, chosen.seeds).items():
                keep(name, lambda result=result: result)
    print(page(json.loads(chosen.out.read_text())))


if __name__ == "__main__":
    main()
