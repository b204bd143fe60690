"""Few networks of a new device, with and without the store of another."""

import json
import os
import shlex
from dataclasses import replace

import numpy as np
import pytest

from tempograd import registry
from tempograd.data.dataset import LatencyDataset
from tempograd.data.store import Store
from tempograd.errors import UsageError
from tempograd.verbs.collect import collect
from tempograd.verbs.evaluate import evaluate
from tempograd.verbs.fit import fit
from tempograd.verbs.outcome import device_spec_of
from tempograd.verbs.tabular import met_by

SPACE = "nasbench201:cells=1,width=4,size=8,channels=1"


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A store of 24 chosen networks on a new device, and one of many on another."""
    folder = tmp_path_factory.mktemp("stores")
    new, other = folder / "new.db", folder / "other.db"
    collect(SPACE, new, device="simulated:seed=2,slow=1.0", count=24, plan="quick", design=True)
    collect(SPACE, other, device="simulated:seed=1,slow=1.0", count=80, plan="quick")
    return new, other


def test_a_few_chosen_networks_are_enough_for_a_predictor(stores, tmp_path):
    document = fit(stores[0], tmp_path / "predictor").document
    assert (document["model"], document["encoding"]) == ("transfer", "counts")
    assert document["scores"]["spearman"] > 0.8
    card = json.loads((tmp_path / "predictor" / "predictor.json").read_text())
    assert card["model"] == "transfer"


def test_what_a_store_lacks_is_told_by_what_was_asked_for(stores, tmp_path):
    with pytest.raises(UsageError, match=r"^no rows of space 'darts' in .*new.db; it holds: nasbench201"):
        fit(stores[0], tmp_path / "predictor", space="darts")
    with pytest.raises(UsageError, match=r"^no rows of space 'nasbench201[^']*' on device 'x' in "):
        fit(stores[0], tmp_path / "predictor", device="x")
    with pytest.raises(
        UsageError, match=r"^\d+ networks with a latency_ms to learn from \(measured, .* 40 or more for gp"
    ):
        fit(stores[0], tmp_path / "predictor", model="gp")


@pytest.mark.slow
def test_the_store_of_another_device_is_a_source(stores, tmp_path):
    alone = fit(stores[0], tmp_path / "alone").document
    helped = fit(stores[0], tmp_path / "helped", sources=[stores[1]]).document
    assert helped["model"] == "transfer"
    assert helped["scores"]["spearman"] > alone["scores"]["spearman"] - 0.05


@pytest.mark.slow
def test_a_source_of_another_space_and_a_model_that_takes_none_are_refused(stores, tmp_path):
    other = tmp_path / "darts.db"
    collect("darts:layers=3,width=2,size=8", other, device="simulated:seed=1,slow=1.0", count=3, plan="quick")
    with pytest.raises(UsageError, match="a source is a store of the same space"):
        fit(stores[0], tmp_path / "predictor", sources=[other])
    with pytest.raises(UsageError, match="takes none: leave them out, or name one of transfer"):
        fit(stores[0], tmp_path / "predictor", model="gp", sources=[stores[1]])
    with pytest.raises(UsageError, match="itself; a source is of another device"):
        fit(stores[0], tmp_path / "predictor", sources=[stores[0]])  # what is held out would come back through it


def test_a_table_is_judged_with_the_model_for_so_many_networks(tmp_path):
    with pytest.raises(UsageError, match="takes none: leave them out, or name one of transfer"):
        evaluate(tmp_path / "t.parquet", space=SPACE, columns=["a"], source_columns=["b"], model="mlp")


@pytest.mark.slow
def test_the_latencies_of_the_space_are_told_with_a_target_that_can_be_asked_for(stores, tmp_path):
    done = fit(stores[0], tmp_path / "a predictor")
    about = done.document["of_space"]
    assert about["smallest"] < about["tenth"] < about["median"] < about["largest"]
    assert f"smallest {about['smallest']:.4g} ms, median {about['median']:.4g}, largest" in done.text
    words = shlex.split(done.following)
    assert words[words.index("--predictor") + 1] == str(tmp_path / "a predictor")
    target_ms = float(words[words.index("--target-ms") + 1])
    assert about["smallest"] < target_ms < about["largest"]


def test_the_next_search_names_a_task_where_the_default_does_not_fit(tmp_path):
    for classes, words in ((10, []), (3, ["--task", "TASK"])):
        space, store = SPACE.replace("size", f"classes={classes},size"), tmp_path / f"{classes}.db"
        collect(space, store, device="simulated:seed=1", count=24, design=True)
        following = shlex.split(fit(store, tmp_path / f"{classes}").following)
        told = following.index("--task") if "--task" in following else len(following)
        assert following[told : told + 2] == words


@pytest.mark.slow
def test_networks_that_lead_nowhere_are_learnt_from_and_not_scored(tmp_path):
    store = tmp_path / "run.db"
    collect(SPACE, store, device="simulated:seed=1", count=120)
    with Store(store) as opened:
        keys = LatencyDataset.from_store(opened).keys
    space = registry.create("space", SPACE)
    nowhere = sum(not space.is_connected(space.from_key(key)) for key in keys)
    done = fit(store, tmp_path / "predictor")
    assert nowhere > 0
    assert done.document["disconnected"] == nowhere
    assert done.document["scored"] == done.document["verdicts"]["ok"] - nowhere
    assert done.document["scores"]["mape_pct"] < 10
    assert f"; {nowhere} that lead nowhere are not scored" in done.text


@pytest.mark.slow
def test_noisy_labels_are_learnt_from_and_judged_by_where_there_are_no_others(tmp_path):
    store = tmp_path / "noisy.db"
    collect(SPACE, store, device="simulated:disturbed=1", count=45, plan="quick")
    done = fit(store, tmp_path / "predictor")
    assert done.document["verdicts"] == {"noisy": 45}
    assert done.document["scored"] == 45 - done.document["disconnected"]
    assert "as far as labels this noisy can tell" in done.text
    assert f"the labels themselves differ by {done.document['repeatability']:.1%}" in done.text


@pytest.mark.slow
def test_one_seed_has_no_spread(tmp_path):
    table = tmp_path / "t.csv"
    space = registry.create("space", SPACE)
    rows = [(space.format(a), 1 + 0.01 * n) for n, a in enumerate(space.sample(60, np.random.default_rng(0)))]
    table.write_text("arch_str,a_ms\n" + "".join(f"{text},{ms}\n" for text, ms in rows))
    asked = {"space": SPACE, "columns": ["a_ms"], "train": 40, "valid": 0, "model": "ridge"}
    one = evaluate(table, seeds=1, **asked)
    assert one.document["mape_pct"]["sd"] is None
    assert one.document["connected"]["mape_pct"]["sd"] is None
    assert evaluate(table, seeds=2, **asked).document["mape_pct"]["sd"] > 0


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (None, ""), (0.0, "; 0% of"), (0.002, "fewer than 1% of"), (0.5, "50% of networks meet"),
        (0.996, "more than 99% of"), (1.0, "asks for nothing"),
    ],
)  # fmt: skip
def test_a_target_that_every_network_meets_is_remarked_upon(share, said):
    assert said in met_by(share)


@pytest.mark.parametrize("spec", ["local", "simulated:seed=3,noise=0.02", "local:threads=2", "simulated:elastic=false"])
def test_a_device_is_found_again_by_its_fingerprint(spec):
    if spec == "local:threads=2" and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core only")
    device = registry.create("device", spec)
    found = device_spec_of(device.fingerprint)
    assert registry.create("device", found).fingerprint == device.fingerprint
    assert (found == "local") == (spec == "local")


def test_a_device_that_is_not_here_is_not_made_up():
    fingerprint = registry.create("device", "simulated").fingerprint
    assert device_spec_of(replace(fingerprint, place="elsewhere")) is None
    assert device_spec_of(replace(fingerprint, hardware={"cpu": "another"})) is None
