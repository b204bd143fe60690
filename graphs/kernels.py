"""The kernels that a runtime makes of a network: what each computes, moves, and came from.

A runtime writes its optimised graph, and tells each node's time with the shapes that it saw. Those two, and the graph
that was given, are all that is read here.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from math import prod
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ..errors import InputRefusedError
from .operators import family_of, macs_of, opset_of

_SUFFIXES = ("_nchwc", "_nhwc", "_quant", "_fused")
_HIDDEN = ("doc_string",)
FAST = 0.1  # quantile of a kernel's times: pre-emptions only ever add
_SMALL = 64  # numbers of a constant that says what is to be done
_CONSTANTS = ("Constant", "ConstantOfShape")

Size = Annotated[int, Meta(ge=0, le=2**62)]
Text = Annotated[str, Meta(max_length=4096)]


@dataclass(frozen=True)
class Array:
    """An input or output of a kernel, as it was when it ran."""

    dtype: Text
    shape: tuple[Size, ...]

    @property
    def bytes(self) -> int:
        """Return its size."""
        try:
            return prod(self.shape) * np.dtype(self.dtype).itemsize
        except TypeError:
            return 0


@dataclass(frozen=True)
class Kernel:
    """One node of the graph that a runtime runs.

    Attributes:
        name: Name of the node, unique in its network.
        op: operator, with the runtime's own domain where it has one, such as ``nchwc.Conv``.
        family: see `FAMILIES`.
        inputs, outputs: as they were when it ran.
        attributes: kernel, strides, groups, fused activation and so on.
        domain: Domain of the operator.
        opset: Version of that domain's operators in its network; 0 where nobody tells.
        slots: places of the inputs among the node's, where some are left out.
        constants: which of the inputs are weights or other constants.
        values: place among the inputs -> whole numbers of a small constant, such as a shape.
        origin: nodes of the graph that was given, as far as names and outputs tell.
        macs: multiply-accumulates.
        read_bytes, written_bytes: Bytes of all inputs, weights too, and of all outputs.
        provider: that executed it.
        ms: its time under the profiler, which slows small ones down: only its share is to be used.
    """

    name: Text
    op: Text
    family: Text
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    attributes: dict[str, Any] = field(default_factory=dict[str, Any])
    domain: Text = ""
    opset: Size = 0
    slots: tuple[Size, ...] = ()
    constants: tuple[Size, ...] = ()
    values: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    origin: tuple[Text, ...] = ()
    macs: Size = 0
    read_bytes: Size = 0
    written_bytes: Size = 0
    provider: Text = ""
    ms: Annotated[float, Meta(ge=0, le=1e12)] = 0.0

    @cached_property
    def signature(self) -> str:
        """Return what is equal for kernels that take the same time: sixteen hexadecimal digits."""
        told = [self.op, [[a.dtype, a.shape] for a in self.inputs], [[a.dtype, a.shape] for a in self.outputs]]
        text = json.dumps([*told, self.attributes, self.constants, self.values], sort_keys=True, default=str)
        return sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Profile:
    """What a runtime tells of a network while it watches itself.

    Attributes:
        kernels: in the order in which they run, each with the fast end of its times.
        runs_ms: whole inferences while watched: longer than they are otherwise.
        alone: the runtime tells no times: each kernel was timed as a network of its own, and no inference was watched.
        unseen: names of kernels whose time nobody knows: equal parts of what the others leave of an inference.
    """

    kernels: tuple[Kernel, ...]
    runs_ms: tuple[Annotated[float, Meta(gt=0, le=1e12)], ...]
    alone: bool = False
    unseen: tuple[Text, ...] = ()


def kernel_of(
    node: NodeProto, inputs: Sequence[Array], outputs: Sequence[Array], *, provider: str = "", ms: float = 0.0,
    origin: Sequence[str] = (), held: Mapping[str, TensorProto] | None = None, opset: int = 0,
) -> Kernel:  # fmt: skip
    """Return a node as a kernel, from what it read and wrote."""
    attributes = {a.name: _value(a) for a in node.attribute if a.name not in _HIDDEN}
    shapes = [a.shape for a in inputs]
    group = int(attributes.get("group", 1) or 1)
    domain = node.domain.rpartition(".")[2]
    return Kernel(
        name=node.name or (node.output[0] if node.output else node.op_type),
        op=node.op_type if node.domain in ("", "ai.onnx", "com.microsoft") else f"{domain}.{node.op_type}",
        family=family_of(node.op_type, shapes, group),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        attributes=attributes,
        domain=node.domain,
        opset=opset,
        **_constants(node, inputs, held or {}),
        origin=tuple(origin),
        macs=macs_of(node.op_type, shapes, [a.shape for a in outputs], attributes),
        read_bytes=sum(a.bytes for a in inputs),
        written_bytes=sum(a.bytes for a in outputs),
        provider=provider,
        ms=ms,
    )


def profiled(optimised: ModelProto, events: Iterable[Mapping[str, Any]], given: ModelProto) -> list[Kernel]:
    """Return the kernels of an ONNX Runtime profile, in the order in which they run.

    Args:
        optimised: the graph that ran, as the runtime wrote it.
        events: Events of its profile, of several runs; those of category ``Node`` count.
        given: the graph before.
    """
    times: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    first: dict[tuple[str, str], Mapping[str, Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and str(event.get("name", "")).endswith("_kernel_time"):
            args = event["args"]
            key = (str(args.get("node_index", "")), str(event["name"]).removesuffix("_kernel_time"))
            times[key].append(float(event["dur"]) / 1e3)
            first.setdefault(key, event)
    nodes = _Nodes(optimised.graph.node)
    origins = _Origins(given.graph.node)
    held = {tensor.name: tensor for tensor in optimised.graph.initializer}
    found: list[Kernel] = []
    for key, event in first.items():
        args = event["args"]
        node = nodes.take(key[1], str(args.get("op_name", "")))
        found.append(
            kernel_of(
                node,
                _completed(node, _arrays(args.get("input_type_shape", [])), held),
                _arrays(args.get("output_type_shape", [])),
                provider=str(args.get("provider", "")),
                ms=sorted(times[key])[int(FAST * (len(times[key]) - 1))],
                origin=origins.of(node),
                held=held,
                opset=opset_of(optimised, node.domain),
            )
        )
    return found


def _constants(node: NodeProto, inputs: Sequence[Array], held: Mapping[str, TensorProto]) -> dict[str, Any]:
    """Return where a kernel's inputs stand, and which are constants; nothing where that cannot be told."""
    slots = [place for place, name in enumerate(node.input) if name]
    if len(slots) != len(inputs):
        return {}
    names = [node.input[place] for place in slots]
    constants = [n for n, name in enumerate(names) if name in held]
    values = {
        str(n): numpy_helper.to_array(held[names[n]]).ravel().tolist()
        for n in constants
        if inputs[n].dtype in ("int64", "int32") and prod(inputs[n].shape) <= _SMALL
    }
    return {"slots": tuple(slots), "constants": tuple(constants), "values": values}


def _completed(node: NodeProto, seen: list[Array], held: Mapping[str, TensorProto]) -> list[Array]:
    """Return a node's inputs with the weights that the runtime has packed into a form of its own, and tells no more."""
    found: list[Array] = []
    rest = list(seen)
    for name in filter(None, node.input):
        tensor = held.get(name)
        if rest and (tensor is None or rest[0].shape == tuple(tensor.dims)):
            found.append(rest.pop(0))
        elif tensor is not None:
            found.append(Array(str(helper.tensor_dtype_to_np_dtype(tensor.data_type)), tuple(tensor.dims)))
    return seen if rest else found


class _Nodes:
    """The nodes of an optimised graph, each to be taken once, by name or, where it has none, by operator."""

    def __init__(self, nodes: Iterable[NodeProto]) -> None:
        self._by_name: defaultdict[tuple[str, str], list[NodeProto]] = defaultdict(list)
        for node in nodes:
            self._by_name[node.name, node.op_type].append(node)

    def take(self, name: str, op: str) -> NodeProto:
        for known in ((name, op), ("", op)):
            if self._by_name.get(known):
                return self._by_name[known].pop(0)
        return helper.make_node(op, [], [], name=name)


class _Origins:
    """The nodes of the graph that was given, each claimed by the kernel that computes its output."""

    def __init__(self, nodes: Iterable[NodeProto]) -> None:
        listed = [(node.name or (node.output[0] if node.output else node.op_type), node) for node in nodes]
        listed = [(name, node) for name, node in listed if node.op_type not in _CONSTANTS]
        self._outputs = {name: tuple(node.output) for name, node in listed}
        self._producer = {output: (name, node) for name, node in listed for output in node.output}
        self._claimed: set[str] = set()

    def of(self, node: NodeProto) -> list[str]:
        stops, found = set(node.input), list[str]()
        base = node.name
        for suffix in _SUFFIXES:
            base = base.removesuffix(suffix)
        # kernels of blocked layouts write values of other names; their own name is that of the output that was given
        waiting = [name for name in (*node.output, base, *self._outputs.get(base, ())) if name in self._producer]
        while waiting:
            output = waiting.pop()
            if output in stops or output not in self._producer:
                continue
            name, made = self._producer[output]
            if name in self._claimed:
                continue
            self._claimed.add(name)
            found.append(name)
            waiting += made.input
        return found[::-1]


def _arrays(told: Sequence[Mapping[str, Sequence[int]]]) -> list[Array]:
    return [Array(_dtype(kind), tuple(int(size) for size in shape)) for one in told for kind, shape in one.items()]


def _dtype(kind: str) -> str:
    """Return numpy's name of an element type as ONNX Runtime tells it."""
    return {"float": "float32", "double": "float64", "MLFloat16": "float16", "BFloat16": "bfloat16"}.get(kind, kind)


def _value(attribute: AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")[:256]
    if isinstance(value, int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [one.decode(errors="replace") if isinstance(one, bytes) else one for one in value if _is_plain(one)]
    return attribute.name


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float | str | bytes)


def seen_through(graph: GraphProto) -> None:
    """Refuse a network with graphs within nodes, whose kernels nobody is told of.

    Raises:
        InputRefusedError: with the node.
    """
    inner = next((n for n in graph.node for a in n.attribute if a.HasField("g") or a.graphs), None)
    if inner is not None:
        raise InputRefusedError(
            f"{inner.op_type} (node {inner.name!r}) holds graphs of its own, which nobody can see through: "
            "measure the whole"
        )
