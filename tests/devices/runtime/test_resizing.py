"""What `Upsample` writes is resized alike by torch, LiteRT and ONNX Runtime; any other resizing is refused."""

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import helper

from tempograd.devices.runtime.onnx_torch import to_module
from tempograd.devices.runtime.resizing import resizing
from tempograd.errors import InputRefusedError
from tempograd.spaces.common.convolution import Upsample
from tempograd.spaces.export import WeightPool, to_onnx
from tempograd.spaces.graph import INPUT, GraphBuilder


def model(size, **form):
    builder = GraphBuilder((4, 5, 6))
    graph = builder.graph(builder.add("up", Upsample(size, **form), INPUT))
    return to_onnx(graph, WeightPool.of(graph, 0), batch=2)


def expected(asked, x):
    return onnxruntime.InferenceSession(asked.SerializeToString()).run(None, {INPUT: x})[0]


FORMS = [{"kind": "nearest"}, {"kind": "bilinear"}, {"kind": "bilinear", "corners": True}]
SIZES = [(10, 12), (7, 11), (5, 6), (3, 4)]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_torch_resizes_as_onnx_runtime(form, size):
    x, asked = np.random.default_rng(0).standard_normal((2, 4, 5, 6)).astype(np.float32), model(size, **form)
    np.testing.assert_allclose(to_module(asked)(torch.from_numpy(x)).numpy(), expected(asked, x), atol=1e-5)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_litert_resizes_as_onnx_runtime(form, size):
    interpreter = pytest.importorskip(
        "ai_edge_litert.interpreter", reason="LiteRT is not installed: pip install 'tempograd[litert]'"
    )
    from tempograd.devices.runtime.onnx_tflite import moved, moved_back, to_tflite

    x, asked = np.random.default_rng(0).standard_normal((2, 4, 5, 6)).astype(np.float32), model(size, **form)
    engine = interpreter.Interpreter(model_content=to_tflite(asked), num_threads=1)
    engine.allocate_tensors()
    engine.set_tensor(engine.get_input_details()[0]["index"], moved(x))
    engine.invoke()
    found = moved_back(engine.get_tensor(engine.get_output_details()[0]["index"]))
    np.testing.assert_allclose(found, expected(asked, x), atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "attributes"),
    [
        (["x", "", "", "sizes"], {"mode": b"cubic"}),
        (["x", "", "", "sizes"], {"mode": b"nearest", "coordinate_transformation_mode": b"half_pixel"}),
        (["x", "", "scales"], {"mode": b"linear", "coordinate_transformation_mode": b"half_pixel"}),
    ],
)
def test_any_other_way_is_refused(inputs, attributes):
    with pytest.raises(InputRefusedError, match=r"Resize with .*; allowed: to a size"):
        resizing(helper.make_node("Resize", inputs, ["y"]), attributes)
