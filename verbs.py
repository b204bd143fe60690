"""The jobs of a user, as functions: what the command line calls, and what a script may call.

Only here do the profiler and the search meet: the search is handed a function that measures.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import KFold

from . import registry
from .errors import UsageError
from .predictor.evaluate import METRICS
from .predictor.metrics import Scores, noise_floor_mape_pct
from .predictor.predictor import DifferentiablePredictor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .data.store import Store
    from .devices.device import Device
    from .devices.doctor import Finding
    from .devices.measurement import Measurement
    from .predictor.evaluate import Judgement
    from .profiler.plan import Items
    from .search.result import SearchResult
    from .spaces.architecture import Architecture
    from .spaces.space import SearchSpace

Progress = Callable[[str, int, int], None]

FOLDS = 5
MIN_ROWS = 40
COVERAGE = 0.95
UNRELIABLE, PARTIAL, MISSED, INTERRUPTED = 3, 6, 8, 130

QUICK_SPACE = "darts:layers=5,width=8,size=16,channels=1"
QUICK_PROXY = "darts:layers=3,width=4,size=8,channels=1"


@dataclass(frozen=True)
class Outcome:
    """What a verb returns: a JSON document, the same for people, and the exit code that it deserves."""

    document: dict[str, Any]
    text: str
    exit_code: int = 0


def silent(what: str, done: int, total: int) -> None:
    """Say nothing."""


def doctor() -> list[Finding]:
    """Return what on this machine would make numbers better."""
    from .devices.doctor import examine

    return examine()


def doctor_text(findings: Sequence[Finding]) -> str:
    """Return the findings as aligned lines."""
    rows = [(f.level, f.topic, f.found, f.remedy) for f in findings]
    return _table(("", "topic", "found", "to do"), rows)


def collect(
    space: str,
    store: Path,
    *,
    device: str = "local",
    count: int = 300,
    plan: str = "standard",
    seed: int = 0,
    threads: int | None = None,
    operations: bool = False,
    dry_run: bool = False,
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Outcome:
    """Measure ``count`` sampled networks of a space on a device into a store; what is there is not repeated.

    With ``operations``, every single operation of the space is measured instead: what a ``lookup`` predictor adds up.
    """
    from .data.store import Store
    from .profiler.campaign import run_items
    from .profiler.plan import Items, choose, duplicates, named

    chosen, place, timing = _space(space), _device(device, threads), named(plan)
    if operations:
        items = Items.operations(chosen, batch=place.batch)
    else:
        items = Items.of(chosen, choose(chosen, count, seed=seed), batch=place.batch)
    jobs = len(items.keys) + len(duplicates(len(items.keys)))
    if dry_run:
        return _dry_run(chosen, place, timing.burst_ms * timing.checks[-1], jobs, store)
    with Store(store, write=True) as opened:
        summary = run_items(
            place, items, timing, opened, seed=seed,
            progress=lambda p: progress("measuring", p.done, p.total), stop=stop,
        )  # fmt: skip
    document = _plain(asdict(summary)) | {
        "store": str(store), "space": chosen.spec, "device": place.fingerprint.id, "plan": plan, "seed": seed,
    }  # fmt: skip
    verdicts = summary.verdicts
    failed = sum(verdicts.get(v, 0) for v in ("failed", "quarantined", "censored"))
    code = INTERRUPTED if summary.interrupted else PARTIAL if failed else 0
    if not code and verdicts.get("ok", 0) < sum(verdicts.values()) / 2:
        code = UNRELIABLE
    return Outcome(document, _collect_text(document), code)


def _dry_run(space: SearchSpace, device: Device, timed_ms: float, jobs: int, store: Path) -> Outcome:
    seconds = jobs * timed_ms / 1e3 * 2  # half of the wall time goes to sentinels, loading and storing
    document = {
        "space": space.spec, "device": json.loads(device.fingerprint.to_json()), "store": str(store), "jobs": jobs,
        "expected_seconds": seconds, "dry_run": True,
    }  # fmt: skip
    text = (
        f"would measure {jobs} networks (blind duplicates included) of {space.spec} in about {seconds / 60:.1f} minutes"
    )
    return Outcome(document, text)


def _collect_text(d: Mapping[str, Any]) -> str:
    verdicts = ", ".join(f"{n} {verdict}" for verdict, n in sorted(d["verdicts"].items())) or "nothing yet"
    lines = [
        f"{d['networks']} networks and {d['duplicates']} blind duplicates of {d['space']} in {d['store']}: {verdicts}",
        f"this run: {d['measured']} in {d['seconds']:.0f} s ({d['networks_per_hour']:.0f} an hour)",
    ]
    if d["repeatability"] is not None:
        lines.append(f"repeatability between processes: {d['repeatability']:.1%} from {d['pairs']} pairs")
    if d["timed_share"] is not None:
        lines.append(
            f"wall time inside timed networks {d['timed_share']:.0%}, sentinels {d['sentinel_share']:.0%}; "
            f"rounds in the reference state {d['gated_share'] or 0:.0%}"
        )
    if d["rejected"]:
        lines.append("rounds left out: " + ", ".join(f"{n} {reason}" for reason, n in d["rejected"].items()))
    if d["interrupted"]:
        lines.append("interrupted: run the same command to go on")
    return "\n".join(lines)


def fit(
    store: Path,
    out: Path,
    *,
    model: str = "mlp",
    space: str | None = None,
    device: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Outcome:
    """Learn a predictor from a store and write it with its card.

    Every network is predicted once by a model that has not seen it (5 folds). These predictions choose the encoding,
    and give the scores and the width of the intervals; the model that is written has seen all rows. Rows that are not
    ``ok`` take part with the small weight of their wide interval, and are not scored.
    """
    from .data.dataset import LatencyDataset
    from .data.store import Store
    from .predictor.interval import Conformal
    from .predictor.saved import Binding, save

    with Store(store) as opened:
        dataset = LatencyDataset.from_store(opened, space=space or _only_space(opened), fingerprint_id=device)
        chosen = _space(dataset.space)
        table_ms = _operations_ms(opened, chosen, dataset.fingerprint.id) if model == "lookup" else None
    ok = np.array([verdict == "ok" for verdict in dataset.verdict])
    if ok.sum() < MIN_ROWS:
        raise UsageError(
            f"{ok.sum()} networks with verdict ok in {store}; allowed: {MIN_ROWS} or more. Collect more of them"
        )
    estimator = _estimator(model, random_state=seed, steps=steps, table_ms=table_ms, calibrate=True)
    held: dict[str, Any] = {}
    for n, encoding in enumerate(chosen.encodings):
        progress("fitting", n, len(chosen.encodings) + 1)
        X = dataset.encode(chosen, encoding)
        predicted = _held_out(estimator, X, dataset.y_ms, dataset.weight, seed)
        held[encoding] = predicted, Scores.of(dataset.y_ms[ok], predicted[ok])
    encoding = min(held, key=lambda name: held[name][1].mape_pct)
    predicted, scores = held[encoding]
    progress("fitting", len(chosen.encodings), len(chosen.encodings) + 1)
    X = dataset.encode(chosen, encoding)
    estimator.fit(X, dataset.y_ms, sample_weight=dataset.weight)
    conformal = Conformal.fit(dataset.y_ms[ok], predicted[ok])
    low, high = conformal.interval(predicted, COVERAGE)
    document = {
        "predictor": str(out), "model": model, "space": dataset.space, "encoding": encoding,
        "device": dataset.fingerprint.id, "store": str(store.resolve()), "seed": seed, "networks": len(dataset.y_ms),
        "verdicts": dataset.counts, "scored": int(ok.sum()), "scores": asdict(scores),
        "mape_pct_by_encoding": {name: result[1].mape_pct for name, result in held.items()},
        "noise_floor_mape_pct": noise_floor_mape_pct(dataset.half_width[ok] / 1.96),
        "repeatability": dataset.repeatability, "coverage": COVERAGE,
        "interval_pct": 100 * (float(np.exp(conformal.log_half_width(COVERAGE))) - 1),
    }  # fmt: skip
    document = _plain(document)
    columns = {"measured_ms": dataset.y_ms, "predicted_ms": predicted, "low_ms": low, "high_ms": high}
    parity = {name: values[ok].tolist() for name, values in columns.items()}
    binding = Binding.of(space=dataset.space, encoding=encoding, fingerprint=dataset.fingerprint)
    out.parent.mkdir(parents=True, exist_ok=True)
    save(out, estimator, binding=binding, card=document | {"parity": parity}, conformal=conformal)
    progress("fitting", len(chosen.encodings) + 1, len(chosen.encodings) + 1)
    return Outcome(document, _fit_text(document))


def predict(predictor: Path, architectures: Sequence[str]) -> Outcome:
    """Predict the latency of architectures, given as strings, indices or keys."""
    from .predictor.saved import load

    kept = load(predictor)
    space = _space(kept.binding.space)
    parsed = [space.parse(text) for text in architectures]
    X = space.encode(parsed, kept.binding.encoding)
    latency, low, high = kept.predict(X, return_interval=True, coverage=COVERAGE)
    outside = kept.out_of_support(X)
    rows = [
        {
            "architecture": space.format(a), "latency_ms": float(latency[i]), "low_ms": float(low[i]),
            "high_ms": float(high[i]), "verdict": "out_of_support" if outside[i] else "predicted",
        }
        for i, a in enumerate(parsed)
    ]  # fmt: skip
    document = {
        "space": space.spec, "device": kept.binding.fingerprint_id, "coverage": COVERAGE, "predictions": _plain(rows),
    }  # fmt: skip
    cells = [
        (f"{r['latency_ms']:.4g} ms", f"{r['low_ms']:.4g} .. {r['high_ms']:.4g}", r["verdict"], r["architecture"])
        for r in rows
    ]
    text = _table(("latency", f"{COVERAGE:.0%} interval", "verdict", "architecture"), cells)
    return Outcome(document, text, UNRELIABLE if outside.any() else 0)


def evaluate(
    table: Path,
    *,
    space: str,
    column: str,
    train: int = 900,
    valid: int = 100,
    seeds: int = 3,
    model: str = "mlp",
    progress: Progress = silent,
) -> Outcome:
    """Judge a predictor on a table: learn from ``train`` rows, choose the encoding on ``valid``, test on the rest."""
    from .data.table import read_table
    from .predictor.evaluate import judge_in_full

    chosen = _space(space)
    found = read_table(table, chosen, column)
    encodings = {name: chosen.encode(found.architectures, name) for name in chosen.encodings}
    if valid == 0:
        encodings = {chosen.encodings[0]: encodings[chosen.encodings[0]]}

    def create(seed: int) -> Any:
        return _estimator(model, random_state=seed)

    parts: list[Judgement] = []
    for seed in range(seeds):
        progress("judging", seed, seeds)
        parts.append(judge_in_full(create, encodings, found.y_ms, train=train, valid=valid, seeds=[seed]))
    progress("judging", seeds, seeds)
    by_seed = [asdict(part.by_seed[0]) for part in parts]
    document: dict[str, Any] = {
        "table": str(table), "space": chosen.spec, "column": column, "model": model, "train": train, "valid": valid,
        "test": len(found.y_ms) - train - valid, "not_measured": found.not_measured, "seeds": seeds,
        "encodings": [part.picks[0] for part in parts],
    }  # fmt: skip
    for metric in METRICS:
        values = np.array([scores[metric] for scores in by_seed], float)
        document[metric] = _plain({"mean": float(values.mean()), "sd": float(values.std(ddof=1)) if seeds > 1 else 0.0})
    rows = [(metric, f"{document[metric]['mean']:.4g}", f"{document[metric]['sd']:.2g}") for metric in METRICS]
    head = f"{model} on {column}: {train} + {valid} rows, {document['test']} tested, encoding {document['encodings']}\n"
    return Outcome(document, head + _table(("metric", "mean", "s.d."), rows))


def search(
    space: str,
    predictor: Path,
    out: Path,
    *,
    target_ms: float | None = None,
    lam: float | None = None,
    method: str = "la_darts",
    task: str = "digits",
    device: str = "local",
    store: Path | None = None,
    plan: str = "standard",
    proxy: str | None = None,
    epochs: int | None = None,
    train_epochs: int | None = None,
    random: int = 4,
    seed: int = 0,
    command: str = "",
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Outcome:
    """Search under a latency target, train what is found, and measure the trained network: pass or fail.

    Networks are timed into ``store``: by default the one that the predictor was learnt from, whose sentinel readings
    tell the device's states apart.
    """
    from .data.store import Store
    from .predictor.saved import load
    from .profiler.plan import Items, named
    from .profiler.verify import measure as verify
    from .search.evaluator import Training
    from .search.result import verdict_of
    from .search.run import Options
    from .search.run import search as run
    from .search.task import load_task

    chosen, place, timing = _space(space), _device(device), named(plan)
    kept = load(predictor)
    kept.check_binding(space=chosen.spec, fingerprint=place.fingerprint)
    if not isinstance(kept.predictor, DifferentiablePredictor):
        raise UsageError(f"{predictor} holds the model {kept.model}, which has no gradient; fit mlp or ridge to search")
    encoding = kept.binding.encoding
    recipe = registry.create("method", method, **({} if epochs is None else {"epochs": epochs}))
    images = load_task(task, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    with Store(store or _store_of(kept.card, out), write=True) as opened:

        def measure(items: Items) -> list[Measurement]:
            found = verify(place, items, timing, opened, seed=seed, stop=stop)
            _go_on(stop)
            return found

        def interval(architectures: Sequence[Architecture]) -> tuple[Any, Any]:
            _, low, high = kept.predict(chosen.encode(architectures, encoding), return_interval=True, coverage=COVERAGE)
            return low, high

        result = run(
            chosen,
            recipe,
            kept.predictor.module,
            encoding,
            images,
            measure=lambda architectures: measure(Items.of(chosen, architectures, batch=place.batch)),
            target_ms=target_ms,
            lam=lam,
            predict_interval=interval,
            proxy=_space(proxy) if proxy else None,
            options=Options(
                training=Training() if train_epochs is None else Training(epochs=train_epochs),
                random_networks=random,
                seed=seed,
                checkpoint=out / "search.safetensors",
            ),
            progress=lambda stage, done, total, _: (_go_on(stop), progress(stage, done, total))[1],
        )
        (trained,) = measure(_trained_network(result, place.batch))
    final = replace(result.found, measurement=trained)
    result = replace(
        result, found=final, steps=[*result.steps, final], verdict=verdict_of(trained, target_ms)
    )  # fmt: skip
    provenance = _plain({
        "device": json.loads(place.fingerprint.to_json()) | {"id": place.fingerprint.id},
        "predictor": {"path": str(predictor), "model": kept.model, "encoding": encoding, "scores": kept.card["scores"]},
        "parity": kept.card["parity"],
        "command": command,
    })  # fmt: skip
    result.save(out, provenance)
    (out / "search.safetensors").unlink(missing_ok=True)
    document = json.loads((out / "result.json").read_text())
    code = {"pass": 0, "measured": 0, "unreliable": UNRELIABLE, "fail": MISSED}[result.verdict]
    return Outcome(document, _search_text(document), code)


def report(result: Path, out: Path) -> Outcome:
    """Write one offline HTML page from a result."""
    from .report.report import write_report

    path = write_report(result, out)
    return Outcome({"report": str(path)}, f"wrote {path}")


def quickstart(
    out: Path,
    *,
    device: str = "local",
    seed: int = 0,
    command: str = "",
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Outcome:
    """Run the main job once, small, into ``out``: collect, fit, search under a target, re-measure, report.

    The target is a quarter of the way from the fast tenth of the measured networks to their median.
    """
    from .data.dataset import LatencyDataset
    from .data.store import Store

    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    store, predictor, result = out / "run.db", out / "predictor", out / "result"
    collected = collect(
        QUICK_SPACE, store, device=device, count=200, plan="quick", seed=seed, progress=progress, stop=stop
    )
    _go_on(stop)
    fitted = fit(store, predictor, steps=1000, seed=seed, progress=progress)
    with Store(store) as opened:
        latencies = LatencyDataset.from_store(opened).ok().y_ms
    fast, middle = np.quantile(latencies, [0.1, 0.5])
    target_ms = float(f"{fast + (middle - fast) / 4:.3g}")
    found = search(
        QUICK_SPACE, predictor, result, target_ms=target_ms, device=device, proxy=QUICK_PROXY, epochs=8,
        train_epochs=15, random=2, seed=seed, command=command, progress=progress, stop=stop,
    )  # fmt: skip
    report(result, out / "report.html")
    document = {
        "seconds": time.monotonic() - started, "collect": collected.document, "fit": fitted.document,
        "result": found.document, "report": str(out / "report.html"),
    }  # fmt: skip
    text = "\n\n".join((collected.text, fitted.text, found.text, f"wrote {out / 'report.html'}"))
    return Outcome(document, text, found.exit_code)


def _estimator(model: str, **wanted: Any) -> Any:
    """Return an unfitted model; arguments that are None or that the model does not take are left out."""
    create = registry.load("model", model)
    known = create().get_params()
    return create(**{key: value for key, value in wanted.items() if key in known and value is not None})


def _only_space(store: Store) -> str | None:
    """Return the store's space if it holds networks of one only, besides single operations."""
    from .profiler.plan import OPERATIONS

    spaces = {space for space, _ in store.sets() if not space.endswith(OPERATIONS)}
    return spaces.pop() if len(spaces) == 1 else None


def _operations_ms(store: Store, space: SearchSpace, device: str) -> NDArray[Any]:
    """Return ``(d,)``: what every option of every site costs in ms, from measured operations through the circuit.

    An operation's cost is its time less that of the cheapest one, which is little more than the call.
    """
    import torch

    from .data.dataset import LatencyDataset
    from .profiler.plan import OPERATIONS
    from .spaces.circuit import SKELETON

    name = space.spec + OPERATIONS
    if (name, device) not in store.sets():
        raise UsageError(
            f"no operations of {space.spec} in {store.path}, which a lookup adds up; "
            f"measure them: tempograd collect --operations --space '{space.spec}' --store {store.path}"
        )
    rows = LatencyDataset.from_store(store, space=name, fingerprint_id=device)
    call_ms = float(rows.y_ms.min())
    table = {key: float(ms) - call_ms for key, ms in zip(rows.keys, rows.y_ms, strict=True)} | {SKELETON: 0.0}
    columns = torch.eye(sum(space.widths), dtype=torch.float64).split(list(space.widths), dim=1)
    return space.circuit.cost(table, {s.name: c for s, c in zip(space.sites, columns, strict=True)}).numpy()


def _held_out(estimator: Any, X: NDArray[Any], y_ms: NDArray[Any], weight: NDArray[Any], seed: int) -> NDArray[Any]:
    """Return ``(n,)`` predictions in ms, each by a model that has not seen its row."""
    predicted = np.empty(len(y_ms))
    for learn, test in KFold(FOLDS, shuffle=True, random_state=seed).split(X):
        model: Any = clone(estimator)
        predicted[test] = model.fit(X[learn], y_ms[learn], sample_weight=weight[learn]).predict(X[test])
    return predicted


def _fit_text(d: Mapping[str, Any]) -> str:
    s = d["scores"]
    return "\n".join((
        f"{d['model']} on {d['networks']} networks of {d['space']} (encoding {d['encoding']}), in {d['predictor']}",
        f"held out: MAPE {s['mape_pct']:.2f} % (noise floor {d['noise_floor_mape_pct']:.2f} %), within 1/5/10 %: "
        f"{s['within_1_pct']:.0f}/{s['within_5_pct']:.0f}/{s['within_10_pct']:.0f}, Spearman {s['spearman']:.3f}, "
        f"Kendall {s['kendall']:.3f}",
        f"{COVERAGE:.0%} of networks lie within {d['interval_pct']:.1f} % of their prediction",
    ))  # fmt: skip


def _search_text(d: Mapping[str, Any]) -> str:
    table, found, measured = d["feasibility"], d["found"], d["found"]["measured"]
    target = "" if d["target_ms"] is None else f" against a target of {d['target_ms']:.4g} ms"
    share = table["share_within_target"]
    lines = [
        f"predicted in this space: smallest {table['smallest_ms']:.4g} ms, median {table['median_ms']:.4g}, largest "
        f"{table['largest_ms']:.4g}" + ("" if share is None else f"; {share:.0%} of networks meet the target"),
        f"{d['verdict'].upper()}: measured {_ms(measured)}{target}, predicted {found['predicted_ms']:.4g} ms, "
        f"{len(d['repairs'])} measured on the way",
        f"test accuracy {found['accuracy']:.1%}, {found['parameters']} parameters, {found['macs'] / 1e6:.1f} M MACs",
        found["text"],
    ]
    if d["random"]:
        best = max(d["random"], key=lambda rival: rival["validation_accuracy"])
        lines.append(
            f"random search, {len(d['random'])} networks: test accuracy {best['accuracy']:.1%} at "
            f"{_ms(best | {'latency_ms': best['measured_ms']})}"
        )
    return "\n".join(lines)


def _ms(measured: Mapping[str, Any]) -> str:
    """Return a latency with its interval and verdict: a number is never shown without."""
    if measured["latency_ms"] is None:
        return f"no latency ({measured['verdict']})"
    interval = f"[{measured['low_ms']:.4g}, {measured['high_ms']:.4g}]"
    return f"{measured['latency_ms']:.4g} ms {interval} {measured['verdict']}"


def _trained_network(result: SearchResult, batch: int) -> Items:
    """Return the network found, as trained, to be timed: its real weights and not the shared ones."""
    from .profiler.plan import Items
    from .spaces.export import to_onnx

    architecture = result.architecture

    def build(key: str, directory: Path) -> tuple[Path, str]:
        graph = result.space.network_graph(architecture)
        content = to_onnx(graph, result.trained.network.arrays(), batch=batch).SerializeToString(deterministic=True)
        digest = sha256(content).hexdigest()
        path = directory / f"{digest[:16]}.onnx"
        path.write_bytes(content)
        return path, digest

    return Items(result.space.spec, (architecture.key,), build)


def _store_of(card: Mapping[str, Any], out: Path) -> Path:
    """Return the store that a predictor was learnt from, or a new one where that is gone."""
    known = Path(str(card.get("store", "")))
    return known if known.is_file() else out / "measurements.db"


def _go_on(stop: threading.Event | None) -> None:
    """End here if it was asked to stop: everything so far is in the store and the checkpoint."""
    if stop is not None and stop.is_set():
        raise KeyboardInterrupt


def _space(spec: str) -> SearchSpace:
    return registry.create("space", spec)


def _device(spec: str, threads: int | None = None) -> Device:
    extra = {} if threads is None else {"threads": threads}
    return registry.create("device", spec, **extra)


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold: NaN and infinity become null."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return aligned columns."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return "\n".join(line.rstrip() for line in lines)
