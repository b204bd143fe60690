"""``search`` on a table as a verb: several targets, an upper bound, and every kind of bad input."""

import json

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest

from tempograd import registry
from tempograd.data.table import read_table
from tempograd.errors import InputRefusedError, TargetError, UnknownNameError, UsageError
from tempograd.predictor import schedule
from tempograd.search.tabular import search_table
from tempograd.verbs.search import search
from tempograd.verbs.tabular import learn_latency

SPACE = "nasbench201"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A table of some networks of a space; its columns have colons."""
    space = registry.create("space", SPACE)
    architectures = list(space.enumerate())[::20]
    choices = [a.choices for a in architectures]
    columns = {f"e{i}": [row[i] for row in choices] for i in range(6)}
    columns["acc:test"] = [40.0 + 2 * sum(row) + row[1] * row[4] for row in choices]
    columns["help:device"] = [1.0 + sum(row) + 0.1 * row[0] * row[3] for row in choices]
    columns["half:device"] = [None if i % 2 else ms for i, ms in enumerate(columns["help:device"])]
    path = tmp_path_factory.mktemp("published") / "table.parquet"
    pq.write_table(pa.table(columns), path)
    named = {"arch_str": [space.format(a) for a in architectures]}
    pq.write_table(pa.table(columns | named), path.with_name("named.parquet"))
    return path


def on_table(path, out, *, space=SPACE, task="acc:test", latency="help:device", **kwargs):
    fixed = {"predictor": None, "target_ms": 12.0, "queries": 12, "latency_rows": 20, "method": "random_search"}
    return search(space, out=out, task=f"table:{path}:{task}", latency=f"table:{path}:{latency}", **(fixed | kwargs))


@pytest.mark.slow
def test_every_target_has_its_folder_and_its_budget(published, tmp_path):
    done = on_table(published, tmp_path, target_ms=[16.0, 12.0, 16.0])
    tight, loose = done.document["results"]
    assert (tight["target_ms"], loose["target_ms"]) == (12.0, 16.0)
    for result, folder in ((tight, "12-ms"), (loose, "16-ms")):
        assert result == json.loads((tmp_path / folder / "result.json").read_text())
        assert result["verdict"] == "pass"
        assert result["found"]["measured"]["latency_ms"] <= result["target_ms"]
        assert result["queries"]["used"] == 12
        assert (
            result["found"]["predicted_low_ms"]
            <= result["found"]["predicted_ms"]
            <= result["found"]["predicted_high_ms"]
        )
    assert done.exit_code == 0
    assert done.text.count("points lost") == 2
    assert "12 of 12 queries" in done.text
    assert "load_network" in done.text


@pytest.mark.slow
def test_networks_without_a_latency_are_left_out_and_counted(published, tmp_path):
    result = on_table(published, tmp_path, latency="half:device").document
    assert result["networks"] - result["without_latency"] in (0, 1)


@pytest.mark.slow
def test_under_the_upper_bound_predictions_are_its_own(published, tmp_path):
    plain = on_table(published, tmp_path / "plain").document
    bound = on_table(published, tmp_path / "bound", upper_bound=True).document
    assert bound["feasibility"]["smallest_ms"] > plain["feasibility"]["smallest_ms"]
    assert bound["verdict"] == "pass"


@pytest.mark.slow
def test_a_miss_exits_with_8(published, tmp_path, monkeypatch):
    def slower(space, method, task, latencies_ms, *rest, **kwargs):
        return search_table(space, method, task, {a: 20 * ms for a, ms in latencies_ms.items()}, *rest, **kwargs)

    monkeypatch.setattr("tempograd.verbs.tabular.search_table", slower)
    done = on_table(published, tmp_path)
    assert (done.exit_code, done.document["verdict"], done.document["regret_points"]) == (8, "fail", None)
    assert done.text.splitlines()[1].startswith("FAIL")


@pytest.mark.slow
def test_a_target_that_cannot_be_met_does_not_end_the_others(published, tmp_path):
    done = on_table(published, tmp_path, target_ms=[0.2, 12.0])
    infeasible, found = done.document["results"]
    assert (infeasible["target_ms"], infeasible["verdict"], found["verdict"]) == (0.2, "infeasible", "pass")
    assert "smallest network" in infeasible["reason"]
    assert "INFEASIBLE: target 0.2 ms" in done.text
    assert done.exit_code == 8
    assert json.loads((tmp_path / "12-ms" / "result.json").read_text()) == found
    with pytest.raises(TargetError, match=r"target 0.3 ms .* Ask for at least"):
        on_table(published, tmp_path, target_ms=[0.2, 0.3])


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 0.0, -1.0])
def test_targets_and_weights_that_are_no_numbers_are_refused_before_any_work(tmp_path, value):
    nowhere = tmp_path / "absent"  # nothing is read, else it would be missed
    for target in (value, [1.0, value]):
        with pytest.raises(UsageError, match=r"--target-ms (inf|nan|0.0|-1.0); allowed: a number above 0 \(ms\)"):
            search(SPACE, nowhere, tmp_path / "out", target_ms=target)
    if value != 0:
        with pytest.raises(UsageError, match=r"--lam (inf|nan|-1.0); allowed: a number from 0 .*weight"):
            search(SPACE, nowhere, tmp_path / "out", lam=value)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_one_device_of_a_table_of_two_is_chosen(published, tmp_path):
    table = pq.read_table(published.with_name("named.parquet"))
    slow = table.set_column(
        table.column_names.index("help:device"), "help:device", pa.compute.multiply(table["help:device"], 3.0)
    )
    both = pa.concat_tables(
        [t.append_column("device", pa.array([name] * t.num_rows)) for t, name in ((table, "pi"), (slow, "gpu"))]
    )
    path = tmp_path / "both.parquet"
    pq.write_table(both, path)
    with pytest.raises(InputRefusedError, match=r"'device' has pi, gpu.*--where device=pi"):
        on_table(path, tmp_path / "none")
    done = on_table(path, tmp_path / "one", where=["device=gpu"], target_ms=30.0)
    assert done.document["remarks"][0] == f"{table.num_rows:,} of {both.num_rows:,} rows where device=gpu"
    assert "rows where device=gpu" in done.text
    with pytest.raises(UnknownNameError, match="'board'"):
        on_table(path, tmp_path / "none", where=["board=gpu"])


@pytest.mark.slow
def test_bad_input_is_refused_with_the_next_step(published, tmp_path):
    def refused(error, words, **kwargs):
        with pytest.raises(error, match=words):
            on_table(kwargs.pop("path", published), tmp_path / "none", **kwargs)

    refused(UnknownNameError, "acc:test", task="acc")
    refused(UnknownNameError, "help:device", latency="device")
    refused(InputRefusedError, "cannot read", path=tmp_path / "absent.parquet")
    refused(UnknownNameError, "'e6'", space="darts:layers=2,width=4,size=8")
    refused(
        InputRefusedError, "not of darts", path=published.with_name("named.parquet"), space="darts:layers=2,width=4"
    )
    refused(TargetError, "smallest network .* Ask for at least", target_ms=0.2)
    refused(UsageError, "--queries 0", queries=0)
    refused(UsageError, "5 rows to learn latency from; allowed: 19", latency_rows=5)
    refused(UsageError, "surrogate_search", method="la_darts")
    refused(UsageError, "takes no --predictor", predictor=tmp_path)
    refused(UsageError, "takes no --epochs, --supernet", epochs=1, supernet=tmp_path / "file")
    refused(UsageError, "needs --target-ms", target_ms=None)
    assert not (tmp_path / "none" / "result.json").exists()


def test_half_a_table_or_no_predictor_is_refused(published, tmp_path):
    with pytest.raises(UsageError, match="knows no latencies: add --latency"):
        search(SPACE, None, tmp_path, target_ms=12.0, task=f"table:{published}:acc:test")
    with pytest.raises(UsageError, match="collect --operations"):
        search(SPACE, None, tmp_path, target_ms=12.0)


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "model"), [(20, "transfer"), (100, "gp")])
def test_the_model_is_the_one_for_so_many_rows(published, rows, model, monkeypatch):
    monkeypatch.setattr(schedule, "STEPS", 20)
    space = registry.create("space", SPACE)
    table = read_table(published, space, "help:device")
    learnt = learn_latency(space, table, rows)
    assert (learnt.model, len(learnt.y_ms), len(learnt.conformal.residuals)) == (model, rows, rows)
