"""A network's time from its graph: every node takes its arithmetic or its traffic, whichever is longer, and a fee.

Williams, Waterman and Patterson, *Roofline*, CACM 2009, node by node. It ignores fusion and caches: a plausible truth
for a simulated device, not a prediction for a real one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from onnx import GraphProto, NodeProto, helper, load_from_string, shape_inference

from ...errors import InputRefusedError
from ...graphs.kernels import Array, Profile, kernel_of, seen_through

_ELEMENT_BYTES = 4
_FREE = frozenset({"Constant", "ConstantOfShape", "Identity", "Shape", "Reshape", "Flatten", "Squeeze", "Unsqueeze"})


@dataclass(frozen=True)
class Roofline:
    """A device's limits: arithmetic in GFLOP/s, traffic in GB/s, the fee of a node in us."""

    gflops: float = 50.0
    gbps: float = 10.0
    overhead_us: float = 3.0

    def latency_ms(self, content: bytes) -> float:
        """Return the time of one inference in ms.

        Args:
            content: serialised ONNX with fixed shapes.

        Raises:
            InputRefusedError: malformed, or a node's shapes cannot be inferred.
        """
        graph = _inferred(content)
        shapes = _shapes(graph)
        nodes_ms = sum(self._node_ms(node, shapes) for node in graph.node if node.op_type not in _FREE)
        return max(nodes_ms, self.overhead_us / 1e3)  # a network of nothing but identities is still called

    def profile(self, content: bytes) -> Profile:
        """Return every node that takes time as a kernel, its time the roofline's.

        Raises:
            InputRefusedError: malformed, a node's shapes cannot be inferred, or a node holds graphs of its own.
        """
        whole_ms = self.latency_ms(content)  # which refuses a node whose shapes nobody knows
        graph = _inferred(content)
        seen_through(graph)
        shapes = _shapes(graph)
        kernels = tuple(
            kernel_of(
                node,
                [Array("float32", shapes[name]) for name in node.input if name],
                [Array("float32", shapes[name]) for name in node.output if name],
                provider="simulated",
                ms=self._node_ms(node, shapes),
                origin=[node.name] if node.name else [],
            )
            for node in graph.node
            if node.op_type not in _FREE
        )
        return Profile(kernels, (whole_ms,))

    def _node_ms(self, node: NodeProto, shapes: dict[str, tuple[int, ...]]) -> float:
        try:
            inputs = [shapes[name] for name in node.input if name]
            outputs = [shapes[name] for name in node.output if name]
            flops = _flops(node, inputs, outputs)
        except (KeyError, IndexError) as error:
            raise InputRefusedError(
                f"the shapes of node {node.name or node.op_type!r} cannot be inferred; "
                "give the simulated device a table or latency_of"
            ) from error
        traffic = _ELEMENT_BYTES * sum(map(prod, (*inputs, *outputs)))
        return max(flops / self.gflops, traffic / self.gbps) / 1e6 + self.overhead_us / 1e3


def _inferred(content: bytes) -> GraphProto:
    try:
        return shape_inference.infer_shapes(load_from_string(content), strict_mode=True).graph
    except Exception as error:  # protobuf and onnx share no base but Exception
        raise InputRefusedError(f"not an ONNX model whose shapes can be inferred: {error}") from error


def _flops(node: NodeProto, inputs: Sequence[tuple[int, ...]], outputs: Sequence[tuple[int, ...]]) -> int:
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    match node.op_type:
        case "Conv":
            return 2 * prod(outputs[0]) * prod(inputs[1][1:])
        case "ConvTranspose":
            return 2 * prod(inputs[0]) * prod(inputs[1][1:])
        case "Gemm":
            return 2 * prod(outputs[0]) * inputs[0][0 if attributes.get("transA") else 1]
        case "MatMul":
            return 2 * prod(outputs[0]) * inputs[0][-1]
        case _:
            return sum(map(prod, (*inputs, *outputs)))


def _shapes(graph: GraphProto) -> dict[str, tuple[int, ...]]:
    """Return the shapes that are known in full."""
    shapes: dict[str, tuple[int, ...]] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            sizes = value.type.tensor_type.shape.dim
            if all(size.HasField("dim_value") for size in sizes):
                shapes[value.name] = tuple(size.dim_value for size in sizes)
    return shapes
