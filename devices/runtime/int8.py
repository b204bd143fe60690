"""A network quantised to int8 by ONNX Runtime's own tools, and which of its kernels compute with integers."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from ...errors import InputRefusedError
from .program import line
from .runtime import FallbackError

CALIBRATION_RUNS = 8
_INTEGER = frozenset({
    "ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat", "QGemm",
})  # fmt: skip
_MULTIPLYING = frozenset({"Conv", "Gemm", "MatMul"})

Draw = Callable[[Any, np.random.Generator], dict[str, NDArray[Any]]]
"""Return one set of seeded inputs that a session takes."""


class Open(Protocol):
    """Open a session on a network at a level of optimisation; what it runs is written to ``ran``."""

    def __call__(self, model: bytes | Path, folder: Path, ran: Path | None = None, level: str = "") -> Any: ...


def quantised(
    model: onnx.ModelProto, scratch: Path, precision: str, session: Open, draw: Draw, *, for_tensorrt: bool = False
) -> bytes:
    """Return a network, its weights embedded, quantised.

    Args:
        model: in float32.
        scratch: an empty folder.
        precision: ``int8-static`` or ``int8-dynamic``.
        session: how sessions are opened.
        draw: inputs by which ranges are found.
        for_tensorrt: Write ``int8-static`` as TensorRT reads it: signed, without zero points, biases in float32, and
            only the inputs and weights of layers that multiply, so that what stands between them can be fused.

    Raises:
        InputRefusedError: it cannot be quantised.
    """
    logging.getLogger().setLevel(logging.ERROR)  # the tools advise on the root logger at every call
    whole, target = scratch / "whole.onnx", scratch / "quantised.onnx"
    try:
        if precision == "int8-dynamic":
            _tools("").quantize_dynamic(model, target)
        else:
            # constants and BatchNorm are folded now: later, what quantises a tensor would stand between them
            session(model.SerializeToString(), scratch, whole, level="basic")
            _quantise(whole, target, scratch, session, draw, for_tensorrt)
        return target.read_bytes()
    except (FallbackError, InputRefusedError, MemoryError):
        raise
    except Exception as error:  # they raise bare exceptions of many kinds
        raise InputRefusedError(f"cannot be quantised to {precision}: {line(error)}") from error


def _quantise(source: Path, target: Path, scratch: Path, session: Open, draw: Draw, for_tensorrt: bool) -> None:
    """Find every tensor's range on seeded inputs, then write the network with its tensors quantised.

    It does what ``quantize_static`` does, which would calibrate in a session of its own making: that starts threads on
    every core, the timed ones too. Weights have a scale for each channel and, on a CPU, seven bits: with eight,
    processors without VNNI saturate; the time is the same.
    """
    kinds, calibrate, registry = (_tools(part) for part in ("quant_utils", "calibrate", "registry"))
    signed = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False, "AddQDQPairToWeight": True}
    augmented = scratch / "augmented.onnx"
    calibrator = calibrate.MinMaxCalibrater(source, None, str(augmented))
    calibrator.augment_graph()
    calibrator.infer_session = session(augmented, scratch, level="none")
    calibrator.collect_data(_Calibration(calibrator.infer_session, draw))
    quantizer = _tools("qdq_quantizer").QDQQuantizer(
        onnx.shape_inference.infer_shapes(onnx.load(str(source))),
        per_channel=True,
        reduce_range=not for_tensorrt,
        weight_qType=kinds.QuantType.QInt8,
        activation_qType=kinds.QuantType.QInt8 if for_tensorrt else kinds.QuantType.QUInt8,
        tensors_range=calibrator.compute_data(),
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=sorted(
            _MULTIPLYING if for_tensorrt else {*registry.QLinearOpsRegistry, *registry.QDQRegistry}
        ),
        extra_options=signed if for_tensorrt else {},
    )
    quantizer.quantize_model()
    onnx.save(quantizer.model.model, str(target))


class _Calibration:
    """Seeded inputs by which the ranges of tensors are found; ``get_next`` is asked for one after the other."""

    def __init__(self, session: Any, draw: Draw) -> None:
        self._session, self._draw = session, draw
        self._rng = np.random.Generator(np.random.PCG64(1))
        self._left = CALIBRATION_RUNS

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Return one set of inputs, or None after the last."""
        self._left -= 1
        return None if self._left < 0 else self._draw(self._session, self._rng)


def kernels_of(optimised: Path) -> dict[str, int]:
    """Return operator -> number of nodes of the graph that a session runs, as it wrote it."""
    nodes = onnx.load(str(optimised), load_external_data=False).graph.node
    return dict(sorted(Counter(node.op_type for node in nodes).items()))


def is_integer(kind: str) -> bool:
    """Return whether an operator computes with integers."""
    return kind.startswith("QLinear") or kind in _INTEGER


def _tools(part: str) -> Any:
    return import_module(".".join(filter(None, ("onnxruntime.quantization", part))))
