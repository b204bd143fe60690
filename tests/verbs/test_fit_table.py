"""A table of one's own, learnt from as a store is: what is not said is taken where only one thing can be meant."""

import json
import shlex

import numpy as np
import pytest
from typer.testing import CliRunner

import tempograd as tg
from tempograd import registry
from tempograd.cli import app
from tempograd.errors import InputRefusedError, UsageError
from tempograd.verbs.export import export
from tempograd.verbs.fit import fit
from tempograd.verbs.fit_table import is_table, labelled

SPACE = registry.create("space", "nasbench201")
NETWORKS = [a for a in SPACE.sample(40, np.random.default_rng(3)) if SPACE.is_connected(a)][:30]
TRUE_MS = np.array([1.0 + sum(0.5 * (choice == 3) + 0.2 * (choice == 2) for choice in a.choices) for a in NETWORKS])


def written(path, columns, *, separator=","):
    """Write a table with the architectures as text and these columns; return its path."""
    rows = [separator.join(["arch_str", *columns])]
    rows += [
        separator.join([SPACE.format(a), *(str(values[n]) for values in columns.values())])
        for n, a in enumerate(NETWORKS)
    ]
    path.write_text("\n".join(rows))
    return path


@pytest.fixture
def table(tmp_path):
    return written(tmp_path / "mine.csv", {"acc": range(30), "pi4_us": 1e3 * TRUE_MS}, separator=";")


@pytest.mark.slow
def test_the_plain_form_learns_and_says_what_it_took_and_how_to_go_on(table, tmp_path):
    done = CliRunner().invoke(app, ["fit", str(table), "--out", str(tmp_path / "p")])
    assert done.exit_code == 0, done.output
    for told in ("the only space that reads them", "column pi4_us", "separated by semicolons", "multiplied by 0.001"):
        assert told in done.output
    following = shlex.split(done.output.rpartition("next: tempograd ")[2])
    assert following[:5] == ["search", "--space", "nasbench201:cells=5,width=16", "--latency", f"table:{table}:pi4_us"]
    answer = CliRunner().invoke(
        app, ["predict", "--predictor", str(tmp_path / "p"), "--arch", SPACE.format(NETWORKS[0])]
    )
    assert answer.exit_code == 0, answer.output
    assert float(answer.output.split("\n")[1].split()[0]) == pytest.approx(TRUE_MS[0], rel=0.15)


@pytest.mark.slow
def test_the_predictor_is_of_the_table_and_says_so_with_its_scores(table, tmp_path):
    predictor = tg.fit(table, tmp_path / "p", column="pi4_us")
    assert predictor.scores["spearman"] > 0.9
    document = json.loads((tmp_path / "p" / "predictor.json").read_text())
    assert json.loads(document["binding"]["fingerprint_json"])["place"] == "table"
    assert (document["card"]["column"], document["card"]["noise_floor_mape_pct"]) == ("pi4_us", None)
    assert "store" not in document["card"]
    with pytest.raises(UsageError, match=r"learnt from a table.*--latency table:.*mine\.csv:pi4_us"):
        tg.search("nasbench201", tmp_path / "p", tmp_path / "out", target_ms=2.0, device="simulated:seed=1")


def test_what_is_not_there_is_told_before_any_space_is_tried(table, tmp_path, monkeypatch):
    monkeypatch.setattr("tempograd.verbs.fit_table._reading", lambda *_: pytest.fail("a space was tried"))
    with pytest.raises(UsageError, match=r"unknown column of mine.csv 'pi5_us'.*Did you mean 'pi4_us'"):
        labelled(table, space=None, column="pi5_us", where=[])
    with pytest.raises(UsageError, match=r"--where COLUMN=VALUE 'device'"):
        labelled(table, space=None, column=None, where=["device=pi"])
    table.write_text("arch_str,lat_ms\n")
    with pytest.raises(InputRefusedError, match="has a header and no row"):
        labelled(table, space=None, column=None, where=[])


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"pi_ms": TRUE_MS, "tx2_ms": TRUE_MS}, r"which column.*several do; choose with --column.*pi_ms, tx2_ms"),
        ({"pi": TRUE_MS, "acc": TRUE_MS}, r"which column.*none says so.*'COLUMN\[us\]': pi$"),
        ({"device": ["a"] * 30, "acc": TRUE_MS}, r"no column of numbers holds latencies.*arch_str, device, acc"),
    ],
)
def test_what_may_be_meant_in_several_ways_is_refused_with_the_choices(tmp_path, columns, told):
    with pytest.raises(UsageError, match=told):
        labelled(written(tmp_path / "t.csv", columns), space="nasbench201", column=None, where=[])


def test_a_space_that_none_reads_and_what_only_a_store_has_are_refused(table, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("arch_str,lat_ms\n" + "resnet50,1.0\n" * 30)
    with pytest.raises(UsageError, match=r"of which space.*none reads.*--space: one of .*nasbench201"):
        fit(other, tmp_path / "p")
    for given, told in (
        ({"quantities": ["energy_mj"]}, "of a table; allowed: latency_ms"),
        ({"device": "abc"}, "--where COLUMN=VALUE"),
        ({"model": "lookup"}, "adds up measured operations"),
    ):
        with pytest.raises(UsageError, match=told):
            fit(table, tmp_path / "p", **given)
    with pytest.raises(UsageError, match="--column and --where are of a table"):
        fit(tmp_path / "run.db", tmp_path / "p", column="a")
    done = CliRunner().invoke(app, ["fit", "--out", str(tmp_path / "p")])
    assert "neither a store nor a table" in str(done.exception)
    assert not (tmp_path / "p").exists()


@pytest.mark.slow
def test_what_export_wrote_needs_no_word(tmp_path):
    tg.collect("nasbench201:cells=1,width=4,size=8", tmp_path / "run.db", device="simulated:seed=1,slow=1", count=24)
    export(tmp_path / "run.db", tmp_path / "set")
    assert is_table(tmp_path / "set")
    assert not is_table(tmp_path)
    found = labelled(tmp_path / "set", space=None, column=None, where=[])
    assert (found.column, found.file) == ("latency_ms", tmp_path / "set" / "data.parquet")
    assert found.space.spec == "nasbench201:cells=1,width=4,classes=10,size=8,channels=3"
    assert set(found.dataset.counts) == {"ok"}
