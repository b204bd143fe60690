"""Networks compared: in one run, on several devices, and with what was measured before."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from tempograd.cli import app
from tempograd.data.store import Store
from tempograd.errors import InputRefusedError, MismatchError, UsageError
from tempograd.profiler import compare as compared
from tempograd.verbs.compare import compare
from tempograd.verbs.measure import measure

from ..graphs.models import convolution

QUIET = "simulated:noise=0.001,process_noise=0.001,sentinel_noise=0.001,slow=1,overhead_us=10"


@pytest.fixture
def files(tmp_path):
    """Networks of rising cost: a, b, c."""
    found = {}
    for name, channels in (("a", 16), ("b", 32), ("c", 64)):
        found[name] = tmp_path / f"{name}.onnx"
        found[name].write_bytes(convolution(sizes=(1, 3, 32, 32), channels=channels).SerializeToString())
    return found


@pytest.mark.slow
def test_all_are_compared_with_the_first(files, tmp_path):
    done = compare([files["b"], files["a"], files["c"]], devices=[QUIET], store=tmp_path / "run.db")
    rows = done.document["networks"]
    assert done.exit_code == 0
    assert [row["difference"] and row["difference"]["side"] for row in rows] == [None, "faster", "slower"]
    assert "slower by " in done.text
    assert rows[0]["inputs"][0]["shape"][0] == 1
    for row, line in zip(rows, done.text.splitlines()[1:], strict=False):
        assert f"{row['low_ms']:.4g} .. {row['high_ms']:.4g}" in line
        assert row["verdict"] in line.split()
    with Store(tmp_path / "run.db") as kept:
        assert [row.name for row in kept.models()] == ["b", "a", "c"]


def test_a_page_has_the_networks_and_their_kernels_before_and_after(files, tmp_path):
    out = tmp_path / "page.html"
    out.write_text("mine")
    with pytest.raises(UsageError):
        compare([files["a"], files["c"]], devices=[QUIET], out=out)
    out.unlink()
    done = compare([files["a"], files["c"]], devices=[QUIET], out=out)
    page = out.read_text()
    rows = done.document["networks"]
    assert rows[1]["difference"]["text"] in page
    for cell in ("convolution", "elementwise", "Before and after"):
        assert cell in page
    assert "http" not in page.replace("http-equiv", "")
    assert done.document["page"] == str(out)
    assert compare([files["a"], files["c"]], devices=[QUIET], out=out).exit_code == 0, "its own page is written anew"


def test_an_interval_in_which_anything_could_hide_ends_with_three(files):
    wild = "simulated:process_noise=0.3,slow=1"
    done = compare([files["a"], files["a"]], devices=[wild], budget_s=0.001)
    assert done.exit_code == 3
    assert not done.document["networks"][1]["difference"]["answered"]
    assert "the budget of 0.001 s ended" in done.text
    assert (done.document["ended"], "processes ended" in done.text) == ("budget", False)


def test_where_the_processes_ended_no_larger_budget_is_advised(files, monkeypatch):
    monkeypatch.setattr(compared, "LOOKS", (4,))
    done = compare([files["a"], files["a"]], devices=["simulated:process_noise=0.3,slow=1"])
    assert done.document["ended"] == "processes"
    assert "processes: 4, in" in done.text
    assert "the most there are" in done.text
    assert "budget" not in done.text


def test_one_device_given_twice_is_refused(files):
    with pytest.raises(UsageError, match="are one and the same; allowed: devices that differ"):
        compare([files["a"]], devices=[QUIET, QUIET])
    with pytest.raises(UsageError, match="are one and the same"):
        compare([files["a"]], devices=["simulated", "simulated:seed=0"])


@pytest.mark.slow
def test_the_same_network_twice_shows_no_difference(files):
    rows = compare([files["a"], files["a"]], devices=[QUIET]).document["networks"]
    assert [row["name"] for row in rows] == ["a", "a #2"]
    assert rows[1]["difference"]["side"] == "none"


@pytest.mark.slow
def test_one_network_on_two_devices(files):
    rows = compare([files["a"]], devices=[QUIET, QUIET + ",gflops=5,gbps=1"]).document["networks"]
    assert rows[1]["difference"]["side"] == "slower"
    assert not rows[1]["difference"]["paired"]
    assert rows[0]["name"] != rows[1]["name"]


@pytest.mark.slow
def test_the_gate_fails_where_the_network_is_slower_than_its_baseline_by_more_than_allowed(files):
    ask = {"devices": [QUIET]}
    assert compare([files["b"]], baseline=files["a"], **ask).exit_code == 8
    assert compare([files["b"]], baseline=files["a"], tolerance=10.0, **ask).exit_code == 0
    better = compare([files["a"]], baseline=files["b"], **ask)
    assert (better.exit_code, better.document["gate"]["verdict"]) == (0, "pass")


@pytest.mark.slow
def test_the_gate_reads_what_was_measured_before_under_the_same_name(files, tmp_path):
    store = tmp_path / "base.db"
    measure([files["a"]], device=QUIET, store=store)
    assert compare([files["a"]], devices=[QUIET], baseline=store).exit_code == 0
    files["a"].write_bytes(files["c"].read_bytes())
    failed = compare([files["a"]], devices=[QUIET], baseline=store)
    assert failed.exit_code == 8
    assert "FAIL: a against" in failed.text
    with pytest.raises(MismatchError, match=r"holds no latency of 'b' on this device .* it holds a"):
        compare([files["b"]], devices=[QUIET], baseline=store)
    with Store(store, write=True) as kept:
        row = next(iter(kept.models()))
        kept.add_model(replace(row, key="f" * 16, name="never_timed"))
    with pytest.raises(MismatchError, match=r"it holds a\. Measure"):
        compare([files["b"]], devices=[QUIET], baseline=store)
    with pytest.raises(MismatchError, match="are of device"):
        compare([files["a"]], devices=[QUIET + ",seed=9"], baseline=store)


@pytest.mark.parametrize(
    ("given", "options", "told"),
    [
        ([], {}, "no network"),
        (["a"], {}, "one network alone"),
        (["a", "b"], {"tolerance": -1.0}, "tolerance"),
        (["a", "b"], {"devices": ["nowhere"]}, "unknown device"),
    ],
)
def test_what_is_asked_wrongly_is_refused(files, given, options, told):
    with pytest.raises(UsageError, match=told):
        compare([files[name] for name in given], **{"devices": [QUIET]} | options)


def test_a_baseline_that_is_not_there_is_refused_with_all_that_it_may_be(files):
    with pytest.raises(InputRefusedError, match=r"--baseline no\.db is not there; .*ONNX file.*network\.onnx.*store"):
        compare([files["b"]], devices=[QUIET], baseline="no.db")


@pytest.mark.slow
def test_a_network_that_is_refused_is_named(files, tmp_path):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"nothing")
    with pytest.raises(InputRefusedError, match=r"bad.*no ONNX model"):
        compare([files["a"], bad], devices=[QUIET])


@pytest.mark.slow
def test_the_command_ends_with_eight(files):
    done = CliRunner().invoke(
        app, ["compare", str(files["c"]), "--baseline", str(files["a"]), "--device", QUIET, "--json"]
    )
    assert done.exit_code == 8
    assert json.loads(done.stdout)["gate"]["verdict"] == "fail"
