"""Few networks of a new device, with and without the store of another."""

import json

import pytest

from tempograd.errors import UsageError
from tempograd.verbs.collect import collect
from tempograd.verbs.evaluate import evaluate
from tempograd.verbs.fit import fit

SPACE = "nasbench201:cells=1,width=4,size=8,channels=1"


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A store of 24 chosen networks on a new device, and one of many on another."""
    folder = tmp_path_factory.mktemp("stores")
    new, other = folder / "new.db", folder / "other.db"
    collect(SPACE, new, device="simulated:seed=2,slow=1.0", count=24, plan="quick", design=True)
    collect(SPACE, other, device="simulated:seed=1,slow=1.0", count=150, plan="quick")
    return new, other


def test_a_few_chosen_networks_are_enough_for_a_predictor(stores, tmp_path):
    document = fit(stores[0], tmp_path / "predictor").document
    assert (document["model"], document["encoding"]) == ("transfer", "counts")
    assert document["scores"]["spearman"] > 0.8
    card = json.loads((tmp_path / "predictor" / "predictor.json").read_text())
    assert card["model"] == "transfer"


def test_the_store_of_another_device_is_a_source(stores, tmp_path):
    alone = fit(stores[0], tmp_path / "alone").document
    helped = fit(stores[0], tmp_path / "helped", sources=[stores[1]]).document
    assert helped["model"] == "transfer"
    assert helped["scores"]["spearman"] > alone["scores"]["spearman"] - 0.05


def test_a_source_of_another_space_and_a_model_that_takes_none_are_refused(stores, tmp_path):
    other = tmp_path / "darts.db"
    collect("darts:layers=3,width=2,size=8", other, device="simulated:seed=1,slow=1.0", count=3, plan="quick")
    with pytest.raises(UsageError, match="a source is a store of the same space"):
        fit(stores[0], tmp_path / "predictor", sources=[other])
    with pytest.raises(UsageError, match="only transfer takes them"):
        fit(stores[0], tmp_path / "predictor", model="gp", sources=[stores[1]])


def test_a_table_is_judged_with_the_model_for_so_many_networks(tmp_path):
    with pytest.raises(UsageError, match="only transfer takes them"):
        evaluate(tmp_path / "t.parquet", space=SPACE, columns=["a"], source_columns=["b"], model="mlp")
