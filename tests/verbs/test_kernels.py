"""Kernels learnt from some networks, and another network predicted, on a device whose truth is known."""

import json
from dataclasses import replace

import pytest
from onnx import helper
from typer.testing import CliRunner

from tempograd.cli import app
from tempograd.data.store import Store
from tempograd.devices.places.simulated import SimulatedDevice
from tempograd.errors import InputRefusedError, MismatchError, UsageError
from tempograd.profiler.kernels import samples_of
from tempograd.verbs.audit import audit
from tempograd.verbs.export import export
from tempograd.verbs.kernels import collect, fit, predict
from tempograd.verbs.measure import measure

from ..graphs.models import convolution

DEVICE = "simulated:noise=0.002,process_noise=0.002,sentinel_noise=0.002,slow=1,overhead_us=20"


STAGES = []  # told while the networks of `learnt` were timed


def content(channels, size):
    return convolution(sizes=(1, 3, size, size), channels=channels).SerializeToString()


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """A store of kernels of a dozen networks, and the predictor learnt from it."""
    folder = tmp_path_factory.mktemp("kernels")
    given = [content(channels, size) for channels in (8, 16, 32, 64) for size in (16, 32, 64)]
    STAGES.clear()
    collected = collect(given, folder / "kernels.db", device=DEVICE, progress=lambda stage, *_: STAGES.append(stage))
    return folder, collected, fit(folder / "kernels.db", folder / "kernels")


def test_each_kernel_is_timed_alone_once_and_what_is_there_is_not_repeated(learnt):
    folder, collected, _ = learnt
    assert collected.exit_code == 0
    assert collected.document["kernels"] == 24, "12 convolutions and 12 rectifiers"
    assert list(dict.fromkeys(STAGES)) == ["timing kernels", "timing networks"]
    again = collect([content(8, 16)], folder / "kernels.db", device=DEVICE)
    assert again.text.splitlines()[1].startswith("measured: nothing was left to measure; in ")


def test_each_network_keeps_what_its_kernels_took_as_it_was_watched_itself(tmp_path, monkeypatch):
    """The same kernel takes longer where another network leaves it less of the caches."""
    one, other = (convolution(sizes=(1, 3, 16, 16), channels=8) for _ in range(2))
    other.graph.node.append(helper.make_node("Neg", ["y"], ["z"], "negated"))
    other.graph.output[0].name = "z"
    factors, watched = iter((1.0, 3.0)), SimulatedDevice.profile

    def slower(device, model, *, seconds=0.0):
        found, factor = watched(device, model), next(factors)
        return replace(found, kernels=tuple(replace(kernel, ms=factor * kernel.ms) for kernel in found.kernels))

    monkeypatch.setattr(SimulatedDevice, "profile", slower)
    collect([each.SerializeToString() for each in (one, other)], tmp_path / "kernels.db", device=DEVICE)
    with Store(tmp_path / "kernels.db") as store:
        bags = sorted((bag.kernels for bag in samples_of(store, None)[1]), key=len)
    fast, slow = ({kernel.signature: kernel.ms for kernel in kernels} for kernels in bags)
    assert len(fast) == 2
    assert {name: slow[name] for name in fast} == pytest.approx({name: 3 * ms for name, ms in fast.items()})


@pytest.mark.slow
def test_networks_left_out_judge_the_sums(learnt):
    _, _, fitted = learnt
    found = fitted.document
    assert found["networks"] == len(found["left_out_error"]) == 12
    assert found["families"] == {"convolution": 12, "elementwise": 12}
    assert found["coverage"] == pytest.approx(12 / 13)
    assert found["fees"]["dispatch_ms"] == pytest.approx(0.02, rel=0.2)
    assert max(found["left_out_error"]) < 0.5


@pytest.mark.slow
def test_a_network_that_was_not_seen_is_predicted_near_its_measured_time(learnt):
    folder, _, _ = learnt
    other = content(48, 48)
    told = predict(other, folder / "kernels", device=DEVICE)
    truth = measure([other], device=DEVICE).document["networks"][0]["latency_ms"]
    assert told.exit_code == 0
    assert told.document["verdict"] == "predicted"
    assert told.document["latency_ms"] == pytest.approx(truth, rel=0.15)
    assert told.document["low_ms"] <= truth <= told.document["high_ms"]
    assert {one["how"] for one in told.document["kernels"]} == {"predicted"}


@pytest.mark.slow
def test_kernels_of_a_network_that_was_seen_are_those_measured(learnt):
    folder, _, _ = learnt
    assert {one["how"] for one in predict(content(8, 16), folder / "kernels", device=DEVICE).document["kernels"]} == {
        "measured"
    }


def test_what_is_unlike_all_that_was_timed_is_named_and_never_free(learnt):
    folder, _, _ = learnt
    told = predict(content(2048, 64), folder / "kernels", device=DEVICE)
    assert told.exit_code == 3
    assert told.document["verdict"] == "out_of_support"
    assert "conv" in told.document["out_of_support"]
    assert all(one["ms"] > 0 for one in told.document["kernels"])


def test_a_predictor_is_of_one_device(learnt, tmp_path):
    folder, _, _ = learnt
    with pytest.raises(MismatchError, match="is of device"):
        predict(content(8, 16), folder / "kernels", device=DEVICE + ",seed=9")
    with pytest.raises(InputRefusedError, match="holds no predictor of kernels"):
        predict(content(8, 16), tmp_path, device=DEVICE)
    with pytest.raises(UsageError, match="no network"):
        collect([], tmp_path / "run.db", device=DEVICE)


def test_rows_of_kernels_are_of_no_space_and_are_exported_by_name(learnt, tmp_path):
    folder, _, _ = learnt
    assert export(folder / "kernels.db", tmp_path / "set", space="#kernels").document["networks"] == 26
    with pytest.raises(UsageError, match="of no space only"):
        audit(folder / "kernels.db", device=DEVICE)


@pytest.mark.slow
def test_kernels_of_a_space_are_sampled_and_no_more_than_asked_are_timed(tmp_path):
    ask = {"space": "nasbench201:cells=1,width=4,size=8", "networks": 3, "device": DEVICE}
    found = collect([], tmp_path / "run.db", limit=10, **ask).document
    assert found["kernels"] == 10
    assert len(found["networks"]) == 3
    fitted = fit(tmp_path / "run.db", tmp_path / "kernels", source=None).document
    assert (fitted["kernels"], fitted["networks"]) == (10, 3), "the others are predicted in whole networks"
    helped = fit(tmp_path / "run.db", tmp_path / "other", source=tmp_path / "kernels").document
    assert helped["source"], "the same device tells its own times best"


def test_the_commands(learnt, tmp_path):
    folder, _, _ = learnt
    (tmp_path / "new.onnx").write_bytes(content(40, 32))
    ask = ["kernels", "predict", str(tmp_path / "new.onnx"), "--predictor", str(folder / "kernels"), "--device", DEVICE]
    done = CliRunner().invoke(app, [*ask, "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["latency_ms"] > 0
    again = ["kernels", "fit", "--store", str(folder / "kernels.db"), "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(app, again).exit_code == 0


def test_the_next_command_is_one_that_works(tmp_path):
    store = tmp_path / "few.db"
    few = collect([content(8, 16)], store, device=DEVICE)
    assert few.following == f"tempograd kernels collect OTHER.onnx --store {store} --device {DEVICE}"
    with pytest.raises(UsageError, match=r"^\d kernels were timed; allowed: 10 or more.*kernels collect"):
        fit(store, tmp_path / "kernels")
    enough = collect([content(channels, 32) for channels in (8, 16, 32, 64)], store, device=DEVICE)
    assert enough.following == f"tempograd kernels fit --store {store} --out kernels/"
    assert fit(store, tmp_path / "kernels").document["kernels"] == 10
