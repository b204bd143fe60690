"""``evaluate``: scores are of networks that were not learnt from, under whatever name."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tempograd import registry
from tempograd.data.table import read_table
from tempograd.predictor import schedule
from tempograd.predictor.learn import learn
from tempograd.predictor.models.trees import TreesLatency
from tempograd.verbs.evaluate import evaluate
from tempograd.verbs.tabular import learn_latency

SPACE = "nasbench201:cells=1,width=4,size=8"


@pytest.fixture(scope="module")
def lottery(tmp_path_factory):
    """A table of networks that have several names each, with a random latency a network: nothing is to be learnt."""
    space = registry.create("space", SPACE)
    rng = np.random.default_rng(0)
    architectures = list(space.enumerate())
    groups = space.groups(architectures)
    sizes = np.bincount(groups)
    taken = np.isin(groups, rng.permutation(np.flatnonzero((sizes >= 5) & (sizes <= 12)))[:90])
    ms = np.exp(0.5 * rng.standard_normal(len(sizes)))
    path = tmp_path_factory.mktemp("lottery") / "table.parquet"
    choices = np.array([a.choices for a in architectures])[taken]
    columns = {f"e{i}": choices[:, i] for i in range(6)}
    pq.write_table(pa.table(columns | {"ms": ms[groups[taken]]}), path)
    return path


def judged(path, **wanted):
    arguments = {"train": 60, "valid": 10, "seeds": 3, "model": "transfer"} | wanted
    return evaluate(path, space=SPACE, columns=["ms"], **arguments)


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [{}, {"model": "trees", "valid": 40, "seeds": 1}], ids=str)
def test_nothing_is_learnt_where_nothing_can_be(lottery, wanted, monkeypatch):
    fewer = (100, *TreesLatency.__init__.__defaults__[1:])
    monkeypatch.setattr(TreesLatency.__init__, "__defaults__", fewer)
    document = judged(lottery, **wanted).document
    assert abs(document["spearman"]["mean"]) < 0.25
    by_name = judged(lottery, by_name=True, **wanted).document
    assert by_name["spearman"]["mean"] > document["spearman"]["mean"] + 0.15  # the trap is one


def test_a_design_learns_from_no_network_twice(lottery, monkeypatch):
    told = []

    def spy(encodings, y_ms, **wanted):
        told.append(wanted["groups"][~wanted["choosing"]])
        return learn(encodings, y_ms, **wanted)

    monkeypatch.setattr("tempograd.verbs.evaluate.learn", spy)
    judged(lottery, sampling="d_optimal", seeds=1)
    assert len(set(told[0].tolist())) == len(told[0]) == 60


@pytest.mark.slow
def test_both_splits_are_told(lottery):
    done, marked = judged(lottery), judged(lottery, by_name=True)
    document, by_name = done.document, marked.document
    assert (document["split"], by_name["split"]) == ("network", "name")
    assert document["twins_pct"]["mean"] > 40
    assert document["test"] < by_name["test"]
    assert "another name, and not tested" in done.text
    assert f"{document['by_name']['mape_pct']['mean']:.4g}" in done.text
    assert "BY NAME" in marked.text.splitlines()[1]
    json.dumps(document)


@pytest.mark.slow
def test_a_table_without_twins_says_nothing_of_names(tmp_path):
    space = registry.create("space", SPACE)
    architectures = list(space.enumerate())
    groups = space.groups(architectures)
    _, first = np.unique(groups, return_index=True)
    rows = np.random.default_rng(0).permutation(first)[:200]
    choices = np.array([architectures[i].choices for i in rows])
    columns = {f"e{i}": choices[:, i] for i in range(6)} | {"ms": 1.0 + choices.sum(axis=1)}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    done, by_name = judged(tmp_path / "t.parquet"), judged(tmp_path / "t.parquet", by_name=True)
    assert done.document["twins_pct"]["mean"] == 0
    assert "name" not in done.text
    assert done.document["mape_pct"] == by_name.document["mape_pct"]


@pytest.mark.slow
def test_the_one_network_that_is_tested_may_lead_nowhere(tmp_path):
    architectures = list(registry.create("space", SPACE).enumerate())[:20]
    columns = {f"e{i}": [a.choices[i] for a in architectures] for i in range(6)} | {"ms": np.arange(1.0, 21)}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    document = judged(tmp_path / "t.parquet", train=19, valid=0, seeds=4, model="ridge", by_name=True).document
    assert document["test"] == 1
    assert document["disconnected"] > 10
    json.dumps(document, allow_nan=False)


@pytest.mark.slow
def test_a_search_on_a_table_promises_no_more_than_it_knows(lottery, monkeypatch):
    """Residuals of a lottery are as wide as the lottery, however many names each network has."""
    monkeypatch.setattr(schedule, "STEPS", 20)
    space = registry.create("space", SPACE)
    table = read_table(lottery, space, "ms")
    for rows in (60, 100):
        learnt = learn_latency(space, table, rows)
        assert np.median(learnt.conformal.residuals) > 0.2
