"""Searches by a predictor's heads, energy or memory in place of latency, and on a new device by help of another."""

import numpy as np
import pytest

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.predictor.interval import COVERAGE
from tempograd.predictor.saved import load
from tempograd.verbs import costs
from tempograd.verbs.collect import collect
from tempograd.verbs.fit import fit
from tempograd.verbs.search import search

SPACE = "nasbench201:cells=1,width=4,size=8,channels=1"
DEVICE, NEW = "simulated:seed=1,slow=1.0", "simulated:seed=2,slow=1.0,gflops=2"
ASKED = {
    "method": "la_darts:warm_up=0", "plan": "quick", "task": "digits,limit=100", "epochs": 1, "train_epochs": 1,
    "random": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store of one device and its predictor of three heads."""
    found = tmp_path_factory.mktemp("heads")
    collect(SPACE, found / "run.db", device=DEVICE, count=60, plan="quick")
    quantities = ["latency_ms", "energy_mj", "memory_bytes"]
    fit(found / "run.db", found / "predictor", quantities=quantities, model="ridge")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("quantity", ["energy_mj", "memory_bytes"])
def test_the_weight_can_be_that_of_energy_or_of_memory(folder, tmp_path, monkeypatch, quantity):
    """What prices networks are the head's predictions times one factor; what is told in ms is latency all the same."""
    made, sum_in_ms = [], costs.sum_in_ms
    monkeypatch.setattr(
        costs, "sum_in_ms", lambda *given, **options: made.append(sum_in_ms(*given, **options)) or made[-1]
    )
    given = {"device": DEVICE, "cost": quantity, "lam": 1.0, **ASKED, "random": 1}
    done = search(SPACE, folder / "predictor", tmp_path / "result", **given).document
    assert done["verdict"] == "measured"
    assert done["predictor"]["model"] == quantity
    assert done["found"]["measured"][quantity] > 0
    space, kept = registry.create("space", SPACE), load(folder / "predictor")
    found, *others = map(space.from_key, [done["found"]["key"], *(rival["key"] for rival in done["random"])])
    networks, head = [found, *others, *space.sample(20, np.random.default_rng(0))], kept.heads[quantity]
    factors = made[0].predict(networks) / head.predict(space.encode(networks, head.binding.encoding))
    np.testing.assert_allclose(factors, factors[0], rtol=1e-4)
    assert done["trace"]["derived_ms"][-1] == pytest.approx(made[0].predict([found])[0])
    rows = space.encode([found, *others], kept.binding.encoding)
    predicted, low, high = kept.predict(rows, return_interval=True, coverage=COVERAGE)
    told = [done["found"], *done["random"]]
    assert [each["predicted_ms"] for each in told] == pytest.approx(predicted.tolist())
    assert (done["found"]["predicted_low_ms"], done["found"]["predicted_high_ms"]) == pytest.approx((low[0], high[0]))
    assert done["parity"] == kept.card["parity"]
    sample = space.sample(500, np.random.default_rng(0))
    middle = np.median(kept.predict(space.encode(sample, kept.binding.encoding)))
    assert done["feasibility"]["median_ms"] == pytest.approx(middle, rel=0.1)


def test_a_head_that_is_not_there_and_a_target_of_it_are_refused(folder, tmp_path):
    given = {"device": DEVICE, **ASKED}
    with pytest.raises(UsageError, match="energy_mj can have a weight, and no target, which is in ms; give --lam"):
        search(SPACE, folder / "predictor", tmp_path / "out", cost="energy_mj", target_ms=1.0, **given)
    fit(folder / "run.db", tmp_path / "alone", model="ridge")
    with pytest.raises(
        UsageError,
        match=r"heads for latency_ms, and none for energy_mj; fit it too: "
        "tempograd fit --store STORE --quantity latency_ms --quantity energy_mj --out PREDICTOR$",
    ):
        search(SPACE, tmp_path / "alone", tmp_path / "out", cost="energy_mj", lam=1.0, **given)
    with pytest.raises(UsageError, match="--cost memory_bytes needs --predictor"):
        search(SPACE, None, tmp_path / "out", cost="memory_bytes", lam=1.0, **given)


@pytest.mark.slow
def test_twenty_networks_of_a_new_device_and_the_store_of_another_are_enough_for_a_search(folder, tmp_path):
    new = tmp_path / "new.db"
    collect(SPACE, new, device=NEW, count=20, plan="quick", design=True)
    told = fit(new, tmp_path / "predictor", sources=[folder / "run.db"]).document
    assert told["model"] == "transfer"
    assert told["networks"] == 20
    target_ms = told["of_space"]["median"]
    done = search(SPACE, tmp_path / "predictor", tmp_path / "result", device=NEW, target_ms=target_ms, **ASKED).document
    assert done["verdict"] == "pass"
    assert done["found"]["measured"]["latency_ms"] <= target_ms
