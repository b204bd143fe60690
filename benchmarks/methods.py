"""Every method: does the network found hold its target as measured, and does it beat random ones of equal latency?

    python benchmarks/methods.py --out methods/ [--device local] [--methods la_darts densenas] [--part constraint]
    python benchmarks/methods.py --out /tmp/methods --device simulated:seed=1,slow=1.0 --tiny
    python benchmarks/methods.py --out gram/ --methods gram --part random --budget brief --task cifar10:PATH,limit=5000

``constraint``: for every method with a target mode, 5 targets (quantiles of measured random networks) by 3 seeds; one
search each, nothing tuned. Counted is the share whose trained network, measured once more, lies within 93 and 100 % of
the target. ``random``: the network found at the middle target against at least 5 random networks of its space whose
*measured* latency is within 3 % of its own, all trained alike; the difference is stated in standard errors. Of a method
that keeps its supernet's weights, ``inherited`` compares the same networks with these, as they are deployed.
``learn`` is the first half of it, the laws, before anything is timed: it may run while something else is measured.

``--budget`` sets all numbers at once: ``brief`` tells whether it works, ``full`` is what is reported. Maps, heat maps
and text want ``--recipe benchmarks/adamw.toml``; the space of a recurrent cell is given:
``--methods autoshrink --space recurrent:n=6,hidden=64 --task text``.

Rows go to ``OUT/rows.jsonl``; run the same command again to go on, rows that are there are not made again. The last
line printed is the summary, as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tempograd import registry
from tempograd.data.dataset import LatencyDataset
from tempograd.data.store import Store
from tempograd.errors import TempogradError
from tempograd.profiler.plan import Items, named
from tempograd.profiler.verify import measure
from tempograd.search.evaluator import Inherited, train
from tempograd.search.training import recipe
from tempograd.spaces.canonical import canonical
from tempograd.tasks.fit import fit_space
from tempograd.tasks.load import load_task
from tempograd.verbs.collect import collect
from tempograd.verbs.fit import fit
from tempograd.verbs.outcome import Progress, silent
from tempograd.verbs.search import search

CELLS = "darts:layers=5,width=8,size=16"
LAYERS = "mbconv:family=proxyless,size=16,width=0.5,stages=4,layers=3"
NODES = "nodedag:n=6,stages=3,width=16,size=16"
SPACES = {
    "la_darts": CELLS,
    "toponas": CELLS,
    "msgdas": CELLS,
    "densenas": "routed:blocks=8-12/16-24/32-48,reach=3,layers=2,head=64,size=16",
    "fbnetv2": "mbconv:family=fbnetv2,size=16,width=0.5,stages=3,layers=2,width_options=2",
    "proxylessnas": LAYERS,
    "lightnas": LAYERS,
    "hardcorenas": "mbconv:family=ofa,size=16,width=0.5,stages=3,layers=4",
    "ofa": "mbconv:family=ofa,size=16,width=0.5,stages=3,layers=4",
    "hdas": "staged:most=3,least=1,width=8,size=16",
    "egdas": "chained:blocks=3,n=3,stages=3,copies=3,width=8,size=16",
    "scalenas": "multibranch:modules=1-1,width=8,depth=2",
    "autoshrink": NODES,
    "gram": NODES,
}
TINY_CELLS = "nasbench201:cells=1,width=4,size=8"
TINY_LAYERS = "mbconv:family=ofa,size=8,width=0.25,stages=2,layers=3"
TINY = {name: TINY_CELLS if spec == CELLS else TINY_LAYERS for name, spec in SPACES.items()} | {
    "densenas": "routed:blocks=4/6-8/10-12,reach=2,layers=1,head=16,size=8",
    "hdas": "staged:most=2,least=1,width=4,size=8",
    "egdas": "chained:blocks=2,n=2,stages=2,copies=3,width=4,size=8",
    "scalenas": "multibranch:modules=1-1,width=4,depth=2",
    "autoshrink": "nodedag:n=6,stages=1,width=6,size=8",
    "gram": "nodedag:n=6,stages=1,width=6,size=8",
}
PROXIES = {CELLS: "darts:layers=3,width=4,size=8", SPACES["hdas"]: "staged:most=3,least=1,width=4,size=8"}
BUDGETS: dict[str, dict[str, int]] = {
    "brief": {"networks": 80, "seeds": 1, "epochs": 5, "train_epochs": 5, "random": 10, "retrained": 3},
    "full": {"networks": 300, "seeds": 3, "epochs": 30, "train_epochs": 20, "random": 12, "retrained": 5},
}
QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
MIDDLE = 0.5
WINDOW = (0.93, 1.0)
NEAR = 0.03  # how far from the latency of the network found a random one may be


class Bench:
    """One folder of one benchmark."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.out = arguments, Path(arguments.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.rows_path = self.out / "rows.jsonl"
        self.rows = self._read()
        own = TINY if arguments.tiny else SPACES
        asked = {name.partition(":")[0] for name in arguments.methods}
        specs = {name: arguments.space or own[name] for name in asked}
        task = load_task(arguments.task)
        self.spaces = {name: fit_space(spec, task).spec for name, spec in specs.items()}
        proxies = {name: arguments.proxy or PROXIES.get(spec) for name, spec in specs.items()}
        self.proxies = {
            self.spaces[name]: fit_space(proxy, task).spec for name, proxy in proxies.items() if proxy is not None
        }
        self.device = registry.create("device", arguments.device)

    def space(self, method: str) -> str:
        """Return the space that a method searches, ``name`` or ``name:argument=value``."""
        return self.spaces[method.partition(":")[0]]

    def _read(self) -> dict[str, dict[str, Any]]:
        lines = self.rows_path.read_text().splitlines() if self.rows_path.exists() else []
        return {json.loads(line)["id"]: json.loads(line) for line in lines if line.endswith("}")}

    def prepare(self, method: str) -> tuple[Path, Path | None, dict[float, int]]:
        """Measure networks of the method's space, and learn from them; return store, predictor and the targets.

        With every target comes how many of the networks measured lie in its window: a tiny space may have gaps.
        """
        spec, arguments = self.space(method), self.arguments
        folder = self.out / f"space-{sha256(spec.encode()).hexdigest()[:8]}"
        folder.mkdir(exist_ok=True)
        store, predictor = folder / "run.db", folder / "predictor"
        common = {"device": arguments.device, "plan": arguments.plan}
        count = registry.create("space", spec).at_most(arguments.networks)
        collect(spec, store, count=count, **common)
        table_only = registry.create("method", method).table_only
        drawn = folder / "drawn.json"  # what is in the store before any search adds to it
        if not drawn.exists():
            with Store(store) as opened:
                rows = LatencyDataset.from_store(opened, space=registry.create("space", spec).spec).ok()
            drawn.write_text(json.dumps(dict(zip(rows.keys, rows.y_ms.tolist(), strict=True))))
        if table_only:
            collect(spec, store, operations=True, **common)
        elif not predictor.exists():
            fit(store, predictor, space=registry.create("space", spec).spec)
        y_ms = np.array(list(json.loads(drawn.read_text()).values()))
        targets: dict[float, int] = {}
        for target_ms in np.quantile(y_ms, QUANTILES):
            inside = (y_ms >= WINDOW[0] * target_ms) & (y_ms <= WINDOW[1] * target_ms)
            targets[float(f"{target_ms:.4g}")] = int(inside.sum())
        return store, None if table_only else predictor, targets

    def keep(self, row: dict[str, Any]) -> None:
        self.rows[row["id"]] = row
        with self.rows_path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)

    def constraint(self, method: str, quantiles: Sequence[float] = QUANTILES, progress: Progress = silent) -> None:
        store, predictor, targets = self.prepare(method)
        for quantile, (target_ms, inside) in zip(QUANTILES, targets.items(), strict=True):
            if quantile not in quantiles:
                continue
            for seed in range(self.arguments.seeds):
                row_id = f"constraint/{method}/{quantile}/{seed}"
                if row_id not in self.rows:
                    with suppress(_Learnt):
                        row = self._one(method, store, predictor, target_ms, seed, self.out / row_id, progress)
                        self.keep({"id": row_id, "networks_in_window": inside} | row)

    def _one(
        self,
        method: str,
        store: Path,
        predictor: Path | None,
        target_ms: float,
        seed: int,
        out: Path,
        progress: Progress,
    ) -> dict[str, Any]:
        arguments, spec = self.arguments, self.space(method)
        start, made = perf_counter(), registry.create("method", method)
        accepts = made.accepts
        row: dict[str, Any] = {"method": method, "space": spec, "target_ms": target_ms, "seed": seed}
        given = {"queries": arguments.queries, "finalists": arguments.finalists, "epochs": arguments.epochs}
        training = {"recipe": arguments.recipe, "train_epochs": arguments.train_epochs}
        given |= {"supernet": self._supernet(method, seed), "proxy": self.proxies.get(spec)}
        try:
            found = search(
                spec, predictor, out, target_ms=target_ms, method=method, task=arguments.task, random=0, seed=seed,
                device=arguments.device, store=store, plan=arguments.plan, compute=arguments.compute, progress=progress,
                **{name: value for name, value in given.items() if name in accepts},
                **(training if made.deploys == "trained" else {}),
            ).document  # fmt: skip
        except TempogradError as error:
            return row | {"error": f"{type(error).__name__}: {error}"}
        measured = found["found"]["measured"]
        ratio = None if measured["latency_ms"] is None else measured["latency_ms"] / target_ms
        return row | {
            "measured_ms": measured["latency_ms"], "ratio": ratio, "verdict": found["verdict"],
            "in_window": ratio is not None and WINDOW[0] <= ratio <= WINDOW[1], "key": found["found"]["key"],
            "predicted_ms": found["found"]["predicted_ms"], "measured_on_the_way": len(found["repairs"]),
            "finalists": [rival["score"] for rival in found.get("finalists", [])],
            "score": found["found"]["score"], "seconds": perf_counter() - start,
        }  # fmt: skip

    def _supernet(self, method: str, seed: int) -> Path:
        """Return the file of a supernet that serves every target, where a method has one."""
        return self.out / f"{method}-{seed}.safetensors"

    def random(self, method: str) -> None:
        self.constraint(method, [MIDDLE])
        keeps = registry.create("method", method).deploys == "inherited"
        for seed in range(self.arguments.seeds):
            found = self.rows[f"constraint/{method}/{MIDDLE}/{seed}"]
            for how in ("random", "inherited") if keeps else ("random",):
                row_id = f"{how}/{method}/{seed}"
                if row_id not in self.rows and found.get("measured_ms"):
                    self.keep({"id": row_id} | self._against_random(method, found, seed, how))

    def _against_random(self, method: str, found: dict[str, Any], seed: int, how: str) -> dict[str, Any]:
        """Compare a network found with random ones as fast, in merit: what the task wants more of."""
        arguments, space = self.arguments, registry.create("space", self.space(method))
        store, _, _ = self.prepare(method)
        task = load_task(arguments.task, seed=seed).fitted(space)
        near = self._equally_fast(space, store, found["measured_ms"], seed)
        training = recipe(arguments.recipe, epochs=arguments.train_epochs)
        of_supernet = self._inherited(method, space, task, seed) if how == "inherited" else None

        def accuracy(key: str, trained_with: int) -> float:
            if of_supernet is not None:
                return of_supernet.deployed(space.from_key(key)).score
            row_id = f"train/{space.spec}/{key}/{training.epochs}/{trained_with}"
            if row_id not in self.rows:  # another method met the same network, perhaps in another process
                self.rows |= self._read()
            if row_id not in self.rows:
                trained = train(
                    space.from_key(key), space, task, training, seed=trained_with, compute=arguments.compute or "cpu"
                )
                self.keep({"id": row_id, "accuracy": trained.score, "validation": trained.validation_score})
            return self.rows[row_id]["accuracy"]

        merit, times = task.metric.merit, arguments.retrained if of_supernet is None else 1
        own = [merit(accuracy(found["key"], 100 * seed + n)) for n in range(times)]
        others = [merit(accuracy(key, 100 * seed)) for key in near if key != found["key"]]
        row = {"method": method, "seed": seed, "measured_ms": found["measured_ms"], "own": own, "random": others}
        if len(others) < 2:
            return row | {"error": f"only {len(others)} random networks within {NEAR:.0%} of the latency"}
        counted = [values for values in (own, others) if len(values) > 1]  # weights that are kept are so once
        error = float(np.hypot.reduce([np.std(values, ddof=1) / len(values) ** 0.5 for values in counted]))
        gain = float(np.mean(own) - np.mean(others))
        return row | {"gain": gain, "standard_error": error, "standard_errors": gain / error if error else None}

    def _inherited(self, method: str, space: Any, task: Any, seed: int) -> Inherited:
        """Return what gives networks with the weights of the supernet that a search has left."""
        searcher = registry.create("method", method, epochs=self.arguments.epochs).find
        compute = self.arguments.compute or "cpu"
        shot = searcher.trains(space, task, searcher.schedule, seed=seed, compute=compute)
        return Inherited(space, shot.run(self._supernet(method, seed)), task, seed=seed, compute=compute)

    def _equally_fast(self, space: Any, store: Path, latency_ms: float, seed: int) -> list[str]:
        """Return random networks whose measured latency is within 3 % of one, measuring more until there are enough."""
        drawn = json.loads((store.parent / "drawn.json").read_text())
        rng, seen = np.random.default_rng(1000 + seed), set(drawn)
        found: dict[str, str] = {}  # by canonical form: no network is there twice under two names

        def keep(key: str, ms: float) -> None:
            if abs(ms / latency_ms - 1) <= NEAR:
                found.setdefault(canonical(space.network_graph(space.from_key(key))), key)

        for key, ms in drawn.items():
            keep(key, ms)
        with Store(store, write=True) as opened:
            for _ in range(self.arguments.random_rounds):
                if len(found) >= self.arguments.random:
                    break
                networks = [a for a in space.sample(2000, rng) if a.key not in seen and space.is_connected(a)]
                rows = LatencyDataset.from_store(opened, space=space.spec).ok()
                x = space.encode([space.from_key(key) for key in rows.keys], "counts")
                guess = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 7))).fit(x, np.log(rows.y_ms))
                apart = np.abs(guess.predict(space.encode(networks, "counts")) - np.log(latency_ms))
                near = [networks[i] for i in np.argsort(apart)[:16]]
                near = [near[i] for i in rng.permutation(len(near))]
                seen |= {a.key for a in near}
                items = Items.of(space, near, batch=self.device.batch)
                for m in measure(self.device, items, named(self.arguments.plan), opened, seed=seed):
                    if m.estimate is not None:
                        keep(m.key, m.latency_ms)
        return list(found.values())[: self.arguments.random]

    def summary(self) -> dict[str, Any]:
        told: dict[str, Any] = {}
        for method in self.arguments.methods:
            own = [row for row in self.rows.values() if row.get("method") == method]
            held = [row for row in own if row["id"].startswith("constraint/")]
            against = [row for row in own if not row["id"].startswith("constraint/") and "gain" in row]
            ratios = [row["ratio"] for row in held if row.get("ratio") is not None]
            told[method] = {
                "searches": len(held), "in_window": sum(row.get("in_window", False) for row in held),
                "errors": sum("error" in row for row in held), "above": sum(ratio > 1 for ratio in ratios),
                "ratio_min": min(ratios, default=None), "ratio_max": max(ratios, default=None),
                "gains": [row["gain"] for row in against],
                "standard_errors": [row["standard_errors"] for row in against],
            }  # fmt: skip
        searches = sum(row["searches"] for row in told.values())
        share = sum(row["in_window"] for row in told.values()) / searches if searches else None
        return {"device": self.arguments.device, "task": self.arguments.task, "share_in_window": share, "methods": told}


class _Learnt(Exception):  # noqa: N818  (no error)
    """A law is learnt."""


def _until_learnt(stage: str, done: int, total: int) -> None:
    """End a search where networks would be timed; the next one goes on from its checkpoint."""
    if stage == "search" and done == total:
        raise _Learnt


def main() -> None:
    targeted = [name for name in registry.names("method") if name in SPACES and registry.create("method", name).targets]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--device", default="local")
    parser.add_argument(
        "--methods", nargs="+", default=targeted, metavar="NAME[:ARGUMENT=VALUE]", help="all with a target"
    )
    parser.add_argument("--part", choices=["learn", "constraint", "random", "both"], default="both")
    parser.add_argument("--space", help="for all methods, in place of their own")
    parser.add_argument("--proxy", help="for all methods, in place of their own: see tempograd search --help")
    parser.add_argument("--task", default="digits")
    parser.add_argument("--plan", default="quick")
    parser.add_argument("--compute", help="as of tempograd search")
    parser.add_argument("--networks", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--train-epochs", type=int, default=20)
    parser.add_argument("--finalists", type=int, help="as of tempograd search, where the method accepts it")
    parser.add_argument("--random", type=int, default=8)
    parser.add_argument("--retrained", type=int, default=3, help="times that the network found is trained")
    parser.add_argument("--random-rounds", type=int, default=6)
    parser.add_argument("--queries", type=int, help="as of tempograd search, where the method accepts it")
    parser.add_argument("--recipe", default="small", help="as of tempograd search")
    parser.add_argument("--budget", choices=list(BUDGETS), help="sets all numbers that are not given")
    parser.add_argument("--tiny", action="store_true", help="small spaces, to try the script out")
    parser.set_defaults(**BUDGETS.get(parser.parse_args().budget, {}))
    bench = Bench(parser.parse_args())
    torch.set_num_threads(1)
    for method in bench.arguments.methods:
        if bench.arguments.part == "learn":
            bench.constraint(method, [MIDDLE], _until_learnt)
        if bench.arguments.part in ("constraint", "both"):
            bench.constraint(method)
        if bench.arguments.part in ("random", "both"):
            bench.random(method)
    json.dump(bench.summary(), sys.stdout)
    print()


if __name__ == "__main__":
    main()
