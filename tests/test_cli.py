"""The command line: every verb end to end on the simulated device, every kind of bad input, documented exit codes."""

import fcntl
import importlib
import importlib.util
import json
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import termios
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from tempograd import cli, registry
from tempograd.cli import app, main
from tempograd.data.store import Store
from tempograd.measurement import quantities
from tempograd.profiler import plan
from tempograd.verbs import choices

from . import command_line
from .verbs.test_verdicts import bare

SPACE = "nasbench201:cells=1,width=4,size=8,channels=1"
DEVICE = "simulated:seed=1,slow=1.0"
VERBS = ("agent", "doctor", "devices", "collect", "audit", "export", "fit", "predict", "evaluate", "search", "methods",
         "spaces", "tasks", "report", "quickstart", "measure", "profile", "compare", "shrink", "import",
         "pick")  # fmt: skip


STRACE = shutil.which("strace")


def tempograd(*arguments, calls=None, **options):
    """Run a verb; where there is strace, what it asks of the network goes into ``calls``."""
    if not (calls and STRACE):
        return command_line.tempograd(*arguments, **options)
    strace = [STRACE, "-f", "-qq", "--seccomp-bpf", "-e", "trace=socket,connect,bind,listen", "-o", str(calls)]
    command = [*strace, sys.executable, "-m", "tempograd", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def collected(store, count=60, device=DEVICE, space=SPACE, calls=None):
    return tempograd(
        "collect", "--space", space, "--device", device, "--count", count, "--store", store, "--plan", "quick",
        "--json", calls=calls,
    )  # fmt: skip


def copied(store, copy):
    with sqlite3.connect(store) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    return copy


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    """The three things a user does, once: collect, fit, search, and the report."""
    folder = tmp_path_factory.mktemp("flow")
    done = {"collect": collected(folder / "run.db", calls=folder / "collect.calls")}
    copied(folder / "run.db", folder / "collected.db")  # without what a search adds, which another CPU may choose
    done["fit"] = tempograd(
        "fit", "--store", folder / "run.db", "--out", folder / "predictor", "--json",
        calls=folder / "fit.calls",
    )  # fmt: skip
    target = json.loads(tempograd("predict", "--predictor", folder / "predictor", "--arch", "1462", "--json").stdout)[
        "predictions"
    ][0]["latency_ms"]
    search = (
        "search", "--space", SPACE, "--predictor", folder / "predictor", "--device", DEVICE, "--task", "synthetic",
        "--target-ms", target, "--epochs", 2, "--train-epochs", 1, "--random", 1, "--out", folder / "result",
    )  # fmt: skip
    done["search"] = tempograd(*search, "--json", calls=folder / "search.calls")
    report = ("report", folder / "result", "--out", folder / "report.html", "--json")
    done["report"] = tempograd(*report, calls=folder / "report.calls")
    return folder, done


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["collect", "fit", "search", "report"])
def test_every_step_ends_well_and_prints_one_json_document(flow, verb):
    _, done = flow
    assert done[verb].returncode == 0, done[verb].stderr
    assert isinstance(json.loads(done[verb].stdout), dict)


@pytest.mark.skipif(STRACE is None, reason="no strace: apt-get install strace")
@pytest.mark.promise(5)
def test_no_verb_opens_a_socket_of_a_network(flow):
    """Neither to listen nor to call."""
    folder, done = flow
    for verb in done:
        assert "AF_INET" not in (folder / f"{verb}.calls").read_text()


@pytest.mark.promise(2)
def test_no_number_of_a_search_is_told_without_its_verdict(flow):
    folder, done = flow
    others = {
        ".feasibility.median_ms",  # of many sampled networks
        ".found.predicted_ms",  # the verdict of the network stands in found.measured, which is told first
        ".environment.memory_bytes",  # of a machine
    }
    for told in (done["search"].stdout, (folder / "result" / "result.json").read_text()):
        assert set(bare(json.loads(told))) <= others


def test_the_network_found_is_measured_and_within_the_target(flow):
    folder, done = flow
    result = json.loads(done["search"].stdout)
    assert result["verdict"] == "pass"
    assert result["found"]["measured"]["latency_ms"] <= result["target_ms"]
    assert result == json.loads((folder / "result" / "result.json").read_text())
    properties = {p.key: p.value for p in onnx.load(folder / "result" / "network.onnx").metadata_props}
    assert float(properties["measured_latency_ms"]) == result["found"]["measured"]["latency_ms"]
    assert {properties[f"measured_{key}"] for key in ("low_ms", "high_ms")} == {
        str(result["found"]["measured"][key]) for key in ("low_ms", "high_ms")
    }
    assert (properties["verdict"], properties["measured_verdict"]) == ("pass", "ok")
    assert json.loads(properties["device_fingerprint"])["id"] == result["device"]["id"] == properties["device"]
    assert "PASS" in (folder / "report.html").read_text()


def test_collecting_again_repeats_nothing(flow):
    folder, done = flow
    again = json.loads(collected(folder / "run.db").stdout)
    assert again["measured"] == 0
    assert again["verdicts"] == json.loads(done["collect"].stdout)["verdicts"]


@pytest.fixture(scope="module")
def audited(flow):
    folder, _ = flow
    return copied(folder / "run.db", folder / "audited.db")


def test_an_audit_passes_and_names_the_next_command(audited):
    done = tempograd("audit", "--store", audited, "--device", DEVICE, "--plan", "quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "aa.coverage" in done.stdout
    assert f"next: tempograd fit --store {audited}" in done.stdout


def test_an_audit_that_fails_exits_with_3_and_says_why(audited):
    done = tempograd("audit", "--store", audited, "--device", f"{DEVICE},noise=0.05", "--plan", "quick", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 3
    assert document["failed"] == ["provenance.device"]
    (row,) = [check for check in document["checks"] if check["check"] == "provenance.device"]
    assert row.keys() == {"check", "passed", "found", "allowed", "reason"}
    assert "options.noise: 0.01 in the store, 0.05 now" in row["reason"]
    assert len(document["networks"]) == 8


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--store", "absent.db"), 5, "no store at absent.db"),
        (("--device", "local"), 5, "come from simulated"),
        (("--device", DEVICE, "--space", "darts"), 2, "holds no networks of darts"),
        (("--device", DEVICE, "--plan", "slow"), 2, "unknown plan 'slow'"),
        (("--device", DEVICE, "--count", "0"), 2, "--count 0; allowed: 1 or more"),
    ],
)
def test_an_audit_refuses_bad_input(audited, arguments, code, message):
    store = () if "--store" in arguments else ("--store", audited)
    done = tempograd("audit", *store, *arguments, cwd=audited.parent)
    assert done.returncode == code
    assert message in done.stderr
    assert not (audited.parent / "absent.db").exists()


def test_several_heads_are_fitted_at_once_and_predicted_together(flow):
    folder, done = flow
    assert json.loads(done["collect"].stdout)["beside_time"] == {"energy_mj": 67, "memory_bytes": 67}
    fit = ("fit", "--store", folder / "run.db", "--out", folder / "heads", "--quantity", "memory_bytes,energy_mj")
    fitted = json.loads(tempograd(*fit, "--quantity", "latency_ms", "--json").stdout)
    heads = {d["quantity"]: d for d in (fitted, *fitted["heads"])}
    assert list(heads) == ["memory_bytes", "energy_mj", "latency_ms"]
    assert "mae_bytes" in heads["memory_bytes"]["scores"]
    assert "mae_ms" not in heads["energy_mj"]["scores"]
    with Store(folder / "run.db") as store:
        measured = next(store.measurements())
    ask = ("predict", "--predictor", folder / "heads", "--arch", measured.key)
    (row,) = json.loads(tempograd(*ask, "--json").stdout)["predictions"]
    energy, latency = row["heads"]["energy_mj"], row["heads"]["latency_ms"]
    assert row["memory_bytes"] == pytest.approx(measured.beside_time["memory_bytes"], rel=0.1)
    assert energy["energy_mj"] == pytest.approx(measured.beside_time["energy_mj"], rel=0.1)
    assert latency["latency_ms"] == pytest.approx(measured.latency_ms, rel=0.1)
    assert row["low_bytes"] < row["memory_bytes"] < row["high_bytes"]
    assert energy["low_mj"] < energy["energy_mj"] < energy["high_mj"]
    text = tempograd(*ask).stdout
    assert " bytes" in text
    assert " mj" in text
    search = ("search", "--space", SPACE, "--predictor", folder / "heads", "--device", DEVICE, "--target-ms", 1)
    refused = tempograd(*search, "--out", folder / "other")
    assert refused.returncode == 5
    assert "unit of memory_bytes: saved 'bytes', asked 'ms'" in refused.stderr


@pytest.mark.parametrize(
    ("quantities", "message"),
    [
        ("latency_ms,latency", "Did you mean 'latency_ms'"),
        ("latency_ms,latency_ms", "each once"),
        ("p90_ms", "0 networks with a p90_ms to learn from"),
    ],
)
def test_a_quantity_that_cannot_be_learnt_is_refused(flow, quantities, message):
    folder, _ = flow
    done = tempograd("fit", "--store", folder / "run.db", "--out", folder / "unlearnt", "--quantity", quantities)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (folder / "unlearnt").exists()


def test_a_lookup_adds_up_measured_operations(flow):
    folder, _ = flow
    store = folder / "collected.db"
    lookup = ("fit", "--store", store, "--out", folder / "lookup", "--model", "lookup", "--json")
    missing = tempograd(*lookup)
    assert missing.returncode == 2
    assert "--operations" in missing.stderr
    measured = tempograd("collect", "--operations", "--space", SPACE, "--device", DEVICE, "--store", store,
                         "--plan", "quick", "--json")  # fmt: skip
    assert json.loads(measured.stdout)["networks"] == len(registry.create("space", SPACE).operations)
    document = json.loads(tempograd(*lookup).stdout)
    assert document["encoding"] == "pruned"  # a table must not price edges that lead nowhere
    assert document["scores"]["spearman"] > 0.85  # five folds, each with a base of its own


def test_text_ends_with_the_next_command(flow):
    folder, _ = flow
    done = tempograd("collect", "--space", SPACE, "--device", DEVICE, "--count", 60, "--store", folder / "run.db",
                     "--plan", "quick")  # fmt: skip
    assert done.stdout.splitlines()[-1].startswith("next: tempograd fit --store")
    assert done.stderr.splitlines()[0].startswith("stages: ")
    assert "\x1b" not in done.stderr  # no bar off a terminal


def test_a_dry_run_measures_nothing(tmp_path):
    done = tempograd("collect", "--space", SPACE, "--device", DEVICE, "--count", 10, "--store", tmp_path / "run.db",
                     "--dry-run", "--json")  # fmt: skip
    assert json.loads(done.stdout)["dry_run"] is True
    assert not (tmp_path / "run.db").exists()


@pytest.mark.slow
def test_evaluate_reads_published_tables(tmp_path):
    space = registry.create("space", "nasbench201")
    architectures = [space.from_index(i) for i in range(160)]
    columns = {f"e{i}": [a.choices[i] for a in architectures] for i in range(6)}
    columns["ms"] = [1.0 + sum(a.choices) + a.choices[0] * a.choices[3] for a in architectures]
    pq.write_table(pa.table(columns), tmp_path / "table.parquet")
    done = tempograd(
        "evaluate", tmp_path / "table.parquet", "--space", "nasbench201", "--column", "ms", "--train", 100, "--valid",
        20, "--seeds", 2, "--model", "ridge", "--json",
    )  # fmt: skip
    document = json.loads(done.stdout)
    for key in ("within_1_pct", "within_5_pct", "within_10_pct", "mape_pct", "spearman"):
        assert document[key].keys() == {"mean", "sd"}
    assert document["spearman"]["mean"] > 0.8
    unknown = tempograd("evaluate", tmp_path / "table.parquet", "--space", "nasbench201", "--column", "sm")
    assert unknown.returncode == 2
    assert "ms" in unknown.stderr


BAD = {
    "unknown space": (2, "Did you mean", ["collect", "--space", "nasbench", "--store", "a.db"]),
    "unknown device": (
        2,
        "allowed: android, farm, local, simulated",
        ["collect", "--space", SPACE, "--device", "x", "--store", "a.db"],
    ),
    "unknown plan": (
        2,
        "standard",
        ["collect", "--space", SPACE, "--device", DEVICE, "--plan", "x", "--store", "a.db"],
    ),
    "unknown argument": (2, "layers", ["collect", "--space", "darts:depth=3", "--device", DEVICE, "--store", "a.db"]),
    "missing flag": (2, "--space", ["collect"]),
    "no store": (5, "no store", ["fit", "--store", "none.db", "--out", "p"]),
    "not a store": (5, "text.txt", ["fit", "--store", "text.txt", "--out", "p"]),
    "not a predictor": (5, "predictor", ["predict", "--predictor", ".", "--arch", "1"]),
    "not a result": (5, "result", ["report", "."]),
    "not a table": (5, "text.txt", ["evaluate", "text.txt", "--space", "nasbench201", "--column", "a"]),
    "not to be written": (7, "", ["collect", "--space", SPACE, "--device", DEVICE, "--store", "text.txt/run.db"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_message_and_its_exit_code(tmp_path, case):
    (tmp_path / "text.txt").write_text("nothing")
    code, words, arguments = BAD[case]
    done = tempograd(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--count", "abc"), "--count abc; allowed: a whole number"),
        (("--count", "0"), "--count 0; allowed: 1 or more"),
        (("--count", "2000000"), "--count 2000000; allowed: 1000000 or less"),
        (("--counts", "3"), "No such option: --counts"),
        (("--plot", "drift.txt"), "--plot drift.txt; allowed: a file that ends in .svg or .png"),
        (("--space", "dart"), "unknown space 'dart'"),
    ],
)
def test_a_command_line_that_is_refused_is_one_line_in_plain_words_and_json_too(
    arguments, message, capsys, monkeypatch
):
    for more in ([], ["--json"]):
        words = ["collect", "--space", SPACE, "--device", DEVICE, "--store", "none/a.db", *arguments, *more]
        monkeypatch.setattr(sys, "argv", ["tempograd", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        assert ended.value.code == 2
        assert message in told.err
        if more:
            error = json.loads(told.out)["error"]
            assert (error["kind"] in {"UsageError", "UnknownNameError"}, error["exit_code"]) == (True, 2)
            assert message in error["message"]
        else:
            assert told.out == ""


def test_what_is_no_number_is_in_no_range_and_the_message_says_so(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tempograd", "compare", "a.onnx", "b.onnx", "--tolerance", "nan"])
    with pytest.raises(SystemExit):
        main()
    assert "--tolerance nan; allowed: a number, 10 or less" in capsys.readouterr().err


def test_errors_are_json_too(tmp_path):
    done = tempograd("collect", "--space", "x", "--store", "a.db", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["error"]["exit_code"] == done.returncode == 2


@pytest.mark.fault(31)
def test_predictor_refuses_another_space_and_device(flow):
    folder, _ = flow
    common = ["search", "--predictor", folder / "predictor", "--target-ms", 1, "--out", folder / "other"]
    space = tempograd(*common, "--space", "nasbench201", "--device", DEVICE)
    device = tempograd(*common, "--space", SPACE, "--device", "simulated:seed=2,slow=1.0,noise=0.5")
    assert (space.returncode, device.returncode) == (5, 5)
    assert "space" in space.stderr
    assert "noise" in device.stderr


def test_a_flag_that_the_method_would_not_hear_is_refused(flow):
    folder, _ = flow
    for flag, method, lacks in (
        ("--queries", "la_darts", "asks for no accuracies"), ("--epochs", "random_search", "has no epochs"),
    ):  # fmt: skip
        done = tempograd(
            "search", "--space", SPACE, "--predictor", folder / "predictor", "--device", DEVICE, "--target-ms", 1,
            "--method", method, flag, 3, "--out", folder / "none",
        )  # fmt: skip
        assert done.returncode == 2
        assert f"{flag} 3: {method} {lacks}" in done.stderr


def test_a_target_that_no_network_meets_is_refused_before_training(flow):
    folder, _ = flow
    done = tempograd(
        "search", "--space", SPACE, "--predictor", folder / "predictor", "--device", DEVICE, "--target-ms", 1e-6,
        "--out", folder / "none",
    )  # fmt: skip
    assert done.returncode == 8
    assert "smallest network" in done.stderr


def test_methods_are_listed_with_their_papers_and_what_they_need():
    every = json.loads(tempograd("methods", "--json").stdout)["methods"]
    assert [row["method"] for row in every] == registry.names("method")
    assert all(
        "arXiv:" in row["paper"] and row["needs"] and row["law"] and row["modes"] and row["accepts"] for row in every
    )
    fitting = tempograd("methods", "--space", "darts").stdout
    assert "toponas" in fitting
    assert "densenas" not in fitting


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "densenas"), "densenas cannot search nasbench201: it needs routes or depths"),
        (
            ("--cost", "lookup"),
            "unknown cost 'lookup'; allowed: energy_mj, flops, kernels, memory_bytes, parameters, predictor, table",
        ),
        (("--cost", "predictor"), "--cost predictor needs --predictor"),
        ((), "collect --operations"),
    ],
)
def test_a_search_that_cannot_be_is_refused_with_the_next_step(arguments, message, tmp_path):
    done = tempograd("search", "--space", SPACE, "--device", DEVICE, "--target-ms", 1, "--out", tmp_path, *arguments)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.slow
def test_a_table_is_searched_and_what_leaves_is_built_by_a_line(tmp_path):
    space = registry.create("space", "nasbench201")
    choices = [a.choices for a in space.enumerate()][::20]
    columns = {f"e{i}": [row[i] for row in choices] for i in range(6)}
    columns["acc:test"] = [40.0 + 2 * sum(row) + row[1] * row[4] for row in choices]
    columns["help:device"] = [1.0 + sum(row) + 0.1 * row[0] * row[3] for row in choices]
    pq.write_table(pa.table(columns), tmp_path / "table.parquet")
    done = tempograd(
        "search", "--space", "nasbench201", "--task", "table:table.parquet:acc:test", "--latency",
        "table:table.parquet:help:device", "--target-ms", 12, "--queries", 12, "--latency-rows", 20, "--method",
        "surrogate_search", "--out", "result", "--json", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["verdict"] == "pass"
    assert result["queries"]["used"] == 12
    assert result["regret_points"] >= 0
    line = [sys.executable, "-c", result["rebuild"]]
    built = subprocess.run(line, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert built.returncode == 0, built.stderr


@pytest.mark.slow
def test_several_targets_share_one_supernet(flow, tmp_path):
    folder, done = flow
    target_ms = json.loads(done["search"].stdout)["target_ms"]
    both = tempograd(
        "search", "--space", SPACE, "--predictor", folder / "predictor", "--device", DEVICE, "--task", "synthetic",
        "--method", "ofa:largest=1,population=4", "--epochs", 1, "--queries", 8, "--train-epochs", 1, "--random", 0,
        "--target-ms", target_ms, "--target-ms", 1.2 * target_ms, "--out", tmp_path / "result", "--json",
    )  # fmt: skip
    assert both.returncode == 0, both.stderr
    results = json.loads(both.stdout)["results"]
    assert [r["verdict"] for r in results] == ["pass", "pass"]
    assert all(r["found"]["measured"]["latency_ms"] <= r["target_ms"] for r in results)
    assert results[1]["seconds"]["search"] < results[0]["seconds"]["search"]  # the supernet was there
    assert (tmp_path / "result" / "supernet.safetensors").exists()


def test_a_data_set_leaves_with_its_card(flow, tmp_path):
    folder, _ = flow
    export = ("export", "--store", folder / "run.db", "--out", tmp_path / "set")
    done = tempograd(*export, "--ok", "--note", "By hand.", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    rows = pq.read_table(tmp_path / "set" / "data.parquet").num_rows
    assert rows == document["networks"] == document["verdicts"]["ok"]
    assert "\nBy hand.\n" in (tmp_path / "set" / "README.md").read_text()
    again = tempograd(*export)
    assert again.returncode == 2
    assert "name a folder that does not exist yet" in again.stderr


def test_every_different_network_of_a_small_space_and_only_once(tmp_path):
    space = "darts:layers=2,width=4,size=8"
    refused = tempograd("collect", "--space", space, "--device", DEVICE, "--every", "--store", tmp_path / "run.db")
    assert refused.returncode == 2
    assert "too many to go through" in refused.stderr
    both = tempograd("collect", "--space", SPACE, "--every", "--operations", "--store", tmp_path / "run.db")
    assert both.returncode == 2
    assert "take one of them" in both.stderr


@pytest.mark.fault(2)
def test_networks_that_fail_are_rows_and_the_exit_code_says_so(tmp_path):
    done = collected(tmp_path / "run.db", device="simulated:seed=3,crash=0.05")
    assert done.returncode == 6
    document = json.loads(done.stdout)
    assert document["verdicts"]["quarantined"] + document["verdicts"].get("failed", 0) > 0


@pytest.mark.slow
@pytest.mark.fault(27)
@pytest.mark.promise(1)
def test_the_first_interrupt_finishes_the_item_and_the_same_command_goes_on(tmp_path):
    command = [sys.executable, "-m", "tempograd", "collect", "--space", "nasbench201", "--device", "simulated:seed=1",
               "--count", "400", "--store", str(tmp_path / "run.db"), "--plan", "quick", "--json"]  # fmt: skip
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run.db-wal").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    output, error = child.communicate(timeout=60)
    assert child.returncode == 130, error
    assert json.loads(output)["interrupted"] is True
    finished = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["found"] == json.loads(output)["measured"]


ENDING = {
    "collect": ["--space", SPACE, "--store", "run.db"],
    "audit": ["--store", "run.db"],
    "fit": ["--store", "run.db", "--out", "p"],
    "evaluate": ["t.csv", "--space", SPACE, "--column", "ms"],
    "search": ["--space", SPACE, "--out", "r"],
    "quickstart": [],
    "export": ["--store", "run.db", "--out", "x"],
    "predict": ["--predictor", "p", "--arch", "1"],
    "report": ["r"],
    "doctor": [],
    "shrink": ["net.py:trained", "--out", "r"],
}


@pytest.mark.fault(27)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("verb", ENDING)
def test_every_verb_ends_at_the_first_signal(verb, number, monkeypatch, capsys):
    def working(*_, stop=None, **__):
        os.kill(os.getpid(), number)
        if stop is not None and stop.wait(30):
            raise KeyboardInterrupt  # as `go_on` does after the item in flight
        time.sleep(30)
        raise AssertionError("it went on")

    monkeypatch.setattr(importlib.import_module(f"tempograd.verbs.{verb}"), verb, working)
    monkeypatch.setattr(os, "dup2", lambda *_: None)  # the tests' own terminal is not closed
    monkeypatch.setattr(sys, "argv", ["tempograd", verb, *ENDING[verb], "--json"])
    before = {each: signal.signal(each, signal.SIG_DFL) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert ended.value.code == 130
    assert json.loads(capsys.readouterr().out)["error"]["exit_code"] == 130


@pytest.mark.slow
@pytest.mark.fault(27)
def test_a_closed_terminal_ends_a_campaign_and_a_copy_of_its_store_is_whole(tmp_path):
    store = tmp_path / "run.db"
    command = [sys.executable, "-m", "tempograd", "collect", "--space", "nasbench201", "--device", "simulated:seed=1",
               "--count", "4000", "--store", str(store), "--plan", "quick"]  # fmt: skip
    ours, theirs = os.openpty()

    def take_terminal():
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    child = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=take_terminal
    )
    os.close(theirs)
    reader = threading.Thread(target=_drain, args=(ours, store))
    reader.start()
    reader.join(120)
    os.close(ours)
    assert child.wait(120) == 130
    (tmp_path / "copy.db").write_bytes(store.read_bytes())
    with Store(store) as whole, Store(tmp_path / "copy.db") as copy:
        assert whole.counts() == copy.counts()
        assert sum(copy.counts().values()) > 0


def _drain(terminal, store):
    """Read what is shown until some rows are kept: a terminal that nobody reads stops its program."""
    while select.select([terminal], [], [], 60)[0]:
        with suppress(OSError):
            os.read(terminal, 65536)
        if store.exists():
            with suppress(sqlite3.Error), closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)) as rows:
                if rows.execute("SELECT count(*) FROM measurements").fetchone()[0]:
                    return


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example(verb):
    done = tempograd(verb, "--help")
    assert done.returncode == 0
    assert f"tempograd {verb}" in done.stdout.replace("\n", " ").partition("xample")[2]


def test_the_verbs_are_those_of_the_documentation():
    assert sorted(get_command(app).commands.keys() - {"farm", "kernels"}) == sorted(VERBS)
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert all(f"tempograd {verb}" in readme for verb in ("collect", "fit", "search", "report", "doctor", "evaluate"))


def help_of(module, verb):
    """Return a verb's ``--help`` of a module of the command line, its words one space apart."""
    return " ".join(CliRunner().invoke(module.app, [verb, "--help"]).output.split())


@pytest.mark.slow
def test_help_lists_the_models_quantities_and_plans_that_there_are(monkeypatch):
    known = registry.names
    monkeypatch.setattr(registry, "names", lambda kind: [*known(kind), f"a_new_{kind}"])
    monkeypatch.setattr(quantities, "QUANTITIES", (*quantities.QUANTITIES, "a_new_ms"))
    monkeypatch.setitem(plan.PLANS, "a_new_plan", plan.Plan("a_new_plan", 10, (6,), 0.1, 0.95, requeue=True))
    monkeypatch.setattr(choices, "COSTS", (*choices.COSTS, "a_new_cost"))
    monkeypatch.setattr(choices, "SAMPLINGS", (*choices.SAMPLINGS, "a_new_sampling"))
    spec = importlib.util.spec_from_file_location("tempograd.cli_read_again", cli.__file__)
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    assert "trees or a_new_model; by default gp" in help_of(again, "fit")
    assert "memory_bytes or a_new_ms." in help_of(again, "fit")
    assert "trees or a_new_model; by default gp" in help_of(again, "evaluate")
    assert "d_optimal or a_new_sampling." in help_of(again, "evaluate")
    assert "precise (within 1 %) or a_new_plan (within 10 %)" in help_of(again, "collect")
    for verb, listed in (("audit", "precise or a_new_plan."), ("search", "precise or a_new_plan: how long each")):
        assert listed in help_of(again, verb)
    assert "memory_bytes or a_new_cost: what prices networks" in help_of(again, "search")


def test_help_tells_every_task():
    told = help_of(cli, "search")
    assert [name for name in registry.names("task") if name not in told] == []
