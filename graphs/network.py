"""What is told of a network that belongs to no search space, and the identity that its measurements are kept under."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from .operators import opset_of

MODELS = "#models"
"""What rows of such networks are kept under in a store, where those of a space are kept under its spec."""


def is_space(name: str) -> bool:
    """Return whether rows under a name are networks of a search space; ``#models`` and ``#kernels`` are of none."""
    return not name.startswith("#")


CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")
_WEIGHT_TYPES = frozenset({
    TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4, TensorProto.INT2, TensorProto.UINT2,
})  # fmt: skip
_SMALL = 64  # values of int32 from which they are weights: biases of integer layers


@dataclass(frozen=True)
class Tensor:
    """An input or output: its name, element type as numpy names it, and sizes; None for one that is not known."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    @property
    def text(self) -> str:
        """Return it as ``--shape`` takes it, with the type: ``x=1x3x224x224 float32``."""
        sizes = "x".join("?" if size is None else str(size) for size in self.shape) or "scalar"
        return f"{self.name}={sizes} {self.dtype}"


@dataclass(frozen=True)
class NetworkFacts:
    """What a file says of its network, all sizes fixed.

    Attributes:
        key: sixteen hexadecimal digits: a hash of the graph without weights and names, with the shapes of its inputs.
        inputs, outputs: in the model's order.
        operators: operator -> nodes of it, those in subgraphs too.
        control_flow: operators with subgraphs, none in most networks.
        parameters: numbers held as weights.
        opset: Opset of the default domain.
    """

    key: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: dict[str, int] = field(default_factory=dict[str, int])
    control_flow: tuple[str, ...] = ()
    parameters: int = 0
    opset: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return json.loads(json.dumps(asdict(self)))


def facts_of(model: ModelProto) -> NetworkFacts:
    """Return what a model, its inputs fixed, says of itself; its external weights need not be there."""
    operators = Counter(node.op_type for node in _nodes(model.graph))
    return NetworkFacts(
        key=key_of(model),
        inputs=tuple(map(tensor_of, asked_inputs(model))),
        outputs=tuple(map(tensor_of, model.graph.output)),
        operators=dict(sorted(operators.items())),
        control_flow=tuple(sorted(operators.keys() & set(CONTROL_FLOW))),
        parameters=sum(_count(tensor) for tensor in _tensors(model.graph) if _is_weight(tensor)),
        opset=opset_of(model),
    )


def asked_inputs(model: ModelProto) -> list[ValueInfoProto]:
    """Return the inputs that have no value in the file."""
    held = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in held]


def tensor_of(value: ValueInfoProto) -> Tensor:
    """Return an input or output; the sizes of what is no tensor, or has no rank, are unknown."""
    kind = value.type.tensor_type
    try:
        dtype = str(helper.tensor_dtype_to_np_dtype(kind.elem_type))
    except KeyError:
        dtype = "no tensor"
    sizes = tuple(size.dim_value if size.dim_value > 0 else None for size in kind.shape.dim)
    return Tensor(value.name, dtype, sizes)


def key_of(model: ModelProto) -> str:
    """Return the identity of a network: equal for equal graphs, whatever their weights and names are.

    Sizes of weights, attributes, and constants that hold shapes or indices count; the values of weights do not.
    """
    graph = _canonical(model.graph, {})
    functions = [[f.domain, f.name, _canonical_nodes(f.node, _numbered(f.input, {}))] for f in model.functions]
    versions = sorted((entry.domain, entry.version) for entry in model.opset_import)
    text = json.dumps([versions, graph, functions], sort_keys=True, default=str)
    return sha256(text.encode()).hexdigest()[:16]


def _canonical(graph: GraphProto, outer: Mapping[str, Any]) -> list[Any]:
    names = dict(outer)
    held = [_canonical_tensor(tensor) for tensor in graph.initializer]
    for tensor, told in zip(graph.initializer, held, strict=True):
        names[tensor.name] = told
    sparse = [(list(one.dims), one.values.data_type) for one in graph.sparse_initializer]
    inputs = [value for value in graph.input if value.name not in names]
    _numbered((value.name for value in inputs), names)
    told = [[tensor_of(value).dtype, tensor_of(value).shape] for value in inputs]
    return [told, sparse, _canonical_nodes(graph.node, names), [names.get(value.name) for value in graph.output]]


def _canonical_nodes(nodes: Iterable[NodeProto], names: dict[str, Any]) -> list[Any]:
    found: list[Any] = []
    for node in nodes:
        inputs = [names.get(name, name) if name else None for name in node.input]
        attributes = {one.name: _canonical_attribute(one, names) for one in node.attribute}
        found.append([node.domain, node.op_type, inputs, attributes, len(node.output)])
        _numbered(node.output, names)
    return found


def _numbered(values: Iterable[str], names: dict[str, Any]) -> dict[str, Any]:
    """Give values the next numbers instead of their names."""
    for name in values:
        names[name] = len(names)
    return names


def _canonical_attribute(attribute: AttributeProto, names: dict[str, Any]) -> Any:
    match attribute.type:
        case AttributeProto.GRAPH:
            return _canonical(attribute.g, names)
        case AttributeProto.GRAPHS:
            return [_canonical(graph, names) for graph in attribute.graphs]
        case AttributeProto.TENSOR:
            return _canonical_tensor(attribute.t)
        case AttributeProto.TENSORS:
            return [_canonical_tensor(tensor) for tensor in attribute.tensors]
        case _:
            value = helper.get_attribute_value(attribute)
            return value if isinstance(value, int | float | str) else str(value)


def _canonical_tensor(tensor: TensorProto) -> list[Any]:
    told: list[Any] = [tensor.data_type, list(tensor.dims)]
    if _is_weight(tensor) or tensor.data_location == TensorProto.EXTERNAL:
        return told
    return [*told, sha256(numpy_helper.to_array(tensor).tobytes()).hexdigest()]


def _is_weight(tensor: TensorProto) -> bool:
    """Return whether a tensor holds what is learnt, not a shape, an index or a flag."""
    if tensor.data_type in _WEIGHT_TYPES:
        return True
    if tensor.data_type in (TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING):
        return False
    return tensor.data_type != TensorProto.INT32 or _count(tensor) > _SMALL


def _count(tensor: TensorProto) -> int:
    count = 1
    for size in tensor.dims:
        count *= size
    return count


def _nodes(graph: GraphProto) -> Iterable[NodeProto]:
    for node in graph.node:
        yield node
        for inner in _subgraphs(node):
            yield from _nodes(inner)


def _tensors(graph: GraphProto) -> Iterable[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
        for inner in _subgraphs(node):
            yield from _tensors(inner)


def _subgraphs(node: NodeProto) -> Iterable[GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
