"""Every verb on a store in which every verdict occurs: no number of a network is told without one."""

import json
import re
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tempograd import registry
from tempograd.cli import app
from tempograd.data.store import Store
from tempograd.measurement.rounds import Failure
from tempograd.profiler.plan import QUICK
from tempograd.search import pretrained
from tempograd.verbs.collect import collect
from tempograd.verbs.fit import fit

SPACE = "nasbench201:cells=1,width=4,size=8,channels=1"
DEVICE = "simulated:seed=1,slow=1.0"
VERDICTS = {"ok": 30, "noisy": 1, "hot": 1, "censored": 1, "failed": 1, "quarantined": 1}
NUMBER = re.compile(r"(latency|measured|predicted|median|low|high|p90|p99)_ms|energy_mj|memory_bytes")


def bare(document, path=""):
    """Return where a JSON document tells a network's number with no verdict beside it."""
    if isinstance(document, list):
        return [found for n, part in enumerate(document) for found in bare(part, f"{path}[{n}]")]
    if not isinstance(document, dict):
        return []
    numbers = [key for key, value in document.items() if NUMBER.fullmatch(key) and isinstance(value, int | float)]
    measured = document.get("measured")
    beside = numbers == ["predicted_ms"] and isinstance(measured, dict) and "verdict" in measured
    found = [f"{path}.{key}" for key in numbers if "verdict" not in document and not beside]
    parts = {
        key: part for key, part in document.items() if key not in ("device", "environment")
    }  # what is said of a machine
    return found + [one for key, part in parts.items() for one in bare(part, f"{path}.{key}")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a store in which every verdict occurs, and what is made of it."""
    folder = tmp_path_factory.mktemp("verdicts")
    collect(SPACE, folder / "run.db", device=DEVICE, count=30)
    space = registry.create("space", SPACE)
    with Store(folder / "run.db", write=True) as store:
        like, *others = store.measurements()
        taken = {like.key, *(m.key for m in others)}
        drawn = (a.key for a in space.sample(100, np.random.default_rng(5)))
        noisy, hot, slow, failed, twice = [key for key in dict.fromkeys(drawn) if key not in taken][:5]
        again = replace(like, plan=QUICK.record(9))
        none = replace(again, rounds=(), reference=None)
        store.append(
            store.begin(like.space, store.fingerprint(like.fingerprint_id), QUICK.record(9), 9),
            replace(again, key=noisy, rounds=spread(like.rounds, noisy)),
            replace(again, key=hot, rounds=spread(like.rounds, hot, "thermal")),
            replace(none, key=slow, failure=Failure("timeout", "run", 9, elapsed_ms=50.0)),
            replace(none, key=failed, failure=Failure("oom", "load")),
            replace(none, key=twice, failure=Failure("crashed", "run", 11), attempts=2),
        )
    for name, architecture in zip(("a", "b"), space.sample(2, np.random.default_rng(0)), strict=True):
        space.write_onnx(architecture, folder)[0].rename(folder / f"{name}.onnx")
    (folder / "table.csv").write_text(
        "model,gmacs,top1,i7_ms\n" + "".join(f"{'ab'[n] if n < 2 else n},{n + 1},{60 + n},{n + 1}\n" for n in range(24))
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(pretrained, "TREES", 20)
        fit(folder / "run.db", folder / "p", model="transfer")
        yield folder


def spread(rounds, key, *events):
    """Return rounds of another network that differ too much for any plan."""
    factors = [1.0, 1.5, 2.0] * len(rounds)
    return tuple(
        replace(r, key=key, events=events, **{f"{clock}_ms": tuple(v * f for v in getattr(r, f"{clock}_ms"))
                                              for clock in ("wall", "cpu")})
        for r, f in zip(rounds, factors, strict=False)
    )  # fmt: skip


def told(line):
    """Return what a verb prints with ``--json``."""
    done = CliRunner().invoke(app, [*line.split(), "--json"])
    assert done.exit_code in (0, 3, 6), (done.output, done.exception)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.promise(2)
@pytest.mark.parametrize(
    ("line", "verdicts"),
    [
        (f"collect --space {SPACE} --device {DEVICE} --count 30 --store run.db", {"ok"}),
        (f"audit --store run.db --device {DEVICE} --count 3", None),
        ("export --store run.db --out set", set(VERDICTS)),
        ("fit --store run.db --out p --model transfer", set(VERDICTS)),
        ("predict --predictor p --arch 1 --arch 15624", None),
        (
            "export --store run.db --out published ; fit published --out p-table ; "
            f"evaluate published --space {SPACE} --column latency_ms --train 24 --valid 2 --seeds 1 --model ridge ; "
            "predict --predictor p-table --arch 1 --arch 15624",
            None,
        ),
        (f"measure a.onnx b.onnx --device {DEVICE} --plan quick", None),
        (f"compare a.onnx b.onnx --device {DEVICE}", None),
        (f"profile a.onnx --device {DEVICE} --plan quick", None),
        (f"pick table.csv --accuracy top1 --latency i7_ms --target-ms 5 --models . --device {DEVICE}", None),
        ("pick table.csv --accuracy top1 --latency i7_ms --target-ms 5 --lookup i7_ms", None),
        ("pick table.csv --accuracy top1 --latency i7_ms --target-ms 5", None),
        (
            f"kernels collect a.onnx b.onnx --store kernels.db --device {DEVICE} ; "
            f"kernels fit --store kernels.db --out k ; kernels predict a.onnx --predictor k --device {DEVICE}",
            None,
        ),
        (
            f"search --space {SPACE} --predictor p --device {DEVICE} --target-ms 1 --method random_search --queries 1 "
            "--train-epochs 1 --random 1 --task synthetic --out result ; report result --out page.html",
            None,
        ),
    ],
)
def test_no_verb_tells_a_number_without_its_verdict(folder, line, verdicts):
    for each in line.split(" ; "):
        document = told(each)
        assert bare(document) == [], each
        if verdicts is not None:
            assert set(document["verdicts"]) == verdicts


@pytest.mark.promise(2)
def test_every_row_that_is_exported_bears_its_verdict_and_the_text_of_a_prediction_too(folder):
    told("export --store run.db --out rows")
    rows = pq.read_table(folder / "rows" / "data.parquet").to_pylist()
    assert {row["verdict"] for row in rows} == set(VERDICTS)
    assert bare(rows) == []
    document = told("predict --predictor p --arch 1 --arch 15624")
    assert bare(document) == []
    text = CliRunner().invoke(app, ["predict", "--predictor", "p", "--arch", "1"]).stdout
    assert all("predicted" in line or "out_of_support" in line for line in text.splitlines() if " ms " in line)


def test_the_store_holds_every_verdict(folder):
    with Store(folder / "run.db") as store:
        assert set(store.counts()) == set(VERDICTS)


def test_a_bare_number_is_seen():
    assert bare({"a": [{"latency_ms": 1.0}, {"latency_ms": 1.0, "verdict": "ok"}]}) == [".a[0].latency_ms"]
    assert bare({"found": {"measured": {"latency_ms": 1.0, "half_width": 0.1}}}) == [".found.measured.latency_ms"]
    assert bare({"target_ms": 1.0, "latency_ms": None}) == []
