"""A kernel as a network of its own, so that it can be timed alone."""

from __future__ import annotations

from math import prod

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from .kernels import Kernel
from .light import drawn

_UNARY = frozenset({"Relu", "LeakyRelu", "Elu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Softplus", "Clip"})
_DOMAINS = {"com.microsoft": 1, "com.microsoft.nchwc": 1}
_ENDS = {"Clip": ("low", "high")}
_OPSET, _IR_VERSION = 17, 8


def alone(kernel: Kernel) -> ModelProto | None:
    """Return a network of this one node, weights drawn from a seed; None where not everything is known of it.

    What is a constant in its network is one here; its other inputs are the network's inputs. Large weights repeat the
    same numbers. Activations that were fused into it follow it.
    """
    known = kernel.inputs and kernel.outputs and len(kernel.slots) == len(kernel.inputs)
    if not known or any(prod(array.shape) == 0 for array in kernel.inputs):
        return None
    fused: list[str] = list(kernel.attributes.get("fused") or ())
    if kernel.domain not in ("", "ai.onnx", *_DOMAINS) or not set(fused) <= _UNARY:
        return None
    names = [""] * (max(kernel.slots) + 1)
    inputs, held = [], []
    for n, (array, slot) in enumerate(zip(kernel.inputs, kernel.slots, strict=True)):
        names[slot] = f"x{n}"
        try:
            dtype = np.dtype(array.dtype)
            kind = helper.np_dtype_to_tensor_dtype(dtype)
        except (TypeError, ValueError):
            return None
        if n not in kernel.constants:
            inputs.append(helper.make_tensor_value_info(f"x{n}", kind, array.shape))
            continue
        told = kernel.values.get(str(n))
        if told is None and not np.issubdtype(dtype, np.floating):
            return None
        values = np.resize(drawn(), array.shape) if told is None else np.reshape(told, array.shape)
        held.append(numpy_helper.from_array(values.astype(dtype), f"x{n}"))
    if not inputs:
        return None
    outputs = [helper.make_tensor_value_info(f"y{n}", _kind(a.dtype), a.shape) for n, a in enumerate(kernel.outputs)]
    given = {name: value for name, value in kernel.attributes.items() if value != [] and name != "fused"}
    values = [f"v{n}" for n in range(len(fused))] + ["y0"]
    wrote = [values[0], *(one.name for one in outputs[1:])]
    nodes = [helper.make_node(kernel.op.rpartition(".")[2], names, wrote, "kernel", domain=kernel.domain, **given)]
    nodes += [helper.make_node(op, [values[n], *_ENDS.get(op, ())], [values[n + 1]]) for n, op in enumerate(fused)]
    if "Clip" in fused:
        held += [numpy_helper.from_array(np.array(end, np.float32), name) for name, end in (("low", 0), ("high", 6))]
    graph = helper.make_graph(nodes, "kernel", inputs, outputs, initializer=held)
    own = kernel.opset and kernel.domain not in _DOMAINS and not fused
    opsets = [helper.make_opsetid("", kernel.opset if own else _OPSET)]
    if kernel.domain in _DOMAINS:
        opsets.append(helper.make_opsetid(kernel.domain, _DOMAINS[kernel.domain]))
    ir_version = max(_IR_VERSION, helper.find_min_ir_version_for(opsets, ignore_unknown=True))
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def _kind(dtype: str) -> int:
    try:
        return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    except (TypeError, ValueError):
        return TensorProto.FLOAT
