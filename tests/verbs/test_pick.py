"""``pick``: a small table of networks, looked up, measured on a simulated device, or only predicted."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import tempograd as tg
from tempograd import registry
from tempograd.cli import app
from tempograd.errors import InputRefusedError, UnknownNameError, UsageError
from tempograd.search import pretrained
from tempograd.verbs.pick import pick, read_pretrained


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Forty networks of two families; latency follows their size, accuracy does too."""
    path = tmp_path_factory.mktemp("pick") / "table.csv"
    rng = np.random.default_rng(0)
    lines = ["model,family,gmacs,top1,top5,i7_ms,other_ms"]
    for i in range(40):
        gmacs, family = 0.1 * 1.1**i, ("plain", "slow")[i % 2]
        ms = 10 * gmacs * (1 + i % 2) * np.exp(0.02 * rng.standard_normal())
        lines.append(f"net{i},{family},{gmacs:.4f},{60 + 0.5 * i:.2f},{80 + 0.3 * i:.2f},{ms:.4f},{1.5 * ms:.4f}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_columns_that_say_nothing_of_the_network_itself_are_no_features(table):
    read = read_pretrained(table, accuracy="top1", latency="i7_ms")
    assert read.used == ("family", "gmacs")
    assert read.features.shape == (40, 3)
    assert read.names[3] == "net3"


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(pretrained, "TREES", 20)


@pytest.mark.parametrize("target_ms", [10.0, 25.0])
def test_the_best_within_the_target_is_found_by_few_look_ups(table, target_ms):
    told = pick(table, accuracy="top1", latency="i7_ms", lookup="i7_ms", target_ms=target_ms)
    assert told.document["verdict"] == "pass"
    assert told.document["regret"] <= 0.5  # one place of forty
    assert len(told.document["measured"]) <= 3
    assert told.document["found"]["measured_ms"] <= target_ms
    assert "regret against the best" in told.text
    assert told.exit_code == 0


def test_latencies_of_another_device_lead_to_the_best_on_this_one(table):
    told = pick(table, accuracy="top1", latency="i7_ms", lookup="other_ms", target_ms=20.0).document
    assert told["verdict"] == "pass"
    assert told["regret"] <= 0.5


def test_none_within_the_target_ends_with_8(table):
    told = pick(table, accuracy="top1", latency="i7_ms", lookup="i7_ms", target_ms=0.1, most=3)
    assert (told.document["verdict"], told.exit_code, len(told.document["measured"])) == ("fail", 8, 3)
    assert told.document["found"] is None
    assert "FAIL: none of 3" in told.text
    fastest_ms = min(one["measured_ms"] for one in told.document["measured"])
    assert f"the fastest takes {fastest_ms:.4g} ms" in told.text


def test_a_name_of_several_rows_is_remarked_on(table, tmp_path):
    twice = tmp_path / "twice.csv"
    twice.write_text(table.read_text().replace("net7,", "net6,"))
    told = pick(twice, accuracy="top1", latency="i7_ms", target_ms=10.0)
    assert told.document["remarks"] == ["net6: a name of several rows, each one a network"]


def test_without_models_the_answer_is_a_prediction_and_says_so(table):
    told = pick(table, accuracy="top1", latency="i7_ms", target_ms=10.0)
    assert told.document["verdict"] == "predicted"
    assert told.document["found"]["measured_ms"] is None
    assert "nothing was measured" in told.text


@pytest.mark.slow
def test_files_are_measured_and_what_has_none_is_left_out(table, tmp_path):
    space = registry.create("space", "nasbench201:cells=1,width=4,size=8,channels=1")
    for name in ("net10", "net20"):
        written, _ = space.write_onnx(space.sample(1, np.random.default_rng(0))[0], tmp_path)
        written.rename(tmp_path / f"{name}.onnx")
    told = tg.pick(table, accuracy="top1", latency="i7_ms", target_ms=1e4, models=tmp_path, device="simulated:seed=1")
    assert (told.name, told.verdict) == ("net20", "pass")
    assert told.document["remarks"] == [f"left out: 38 networks without NAME.onnx in {tmp_path}"]
    assert told.document["found"]["measured_ms"] > 0
    assert len(told.listed()) == 1


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"accuracy": "top2"}, UnknownNameError, "top2"),
        ({"latency": "gmacs"}, InputRefusedError, "no latency"),
        ({"accuracy": "i7_ms"}, InputRefusedError, "holds time"),
        ({"name": "nobody"}, UnknownNameError, "nobody"),
        ({"target_ms": 0.0}, UsageError, "target_ms"),
        ({"lookup": "i7_ms", "models": "."}, UsageError, "give one"),
    ],
)
def test_bad_input_is_refused_with_what_is_allowed(table, changes, error, words):
    asked = {"accuracy": "top1", "latency": "i7_ms", "target_ms": 5.0} | changes
    with pytest.raises(error, match=words):
        pick(table, **asked)


@pytest.mark.parametrize("failed", ["-1", "0", "inf", "9999999", "failed"])
def test_failures_in_a_column_of_latencies_are_counted_and_named(table, tmp_path, failed):
    head, *lines = table.read_text().splitlines()
    cells = [line.split(",") for line in lines]
    for row in (3, 17):
        cells[row][5] = failed
    cells[20][5] = ""
    path = tmp_path / "failed.csv"
    path.write_text("\n".join([head, *(",".join(line) for line in cells)]) + "\n")
    told = pick(path, accuracy="top1", latency="i7_ms", lookup="i7_ms", target_ms=10.0)
    assert told.document["learnt_from"] == 37
    failures, empty = told.document["remarks"]
    assert failures.startswith("2 rows of i7_ms left out as failed: row 3: ")
    assert "row 17: " in failures
    assert empty == "1 row without a value in i7_ms: row 20"
    assert failures in told.text


def test_microseconds_are_told(table, tmp_path):
    path = tmp_path / "us.csv"
    path.write_text(table.read_text().replace("i7_ms", "i7_us"))
    told = pick(path, accuracy="top1", latency="i7_us", lookup="i7_us", target_ms=0.01)
    assert told.document["found"]["measured_ms"] <= 0.01
    assert told.document["remarks"] == ["i7_us is in us by its name: multiplied by 0.001 to ms"]


@pytest.mark.parametrize(
    ("of", "why"),
    [
        (lambda gmacs: 3 * gmacs, "they grow with the latencies as times do"),
        (lambda gmacs: 1 / gmacs, "slower networks have less of it"),
        (lambda gmacs: 60 + 100 * gmacs, "is above 100 %"),
    ],
)
def test_a_column_of_times_is_no_accuracy_though_its_name_does_not_say_so(table, tmp_path, of, why):
    head, *lines = table.read_text().splitlines()
    path = tmp_path / "silent.csv"
    path.write_text("\n".join([f"{head},pixel", *(f"{one},{of(float(one.split(',')[2])):.5f}" for one in lines)]))
    with pytest.raises(InputRefusedError, match=why):
        pick(path, accuracy="pixel", latency="i7_ms", target_ms=10.0)


@pytest.mark.parametrize("column", ["device", "batch"])
def test_rows_of_two_places_are_not_one_table(table, tmp_path, column):
    head, *lines = table.read_text().splitlines()
    both = [f"{head},{column}", *(f"{line},{place}" for place in ("1", "2") for line in lines)]
    path = tmp_path / "both.csv"
    path.write_text("\n".join(both))
    with pytest.raises(InputRefusedError, match=f"column '{column}' has 1, 2 .2 values., and i7_ms holds rows of all"):
        pick(path, accuracy="top1", latency="i7_ms", target_ms=10.0)
    path.write_text("\n".join(both).replace(column, "img_size"))  # a size of the input is the network's own
    assert pick(path, accuracy="top1", latency="i7_ms", target_ms=10.0).exit_code == 0


def test_too_few_latencies_and_bare_names_teach_nothing(tmp_path):
    few = tmp_path / "few.csv"
    few.write_text("model,gmacs,top1,i7_ms\n" + "".join(f"n{i},{i + 1},{60 + i},{i + 1}\n" for i in range(5)))
    with pytest.raises(UsageError, match="5 networks with a latency in i7_ms; allowed: from 20"):
        pick(few, accuracy="top1", latency="i7_ms", target_ms=5.0)
    bare = tmp_path / "bare.csv"
    bare.write_text("model,top1,i7_ms\n" + "".join(f"n{i},{60 + i},{i + 1}\n" for i in range(30)))
    with pytest.raises(UsageError, match="nothing of its networks but their names"):
        pick(bare, accuracy="top1", latency="i7_ms", target_ms=5.0)


def test_the_command_prints_one_document(table):
    words = ["pick", str(table), "--accuracy", "top1", "--latency", "i7_ms", "--target-ms", "10", "--lookup", "i7_ms"]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["verdict"] == "pass"


def test_a_target_that_none_is_likely_to_meet_is_no_prediction_but_a_failure(table):
    told = pick(table, accuracy="top1", latency="i7_ms", target_ms=0.001)
    assert (told.document["verdict"], told.exit_code) == ("fail", 8)
    fastest = min(table.read_text().splitlines()[1:], key=lambda line: float(line.split(",")[5]))
    assert told.document["found"]["name"] == fastest.split(",")[0]
    assert f"FAIL: no network is likely to be within a target of 0.001 ms; the likeliest, {fastest[:4]}" in told.text
