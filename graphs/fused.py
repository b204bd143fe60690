"""Kernels of runtimes that tell which nodes of the given graph each of them computes, and its inputs: OpenVINO.

A kernel that computes one convolution or product is taken for that operator, followed by what was fused into it; one
that computes a single other node is taken for that node. What stands for no node, like a change of layout, or for
several, has the runtime's own name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from onnx import ModelProto, NodeProto, TensorProto, defs, helper

from .kernels import Array, Kernel, kernel_of
from .operators import FACTORED, family_of, opset_of

_FACTORED_KINDS = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul"})
_FAMILIES = {
    "Convolution": "convolution", "Deconvolution": "convolution", "FullyConnected": "matmul", "MatMul": "matmul",
    "Reorder": "layout", "Reshape": "layout", "Concatenation": "layout", "Transpose": "layout", "Split": "layout",
    "StridedSlice": "layout", "Gather": "layout", "Broadcast": "layout", "Pad": "layout", "Subgraph": "elementwise",
    "Eltwise": "elementwise", "Convert": "elementwise", "MVN": "normalisation", "Pooling": "pool", "Reduce": "pool",
    "Softmax": "attention", "ScaledDotProductAttention": "attention", "RNNSeq": "recurrent", "RNNCell": "recurrent",
}  # fmt: skip
_FOLDED = "BatchNormalization"  # into the weights before it, so that it takes no time
_BACK = 3  # nodes that are looked through for the one whose weights they were folded into


@dataclass(frozen=True)
class Ran:
    """What a runtime tells of one kernel that it executed.

    Attributes:
        name: unique in the network.
        kind: the runtime's name of what it does, such as ``Convolution``.
        origins: names of nodes of the graph that was given, or of their outputs.
        inputs, outputs: as they were.
        constants: which of the inputs are weights.
        primitive: the code that ran.
        ms: its time while it was watched.
    """

    name: str
    kind: str
    origins: tuple[str, ...]
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    constants: tuple[int, ...]
    primitive: str
    ms: float


def kernels_of(ran: Iterable[Ran], given: ModelProto, domain: str) -> tuple[Kernel, ...]:
    """Return what a runtime executed as kernels.

    Args:
        ran: in the order in which they ran.
        given: the graph before.
        domain: Domain of operators that only the runtime has, such as ``openvino``.
    """
    known: dict[str, NodeProto] = {}
    for node in given.graph.node:
        for name in (node.name, *node.output):
            known.setdefault(name, node)
    return tuple(replace(_kernel(one, known, domain), opset=opset_of(given)) for one in ran)


def _kernel(ran: Ran, known: Mapping[str, NodeProto], domain: str) -> Kernel:
    nodes = list({id(known[name]): known[name] for name in ran.origins if name in known}.values())
    origin = tuple(node.name or node.output[0] for node in nodes)
    factored = [node for node in nodes if node.op_type in FACTORED]
    if nodes and not factored and ran.kind in _FACTORED_KINDS:
        factored = _before(nodes[0], known)
    others = [node.op_type for node in nodes if node not in factored and node.op_type != _FOLDED]
    main = factored[0] if len(factored) == 1 else nodes[0] if len(nodes) == 1 and not factored else None
    if main is None or ran.kind == "Reorder":
        kernel = kernel_of(helper.make_node(ran.kind, [], []), ran.inputs, ran.outputs, ms=ran.ms)
        family = _FAMILIES.get(ran.kind) or (family_of(nodes[-1].op_type, [], 1) if nodes else "rest")
        fused = {"fused": others} if others else {}
        kernel = replace(kernel, op=f"{domain}.{ran.kind}", domain=domain, family=family, attributes=fused)
    else:
        kernel = _as_node(ran, main, others if factored else [])
    return replace(kernel, name=ran.name, origin=origin, provider=ran.primitive)


def _before(node: NodeProto, known: Mapping[str, NodeProto]) -> list[NodeProto]:
    """Return the convolution or product that a node was folded into, which the runtime does not name."""
    for _ in range(_BACK):
        found = next((known[name] for name in node.input if name in known), None)
        if found is None:
            return []
        if found.op_type in FACTORED:
            return [found]
        node = found
    return []


def _as_node(ran: Ran, main: NodeProto, fused: Sequence[str]) -> Kernel:
    """Return a kernel as the operator that it mainly computes, its weights of the rank that the operator takes."""
    inputs = list(ran.inputs)
    if len(inputs) > 1 and main.op_type == "Conv" and len(inputs[1].shape) == len(inputs[0].shape) + 1:
        first, second, *rest = inputs[1].shape  # groups apart
        inputs[1] = replace(inputs[1], shape=(first * second, *rest))
    if len(inputs) > 2 and main.op_type == "Conv":
        inputs[2] = replace(inputs[2], shape=(inputs[1].shape[0],))
    names = [f"i{n}" for n in range(len(inputs))]
    node = helper.make_node(main.op_type, names, [f"o{n}" for n in range(len(ran.outputs))], domain=main.domain)
    node.attribute.extend(main.attribute)
    held = {names[n]: TensorProto() for n in ran.constants if "float" in inputs[n].dtype}
    kernel = kernel_of(node, inputs, ran.outputs, ms=ran.ms, held=held)
    if _is_odd(main, inputs, ran.constants):  # it cannot be had alone
        kernel = replace(kernel, slots=(), constants=())
    return replace(kernel, attributes=kernel.attributes | ({"fused": list(fused)} if fused else {}))


def _is_odd(node: NodeProto, inputs: Sequence[Array], constants: Sequence[int]) -> bool:
    """Return whether inputs are more than an operator takes, or numbers that say what is to be done."""
    if not defs.has(node.op_type, node.domain):
        return True
    most = defs.get_schema(node.op_type, node.domain).max_input
    return len(inputs) > most or any("float" not in inputs[n].dtype for n in constants)
