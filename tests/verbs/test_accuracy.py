"""``--accuracy``: learnt from a table, searched by without an image, on a device and on a table."""

import json

import numpy as np
import pytest

from tempograd import registry
from tempograd.errors import InputRefusedError, UsageError
from tempograd.verbs.accuracy import learn_accuracy, predicted_accuracy
from tempograd.verbs.search import search

SPEC = "nasbench201:cells=1,width=4,size=8,channels=1"
SPACE = registry.create("space", SPEC)


def worth(architecture):
    return 40 + 2.0 * sum(architecture.choices) + architecture.choices[0]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of 60 networks of a small space."""
    path = tmp_path_factory.mktemp("accuracy") / "table.csv"
    rows = SPACE.sample(60, np.random.default_rng(1))
    lines = ["e0,e1,e2,e3,e4,e5,acc,half,ms"]
    for a in rows:
        ms = 1 + sum(a.choices) + 0.1 * a.choices[3]
        lines.append(",".join(map(str, (*a.choices, worth(a), 50, ms))))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.slow
def test_what_is_learnt_ranks_networks_that_it_has_not_seen(table):
    task = predicted_accuracy(f"table:{table}:acc", SPACE)
    others = SPACE.sample(300, np.random.default_rng(2))[100:]
    told = task.predict(others)
    assert np.corrcoef(told, [worth(a) for a in others])[0, 1] > 0.98
    assert task.told["rows"] == 60
    assert task.told["scores"]["spearman"] > 0.9
    assert task.spread == pytest.approx(
        np.std([worth(a) for a in SPACE.sample(60, np.random.default_rng(1))]), rel=1e-6
    )


@pytest.mark.slow
def test_rows_are_drawn_by_the_seed_and_as_many_as_were_asked_for(table):
    first, again, other = (predicted_accuracy(f"table:{table}:acc", SPACE, rows=25, seed=s) for s in (0, 0, 1))
    some = SPACE.sample(5, np.random.default_rng(3))
    assert first.told["rows"] == 25
    assert first.predict(some).tolist() == again.predict(some).tolist() != other.predict(some).tolist()


@pytest.mark.parametrize("rows", [3, 61])
def test_too_few_and_too_many_rows_are_refused(table, rows):
    with pytest.raises(UsageError, match=f"{rows} rows to learn accuracy from; allowed: 20 to 60"):
        predicted_accuracy(f"table:{table}:acc", SPACE, rows=rows)


def test_columns_that_teach_nothing_are_refused(table):
    with pytest.raises(UsageError, match=r"all 60 networks .* nothing can be learnt"):
        predicted_accuracy(f"table:{table}:half", SPACE)
    with pytest.raises(InputRefusedError, match=r"latency|time"):
        predicted_accuracy(f"table:{table}:ms", SPACE)
    with pytest.raises(UsageError, match="table:FILE:COLUMN"):
        predicted_accuracy("digits", SPACE)
    with pytest.raises(UsageError, match="has 2 networks"):
        learn_accuracy("t", SPACE, dict.fromkeys(SPACE.sample(2, np.random.default_rng(0)), 0.5))


@pytest.mark.slow
def test_a_search_on_a_device_needs_no_image_and_says_so(table, tmp_path):
    said = []
    done = search(
        SPEC, None, tmp_path / "out", accuracy=f"table:{table}:acc", device="simulated:seed=1", cost="flops", random=1,
        target_ms=50, epochs=2, plan="quick", method="lightnas", progress=lambda *told: said.append(told[0]),
    )  # fmt: skip
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["verdict"] == "pass"
    assert result["metric"]["name"] == "predicted accuracy"
    assert "accuracy" not in result["found"]
    assert result["training"]["trained"] is False
    assert result["task"] == f"table:{table}:acc" == result["asked"]["task"]
    assert "nothing is trained" in result["remarks"][0]
    assert any("nothing is trained" in line for line in said)
    assert "predicted accuracy" in done.text
    assert "test predicted" not in done.text
    found = predicted_accuracy(f"table:{table}:acc", SPACE).known(SPACE.from_key(result["found"]["key"]))
    assert result["found"]["score"] == pytest.approx(found)


@pytest.mark.slow
def test_a_search_on_a_table_asks_it_for_no_accuracy(table, tmp_path):
    done = search(
        SPEC, None, tmp_path / "out", task=f"table:{table}:acc", latency=f"table:{table}:ms", latency_rows=30,
        accuracy=f"table:{table}:acc", accuracy_rows=30, target_ms=14.0, method="la_darts", epochs=None,
    )  # fmt: skip
    assert done.document["queries"]["used"] == 0
    assert done.document["training"]["rows"] == 30
    assert done.document["regret_points"] is not None
    assert "learnt from 30 rows (Spearman" in done.text


def test_what_would_not_be_heeded_is_refused(table, tmp_path):
    given = {"accuracy": f"table:{table}:acc", "target_ms": 5.0, "cost": "flops", "device": "simulated:seed=1"}
    with pytest.raises(UsageError, match="--task digits: with --accuracy nothing is trained"):
        search(SPEC, None, tmp_path / "out", task="digits", **given)
    for method in ("gram", "ofa:deploy=inherited"):
        with pytest.raises(UsageError, match=r"takes no predicted accuracies; leave it out, or use .*lightnas"):
            search(SPEC, None, tmp_path / "out", method=method, **given)
    with pytest.raises(UsageError, match="--accuracy-rows 20; allowed: with --accuracy"):
        search(SPEC, None, tmp_path / "out", accuracy_rows=20, target_ms=5.0, cost="flops")
    with pytest.raises(UsageError, match="--accuracy digits; allowed: table:FILE:COLUMN"):
        search(SPEC, None, tmp_path / "out", accuracy="digits", target_ms=5.0, cost="flops")
    assert not (tmp_path / "out").exists()
