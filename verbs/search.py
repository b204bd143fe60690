"""``search``: find a network under a latency target, train it, and measure it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import Any

import torch

from .. import registry
from ..data.store import Store
from ..devices.measurement import Measurement
from ..errors import UsageError
from ..predictor.predictor import DifferentiablePredictor
from ..predictor.saved import load
from ..profiler.plan import Items, named
from ..profiler.verify import measure as verify
from ..search.evaluator import Training
from ..search.result import SearchResult, verdict_of
from ..search.run import Options
from ..search.run import search as run
from ..search.task import load_task
from ..spaces.architecture import Architecture
from ..spaces.export import to_onnx
from .fit import COVERAGE
from .outcome import MISSED, UNRELIABLE, Outcome, Progress, device_of, go_on, plain, silent, space_of

TRIES = 4  # measurements of the final network before a noisy one is taken for an answer


def search(
    space: str,
    predictor: Path,
    out: Path,
    *,
    target_ms: float | None = None,
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
    seed: int = 0,
    command: str = "",
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Outcome:
    """Search under a latency target, train what is found, and measure the trained network: pass or fail.

    With ``upper_bound`` the search follows the upper end of the predictor's interval: fewer networks that look fast
    enough turn out not to be. Networks are timed into ``store``: by default the one that the predictor was learnt from,
    whose sentinel readings tell the device's states apart. Torch runs on ``train_threads`` threads: the layers of a
    small supernet are so short that more of them spend their time waiting for each other, for seconds where another
    process wants a core.
    """
    chosen, place, timing = space_of(space), device_of(device), named(plan)
    kept = load(predictor)
    kept.check_binding(space=chosen.spec, fingerprint=place.fingerprint, unit="ms")
    if not isinstance(kept.predictor, DifferentiablePredictor):
        raise UsageError(
            f"{predictor} holds the model {kept.model}, which has no gradient; fit gp, mlp or ridge to search"
        )
    encoding = kept.binding.encoding
    recipe = registry.create("method", method, **({} if epochs is None else {"epochs": epochs}))
    images = load_task(task, seed=seed)
    torch.set_num_threads(train_threads)
    out.mkdir(parents=True, exist_ok=True)
    with Store(store or _store_of(kept.card, out), write=True) as opened:

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

        def interval(architectures: Sequence[Architecture]) -> tuple[Any, Any]:
            _, low, high = kept.predict(chosen.encode(architectures, encoding), return_interval=True, coverage=COVERAGE)
            return low, high

        result = run(
            chosen,
            recipe,
            kept.upper_bound(COVERAGE) if upper_bound else kept.predictor.module,
            encoding,
            images,
            measure=lambda architectures: measure(Items.of(chosen, architectures, batch=place.batch)),
            target_ms=target_ms,
            lam=lam,
            predict_interval=interval,
            proxy=space_of(proxy) if proxy else None,
            options=Options(
                training=Training() if train_epochs is None else Training(epochs=train_epochs),
                random_networks=random,
                seed=seed,
                checkpoint=out / "search.safetensors",
            ),
            progress=told,
        )
        trained = _settled(measure, _trained_network(result, place.batch))
    final = replace(result.found, measurement=trained)
    result = replace(result, found=final, steps=[*result.steps, final], verdict=verdict_of(trained, target_ms))
    provenance = plain({
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
