from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from tempograd.devices import foreign, sentinels
from tempograd.devices.runtimes.onnxruntime import OnnxRuntime
from tempograd.errors import UnknownNameError

# SHA-256 of all weights: a sentinel that changes would silently change what every reference refers to
WEIGHTS = {
    "convolution": "f19d99f096de93de",
    "depthwise": "40bdaddae9c16a63",
    "overhead": "92c35de82592e782",
}


def weights_digest(kind: str, precision: str = "fp32") -> str:
    model = ModelProto.FromString(sentinels.build(kind, precision=precision))
    return sha256(b"".join(numpy_helper.to_array(w).tobytes() for w in model.graph.initializer)).hexdigest()[:16]


@pytest.mark.parametrize("kind", sentinels.KINDS)
def test_a_sentinel_never_changes(kind):
    assert sentinels.build(kind) == sentinels.build(kind)
    assert weights_digest(kind) == WEIGHTS[kind]
    assert weights_digest(kind, "int8-static") == WEIGHTS[kind]


@pytest.mark.parametrize("kind", sentinels.KINDS)
@pytest.mark.parametrize("precision", ["fp32", "int8-dynamic", "int8-static"])
def test_a_sentinel_is_a_valid_network_with_sane_outputs(kind, precision):
    content = sentinels.build(kind, precision=precision)
    onnx.checker.check_model(ModelProto.FromString(content), full_check=True)
    foreign.check(content, Path("/nowhere"), 1)
    runtime = OnnxRuntime(precision=precision)
    program = runtime.load(content, Path("/nowhere"))
    for _ in range(3):
        program.run()
        assert program.invalid_output() is None


def test_kinds_are_bound_by_different_things():
    counts = {kind: len(ModelProto.FromString(sentinels.build(kind)).graph.node) for kind in sentinels.KINDS}
    assert counts["overhead"] > 10 * max(counts["convolution"], counts["depthwise"])
    sizes = {kind: np.prod(_shape(kind)) for kind in sentinels.KINDS}
    assert sizes["depthwise"] > 4 * sizes["convolution"] > 400 * sizes["overhead"]


def _shape(kind: str) -> list[int]:
    graph = ModelProto.FromString(sentinels.build(kind)).graph
    return [size.dim_value for size in graph.input[0].type.tensor_type.shape.dim]


def test_an_unknown_kind_is_named():
    with pytest.raises(UnknownNameError, match="'conv'; allowed: convolution"):
        sentinels.build("conv")
