"""``predict``: latency of architectures, with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..predictor.saved import load
from .fit import COVERAGE
from .outcome import UNRELIABLE, Outcome, plain, space_of, table


def predict(predictor: Path, architectures: Sequence[str]) -> Outcome:
    """Predict the latency of architectures, given as strings, indices or keys."""
    kept = load(predictor)
    space = space_of(kept.binding.space)
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
        "space": space.spec, "device": kept.binding.fingerprint_id, "coverage": COVERAGE, "predictions": plain(rows),
    }  # fmt: skip
    cells = [
        (
            f"{r['latency_ms']:.4g} ms",
            f"{r['low_ms']:.4g} .. {r['high_ms']:.4g}",
            str(r["verdict"]),
            str(r["architecture"]),
        )
        for r in rows
    ]
    text = table(("latency", f"{COVERAGE:.0%} interval", "verdict", "architecture"), cells)
    return Outcome(document, text, UNRELIABLE if outside.any() else 0)
