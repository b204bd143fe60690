"""A graph as an ONNX model, built directly: milliseconds a network, no tracing, no torch.

Two kinds of weights:

* a :class:`WeightPool`, seeded and shared by all networks of a space: the model holds references into one file beside
  it, so that it takes tens of kilobytes and loads as fast as an embedded one;
* a mapping ``node.weight -> array``, as of a trained network's ``state_dict``: embedded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from math import log, prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto, TensorProto, helper

from .common.convolution import Convolution
from .common.layer import Layer
from .common.normalisation import Normalisation
from .common.reshaping import Outputs
from .graph import Graph, Node, ports
from .layers import (
    Add,
    BatchNorm,
    Concat,
    Conv,
    Crop,
    GlobalPool,
    HardSigmoid,
    HardSwish,
    Identity,
    Linear,
    Mean,
    Operation,
    Pool,
    Relu,
    Resize,
    Scale,
    Shape,
    Shuffle,
    Subsample,
    Zero,
)

OPSET = 17
IR_VERSION = 9
EPSILON = 1e-5
OUTPUT = "output"
_STEP = 16  # floats between two views of one block
_VIEWS = 64  # equal layers see shifted weights, so that no runtime merges them into one
_PAGE = 4096  # external data is mapped by page

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class WeightPool:
    """Seeded weights for every layer shape of a space, in one file.

    A convolution's weights have variance 2 / fan-in (He et al., arXiv:1502.01852), so that activations keep their size
    at any depth and no denormal number slows a run. Layers of one shape take overlapping, shifted views of one block;
    a layer whose channels are chosen has one for its widest shape, and otherwise the block of the nearest fan-in.
    """

    values: FloatArray
    starts: Mapping[Shape, int]
    location: str

    @classmethod
    def of(cls, graph: Graph, seed: int) -> WeightPool:
        """Return the pool of a choice graph; the same seed gives the same bytes."""
        shapes = sorted({tuple(map(int, s)) for s in graph.weights.values() if len(s) > 1})
        rng = np.random.default_rng(seed)
        starts: dict[Shape, int] = {}
        blocks: list[FloatArray] = []
        size = 0
        for shape in shapes:
            length = -(-(prod(shape) + _STEP * _VIEWS) * 4 // _PAGE) * _PAGE // 4
            starts[shape] = size
            blocks.append(rng.standard_normal(length, dtype=np.float32) * np.float32(np.sqrt(2 / prod(shape[1:]))))
            size += length
        values = np.concatenate([*blocks, np.zeros(0, np.float32)])
        return cls(values, starts, f"weights-{sha256(values.tobytes()).hexdigest()[:12]}.bin")

    def start(self, shape: Shape, index: int) -> int:
        """Return where the weights of the ``index``-th layer begin, in floats."""
        if shape not in self._nearest:
            room = [s for s in self.starts if prod(s) >= prod(shape)]
            self._nearest[shape] = min(room, key=lambda s: abs(log(prod(s[1:]) / prod(shape[1:]))))
        return self.starts[self._nearest[shape]] + index % _VIEWS * _STEP

    @cached_property
    def _nearest(self) -> dict[Shape, Shape]:
        return {shape: shape for shape in self.starts}

    def weights(self, graph: Graph) -> dict[str, FloatArray]:
        """Return the weights that a network's layers get, as a ``state_dict`` of arrays.

        BatchNorm is set so that it is the identity up to a shift: it folds into its convolution exactly.
        """
        found: dict[str, FloatArray] = {}
        eps = {f"{node.name}.running_var": getattr(node.operation, "eps", EPSILON) for node, _ in graph.walk()}
        for index, (name, shape) in enumerate(graph.weights.items()):
            if name in eps:
                found[name] = np.full(shape, 1 - eps[name], np.float32)
            elif len(shape) > 1:
                start = self.start(shape, index)
                found[name] = self.values[start : start + prod(shape)].reshape(shape)
            else:
                found[name] = _vector(name, shape, index)
        return found


def _vector(name: str, shape: Shape, index: int) -> FloatArray:
    if name.endswith(".weight"):
        return np.ones(shape, np.float32)
    if name.endswith(".bias"):
        return (0.1 * np.sin(np.arange(shape[0]) + index)).astype(np.float32)
    return np.zeros(shape, np.float32)


class _Emitter:
    """Turns the nodes of one graph into ONNX nodes and initialisers."""

    def __init__(self, graph: Graph, weights: Mapping[str, FloatArray], pool: WeightPool | None, batch: int) -> None:
        self.graph, self.weights, self.pool, self.batch = graph, weights, pool, batch
        self.index = {name: i for i, name in enumerate(graph.weights)}
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []

    def add(self, kind: str, node: Node, *inputs: str, **attributes: Any) -> None:
        """Append one ONNX node whose output bears the graph node's name."""
        proto = NodeProto(op_type=kind, name=node.name, input=inputs, output=[node.name])
        proto.attribute.extend(_attribute(name, value) for name, value in attributes.items())
        self.nodes.append(proto)

    def weight(self, name: str) -> str:
        """Append a layer's weight, by reference into the pool if there is one."""
        value = self.weights[name]
        if self.pool is None or value.ndim == 1:
            return self.constant(name, value)
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=value.shape)
        tensor.data_location = TensorProto.EXTERNAL
        offset = 4 * self.pool.start(value.shape, self.index[name])
        for key, text in (("location", self.pool.location), ("offset", offset), ("length", value.nbytes)):
            tensor.external_data.add(key=key, value=str(text))
        self.initializers.append(tensor)
        return name

    def step(self, kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        """Append an ONNX node inside a layer, and return the name of its output, which is its own."""
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def number(self, node: Node, name: str, value: float) -> str:
        """Append one number that a layer needs."""
        return self.constant(f"{node.name}.{name}", np.array(value, np.float32))

    def numbers(self, node: Node, name: str, values: Any) -> str:
        """Append whole numbers that a layer needs: sizes, axes, rows."""
        return self.constant(f"{node.name}.{name}", np.array(values, np.int64))

    def parts(self, node: Node, weight: str, number: int) -> list[str]:
        """Append equal parts of a layer's weight, and return their names."""
        names = [f"{node.name}.{weight}.{i}" for i in range(number)]
        return self.split(self.weight(f"{node.name}.{weight}"), names, axis=0)

    def split(self, value: str, names: list[str], *, axis: int) -> list[str]:
        """Append a split of a value into equal parts of these names."""
        self.nodes.append(helper.make_node("Split", [value], names, name=names[0], axis=axis))
        return names

    def once(self, name: str, value: NDArray[Any]) -> str:
        """Append an initialiser that several layers read, the first time that it is asked for."""
        return name if any(each.name == name for each in self.initializers) else self.constant(name, value)

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Append an embedded initialiser."""
        tensor = TensorProto(name=name, dims=value.shape, raw_data=value.tobytes())
        tensor.data_type = helper.np_dtype_to_tensor_dtype(value.dtype)
        self.initializers.append(tensor)
        return name


def _attribute(name: str, value: int | float | str | list[int]) -> AttributeProto:
    """Do what ``helper.make_attribute`` does, for the kinds used here and several times faster."""
    if isinstance(value, str):
        return AttributeProto(name=name, type=AttributeProto.STRING, s=value.encode())
    if isinstance(value, list):
        return AttributeProto(name=name, type=AttributeProto.INTS, ints=value)
    if isinstance(value, float):
        return AttributeProto(name=name, type=AttributeProto.FLOAT, f=value)
    return AttributeProto(name=name, type=AttributeProto.INT, i=value)


def to_onnx(
    graph: Graph,
    weights: Mapping[str, FloatArray] | WeightPool,
    *,
    batch: int = 1,
    fold_batchnorm: bool = True,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """Return the network as an ONNX model: ``input (batch, C, H, W)`` to ``output (batch, classes)``, float32.

    Args:
        graph: plain (``SearchSpace.network_graph``, or one block of it).
        weights: a pool, referred to as external data, or arrays by ``node.weight``, embedded.
        batch: inputs per inference.
        fold_batchnorm: merge BatchNorm into the convolution before it, where nothing else reads that.
        metadata: strings kept in the model.
    """
    pool = weights if isinstance(weights, WeightPool) else None
    arrays = weights.weights(graph) if isinstance(weights, WeightPool) else weights
    emitter = _Emitter(graph, arrays, pool, batch)
    folded = _foldable(graph) if fold_batchnorm else {}
    for node in graph.nodes:
        if node.name in folded:
            emitter.nodes.append(helper.make_node("Identity", [node.inputs[0]], [node.name], name=node.name))
        elif node.name in folded.values():
            follower = next(other for other in graph.nodes if folded.get(other.name) == node.name)
            _emit_folded(emitter, node, follower.name, getattr(follower.operation, "eps", EPSILON))
        else:
            _emit(emitter, node)
    return _model(_without_identities(emitter, _outputs(graph)), metadata or {})


def _emit(emitter: _Emitter, node: Node) -> None:
    if isinstance(node.operation, Layer):
        node.operation.emit(emitter, node)
    else:
        _EMIT[type(node.operation)](emitter, node.operation, node)


def write_model(
    graph: Graph, directory: Path, pool: WeightPool, *, batch: int, metadata: Mapping[str, str]
) -> tuple[Path, str]:
    """Write model and pool into ``directory``; return the model's path and the SHA-256 of its bytes."""
    content = to_onnx(graph, pool, batch=batch, metadata=metadata).SerializeToString(deterministic=True)
    digest = sha256(content).hexdigest()
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / pool.location
    if not file.exists():
        partial = file.with_suffix(f".{digest[:8]}.part")
        partial.write_bytes(pool.values.tobytes())
        partial.replace(file)  # so that nobody ever maps half a file
    path = directory / f"{digest[:16]}.onnx"
    path.write_bytes(content)
    return path, digest


def _foldable(graph: Graph) -> dict[str, str]:
    """Return BatchNorm node -> the convolution that it merges into."""
    affine = {n.name for n in graph.nodes if isinstance(n.operation, BatchNorm) or getattr(n.operation, "affine", 0)}
    readers: dict[str, int] = {graph.output: 1}
    for node in graph.nodes:
        for name in node.inputs:
            readers[name] = readers.get(name, 0) + 1
    convs = {node.name for node in graph.nodes if isinstance(node.operation, Conv | Convolution)}
    norms = [node for node in graph.nodes if isinstance(node.operation, BatchNorm | Normalisation)]
    merged = {n.name: n.inputs[0] for n in norms if n.inputs[0] in convs and readers[n.inputs[0]] == 1}
    return {norm: conv for norm, conv in merged.items() if norm in affine}


def _emit_folded(emitter: _Emitter, node: Node, norm: str, eps: float) -> None:
    arrays = emitter.weights
    scale = arrays[f"{norm}.weight"] / np.sqrt(arrays[f"{norm}.running_var"] + eps)
    before = arrays.get(f"{node.name}.bias", 0) - arrays[f"{norm}.running_mean"]
    shift = arrays[f"{norm}.bias"] + before * scale
    name = f"{node.name}.weight"
    if emitter.pool is None:
        spread = scale.reshape(-1, *[1] * (arrays[name].ndim - 1))
        weight = emitter.constant(name, (arrays[name] * spread).astype(np.float32))
    else:
        weight = emitter.weight(name)  # the pool's BatchNorm has scale 1
    bias = emitter.constant(f"{node.name}.bias", shift.astype(np.float32))
    if isinstance(node.operation, Convolution):
        node.operation.emit_with(emitter, node, weight, bias)
    else:
        _emit_conv(emitter, node.operation, node, weight, bias)


def _emit_conv(emitter: _Emitter, op: Any, node: Node, *weights: str) -> None:
    emitter.add(
        "Conv",
        node,
        node.inputs[0],
        *(weights or (emitter.weight(f"{node.name}.weight"),)),
        kernel_shape=[op.kernel] * 2,
        strides=[op.stride] * 2,
        pads=[op.padding] * 4,
        dilations=[op.dilation] * 2,
        group=op.groups,
    )


def _emit_batch_norm(emitter: _Emitter, op: Any, node: Node) -> None:
    parts = ("weight", "bias", "running_mean", "running_var")
    names = [emitter.weight(f"{node.name}.{part}") for part in parts]
    emitter.add("BatchNormalization", node, node.inputs[0], *names, epsilon=EPSILON)


def _emit_linear(emitter: _Emitter, op: Any, node: Node) -> None:
    names = [emitter.weight(f"{node.name}.{part}") for part in ("weight", "bias")]
    emitter.add("Gemm", node, node.inputs[0], *names, transB=1)


def _emit_pool(emitter: _Emitter, op: Any, node: Node) -> None:
    shape = {"kernel_shape": [op.kernel] * 2, "strides": [op.stride] * 2, "pads": [op.padding] * 4}
    kind, extra = ("MaxPool", {}) if op.kind == "max" else ("AveragePool", {"count_include_pad": 0})
    emitter.add(kind, node, node.inputs[0], **shape, **extra)


def _emit_zero(emitter: _Emitter, op: Any, node: Node) -> None:
    shape = emitter.constant(f"{node.name}.shape", np.array((emitter.batch, *node.shape), np.int64))
    emitter.add("ConstantOfShape", node, shape)


def _emit_crop(emitter: _Emitter, op: Any, node: Node) -> None:
    far = np.iinfo(np.int64).max
    parts = {"starts": [1, 1], "ends": [far, far], "axes": [2, 3]}
    names = [emitter.constant(f"{node.name}.{key}", np.array(value, np.int64)) for key, value in parts.items()]
    emitter.add("Slice", node, node.inputs[0], *names)


def _emit_subsample(emitter: _Emitter, op: Any, node: Node) -> None:
    name = node.inputs[0]
    shape = emitter.graph.shapes[name]
    for axis, (side, output) in enumerate(zip(shape[1:], (f"{node.name}.rows", node.name), strict=True), start=2):
        index = emitter.constant(f"{node.name}.index{axis}", np.array(op.rows(side), np.int64))
        emitter.nodes.append(helper.make_node("Gather", [name, index], [output], name=output, axis=axis))
        name = output


def _emit_shuffle(emitter: _Emitter, op: Any, node: Node) -> None:
    channels, height, width = node.shape
    split = (emitter.batch, op.groups, channels // op.groups, height, width)
    split, joined = (
        emitter.constant(f"{node.name}.{key}", np.array(value, np.int64))
        for key, value in (("split", split), ("joined", (emitter.batch, *node.shape)))
    )
    parts, dealt = f"{node.name}.parts", f"{node.name}.dealt"
    emitter.nodes += [
        helper.make_node("Reshape", [node.inputs[0], split], [parts], name=parts),
        helper.make_node("Transpose", [parts], [dealt], name=dealt, perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", [dealt, joined], [node.name], name=node.name),
    ]


def _emit_global_pool(emitter: _Emitter, op: Any, node: Node) -> None:
    if op.keep_map:
        return emitter.add("GlobalAveragePool", node, *node.inputs)
    pooled = f"{node.name}.map"
    emitter.nodes.append(helper.make_node("GlobalAveragePool", [node.inputs[0]], [pooled], name=pooled))
    return emitter.add("Flatten", node, pooled, axis=1)


_EMIT: dict[type[Operation], Callable[[_Emitter, Any, Node], None]] = {
    Add: lambda emitter, op, node: emitter.add("Add" if len(node.inputs) == 2 else "Sum", node, *node.inputs),
    BatchNorm: _emit_batch_norm,
    Concat: lambda emitter, op, node: emitter.add("Concat", node, *node.inputs, axis=1),
    Conv: _emit_conv,
    Crop: _emit_crop,
    GlobalPool: _emit_global_pool,
    HardSigmoid: lambda emitter, op, node: emitter.add("HardSigmoid", node, *node.inputs, alpha=1 / 6, beta=0.5),
    HardSwish: lambda emitter, op, node: emitter.add("HardSwish", node, *node.inputs),
    Identity: lambda emitter, op, node: emitter.add("Identity", node, *node.inputs),
    Linear: _emit_linear,
    Mean: lambda emitter, op, node: emitter.add("Mean", node, *node.inputs),
    Pool: _emit_pool,
    Relu: lambda emitter, op, node: emitter.add("Relu", node, *node.inputs),
    Resize: lambda emitter, op, node: emitter.add("Identity", node, *node.inputs),  # the image comes as `ports` says
    Scale: lambda emitter, op, node: emitter.add("Mul", node, *node.inputs),
    Shuffle: _emit_shuffle,
    Subsample: _emit_subsample,
    Zero: _emit_zero,
}


def _outputs(graph: Graph) -> tuple[str, ...]:
    """Return the values that leave the network: one, or the inputs of its last node."""
    last = next((node for node in reversed(graph.nodes) if node.name == graph.output), None)
    return last.inputs if last is not None and isinstance(last.operation, Outputs) else (graph.output,)


def output_name(number: int) -> str:
    """Return what an output is called: ``output``, ``output1``, ``output2``."""
    return f"{OUTPUT}{number or ''}"


def _without_identities(emitter: _Emitter, outputs: tuple[str, ...]) -> _Emitter:
    """Drop the nodes that folding left over, and give the outputs their public names, which no layer keeps."""
    alias = {output_name(number): f"{output_name(number)}.layer" for number in range(len(outputs))}
    kept: list[NodeProto] = []
    for node in emitter.nodes:
        inputs = [alias.get(name, name) for name in node.input]
        if node.op_type == "Identity":
            alias[node.output[0]] = inputs[0]
            continue
        node.input[:] = inputs
        node.output[:] = [alias.get(name, name) for name in node.output]
        kept.append(node)
    for number, output in enumerate(outputs):
        name = output_name(number)
        kept.append(helper.make_node("Identity", [alias.get(output, output)], [name], name=f"{name}.given"))
    one = len(outputs) == 1
    if one and len(kept) > 1 and kept[-1].input[0] == kept[-2].output[0]:  # as usual: the last layer gives it
        kept.pop()
        kept[-1].output[0] = OUTPUT
    emitter.nodes = kept
    return emitter


def _model(emitter: _Emitter, metadata: Mapping[str, str]) -> onnx.ModelProto:
    graph, batch = emitter.graph, emitter.batch
    kinds = {False: TensorProto.FLOAT, True: TensorProto.INT64}
    inputs = [
        helper.make_tensor_value_info(name, kinds[whole], (batch, *shape))
        for name, (shape, whole) in ports(graph).items()
    ]
    outputs = [
        helper.make_tensor_value_info(output_name(number), TensorProto.FLOAT, (batch, *graph.shapes[name]))
        for number, name in enumerate(_outputs(graph))
    ]
    body = helper.make_graph(emitter.nodes, "network", inputs, outputs, emitter.initializers)
    own = sorted({node.domain for node in emitter.nodes} - {""})  # operators of a runtime's own
    imports = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(domain, 1) for domain in own)]
    model = helper.make_model(body, producer_name="tempograd", opset_imports=imports)
    model.ir_version = IR_VERSION
    helper.set_model_props(model, dict(metadata))
    return model
