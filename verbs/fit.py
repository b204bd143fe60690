"""``fit``: learn latency from what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import KFold

from .. import registry
from ..data.dataset import LatencyDataset
from ..data.store import Store
from ..errors import UsageError
from ..predictor.interval import Conformal
from ..predictor.metrics import Scores, noise_floor_mape_pct
from ..predictor.saved import Binding, save
from ..profiler.plan import OPERATIONS
from ..spaces.circuit import SKELETON
from ..spaces.space import SearchSpace
from .outcome import Outcome, Progress, only_space, plain, silent, space_of

FOLDS = 5
MIN_ROWS = 40
COVERAGE = 0.95


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
    with Store(store) as opened:
        dataset = LatencyDataset.from_store(opened, space=space or only_space(opened), fingerprint_id=device)
        chosen = space_of(dataset.space)
        table_ms = _operations_ms(opened, chosen, dataset.fingerprint.id) if model == "lookup" else None
    ok = np.array([verdict == "ok" for verdict in dataset.verdict])
    if ok.sum() < MIN_ROWS:
        raise UsageError(
            f"{ok.sum()} networks with verdict ok in {store}; allowed: {MIN_ROWS} or more. Collect more of them"
        )
    estimator = estimator_of(model, random_state=seed, steps=steps, table_ms=table_ms, calibrate=True)
    held: dict[str, Any] = {}
    for n, encoding in enumerate(chosen.encodings):
        progress("fitting", n, len(chosen.encodings) + 1)
        X = dataset.encode(chosen, encoding)
        predicted = _held_out(estimator, X, dataset.y_ms, dataset.weight, seed)
        held[encoding] = predicted, Scores.of(dataset.y_ms[ok], predicted[ok])
    encoding = min(held, key=lambda name: held[name][1].mape_pct)
    predicted, scores = held[encoding]
    progress("fitting", len(chosen.encodings), len(chosen.encodings) + 1)
    estimator.fit(dataset.encode(chosen, encoding), dataset.y_ms, sample_weight=dataset.weight)
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
    document = plain(document)
    columns = {"measured_ms": dataset.y_ms, "predicted_ms": predicted, "low_ms": low, "high_ms": high}
    parity = {name: values[ok].tolist() for name, values in columns.items()}
    binding = Binding.of(space=dataset.space, encoding=encoding, fingerprint=dataset.fingerprint)
    out.parent.mkdir(parents=True, exist_ok=True)
    save(out, estimator, binding=binding, card=document | {"parity": parity}, conformal=conformal)
    progress("fitting", len(chosen.encodings) + 1, len(chosen.encodings) + 1)
    return Outcome(document, _fit_text(document))


def estimator_of(model: str, **wanted: Any) -> Any:
    """Return an unfitted model; arguments that are None or that the model does not take are left out."""
    create = registry.load("model", model)
    known = create().get_params()
    return create(**{key: value for key, value in wanted.items() if key in known and value is not None})


def _operations_ms(store: Store, space: SearchSpace, device: str) -> NDArray[Any]:
    """Return ``(d,)``: what every option of every site costs in ms, from measured operations by the circuit.

    An operation's cost is its time less that of the cheapest one, which is little more than the call.
    """
    name = space.spec + OPERATIONS
    if (name, device) not in store.sets():
        raise UsageError(
            f"no operations of {space.spec} in {store.path}, which a lookup adds up; "
            f"measure them: tempograd collect --operations --space '{space.spec}' --store {store.path}"
        )
    rows = LatencyDataset.from_store(store, space=name, fingerprint_id=device)
    call_ms = float(rows.y_ms.min())
    table = {key: float(ms) - call_ms for key, ms in zip(rows.keys, rows.y_ms, strict=True)} | {SKELETON: 0.0}
    _, costs = space.circuit.linear(table)
    return np.array([costs.get((site.name, i), 0.0) for site in space.sites for i in range(len(site.options))])


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
