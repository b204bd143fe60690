"""Networks of no space, measured: on a device whose truth is known, and once on the real one."""

import json

import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

import tempograd as tg
from tempograd.cli import app
from tempograd.data.dataset import LatencyDataset
from tempograd.data.store import Store
from tempograd.errors import InputRefusedError, UsageError
from tempograd.verbs.audit import audit
from tempograd.verbs.export import export
from tempograd.verbs.measure import measure

from ..graphs.models import convolution, make

QUIET = "simulated:noise=0.001,process_noise=0.001,sentinel_noise=0.001,slow=1,overhead_us=100"


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "small.onnx"
    path.write_bytes(convolution(sizes=("n", 3, "h", 8)).SerializeToString())
    return path


def truth_ms(sizes):
    """One inference of `convolution` by the roofline's rates: nothing but two nodes' fees counts."""
    del sizes
    return 0.2


def test_a_network_is_measured_in_three_processes_and_kept(model, tmp_path):
    store = tmp_path / "run.db"
    done = measure([model], device=QUIET, shape=["x=1x3x8x8"], store=store)
    (told,) = done.document["networks"]
    assert done.exit_code == 0
    assert told["latency_ms"] == pytest.approx(truth_ms((8, 8)), rel=0.02)
    assert told["low_ms"] <= told["latency_ms"] <= told["high_ms"]
    assert (told["processes"], told["measured"], told["verdict"]) == (3, 3, "ok")
    with Store(store) as kept:
        (row,) = kept.models()
        assert (row.name, row.key, row.source) == ("small", told["key"], str(model.resolve()))
        assert row.facts["inputs"] == [{"name": "x", "dtype": "float32", "shape": [1, 3, 8, 8]}]
        assert LatencyDataset.from_store(kept).keys == (told["key"],)


@pytest.mark.slow
def test_what_the_store_has_is_not_repeated(model, tmp_path):
    ask = {"device": QUIET, "shape": ["x=1x3x8x8"], "store": tmp_path / "run.db"}
    first = measure([model], **ask).document["networks"][0]
    again = measure([model], **ask).document["networks"][0]
    assert (again["measured"], again["processes_ms"]) == (0, first["processes_ms"])
    assert measure([model], again=True, **ask).document["networks"][0]["measured"] == 3
    other = measure([model], **ask | {"shape": ["x=1x3x16x8"]}).document["networks"][0]
    assert (other["measured"], other["key"] != first["key"]) == (3, True)


def test_the_batch_and_the_number_of_inputs_are_the_networks_own():
    add = helper.make_node("Add", ["a", "b"], ["y"])
    inputs = [("a", TensorProto.FLOAT, (7, 3)), ("b", TensorProto.FLOAT, (3,))]
    content = make([add], inputs, [("y", TensorProto.FLOAT, (7, 3))]).SerializeToString()
    assert measure([content], device=QUIET).exit_code == 0


def test_an_open_batch_runs_as_one_and_the_text_shows_the_sizes():
    inputs = [("a", TensorProto.FLOAT, ("n", 3)), ("b", TensorProto.FLOAT, (3,))]
    content = make(
        [helper.make_node("Add", ["a", "b"], ["y"])], inputs, [("y", TensorProto.FLOAT, ("n", 3))]
    ).SerializeToString()
    assert " 1x3, 3  " in measure([content], device=QUIET).text
    assert " 7x3, 3  " in measure([content], device=QUIET, shape=["a=7x3"]).text


@pytest.mark.slow
def test_of_several_networks_the_others_are_measured(model, tmp_path):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"nothing")
    done = measure([bad, model], device=QUIET, shape=["x=1x3x8x8"])
    assert done.exit_code == 6
    assert [row["verdict"] for row in done.document["networks"]] == ["refused", "ok"]
    assert "no ONNX model" in done.text
    with pytest.raises(InputRefusedError, match=r"bad.*no ONNX model"):
        measure([bad], device=QUIET)
    bad.write_bytes(b"")
    with pytest.raises(InputRefusedError, match=r"bad\.onnx: not an ONNX model: its graph has no nodes"):
        measure([bad], device=QUIET)


@pytest.mark.parametrize(
    ("given", "options", "told"),
    [
        ([], {}, "no network"),
        ([object()], {}, "object is no network"),
        ([b"x"], {"precision": "fp32", "device": "simulated:precision=fp16"}, "both name a precision"),
        ([b"x"], {"plan": "hasty"}, "unknown plan"),
        ([b"x"], {"shape": ["x"]}, "--shape x; allowed"),
    ],
)
def test_what_is_asked_wrongly_is_refused_before_anything_is_timed(given, options, told):
    with pytest.raises(UsageError, match=told):
        measure(given, **{"device": QUIET} | options)


@pytest.mark.slow
def test_a_torch_module_is_measured_in_evaluation_mode():
    import torch

    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Dropout())
    found = measure([module], device=QUIET, shape=(1, 3, 8, 8)).document["networks"][0]
    assert found["verdict"] == "ok"
    assert set(found["operators"]) <= {"Conv", "BatchNormalization"}
    assert module.training, "it is left as it was"
    with pytest.raises(UsageError, match="needs shape="):
        measure([module], device=QUIET)


def test_a_network_that_the_device_fails_on_is_a_row(model, tmp_path):
    done = measure([model], device="simulated:crash=1", shape=["x=1x3x8x8"], store=tmp_path / "run.db")
    assert done.exit_code == 6
    assert done.document["networks"][0]["failure"]["cause"] == "crashed"
    with Store(tmp_path / "run.db") as kept:
        assert [m.verdict for m in kept.measurements()] == ["quarantined"]


def test_they_are_exported_and_an_audit_says_that_it_cannot_build_them(model, tmp_path):
    store = tmp_path / "run.db"
    measure([model], device=QUIET, shape=["x=1x3x8x8"], store=store)
    assert export(store, tmp_path / "set").document["networks"] == 1
    with pytest.raises(UsageError, match="of no space only"):
        audit(store, device=QUIET)


def test_the_command_prints_the_document(model):
    done = CliRunner().invoke(
        app, ["measure", str(model), "--device", QUIET, "--shape", "x=1x3x8x8", "--plan", "quick", "--json"]
    )
    assert done.exit_code == 0
    assert json.loads(done.stdout)["networks"][0]["verdict"] == "ok"


@pytest.mark.real
def test_this_machine_tells_a_latency(model):
    assert tg.measure(model, shape=(1, 3, 8, 8), plan="quick").latency_ms > 0


def test_the_next_command_takes_what_was_measured(model, tmp_path):
    other = tmp_path / "other.onnx"
    other.write_bytes(convolution(sizes=("n", 3, 8, 8), channels=4).SerializeToString())
    gone = tmp_path / "gone.onnx"

    def following(*models, shape):
        return measure(models, device=QUIET, shape=shape).following

    at = f"--device {QUIET} --shape"
    assert following(model, other, shape=["1x3x8x8"]) == f"tempograd compare {model} {other} {at} 1x3x8x8"
    assert following(model, shape=["1,2x3x8x8"]) == f"tempograd profile {model} {at} x=1x3x8x8"
    assert following(gone, model, shape=["1x3x8x8"]) == f"tempograd profile {model} {at} x=1x3x8x8"
    assert following(gone, tmp_path / "gone too.onnx", shape=None) is None
    assert following(model, shape=["1,3,8,8"]) is None
