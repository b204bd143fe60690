"""Kernels of a network: by ONNX Runtime, watched, and on a device whose truth is known."""

import json
import re
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

import tempograd as tg
from tempograd.cli import app
from tempograd.devices.device import Model
from tempograd.errors import InputRefusedError, UsageError
from tempograd.graphs.standalone import alone
from tempograd.verbs.profile import profile, text_of

from ..graphs.models import convolution, make

QUIET = "simulated:noise=0.001,process_noise=0.001,sentinel_noise=0.001,slow=1,overhead_us=100"


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "small.onnx"
    path.write_bytes(convolution(sizes=(1, 3, 32, 32), channels=16).SerializeToString())
    return path


@pytest.mark.real
@pytest.mark.parametrize(("name", "macs"), [("squeezenet", 349e6), ("shufflenet", 124e6)])  # of the papers' networks
def test_onnx_runtime_tells_one_kernel_for_every_node_that_runs(name, macs):
    path = Path(onnx.__path__[0], f"backend/test/data/light/light_{name}.onnx")
    watched = Model(name, path, sha256(path.read_bytes()).hexdigest(), own_batch=True)
    found = tg.device("local").profile(watched, seconds=0.1)
    assert len({one.name for one in found.kernels}) == len(found.kernels)
    assert sum(one.macs for one in found.kernels) == pytest.approx(macs, rel=0.05)
    assert all(one.origin for one in found.kernels if one.op.endswith("Conv"))


@pytest.mark.slow
def test_the_page_loads_nothing_and_shows_every_kernel(model, tmp_path):
    told = profile(model, device=QUIET, out=tmp_path / "page.html").document["kernels"]
    page = (tmp_path / "page.html").read_text()
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    assert page.count("<title>") >= 1 + len(told)


def test_kernels_times_are_shares_of_the_undisturbed_time(model):
    found = profile(model, device=QUIET).document
    by_name = {one["name"]: one for one in found["kernels"]}
    assert found["verdict"] == "ok"
    assert by_name["conv"]["share"] == pytest.approx(by_name["conv"]["ms"] / found["latency_ms"])
    assert by_name["conv"]["bound"] in ("arithmetic", "bandwidth", "dispatch")
    assert by_name["conv"]["macs"] == 32 * 32 * 16 * 27
    assert by_name["relu"]["bound"] == "dispatch"
    assert found["rates"]["gmacs"] == pytest.approx(25, rel=0.1), "the roofline's 50 GFLOP/s"
    assert found["rates"]["gbps"] == pytest.approx(10, rel=0.1)
    assert found["rates"]["dispatch_us"] == pytest.approx(100, rel=0.1)
    assert "too small to matter" in found["advice"][0]["text"]


def test_the_text_is_readable_in_sixty_columns(model):
    lines = profile(model, device=QUIET).text.splitlines()
    assert max(map(len, lines)) <= 60
    assert any("Conv conv" in line for line in lines)


def branched():
    def branch(kind):
        node = helper.make_node(kind, ["x"], ["out"])
        return helper.make_graph([node], kind, [], [helper.make_tensor_value_info("out", TensorProto.FLOAT, (2,))])

    chosen = helper.make_node("If", ["c"], ["y"], then_branch=branch("Relu"), else_branch=branch("Sigmoid"))
    inputs = [("x", TensorProto.FLOAT, (2,)), ("c", TensorProto.BOOL, ())]
    return make([chosen], inputs, [("y", TensorProto.FLOAT, (2,))]).SerializeToString()


@pytest.mark.real
def test_control_flow_cannot_be_seen_through():
    with pytest.raises(InputRefusedError, match=r"If \(node ''\) holds graphs of its own"):
        profile(branched())


@pytest.mark.real
def test_a_runtime_that_tells_no_kernels_says_so(model, tmp_path):
    with pytest.raises(InputRefusedError, match="does not tell its kernels"):
        profile(model, device="local:runtime=torch", store=tmp_path / "run.db")
    assert not (tmp_path / "run.db").exists()


@pytest.mark.real
@pytest.mark.slow
def test_litert_tells_its_kernels_and_that_it_timed_them_alone(model):
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed: pip install 'tempograd[litert]'")
    watched = Model("small", model, sha256(model.read_bytes()).hexdigest(), own_batch=True)
    found = tg.device("local:runtime=litert").profile(watched, seconds=0.1)
    assert found.alone
    assert found.unseen == ()
    (kernel,) = found.kernels
    assert (kernel.op, kernel.attributes["fused"], kernel.provider) == ("Conv", ["Relu"], "XNNPACK CONV_2D")
    assert kernel.ms > 0


def test_where_kernels_were_timed_alone_the_text_says_so_and_which_could_not_be():
    kernels = [{"name": "k", "op": "Conv", "ms": 2.0, "share": 1.0, "macs": 1, "bound": "dispatch", "of_best": None,
                "origin": [], "inputs": [], "outputs": [], "attributes": {}}]  # fmt: skip
    told = {
        "name": "n", "latency_ms": 2.0, "low_ms": 1.9, "high_ms": 2.1, "verdict": "ok", "kernels": kernels, "nodes": 1,
        "families": [], "rates": {"gmacs": 1.0, "gbps": 1.0, "dispatch_us": 1.0}, "advice": [], "watched_sum_ms": 3.0,
        "alone": True, "unseen": ["odd"],
    }  # fmt: skip
    text = text_of(told)
    assert "each kernel was timed alone" in text
    assert "1.50 times" in text
    assert "odd" in text
    assert "timed alone" not in text_of(told | {"alone": False, "unseen": []})


@pytest.mark.real
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_product_without_a_bias_is_told_with_what_it_reads(runtime, tmp_path):
    """OpenVINO gives it a third input of no type, in place of the bias that it has not."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", (1, 49, 16)), ("y", (1, 49, 32)))]
    weight = numpy_helper.from_array(np.ones((16, 32), np.float32), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "product", ends[:1], ends[1:], [weight])
    path = tmp_path / "product.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    watched = Model("net", path, sha256(path.read_bytes()).hexdigest(), own_batch=True)
    kernels = tg.device(f"local:runtime={runtime}").profile(watched, seconds=0.0).kernels
    (product,) = (one for one in kernels if one.macs)
    assert product.macs == 49 * 16 * 32
    assert [one.dtype for one in product.inputs] == ["float32", "float32"]
    assert product.read_bytes == 4 * (49 * 16 + 16 * 32)


@pytest.mark.real
def test_openvino_tells_its_kernels_and_the_nodes_that_each_of_them_computes():
    name = "shufflenet"
    path = Path(onnx.__path__[0], f"backend/test/data/light/light_{name}.onnx")
    watched = Model(name, path, sha256(path.read_bytes()).hexdigest(), own_batch=True)
    found = tg.device("local:runtime=openvino").profile(watched, seconds=0.1)
    assert sum(one.macs for one in found.kernels) == pytest.approx(124e6, rel=0.05)
    assert all(one.origin for one in found.kernels if one.op == "Conv")
    assert sum(alone(one) is not None for one in found.kernels) > 0.7 * len(found.kernels)
    with pytest.raises(InputRefusedError, match=r"If \(node ''\) holds graphs of its own"):
        profile(branched(), device="local:runtime=openvino")


def test_what_is_asked_wrongly_is_refused_first(model, tmp_path):
    (tmp_path / "mine.html").write_text("my own page")
    with pytest.raises(UsageError, match=r"mine\.html"):
        profile(model, device=QUIET, out=tmp_path / "mine.html")
    with pytest.raises(UsageError, match="no network"):
        profile(3, device=QUIET)
    with pytest.raises(InputRefusedError, match="no ONNX model"):
        profile(b"nothing", device=QUIET)


def test_the_command_prints_the_document(model):
    done = CliRunner().invoke(app, ["profile", str(model), "--device", QUIET, "--json"])
    assert done.exit_code == 0
    assert {"kernels", "families", "rates", "advice", "latency_ms"} <= json.loads(done.stdout).keys()
