"""What LiteRT makes of a network as kernels, and their times, each alone: in Python the engine tells none itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from statistics import median

import numpy as np
from onnx import ModelProto, TensorProto, helper, shape_inference

from ...errors import InputRefusedError
from ...graphs.kernels import FAST, Array, Kernel, Profile, kernel_of
from ...graphs.standalone import alone
from .onnx_tflite import Made
from .program import watched

DELEGATE = "XNNPACK"


def kernels_of(network: ModelProto, made: Iterable[Made], taken: Collection[int]) -> list[Kernel]:
    """Return the kernels of a network that was written for LiteRT; a node that became nothing is none.

    Args:
        network: with its weights.
        made: what became of each node, in their order.
        taken: places of the operators that XNNPACK runs.
    """
    graph = shape_inference.infer_shapes(network, data_prop=True).graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    values = {
        value.name: Array(_dtype(tensor.elem_type), tuple(size.dim_value for size in tensor.shape.dim))
        for value in (*graph.input, *graph.value_info, *graph.output)
        for tensor in [value.type.tensor_type]
    }
    values |= {name: Array(_dtype(tensor.data_type), tuple(tensor.dims)) for name, tensor in held.items()}
    return [_kernel(one, values, held, taken) for one in made if one.operators]


def timed(
    kernels: Sequence[Kernel],
    runs_ms: Sequence[float],
    seconds: float,
    prepared: Callable[[ModelProto], Callable[[], object]],
) -> Profile:
    """Return kernels with their times, each different one run as a network of its own for an equal part of the time.

    Args:
        kernels: in the order in which they run.
        runs_ms: whole inferences.
        seconds: for all of them; with none, every time is 0.
        prepared: gives an inference of a network, or refuses it.
    """
    if seconds <= 0:
        return Profile(tuple(kernels), tuple(runs_ms), alone=True)
    different = {kernel.signature: kernel for kernel in kernels}
    ms: dict[str, float] = {}
    for signature, kernel in different.items():
        model = alone(kernel)
        if model is None:
            continue
        try:
            ms[signature] = float(np.quantile(watched(prepared(model), seconds / len(different)), FAST))
        except InputRefusedError:  # it is named below
            continue
    unseen = [kernel.name for kernel in kernels if kernel.signature not in ms]
    told = sum(ms.get(kernel.signature, 0.0) for kernel in kernels)
    rest = max(median(runs_ms) - told, 0.0) / max(len(unseen), 1)
    found = tuple(replace(kernel, ms=ms.get(kernel.signature, rest)) for kernel in kernels)
    return Profile(found, tuple(runs_ms), alone=True, unseen=tuple(unseen))


def _kernel(made: Made, values: dict[str, Array], held: dict[str, TensorProto], taken: Collection[int]) -> Kernel:
    node = made.node
    names = [
        f"{DELEGATE if place in taken else 'built-in'} {kind}"
        for place, kind in zip(made.operators, made.kinds, strict=True)
    ]
    origin = [one.name or one.output[0] for one in (node, *made.fused)]
    kernel = kernel_of(
        node, [values[name] for name in node.input if name], [values[name] for name in node.output if name in values],
        provider=", ".join(dict.fromkeys(names)), origin=origin, held=held,
    )  # fmt: skip
    fused = [one.op_type for one in made.fused]
    return replace(kernel, attributes=kernel.attributes | ({"fused": fused} if fused else {}))


def _dtype(kind: int) -> str:
    return str(helper.tensor_dtype_to_np_dtype(kind))
