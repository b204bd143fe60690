"""``search``: find a network under a latency target, train it, and measure it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from inspect import signature
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import registry
from ..data.store import Store
from ..devices.measurement import Measurement
from ..errors import UsageError
from ..predictor.saved import load
from ..profiler.plan import Items, named
from ..profiler.verify import measure as verify
from ..search.evaluator import Training
from ..search.method import Method
from ..search.result import SearchResult, verdict_of
from ..search.run import Options
from ..search.run import search as run
from ..search.task import load_task
from ..spaces.architecture import Architecture
from ..spaces.export import to_onnx
from .costs import priced
from .fit import COVERAGE
from .outcome import MISSED, UNRELIABLE, Outcome, Progress, device_of, go_on, plain, silent, space_of
from .tabular import tabular

SUPERNET = "supernet.safetensors"
TRIES = 4  # measurements of the final network before a noisy one is taken for an answer


def search(
    space: str,
    predictor: Path | None,
    out: Path,
    *,
    cost: str | None = None,
    target_ms: float | Sequence[float] | None = None,
    lam: float | None = None,
    upper_bound: bool = False,
    method: str = "la_darts",
    task: str = "digits",
    device: str = "local",
    store: Path | None = None,
    plan: str = "standard",
    proxy: str | None = None,
    epochs: int | None = None,
    train_epochs: int | None = None,
    train_threads: int = 1,
    random: int = 4,
    queries: int | None = None,
    supernet: Path | None = None,
    latency: str | None = None,
    latency_rows: int | None = None,
    seed: int = 0,
    command: str = "",
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Outcome:
    """Search under a latency target, train what is found, and measure the trained network: pass or fail.

    ``cost`` is what prices networks, see :func:`.costs.parse`: by default the predictor, or without one the table of
    measured operations. With ``upper_bound`` the search follows the upper end of the predictor's interval: fewer
    networks that look fast enough turn out not to be. Networks are timed into ``store``: by default the one that the
    predictor was learnt from, whose sentinel readings tell the device's states apart. Torch runs on ``train_threads``
    threads: the layers of a small supernet are so short that more of them spend their time waiting for each other, for
    seconds where another process wants a core.

    Several targets are searched for one after the other, each into a folder of its own under ``out``. Weights that
    serve every target (method ``ofa``) are trained once and kept in ``supernet``, by default a file in ``out``.

    With ``task`` and ``latency`` as ``table:FILE:COLUMN`` a table that others published is searched, latency learnt
    from ``latency_rows`` of its rows (900), ``queries`` of its accuracies asked for (100).
    """
    if isinstance(target_ms, Sequence) and len(target_ms) == 1:
        target_ms = target_ms[0]
    on_table = latency is not None or task.startswith("table:")
    if isinstance(target_ms, Sequence):
        shared = supernet if supernet or on_table else out / SUPERNET
        each = partial(
            search, space, predictor, cost=cost, lam=lam, upper_bound=upper_bound, method=method, task=task,
            device=device, store=store, plan=plan, proxy=proxy, epochs=epochs, train_epochs=train_epochs,
            train_threads=train_threads, random=random, queries=queries, supernet=shared,
            latency=latency, latency_rows=latency_rows, seed=seed, command=command, progress=progress, stop=stop,
        )  # fmt: skip
        return _together(
            [(target, each(out / f"{target:g}-ms", target_ms=target)) for target in sorted(set(target_ms))]
        )
    if on_table:
        given = {"predictor": predictor, "cost": cost, "lam": lam, "proxy": proxy, "epochs": epochs, "store": store,
                 "train-epochs": train_epochs, "supernet": supernet}  # fmt: skip
        odd = [f"--{name}" for name, value in given.items() if value is not None]
        if odd or target_ms is None:
            what = f"takes no {', '.join(odd)}" if odd else "needs --target-ms"
            raise UsageError(f"a search on a table {what}: latency is learnt from its rows, and nothing is trained")
        return tabular(
            space, out, task=task, latency=latency or "", target_ms=target_ms, method=method,
            queries=100 if queries is None else queries, rows=900 if latency_rows is None else latency_rows,
            upper_bound=upper_bound, seed=seed, command=command, progress=progress, stop=stop,
        )  # fmt: skip
    if latency_rows is not None:
        raise UsageError(
            f"--latency-rows {latency_rows} is for a table; write --task and --latency as table:FILE:COLUMN"
        )
    chosen, place, timing = space_of(space), device_of(device), named(plan)
    kept = None if predictor is None else load(predictor)
    if kept is not None:
        kept.check_binding(space=chosen.spec, fingerprint=place.fingerprint, unit="ms")
    recipe = _recipe(method, epochs, queries)
    recipe.check(chosen, target_ms=target_ms, lam=lam)
    cost = cost or ("table" if kept is None or recipe.table_only else "predictor")
    images = load_task(task, seed=seed)
    torch.set_num_threads(train_threads)
    out.mkdir(parents=True, exist_ok=True)
    with Store(store or _store_of({} if kept is None else kept.card, out), write=True) as opened:

        def measure(items: Items) -> list[Measurement]:
            found = verify(place, items, timing, opened, seed=seed, stop=stop)
            go_on(stop)
            return found

        def told(stage: str, done: int, total: int, numbers: Mapping[str, float]) -> None:
            go_on(stop)
            if stage == "feasibility":  # before any training, so that a person may think again
                stage = "predicted " + ", ".join(
                    f"{key.removesuffix('_ms')} {ms:.3g} ms" for key, ms in numbers.items()
                )
            progress(stage, done, total)

        def networks(architectures: Sequence[Architecture]) -> list[Measurement]:
            return measure(Items.of(chosen, architectures, batch=place.batch))

        price = priced(
            cost, chosen, kept, opened, place.fingerprint.id, networks,
            upper=COVERAGE if upper_bound else None, inputs=out / "cost.json",
        )  # fmt: skip

        def interval(architectures: Sequence[Architecture]) -> tuple[Any, Any]:
            assert kept is not None
            rows = chosen.encode(architectures, price.encoding)
            _, low, high = kept.predict(rows, return_interval=True, coverage=COVERAGE)
            return low, high

        learnt = isinstance(price.price, nn.Module)
        result = run(
            chosen,
            recipe,
            price.price,
            price.encoding,
            images,
            measure=networks,
            target_ms=target_ms,
            lam=lam,
            predict_interval=interval if learnt else None,
            conformal=kept.conformal if kept is not None and learnt and not upper_bound else None,
            proxy=space_of(proxy) if proxy else None,
            options=Options(
                training=Training() if train_epochs is None else Training(epochs=train_epochs),
                random_networks=random,
                seed=seed,
                checkpoint=out / "search.safetensors",
                supernet=supernet or out / SUPERNET,
                queries=queries,
            ),
            progress=told,
        )
        trained = _settled(measure, _trained_network(result, place.batch))
    final = replace(result.found, measurement=trained)
    result = replace(result, found=final, steps=[*result.steps, final], verdict=verdict_of(trained, target_ms))
    provenance = plain({
        "device": json.loads(place.fingerprint.to_json()) | {"id": place.fingerprint.id},
        "predictor": {"path": predictor and str(predictor)} | price.told,
        "parity": price.parity,
        "command": command,
    })  # fmt: skip
    result.save(out, provenance)
    for unfinished in ("search.safetensors", "cost.json"):
        (out / unfinished).unlink(missing_ok=True)
    document = json.loads((out / "result.json").read_text())
    code = {"pass": 0, "measured": 0, "unreliable": UNRELIABLE, "fail": MISSED}[result.verdict]
    return Outcome(document, _search_text(document), code)


def _recipe(method: str, epochs: int | None, queries: int | None) -> Method:
    """Return the method that a spec names; a flag that it would not hear is refused."""
    takes = signature(registry.load("method", registry.parse_spec(method)[0])).parameters
    given = {"--epochs": (epochs, {"epochs"}), "--queries": (queries, {"queries", "networks"})}
    for flag, (value, names) in given.items():
        if value is not None and names.isdisjoint(takes):
            raise UsageError(f"{flag} {value}: {method} has none; its arguments are {', '.join(takes)}")
    return registry.create("method", method, **({} if epochs is None else {"epochs": epochs}))


def _together(outcomes: Sequence[tuple[float, Outcome]]) -> Outcome:
    """Return the outcomes of several targets as one, with the worst exit code."""
    texts = [f"target {target_ms:g} ms\n{outcome.text}" for target_ms, outcome in outcomes]
    document = {"results": [outcome.document for _, outcome in outcomes]}
    return Outcome(document, "\n\n".join(texts), max(outcome.exit_code for _, outcome in outcomes))


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
        d["rebuild"],
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
    high = "inf" if measured["high_ms"] is None else f"{measured['high_ms']:.4g}"
    interval = f"[{measured['low_ms']:.4g}, {high}]"
    return f"{measured['latency_ms']:.4g} ms {interval} {measured['verdict']}"


def _settled(measure: Callable[[Items], list[Measurement]], item: Items) -> Measurement:
    """Measure once more while the device does not hold still; return the measurement with the narrowest interval."""
    found: list[Measurement] = []
    while len(found) < TRIES and not any(m.verdict == "ok" for m in found):
        found += measure(item)
    return min(found, key=lambda m: m.estimate.half_width if m.estimate else inf)


def _trained_network(result: SearchResult, batch: int) -> Items:
    """Return the network found, as trained, to be timed: its real weights and not the shared ones."""
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
