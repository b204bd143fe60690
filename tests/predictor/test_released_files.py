import json
from pathlib import Path

import numpy as np
import pytest

from tempograd.predictor.saved import load

RELEASES = sorted(path.parent for path in (Path(__file__).parents[1] / "assets").glob("*/*/predictors.json"))
SAVED = [(f, name) for f in RELEASES for name in json.loads((f / "predictors.json").read_text())["models"]]


def test_there_are_some():
    assert {name for _, name in SAVED} >= {"lookup", "mlp", "ridge", "trees"}


@pytest.mark.promise(3)
@pytest.mark.parametrize(("folder", "name"), SAVED, ids=lambda v: v if isinstance(v, str) else v.parent.name)
def test_a_released_predictor_loads_and_predicts_what_it_did(folder, name):
    expected = json.loads((folder / "predictors.json").read_text())
    kept = load(folder / name)
    assert kept.model == name
    assert kept.card == {"note": "asset"}
    assert (list(kept.heads), kept.binding.unit) == (["latency_ms"], "ms")
    p, low, high = kept.predict(np.array(expected["X"]), return_interval=True, coverage=0.9)
    for found, was in zip((p, low, high), expected["models"][name].values(), strict=True):
        np.testing.assert_allclose(found, [np.inf if v == np.inf else v for v in was], rtol=1e-6)
