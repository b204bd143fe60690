"""The half of TensorRT-RTX that needs no GPU, for real, in a child process: parse, configure, build, serialise.

It runs where the extra ``tensorrt-rtx`` is installed. Nothing here pretends to be TensorRT or a GPU.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from importlib.util import find_spec

import pytest

from tempograd.devices.runtime import cuda
from tempograd.devices.runtime.packages import UnusableError
from tempograd.errors import UsageError
from tempograd.registry import create, load

needs_rtx = pytest.mark.skipif(
    not find_spec("tensorrt_rtx_bindings"),
    reason="TensorRT-RTX is not installed: pip install 'tempograd[tensorrt-rtx]'",
)


def in_child(script: str) -> dict:
    head = """
        import json, tempfile
        from pathlib import Path
        import numpy as np
        from onnx import TensorProto, helper
        from tempograd.devices.runtime.program import halved, whole
        from tempograd.devices.runtime.tensorrt import Builder
        from tempograd.errors import InputRefusedError, UnknownNameError
        from tempograd.registry import create
        import tensorrt_rtx_bindings as trt

        def network(spec):
            space = create("space", spec)
            (chosen,) = space.sample(1, np.random.default_rng(0))
            folder = Path(tempfile.mkdtemp())
            return whole(space.write_onnx(chosen, folder, batch=1)[0].read_bytes(), folder)

        builder = Builder(trt, level=0)
    """
    code = textwrap.dedent(head) + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@needs_rtx
def test_networks_are_parsed_and_built_ahead_of_time_for_other_gpus():
    found = in_child("""
        spec = "nasbench201:cells=1,width=4,size=8"
        plans = {c: len(builder.build(network(spec), capability=c)[0]) for c in ("SM80", "SM86", "SM89", "SM120")}
        for spec in (
            "darts:layers=3,width=4,size=8",
            "mbconv:family=fbnetv2,size=8,classes=5,width=0.5,stages=3,layers=2,width_options=3,resolution_options=3",
        ):
            plans[spec] = len(builder.build(network(spec), capability="SM86")[0])
        plans["fp16"] = len(builder.build(halved(network("nasbench201:cells=1,width=4,size=8")), capability="SM86")[0])
        print(json.dumps(plans))
    """)
    assert len(found) == 7
    assert min(found.values()) > 10_000


@needs_rtx
def test_int8_networks_are_built_from_ranges_of_seeded_inputs():
    found = in_child("""
        import onnxruntime
        model = network("nasbench201:cells=1,width=16,size=16")
        int8 = create("runtime", "onnxruntime").for_tensorrt(model)
        parsed = builder._builder.create_network(builder._flags())
        assert trt.OnnxParser(parsed, builder.logger).parse(int8.SerializeToString())
        layers = [parsed.get_layer(i) for i in range(parsed.num_layers)]
        x = np.random.default_rng(5).standard_normal((1, 3, 16, 16)).astype(np.float32)
        sessions = [onnxruntime.InferenceSession(m.SerializeToString()) for m in (model, int8)]
        whole_output, output = (s.run(None, {s.get_inputs()[0].name: x})[0] for s in sessions)
        print(json.dumps({
            "convolutions": sum(node.op_type == "Conv" for node in int8.graph.node),
            "eight_bit": sum(layer.get_output(0).dtype == trt.DataType.INT8 for layer in layers),
            "plan": len(builder.build(int8, capability="SM86")[0]),
            "apart": float(np.abs(output - whole_output).max() / np.abs(whole_output).max()),
        }))
    """)
    assert found["eight_bit"] >= 2 * found["convolutions"] > 6  # the input and the weight of each
    assert found["plan"] > 10_000
    assert 0 < found["apart"] < 0.1


@needs_rtx
def test_what_it_cannot_parse_is_a_refusal_with_the_librarys_reason():
    found = in_child("""
        info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "xy"]
        graph = helper.make_graph([helper.make_node("NoSuchOperator", ["x"], ["y"])], "net", info[:1], info[1:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        told = []
        for arguments, kind in (((model, "SM86"), InputRefusedError), ((network("nasbench201:cells=1,width=4,size=8"),
                                                                        "SM1"), UnknownNameError)):
            try:
                builder.build(arguments[0], capability=arguments[1])
            except kind as error:
                told.append(str(error))
        print(json.dumps({"told": told}))
    """)
    assert "NoSuchOperator" in found["told"][0]
    assert "unknown compute capability 'SM1'; allowed: CURRENT" in found["told"][1]


def test_without_a_gpu_it_says_so_before_the_library_is_touched():
    try:
        cuda.name()
    except UnusableError:
        pass
    else:
        pytest.skip("there is an NVIDIA GPU here")
    for name in ("tensorrt", "tensorrt_rtx"):
        with pytest.raises(
            UnusableError, match=r"no NVIDIA GPU \(cudaError|cuda-bindings is not installed; pip install"
        ):
            create("runtime", name).start()


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx"])
def test_wrong_options_are_named(name):
    with pytest.raises(UsageError, match="level=9; allowed: 0 to 5"):
        load("runtime", name)(level=9)
    with pytest.raises(UsageError, match="int8"):
        load("runtime", name)(precision="int8-dynamic")
