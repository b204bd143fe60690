from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tempograd.devices import sentinels
from tempograd.devices.runtime.engines.onnxruntime import PROVIDERS, OnnxRuntime
from tempograd.devices.runtime.packages import Package
from tempograd.devices.runtime.program import INPUTS, halved, whole
from tempograd.devices.runtime.runtime import FallbackError
from tempograd.errors import DeviceError, InputRefusedError, UsageError
from tempograd.registry import create, load

HERE = Path("/nowhere")


def model(nodes, x, y, weights=(), kind=TensorProto.FLOAT) -> bytes:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, x)],
        [helper.make_tensor_value_info("y", kind, y)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def outputs(program) -> list[np.ndarray]:
    results = []
    for _ in range(INPUTS):
        program.run()
        results.append(next(iter(program._outputs().values())).copy())
    return results


def test_it_is_in_the_registry():
    assert load("runtime", "onnxruntime") is OnnxRuntime
    runtime = create("runtime", "onnxruntime:threads=2,precision=int8-dynamic,optimisation=basic")
    assert (runtime.options["threads"], runtime.options["precision"]) == (2, "int8-dynamic")
    assert runtime.options["spinning"] is False
    assert set(runtime.versions()) == {"onnxruntime", "onnx", "numpy"}


@pytest.mark.parametrize(
    "wrong", [{"threads": 0}, {"precision": "fp64"}, {"optimisation": "O3"}, {"provider": "CPUExecutionProvider"}]
)
def test_wrong_options_are_named(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        OnnxRuntime(**wrong)


def test_an_engine_that_is_not_installed_is_an_error(monkeypatch):
    absent = Package("ONNX Runtime", ("no-such-engine",), "pip install onnxruntime")
    monkeypatch.setattr("tempograd.devices.runtime.engines.onnxruntime.PACKAGE", absent)
    with pytest.raises(DeviceError, match="pip install onnxruntime"):
        OnnxRuntime().versions()


@pytest.mark.promise(6)
@pytest.mark.fault(18)
def test_a_provider_that_is_not_there_is_an_error():
    with pytest.raises(DeviceError, match="no OpenVINOExecutionProvider"):
        OnnxRuntime(provider="openvino").start()


def test_every_node_is_counted_on_its_provider():
    program = OnnxRuntime(optimisation="none").load(sentinels.read("overhead"), HERE)
    assert program.providers == {"CPUExecutionProvider": 800}


def test_inputs_are_seeded_and_taken_in_turn():
    content = model([helper.make_node("Identity", ["x"], ["y"])], [1, 5], [1, 5])
    first, again = (outputs(OnnxRuntime().load(content, HERE)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({a.tobytes() for a in first}) == INPUTS
    assert np.abs(np.concatenate(first)).max() < 10


def test_it_computes_what_the_graph_says():
    weights = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    content = model(nodes, [1, 5], [1, 3], [numpy_helper.from_array(weights, "w")])
    inputs = outputs(OnnxRuntime().load(model([helper.make_node("Identity", ["x"], ["y"])], [1, 5], [1, 5]), HERE))
    for x, y in zip(inputs, outputs(OnnxRuntime().load(content, HERE)), strict=True):
        np.testing.assert_allclose(y, x @ weights, rtol=1e-5)
    for x, y in zip(inputs, outputs(OnnxRuntime(precision="int8-dynamic").load(content, HERE)), strict=True):
        np.testing.assert_allclose(y, x @ weights, atol=0.15)
        assert not np.array_equal(y, x @ weights)


@pytest.mark.parametrize("precision", ["int8-static", "int8-dynamic"])
def test_int8_where_nothing_can_be_quantised_is_refused(precision):
    with pytest.raises(InputRefusedError, match="nothing in this network can be quantised"):
        OnnxRuntime(precision=precision).load(model([helper.make_node("Relu", ["x"], ["y"])], [1, 4], [1, 4]), HERE)


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_other_element_types(kind):
    program = OnnxRuntime().load(model([helper.make_node("Identity", ["x"], ["y"])], [1, 4], [1, 4], kind=kind), HERE)
    program.run()
    assert program.invalid_output() is None


def test_what_it_cannot_feed_is_refused():
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    with pytest.raises(InputRefusedError, match=r"input 'x' is tensor\(string\)"):
        OnnxRuntime().load(model(nodes, [1, 4], [1, 4], kind=TensorProto.STRING), HERE)
    with pytest.raises(InputRefusedError, match="every size must be fixed"):
        OnnxRuntime().load(model([helper.make_node("Relu", ["x"], ["y"])], ["n", 4], ["n", 4]), HERE)


def test_an_output_of_unknown_rank_is_allocated_by_each_run():
    """ONNX Runtime tells its shape as [], as a scalar's: memory bound for that would not fit."""
    value = helper.make_tensor_value_info
    carried = [
        value("i", TensorProto.INT64, ()),
        value("go", TensorProto.BOOL, ()),
        value("a", TensorProto.FLOAT, None),
    ]
    nodes = [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["a", "a"], ["b"])]
    ends = [value("on", TensorProto.BOOL, ()), value("b", TensorProto.FLOAT, None)]
    body = helper.make_graph(nodes, "body", carried, ends)
    loop = helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)
    n = numpy_helper.from_array(np.array(3), "n")
    graph = helper.make_graph(
        [loop], "g", [value("x", TensorProto.FLOAT, (1, 4))], [value("y", TensorProto.FLOAT, None)], [n]
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    y, *_ = outputs(OnnxRuntime().load(content, HERE))
    assert y.shape == (1, 4)


def test_what_it_cannot_build_is_refused():
    with pytest.raises(InputRefusedError, match="ONNX Runtime refuses"):
        OnnxRuntime().load(model([helper.make_node("NoSuchOperator", ["x"], ["y"])], [1, 4], [1, 4]), HERE)


def test_outputs_that_are_not_finite_are_seen():
    program = OnnxRuntime().load(model([helper.make_node("Log", ["x"], ["y"])], [1, 64], [1, 64]), HERE)
    program.run()
    assert "of 64 values not finite" in program.invalid_output()


@pytest.mark.parametrize("precision", ["fp32", "int8-dynamic", "int8-static"])
def test_external_weights_are_read_from_the_folder(tmp_path, precision):
    weights = np.arange(4, dtype=np.float32)
    (tmp_path / "w.bin").write_bytes(weights.tobytes())
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="w.bin")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    result = outputs(OnnxRuntime(precision=precision).load(model(nodes, [1, 2], [1, 2], [tensor]), tmp_path))[0][0]
    x = outputs(OnnxRuntime().load(model([helper.make_node("Identity", ["x"], ["y"])], [1, 2], [1, 2]), HERE))[0][0]
    np.testing.assert_allclose(result, x @ weights.reshape(2, 2), atol=0.05)


def test_the_check_of_int8_sees_the_quantised_graph():
    program = OnnxRuntime(precision="int8-dynamic").load(sentinels.read("convolution", small=True), HERE)
    nodes = len(ModelProto.FromString(sentinels.read("convolution")).graph.node)
    assert sum(program.providers.values()) > nodes


@pytest.mark.real
def test_denormals_are_flushed_and_torch_is_never_imported():
    """In a fresh process: the first session decides for its main thread."""
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        import numpy as np
        import tempograd.devices.worker
        from tempograd.devices import sentinels
        from tempograd.devices.runtime.engines.onnxruntime import OnnxRuntime
        from onnx import TensorProto, helper, numpy_helper

        def info(name):
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 16])

        runtime = OnnxRuntime()
        runtime.start()
        runtime.load(sentinels.read("overhead"), Path.cwd()).run()
        tiny = numpy_helper.from_array(np.full((1, 16), 1e-38, np.float32), "tiny")
        small = numpy_helper.from_array(np.full((1, 16), 1e-3, np.float32), "small")
        nodes = [
            helper.make_node("Sigmoid", ["x"], ["s"]),
            helper.make_node("Mul", ["s", "tiny"], ["t"]),
            helper.make_node("Mul", ["t", "small"], ["u"]),
            helper.make_node("Mul", ["u", "big"], ["y"]),
        ]
        big = numpy_helper.from_array(np.full((1, 16), 1e38, np.float32), "big")
        graph = helper.make_graph(nodes, "net", [info("x")], [info("y")], [tiny, small, big])
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        program = runtime.load(made.SerializeToString(), Path.cwd())
        program.run()
        print(np.abs(program._outputs()["y"]).max(), "torch" in sys.modules)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["0.0", "False"]


def network(spec: str, folder: Path, batch: int = 1) -> bytes:
    space = create("space", spec)
    (chosen,) = space.sample(1, np.random.default_rng(0))
    return space.write_onnx(chosen, folder, batch=batch)[0].read_bytes()


SPACES = ("nasbench201:cells=1,width=8,size=16", "darts:layers=3,width=4,size=16")


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPACES)
@pytest.mark.parametrize(("threads", "batch"), [(1, 1), (2, 4)])
@pytest.mark.parametrize("precision", ["int8-static", "int8-dynamic"])
def test_int8_is_close_to_fp32_and_runs_integer_kernels(tmp_path, spec, threads, batch, precision):
    content = network(spec, tmp_path, batch)
    exact = np.stack(outputs(OnnxRuntime(threads=threads).load(content, tmp_path)))
    program = OnnxRuntime(threads=threads, precision=precision).load(content, tmp_path)
    found = np.stack(outputs(program))
    assert 1e-6 < np.linalg.norm(found - exact) / np.linalg.norm(exact) < 0.15
    kind = "QLinearConv" if precision == "int8-static" else "ConvInteger"
    assert program.kernels[kind] > 2 * program.kernels.get("Conv", 0)
    assert precision == "int8-dynamic" or "Conv" not in program.kernels
    assert program.providers.keys() == {"CPUExecutionProvider"}


@pytest.mark.parametrize("optimisation", ["none", "basic"])
def test_int8_static_where_no_level_would_make_it_integer_is_refused(optimisation):
    with pytest.raises(UsageError, match="in floating point; allowed: extended, all"):
        OnnxRuntime(precision="int8-static", optimisation=optimisation)


def test_int8_on_a_provider_that_hides_its_kernels_is_refused():
    with pytest.raises(UsageError, match="allowed: provider=cpu, or precision=fp32"):
        OnnxRuntime(precision="int8-static", provider="openvino")


def test_quantising_is_the_same_every_time_and_leaves_no_file(tmp_path, monkeypatch):
    content = network(SPACES[0], tmp_path)
    before = sorted(tmp_path.iterdir())
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.chdir(scratch)
    first, again = (outputs(OnnxRuntime(precision="int8-static").load(content, tmp_path)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert list(scratch.iterdir()) == []
    assert sorted(tmp_path.iterdir()) == sorted([*before, scratch])


def test_what_the_options_state_is_what_a_session_gets():
    runtime = OnnxRuntime(threads=2, optimisation="basic")
    set_ = runtime._session_options(HERE, runtime.options["optimisation"])
    assert set_.intra_op_num_threads == runtime.options["threads"] == 2
    assert set_.inter_op_num_threads == 1
    assert set_.graph_optimization_level.name == "ORT_ENABLE_BASIC"
    assert runtime.options["spinning"] is False
    assert set_.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert set_.get_session_config_entry("session.inter_op.allow_spinning") == "0"
    assert runtime.options["denormals"] == "zero"
    assert set_.get_session_config_entry("session.set_denormal_as_zero") == "1"


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_gpu_that_is_not_there_is_one_clear_message_with_the_next_step(provider):
    with pytest.raises(DeviceError) as refused:
        create("device", f"local:provider={provider}").open()
    if "CUDAExecutionProvider" in available_providers():
        assert "no NVIDIA GPU" in str(refused.value)
    else:
        assert re.search(r"has no \w+ExecutionProvider; it has .*CPU.*pip install onnxruntime-gpu", str(refused.value))


def available_providers() -> list[str]:
    import onnxruntime

    return onnxruntime.get_available_providers()


@pytest.fixture
def takes_nothing(monkeypatch):
    """A provider that is in every build and computes no node of ours: each falls back to the CPU, really."""
    name = "AzureExecutionProvider"
    if name not in available_providers():
        pytest.skip(f"this ONNX Runtime has no {name}")
    monkeypatch.setitem(PROVIDERS, "azure", name)
    return "azure"


@pytest.mark.promise(6)
@pytest.mark.fault(18)
def test_a_fallback_is_an_error_unless_it_is_allowed_and_then_counted(takes_nothing):
    with pytest.raises(FallbackError):
        OnnxRuntime(provider=takes_nothing).load(sentinels.read("overhead"), HERE)
    runtime = OnnxRuntime(provider=takes_nothing, optimisation="none", allow_fallback=True)
    assert runtime.options["allow_fallback"] is True
    program = runtime.load(sentinels.read("overhead"), HERE)
    assert program.providers == {"CPUExecutionProvider": 800}


def test_the_networks_that_run_in_float16_are_float16_throughout(tmp_path):
    content = whole(network(SPACES[0], tmp_path), tmp_path)
    halves = halved(content)
    assert {t.data_type for t in halves.graph.initializer} <= {TensorProto.FLOAT16, TensorProto.INT64}
    assert halves.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT16
    exact = OnnxRuntime().load(content.SerializeToString(), tmp_path)
    half = OnnxRuntime().load(halves.SerializeToString(), tmp_path)  # the CPU computes it too, by casting
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    assert np.linalg.norm(half.compute(x) - exact.compute(x)) < 1e-2 * np.linalg.norm(exact.compute(x))


@pytest.mark.parametrize(
    "wrong", [{"precision": "fp16"}, {"cuda_graph": True}, {"cuda_graph": True, "provider": "openvino"}]
)
def test_what_only_a_gpu_does_is_refused_elsewhere(wrong):
    with pytest.raises(UsageError, match="provider=cuda or tensorrt"):
        OnnxRuntime(**wrong)


def test_for_tensorrt_only_what_multiplies_is_quantised_signed_and_without_zero_points(tmp_path):
    space = create("space", "nasbench201:cells=1,width=4,size=8")
    network = whole(space.write_onnx(space.from_key("3.3.3.3.3.3"), tmp_path)[0].read_bytes(), tmp_path)
    found = create("runtime", "onnxruntime").for_tensorrt(network)
    fed_by = {output: node.op_type for node in found.graph.node for output in node.output}
    multiplying = [node for node in found.graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(multiplying) > 5
    assert {fed_by[name] for node in multiplying for name in node.input[:2]} == {"DequantizeLinear"}
    points = [numpy_helper.to_array(t) for t in found.graph.initializer if "zero_point" in t.name]
    assert points
    assert all(point.dtype == np.int8 and not point.any() for point in points)
