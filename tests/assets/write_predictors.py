"""Write the predictors that every later version must load: ``python tests/assets/write_predictors.py FOLDER``.

Run once for a release, never again: what it wrote is kept as it is. ``FOLDER`` is ``tests/assets/VERSION/predictors``.
"""

import json
import sys
from pathlib import Path

import numpy as np

from tempograd.measurement.fingerprint import Fingerprint
from tempograd.predictor.interval import Conformal
from tempograd.predictor.saved import Binding, load, save
from tempograd.registry import load as load_entry
from tempograd.registry import names

SMALL = {"mlp": {"steps": 30, "members": 2, "hidden": (4,)}, "trees": {"trees": 8}, "gp": {"steps": 5}}
DEVICE = Fingerprint("local", {"cores": 8}, {"onnxruntime": "1.32.0"}, {"threads": 1, "batch": 1})


def write(folder: Path) -> None:
    """Save one predictor of every model, and beside them what they predict."""
    rng = np.random.default_rng(0)
    X = np.eye(3)[rng.integers(0, 3, (60, 4))].reshape(60, 12)
    y_ms = 1 + X @ rng.uniform(0, 1, 12)
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    for name in names("model"):
        model = load_entry("model", name)(**SMALL.get(name, {})).fit(X[:40], y_ms[:40])
        binding = Binding.of(space="nasbench201:width=16", encoding="raw", fingerprint=DEVICE)
        conformal = Conformal.fit(y_ms[40:], model.predict(X[40:]))
        kept = load(save(folder / name, model, binding=binding, card={"note": "asset"}, conformal=conformal))
        p, low, high = kept.predict(X[:10], return_interval=True, coverage=0.9)
        expected[name] = {"predicted_ms": p.tolist(), "low_ms": low.tolist(), "high_ms": high.tolist()}
    document = {"X": X[:10].tolist(), "models": expected}
    (folder / "predictors.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
