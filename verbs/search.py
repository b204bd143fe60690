"""``search``: find a network under a latency target, train it, and measure it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from .. import outputs, registry
from ..arguments import Seed
from ..arguments import check as check_arguments
from ..data.result import RESULT, Result, read_result
from ..data.store import Store
from ..devices.device import Place
from ..errors import MismatchError, TargetError, UsageError
from ..measurement.measurement import Measurement
from ..measurement.repeatability import pair_up, spread, usual
from ..predictor.saved import SavedPredictor, load
from ..profiler.plan import Items, Plan, named
from ..profiler.verify import confirm
from ..profiler.verify import measure as verify
from ..search.evaluator import check_compute
from ..search.method import Method
from ..search.result import earlier, measured_again, verdict_of
from ..search.run import Interval, Options
from ..search.run import search as run
from ..search.searchers.checkpoint import forget, is_checkpoint
from ..search.training import Training
from ..spaces.architecture import Architecture
from ..spaces.export import to_onnx
from ..spaces.saved import load_architecture, load_network
from ..spaces.space import SearchSpace
from ..tasks.load import load_task
from .costs import is_inputs, parse, priced
from .fit import COVERAGE
from .flags import check
from .outcome import (
    MISSED,
    OPEN,
    REMARK,
    UNRELIABLE,
    Outcome,
    Progress,
    device_of,
    exact,
    go_on,
    plain,
    silent,
    space_of,
    target_folder,
)
from .tabular import columns_of, met_by, table_text, tabular

SUPERNET, TRAININGS = "supernet.safetensors", "trainings"
CODES = {"pass": 0, "measured": 0, "unreliable": UNRELIABLE, "fail": MISSED}


def search(
    space: str | SearchSpace,
    predictor: Path | None,
    out: Path,
    *,
    cost: str | None = None,
    target_ms: float | Sequence[float] | None = None,
    lam: float | None = None,
    upper_bound: bool = False,
    method: str = "la_darts",
    task: str = "digits",
    device: str | Place | None = None,
    store: Path | None = None,
    plan: str | None = None,
    proxy: str | None = None,
    epochs: int | None = None,
    train_epochs: int | None = None,
    train_threads: int | None = None,
    compute: str | None = None,
    random: int | None = None,
    finalists: int | None = None,
    queries: int | None = None,
    supernet: Path | None = None,
    latency: str | None = None,
    latency_rows: int | None = None,
    where: Sequence[str] = (),
    seed: Seed = 0,
    overwrite: bool = False,
    command: str = "",
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Outcome:
    """Search under a latency target, train what is found, and measure the trained network: pass or fail.

    ``cost`` is what prices networks, see :func:`.costs.parse`: by default the predictor, or without one the table of
    measured operations. With ``upper_bound`` the search follows the upper end of the predictor's interval: fewer
    networks that look fast enough turn out not to be. Networks are timed on ``device`` (local) by ``plan`` (standard)
    into ``store``: by default the one that the predictor was learnt from, whose sentinel readings tell the device's
    states apart; ``random`` ones (4) stand beside what was found. Torch runs on ``train_threads`` threads (1): the
    layers of a small supernet are so short that more of them spend their time waiting for each other, for seconds where
    another process wants a core. Networks are trained on torch's device ``compute`` (cpu).

    With ``finalists`` so many networks that use the target are trained, and the best on held-out images is kept.

    Several targets are searched for one after the other, each into a folder of its own under ``out``. Weights that
    serve every target (method ``ofa``) are trained once and kept in ``supernet``, by default a file in ``out``.

    With ``task`` and ``latency`` as ``table:FILE:COLUMN`` a table that others published is searched, latency learnt
    from ``latency_rows`` of its rows (900), ``queries`` of its accuracies asked for (100); ``where`` holds conditions
    ``COLUMN=VALUE`` that rows must meet, such as one device.

    A result of this very search that is in its folder already is kept: an unreliable one gets its network measured
    again, any other is told as it stands. With ``overwrite`` it is searched anew. An interrupted search goes on.

    Raises:
        UsageError: among much else, something is given that this search would not heed, see :mod:`.flags`; or the
            folder holds the result of another search, or a file that tempograd did not write.
    """
    check_arguments(search, {"seed": seed})  # the other numbers are refused by their flags
    _check_numbers(target_ms, lam)
    on_table = latency is not None or task.startswith("table:")
    if on_table:
        columns_of(task, latency or "")
    recipe = registry.create("method", method)
    cost = cost or ("table" if predictor is None or recipe.table_only else "predictor")
    given = {
        "predictor": predictor, "target-ms": target_ms, "lam": lam, "upper-bound": upper_bound or None,
        "device": device, "store": store, "plan": plan, "proxy": proxy, "epochs": epochs,
        "train-epochs": train_epochs, "train-threads": train_threads, "compute": compute, "random": random,
        "queries": queries, "finalists": finalists, "supernet": supernet, "latency-rows": latency_rows,
        "where": " ".join(where) or None, "overwrite": overwrite or None,
    }  # fmt: skip
    check(given, recipe, on_table=on_table, costs=() if on_table else parse(cost))
    named_device = device if device is None or isinstance(device, str) else device.fingerprint.id
    asked = {
        "space": space_of(space).spec, "method": method, "task": task, "cost": cost, "lam": lam,
        "upper_bound": upper_bound, "device": named_device, "plan": plan, "proxy": proxy, "epochs": epochs,
        "train_epochs": train_epochs, "compute": compute, "random": random, "finalists": finalists, "queries": queries,
        "latency": latency, "latency_rows": latency_rows, "where": list(where), "seed": seed,
    }  # fmt: skip
    common = {"task": task, "upper_bound": upper_bound, "seed": seed, "command": command, "progress": progress,
              "stop": stop, "asked": asked}  # fmt: skip
    if finalists is not None and (finalists < 1 or target_ms is None):
        raise UsageError(f"finalists={finalists}; allowed: from 1, and networks that use a target: give --target-ms")
    if on_table:
        one = partial(
            tabular, space, method=recipe, latency=latency or "", queries=100 if queries is None else queries,
            rows=900 if latency_rows is None else latency_rows, where=where, **common,
        )  # fmt: skip
    else:
        check_compute(compute or "cpu")
        training = Training() if train_epochs is None else Training(epochs=train_epochs)
        options = Options(
            training, random_networks=4 if random is None else random, seed=seed, supernet=supernet or out / SUPERNET,
            queries=queries, finalists=finalists or 1, compute=compute or "cpu",
        )  # fmt: skip
        if epochs is not None:
            recipe = registry.create("method", method, epochs=epochs)
        one = partial(
            _on_device, space, predictor=predictor, cost=cost, lam=lam, method=recipe, device=device or "local",
            store=store, plan=plan or "standard", proxy=proxy, threads=train_threads or 1, options=options, **common,
        )  # fmt: skip

    def once(out: Path, target_ms: float | None) -> Outcome:
        there = earlier(out)
        if there is None or overwrite:
            return one(out, target_ms=target_ms)
        _check_same(out, there, asked | {"target_ms": target_ms})
        if there["verdict"] == "unreliable":
            return _measure_again(out, there, device or "local", predictor, store, plan or "standard", stop)
        text = table_text(there) if on_table else _search_text(there, read_result(out))
        kept = f"{out} holds the result of this search, which is kept; --overwrite searches anew"
        return Outcome(there | {"kept": True}, f"{kept}\n{text}", CODES[there["verdict"]], folders=(out,))

    if not isinstance(target_ms, Sequence):
        return once(out, target_ms)
    targets = sorted(set(target_ms))
    if len(targets) == 1:
        return once(out, targets[0])
    return _together([(target, _met(partial(once, target_folder(out, target)), target)) for target in targets])


def _check_numbers(target_ms: float | Sequence[float] | None, lam: float | None) -> None:
    """Refuse targets and weights that are no numbers, before any work.

    Raises:
        UsageError: a target is not above 0 and finite, or the weight is below 0 or not finite.
    """
    for target in target_ms if isinstance(target_ms, Sequence) else [target_ms]:
        if target is not None and not 0 < target < inf:
            raise UsageError(f"--target-ms {target:g}; allowed: a latency in ms above 0, and finite, such as 1.5")
    if lam is not None and not 0 <= lam < inf:
        raise UsageError(f"--lam {lam:g}; allowed: a weight of latency from 0, and finite, such as 0.1")


def _met(one: Callable[..., Outcome], target_ms: float) -> Outcome:
    """Return what the search for one of several targets gives; one that cannot be met does not end the others."""
    try:
        return one(target_ms=target_ms)
    except TargetError as error:
        document = {"target_ms": target_ms, "verdict": "infeasible", "reason": str(error)}
        return Outcome(document, f"INFEASIBLE: {error}", error.exit_code)


def _check_same(out: Path, there: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Check that a result is of the search that is asked for, as far as it says.

    Raises:
        UsageError: it is of another one.
    """
    known = {name: there[name] for name in ("space", "seed", "target_ms", "lam")} | there.get("asked", {})
    other = [
        f"{name} {known[name]} there, {value} now" for name, value in asked.items() if known.get(name, value) != value
    ]
    if other:
        raise UsageError(
            f"{out} holds the result of another search ({'; '.join(other)}), which is kept: give another --out, or "
            "--overwrite to search anew"
        )


def _measure_again(
    out: Path, there: Mapping[str, Any], device: str | Place, predictor: Path | None, store: Path | None, plan: str,
    stop: threading.Event | None,
) -> Outcome:  # fmt: skip
    """Measure the network of an unreliable result once more, and put what comes out into it."""
    place = device_of(device)
    if there["device"]["id"] != place.fingerprint.id:
        raise MismatchError(
            f"{out} is of the device {there['device']['id']}, and this one is {place.fingerprint.id}: measure there, "
            "give another --out, or --overwrite"
        )
    network = load_network(out)
    space, architecture = load_architecture(out)
    card = {} if predictor is None else load(predictor).card
    with Store(store or _store_of(card, out), write=True) as opened:
        bench = _Bench(space, place, named(plan), opened, there["seed"], stop)
        processes = bench.confirmed(_trained_network(space, architecture, network.arrays(), place.batch))
        document = measured_again(out, processes, bench.repeatability()).to_json()
    text = f"{out} held an unreliable result; its network was measured again"
    shown = f"{text}\n{_search_text(document, read_result(out))}"
    return Outcome(document, shown, CODES[document["verdict"]], folders=(out,))


def _on_device(
    space: str | SearchSpace,
    out: Path,
    *,
    predictor: Path | None,
    cost: str,
    target_ms: float | None,
    lam: float | None,
    upper_bound: bool,
    method: Method,
    task: str,
    device: str | Place,
    store: Path | None,
    plan: str,
    proxy: str | None,
    threads: int,
    options: Options,
    seed: int,
    asked: Mapping[str, Any],
    command: str,
    progress: Progress,
    stop: threading.Event | None,
) -> Outcome:
    """Search for one target and write the result into ``out``."""
    unfinished, inputs, trainings = out / "search.safetensors", out / "cost.json", out / TRAININGS
    outputs.check([unfinished, options.supernet or unfinished], is_checkpoint)
    outputs.check([inputs], is_inputs)
    chosen, place = space_of(space), device_of(device)
    kept = None if predictor is None else load(predictor)
    if kept is not None:
        kept.check_binding(space=chosen.spec, fingerprint=place.fingerprint, unit="ms")
    method.check(chosen, target_ms=target_ms, lam=lam)
    images = load_task(task, seed=seed)
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    with Store(store or _store_of({} if kept is None else kept.card, out), write=True) as opened:
        bench = _Bench(chosen, place, named(plan), opened, seed, stop)
        price = priced(
            cost, chosen, kept, opened, place.fingerprint.id, bench.networks,
            upper=COVERAGE if upper_bound else None, inputs=inputs,
        )  # fmt: skip
        learnt = kept if isinstance(price.price, nn.Module) else None
        result = run(
            chosen, method, price.price, price.encoding, images, measure=bench.networks, target_ms=target_ms, lam=lam,
            predict_interval=None if learnt is None else _interval(learnt, chosen, price.encoding),
            conformal=None if learnt is None or upper_bound else learnt.conformal,
            proxy=space_of(proxy) if proxy else None,
            options=replace(options, checkpoint=unfinished, trainings=trainings), progress=_told(progress, stop),
        )  # fmt: skip
        progress("confirm", 0, OPEN)
        trained, *others = bench.confirmed(
            _trained_network(chosen, result.architecture, result.trained.network.arrays(), place.batch)
        )
        repeatability = bench.repeatability()
    final = replace(result.found, measurement=trained)
    result = replace(
        result, found=final, steps=[*result.steps, final], processes=[trained, *others], repeatability=repeatability
    )
    result = replace(result, verdict=verdict_of(trained, target_ms, result.estimate))
    provenance = plain({
        "device": json.loads(place.fingerprint.to_json()) | {"id": place.fingerprint.id},
        "predictor": {"path": predictor and str(predictor)} | price.told,
        "parity": price.parity,
        "asked": asked,
        "command": command,
    })  # fmt: skip
    result.save(out, provenance)
    for path in (unfinished, inputs):
        path.unlink(missing_ok=True)
    forget(trainings)
    document = json.loads((out / RESULT).read_text())
    return Outcome(document, _search_text(document, read_result(out)), CODES[result.verdict], folders=(out,))


@dataclass(frozen=True)
class _Bench:
    """Times networks of one search into its store."""

    space: SearchSpace
    device: Place
    plan: Plan
    store: Store
    seed: int
    stop: threading.Event | None

    def __call__(self, items: Items) -> list[Measurement]:
        found = verify(self.device, items, self.plan, self.store, seed=self.seed, stop=self.stop)
        go_on(self.stop)
        return found

    def networks(self, architectures: Sequence[Architecture]) -> list[Measurement]:
        """Return one measurement each, in order."""
        return self(Items.of(self.space, architectures, batch=self.device.batch))

    def repeatability(self) -> float:
        """Return the relative standard deviation between processes that the store's blind duplicates tell."""
        device = self.device.fingerprint.id
        found = self.store.measurements(space=self.space.spec, fingerprint_id=device, repeated=True)
        return spread(usual(pair_up(found)))

    def confirmed(self, item: Items) -> list[Measurement]:
        """Return the final measurement of one network, then those of the other processes, see `profiler.verify`."""
        processes = confirm(self.device, item, self.plan, self.store, seed=self.seed, stop=self.stop)
        go_on(self.stop)
        return processes


def _interval(kept: SavedPredictor, space: SearchSpace, encoding: str | None) -> Interval:
    """Return the predictor's interval as a function of architectures."""

    def interval(architectures: Sequence[Architecture]) -> tuple[Any, Any]:
        rows = space.encode(architectures, encoding)
        _, low, high = kept.predict(rows, return_interval=True, coverage=COVERAGE)
        return low, high

    return interval


def _told(progress: Progress, stop: threading.Event | None) -> Callable[[str, int, int, Mapping[str, float]], None]:
    """Return what a search tells its stages to; it ends here if it was asked to stop."""

    def told(stage: str, done: int, total: int, numbers: Mapping[str, float]) -> None:
        go_on(stop)
        if stage == "feasibility":  # before any training, so that a person may think again
            ends = ", ".join(f"{key.removesuffix('_ms')} {ms:.3g} ms" for key, ms in numbers.items())
            progress(f"predicted in this space: {ends}", 0, REMARK)
            return
        progress(stage, done, OPEN if stage == "repair" else total)  # its total is a limit, seldom reached

    return told


def _together(outcomes: Sequence[tuple[float, Outcome]]) -> Outcome:
    """Return the outcomes of several targets as one, with the worst exit code.

    Raises:
        TargetError: none can be met.
    """
    if all(outcome.document["verdict"] == "infeasible" for _, outcome in outcomes):
        raise TargetError(outcomes[-1][1].document["reason"])
    texts = [f"target {exact(target_ms)} ms\n{outcome.text}" for target_ms, outcome in outcomes]
    document = {"results": [outcome.document for _, outcome in outcomes]}
    folders = tuple(folder for _, outcome in outcomes for folder in outcome.folders)
    return Outcome(document, "\n\n".join(texts), max(outcome.exit_code for _, outcome in outcomes), folders=folders)


def _search_text(d: Mapping[str, Any], result: Result) -> str:
    table, found, measured = d["feasibility"], d["found"], d["found"]["measured"]
    target = "" if d["target_ms"] is None else f" against a target of {d['target_ms']:.4g} ms"
    lines = [
        f"predicted in this space: smallest {table['smallest_ms']:.4g} ms, median {table['median_ms']:.4g}, largest "
        f"{table['largest_ms']:.4g}" + met_by(table["share_within_target"]),
        f"{d['verdict'].upper()}: measured {_ms(measured)}{target}, predicted {found['predicted_ms']:.4g} ms, "
        f"{len(d['repairs'])} measured on the way",
        f"test accuracy {found['accuracy']:.1%}, {found['parameters']} parameters, {found['macs'] / 1e6:.1f} M MACs",
        found["text"],
        d["rebuild"],
    ]
    if d.get("finalists"):
        lines.append(f"the best on held-out images of {len(d['finalists'])} networks trained that use the target")
    if len(result.found.measured.processes) > 1:
        each = [one for one in result.found.measured.processes if one.latency_ms]
        told = ", ".join(f"{one.latency_ms:.4g} {one.verdict}" for one in each)
        noisy = "; the middle one of those that are ok counts" if any(one.verdict != "ok" for one in each) else ""
        lines.insert(
            2, f"its processes said {told} (ms){noisy}; the interval covers what is ok, and how labels repeat here"
        )
    if result.random:
        counted = result.counted
        best = max(counted or result.random, key=lambda rival: rival.validation_accuracy or 0.0)
        every = len(counted) == len(result.random)
        of = "" if every else f" of trusted latency within the limit, of {len(result.random)}"
        lines.append(
            f"random search, {len(counted)} networks{of}: test accuracy {best.accuracy or 0.0:.1%} at "
            f"{_ms(best.model_dump() | {'latency_ms': best.measured_ms})}{'' if counted else result.why_not(best)}"
        )
    return "\n".join(lines)


def _ms(measured: Mapping[str, Any]) -> str:
    """Return a latency with its interval and verdict: a number is never shown without."""
    if measured["latency_ms"] is None:
        return f"no latency ({measured['verdict']})"
    high = "inf" if measured["high_ms"] is None else f"{measured['high_ms']:.4g}"
    interval = f"[{measured['low_ms']:.4g}, {high}]"
    return f"{measured['latency_ms']:.4g} ms {interval} {measured['verdict']}"


def _trained_network(
    space: SearchSpace, architecture: Architecture, arrays: Mapping[str, NDArray[Any]], batch: int
) -> Items:
    """Return the network found, as trained, to be timed: its real weights and not the shared ones."""

    def build(key: str, directory: Path) -> tuple[Path, str]:
        model = to_onnx(space.network_graph(architecture), arrays, batch=batch)
        content = model.SerializeToString(deterministic=True)
        digest = sha256(content).hexdigest()
        path = directory / f"{digest[:16]}.onnx"
        path.write_bytes(content)
        return path, digest

    return Items(space.spec, (architecture.key,), build)


def _store_of(card: Mapping[str, Any], out: Path) -> Path:
    """Return the store that a predictor was learnt from, or a new one where that is gone."""
    known = Path(str(card.get("store", "")))
    return known if known.is_file() else out / "measurements.db"
