from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from tempograd.devices import sentinels
from tempograd.devices.runtime.engines.onnxruntime import OnnxRuntime
from tempograd.devices.worker import foreign
from tempograd.errors import UnknownNameError

# SHA-256 of the files: a sentinel that changes would silently change what every reference refers to
FILES = {
    "convolution": "d656db153f51c07a",
    "convolution-small": "7ae80da2834b0be4",
    "depthwise": "c37a5308a9acc3e6",
    "depthwise-small": "1096c4b1b00362b9",
    "mixed": "e899e8f9287d6e02",
    "mixed-small": "280529897ab7d8cc",
    "overhead": "b57a9e9ef233a05b",
}


def test_a_sentinel_never_changes():
    files = {path.stem: sha256(path.read_bytes()).hexdigest()[:16] for path in sentinels.HERE.glob("*.onnx")}
    assert files == FILES


@pytest.mark.slow
@pytest.mark.parametrize("kind", sentinels.KINDS)
@pytest.mark.parametrize(("precision", "small"), [("fp32", False), ("int8-dynamic", True), ("int8-static", False)])
def test_a_sentinel_is_a_valid_network_with_sane_outputs(kind, precision, small):
    content = read(kind, small)
    onnx.checker.check_model(ModelProto.FromString(content), full_check=True)
    foreign.check(content, Path("/nowhere"), 1)
    program = OnnxRuntime(precision=precision).load(content, Path("/nowhere"))
    for _ in range(3):
        program.run()
        assert program.invalid_output() is None


def test_kinds_are_bound_by_different_things():
    counts = {kind: len(ModelProto.FromString(read(kind)).graph.node) for kind in sentinels.KINDS}
    assert counts["overhead"] > 2 * counts["mixed"] > 0
    assert counts["overhead"] > 10 * max(counts["convolution"], counts["depthwise"])
    sizes = {kind: np.prod(_shape(kind)) for kind in sentinels.KINDS}
    assert sizes["depthwise"] > 3 * sizes["convolution"] > 400 * sizes["overhead"]


def test_an_unknown_kind_is_named():
    with pytest.raises(UnknownNameError, match="'conv'; allowed: convolution, depthwise, mixed"):
        sentinels.read("conv")


def read(kind: str, small: bool = False) -> bytes:
    return sentinels.read(kind, small=small)


def _shape(kind: str) -> list[int]:
    graph = ModelProto.FromString(read(kind)).graph
    return [size.dim_value for size in graph.input[0].type.tensor_type.shape.dim]
