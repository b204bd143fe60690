"""An ONNX network as a LiteRT (TensorFlow Lite) flatbuffer, written directly, without TensorFlow.

LiteRT keeps images as (N, H, W, C). A tensor of rank 4 or more has its two last axes, the image's, moved behind the
first: of rank 5, as between the halves of a channel shuffle, too. Everything else follows from that one rule.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import chain
from math import prod
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper, shape_inference

from ...errors import InputRefusedError
from .resizing import resizing

_FUSIBLE = ("ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_LOWEST = np.float32(np.finfo(np.float32).min)
_Attributes = Mapping[str, Any]


def layout(rank: int) -> list[int]:
    """Return which ONNX axis stands at each place.

    >>> layout(4), layout(5), layout(2)
    ([0, 2, 3, 1], [0, 3, 4, 1, 2], [0, 1])
    """
    return [0, rank - 2, rank - 1, *range(1, rank - 2)] if rank >= 4 else list(range(rank))


def moved(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array (n, c, ...) with its axes as LiteRT has them, (n, ..., c); below rank 4 as it is."""
    return np.ascontiguousarray(array.transpose(layout(array.ndim)))


def moved_back(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array (n, ..., c) with its axes as ONNX has them, (n, c, ...); below rank 4 as it is."""
    return np.ascontiguousarray(array.transpose(np.argsort(layout(array.ndim))))


def to_tflite(model: ModelProto) -> bytes:
    """Return the flatbuffer of a network of fixed shapes with its weights embedded.

    Raises:
        InputRefusedError: an operator, or a use of one, that is not among those of our spaces.
    """
    return converted(model)[0]


@dataclass(frozen=True)
class Made:
    """One node of a network as it was written.

    Attributes:
        node: Node of the network.
        operators: places of what it became among the flatbuffer's; empty where it became nothing.
        kinds: LiteRT's names of these.
        fused: nodes that were written into it.
    """

    node: NodeProto
    operators: range
    kinds: tuple[str, ...]
    fused: tuple[NodeProto, ...]


def converted(model: ModelProto) -> tuple[bytes, list[Made]]:
    """Return the flatbuffer as `to_tflite` does, with what became of each node, in their order.

    Raises:
        InputRefusedError: as for `to_tflite`.
    """
    writer = _Writer(model)
    return writer.written(), writer.made()


class _Writer:
    """Appends tensors and operators to one subgraph."""

    def __init__(self, model: ModelProto) -> None:
        self.schema: Any = import_module("ai_edge_litert.schema_py_generated")
        try:
            self._model = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        except Exception as error:  # onnx's own InferenceError, and RuntimeErrors
            raise InputRefusedError(f"shapes cannot be inferred: {' '.join(str(error).split())[:300]}") from error
        graph = self._model.graph
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.shapes = {
            value.name: tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
            for value in (*graph.input, *graph.value_info, *graph.output)
        }
        self._readers = Counter(name for node in graph.node for name in node.input)
        self._readers.update(value.name for value in graph.output)
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._buffers: list[Any] = [self.schema.BufferT()]
        self._codes: list[int] = []
        self._known: dict[str, int] = {}
        self._fusible: dict[str, Any] = {}
        self._kinds: list[str] = []
        self._made: dict[str, tuple[NodeProto, range]] = {}  # by the first output
        self._fused: defaultdict[str, list[NodeProto]] = defaultdict(list)  # by the output of what it went into

    def written(self) -> bytes:
        graph = self._model.graph
        inputs = [self._input(value.name) for value in graph.input if value.name not in self.constants]
        for node in graph.node:
            write = _OPERATORS.get(node.op_type)
            if write is None or node.domain not in ("", "ai.onnx"):
                raise InputRefusedError(f"LiteRT is given no operator {node.op_type}; allowed: {', '.join(_OPERATORS)}")
            before = len(self._operators)
            write(self, node, {a.name: helper.get_attribute_value(a) for a in node.attribute})
            self._made[node.output[0]] = node, range(before, len(self._operators))
        outputs = [self.tensor(value.name) for value in graph.output]
        schema = self.schema
        subgraph = schema.SubGraphT(self._tensors, inputs, outputs, self._operators, "main")
        codes = [schema.OperatorCodeT(min(code, 127), None, 1, code) for code in self._codes]
        whole = schema.ModelT(3, codes, [subgraph], "tempograd", self._buffers)
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(whole.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def made(self) -> list[Made]:
        """Return what became of each node, once all is written."""
        return [
            Made(node, places, tuple(self._kinds[n] for n in places), tuple(self._fused[name]))
            for name, (node, places) in self._made.items()
        ]

    # -- tensors -------------------------------------------------------------------------------------------------

    def tensor(self, name: str) -> int:
        """Return the number of a tensor of the network."""
        if name not in self._known:
            self._known[name] = self.constant(moved(self.constants[name]))
        return self._known[name]

    def constant(self, values: NDArray[Any]) -> int:
        """Return the number of a new tensor that holds these values of any shape, as they are."""
        buffer = self.schema.BufferT(np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8))
        self._buffers.append(buffer)
        return self._new(values.shape, values.dtype, len(self._buffers) - 1)

    def temporary(self, shape: Sequence[int]) -> int:
        """Return the number of a new tensor between two operators, its axes as LiteRT has them."""
        return self._new(shape, np.dtype(np.float32), 0)

    def alias(self, name: str, of: str) -> None:
        self._known[name] = self.tensor(of)

    def set(self, name: str, number: int) -> None:
        self._known[name] = number

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor, its axes as LiteRT has them."""
        shape = self.shapes.get(name) or self.constants[name].shape
        return tuple(shape[axis] for axis in layout(len(shape)))

    def numbers(self, name: str) -> list[int]:
        if name not in self.constants:
            raise InputRefusedError(f"{name!r} is computed; shapes and indices must be constants")
        return [int(value) for value in self.constants[name].reshape(-1)]

    def _input(self, name: str) -> int:
        self._known[name] = self.temporary(self.shape(name))
        return self._known[name]

    def _new(self, shape: Sequence[int], dtype: np.dtype[Any], buffer: int) -> int:
        kind = {"float32": self.schema.TensorType.FLOAT32, "int32": self.schema.TensorType.INT32}.get(dtype.name)
        if kind is None:
            raise InputRefusedError(f"a tensor of {dtype.name}; allowed: float32")
        self._tensors.append(self.schema.TensorT([int(size) for size in shape], kind, buffer, f"t{len(self._tensors)}"))
        return len(self._tensors) - 1

    # -- operators -----------------------------------------------------------------------------------------------

    def add(self, kind: str, inputs: Sequence[int], output: str | int, options: str = "", **fields: Any) -> int:
        """Append one operator and return the number of its output, a tensor of the network or a temporary one."""
        code = getattr(self.schema.BuiltinOperator, kind)
        if code not in self._codes:
            self._codes.append(code)
        name, number = (output, self.temporary(self.shape(output))) if isinstance(output, str) else ("", output)
        operator = self.schema.OperatorT(self._codes.index(code), list(inputs), [number])
        if name:
            self._known[name] = number
        if options:
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(self.schema, f"{options}T")(**fields)
        if name and kind in _FUSIBLE:
            self._fusible[name] = operator.builtinOptions
        self._operators.append(operator)
        self._kinds.append(kind)
        return number

    def fused_relu(self, node: NodeProto) -> bool:
        """Make the operator whose output a rectifier reads clip at zero, if it can and nothing else reads it."""
        name = node.input[0]
        if self._readers[name] != 1 or name not in self._fusible:
            return False
        self._fusible[name].fusedActivationFunction = self.schema.ActivationFunctionType.RELU
        self._fused[name].append(node)
        return True

    def padded(self, node: NodeProto, attributes: _Attributes, value: float = 0.0) -> tuple[int, int]:
        """Return the input and LiteRT's kind of padding; what that cannot say is an operator of its own."""
        pads = list(attributes.get("pads", [0] * 4))
        if pads[:2] != pads[2:] or attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or attributes.get("ceil_mode", 0):
            raise InputRefusedError(f"{node.op_type} with pads {pads}; allowed: as much on both sides, rounded down")
        x, (batch, height, width, channels) = self.tensor(node.input[0]), self.shape(node.input[0])
        if not any(pads):
            return x, self.schema.Padding.VALID
        window = zip((height, width), attributes["kernel_shape"], *_steps(attributes), pads[:2], strict=True)
        if all(_is_same(*side) for side in window):
            return x, self.schema.Padding.SAME
        around = self.constant(np.array([[0, 0], [pads[0]] * 2, [pads[1]] * 2, [0, 0]], np.int32))
        larger = self.temporary((batch, height + 2 * pads[0], width + 2 * pads[1], channels))
        if value:
            fill = self.constant(np.array([value], np.float32))
            return self.add("PADV2", [x, around, fill], larger, "PadV2Options"), self.schema.Padding.VALID
        return self.add("PAD", [x, around], larger, "PadOptions"), self.schema.Padding.VALID


def _steps(attributes: _Attributes) -> tuple[list[int], list[int]]:
    return list(attributes.get("strides", [1, 1])), list(attributes.get("dilations", [1, 1]))


def _is_same(size: int, kernel: int, stride: int, dilation: int, pad: int) -> bool:
    """Return whether padding by as much on both sides is what LiteRT calls SAME."""
    reach = dilation * (kernel - 1) + 1
    output = (size + 2 * pad - reach) // stride + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return output == -(-size // stride) and total // 2 == pad


def _conv(to: _Writer, node: NodeProto, attributes: _Attributes) -> None:
    weight = to.constants[node.input[1]]
    out, inside, *_ = weight.shape
    bias = to.constants[node.input[2]] if len(node.input) > 2 else np.zeros(out, np.float32)
    x, padding = to.padded(node, {"kernel_shape": weight.shape[2:], **attributes})
    (stride_h, stride_w), (dilation_h, dilation_w) = _steps(attributes)
    fields = {
        "padding": padding, "strideH": stride_h, "strideW": stride_w, "dilationHFactor": dilation_h,
        "dilationWFactor": dilation_w,
    }  # fmt: skip
    groups = attributes.get("group", 1)
    if groups > 1 and inside == 1:
        filters = to.constant(weight.transpose(1, 2, 3, 0))
        inputs = [x, filters, to.constant(bias)]
        to.add(
            "DEPTHWISE_CONV_2D",
            inputs,
            node.output[0],
            "DepthwiseConv2DOptions",
            depthMultiplier=out // groups,
            **fields,
        )
    else:
        inputs = [x, to.constant(weight.transpose(0, 2, 3, 1)), to.constant(bias)]
        to.add("CONV_2D", inputs, node.output[0], "Conv2DOptions", **fields)


def _pool(to: _Writer, node: NodeProto, attributes: _Attributes) -> None:
    (kernel_h, kernel_w), (stride_h, stride_w) = attributes["kernel_shape"], attributes.get("strides", [1, 1])
    largest = node.op_type == "MaxPool"
    x, padding = to.padded(node, attributes, float(_LOWEST) if largest else 0.0)
    fields = {
        "padding": padding, "strideH": stride_h, "strideW": stride_w, "filterHeight": kernel_h, "filterWidth": kernel_w,
    }  # fmt: skip
    name = node.output[0]
    if largest:
        to.add("MAX_POOL_2D", [x], name, "Pool2DOptions", **fields)
    elif x == to.tensor(node.input[0]):  # LiteRT leaves its own padding out of the mean, as our networks do
        to.add("AVERAGE_POOL_2D", [x], name, "Pool2DOptions", **fields)
    else:
        pooled = to.add("AVERAGE_POOL_2D", [x], to.temporary(to.shape(name)), "Pool2DOptions", **fields)
        share = to.constant(_share(to.shape(node.input[0]), to.shape(name), attributes))
        to.add("MUL", [pooled, share], name, "MulOptions")


def _share(inside: tuple[int, ...], outside: tuple[int, ...], attributes: _Attributes) -> NDArray[np.float32]:
    """Return by what a mean over a padded window is multiplied, so that it is over the window's own part."""
    sides: list[NDArray[np.float64]] = []
    for axis in (1, 2):
        kernel, stride, pad = (attributes[key][axis - 1] for key in ("kernel_shape", "strides", "pads"))
        starts = np.arange(outside[axis]) * stride - pad
        sides.append(kernel / (np.minimum(starts + kernel, inside[axis]) - np.maximum(starts, 0)))
    return np.outer(*sides).astype(np.float32)[None, :, :, None]


def _batch_norm(to: _Writer, node: NodeProto, attributes: _Attributes) -> None:
    scale, shift, mean, variance = (to.constants[name] for name in node.input[1:])
    factor = (scale / np.sqrt(variance + attributes.get("epsilon", 1e-5))).astype(np.float32)
    product = to.temporary(to.shape(node.output[0]))
    to.add("MUL", [to.tensor(node.input[0]), to.constant(factor)], product, "MulOptions")
    to.add("ADD", [product, to.constant(shift - mean * factor)], node.output[0], "AddOptions")


def _gemm(to: _Writer, node: NodeProto, attributes: _Attributes) -> None:
    plain = attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0 and not attributes.get("transA", 0)
    if not plain or not attributes.get("transB", 0) or len(node.input) != 3:
        raise InputRefusedError("Gemm that is no linear layer (transB, a bias, no factors)")
    to.add("FULLY_CONNECTED", [to.tensor(name) for name in node.input], node.output[0], "FullyConnectedOptions")


def _product(to: _Writer, node: NodeProto, attributes: _Attributes) -> None:
    weight = to.constants.get(node.input[1])
    if weight is None or weight.ndim != 2 or len(to.shape(node.input[0])) != 2:
        raise InputRefusedError("MatMul that is no linear layer (of a matrix by a constant one)")
    inputs = [to.tensor(node.input[0]), to.constant(weight.T), to.constant(np.zeros(weight.shape[1], np.float32))]
    to.add("FULLY_CONNECTED", inputs, node.output[0], "FullyConnectedOptions")


def _relu(to: _Writer, node: NodeProto, attributes: _Attributes) -> None:
    if to.fused_relu(node):
        to.alias(node.output[0], node.input[0])
    else:
        to.add("RELU", [to.tensor(node.input[0])], node.output[0])


def _sum(to: _Writer, node: NodeProto, attributes: _Attributes) -> None:
    total, *others = (to.tensor(name) for name in node.input)
    for other in others[:-1]:
        total = to.add("ADD", [total, other], to.temporary(to.shape(node.output[0])), "AddOptions")
    to.add("ADD", [total, others[-1]], node.output[0], "AddOptions")


def _concat(to: _Writer, node: NodeProto, attributes: _Attributes) -> None:
    axis = layout(len(to.shape(node.output[0]))).index(attributes["axis"])
    to.add("CONCATENATION", [to.tensor(name) for name in node.input], node.output[0], "ConcatenationOptions", axis=axis)


def _slice(to: _Writer, node: NodeProto, attributes: _Attributes) -> None:
    starts, _, axes, *steps = (to.numbers(name) for name in node.input[1:])
    if any(step != 1 for step in chain(*steps)) or any(start < 0 for start in starts):
        raise InputRefusedError("Slice with steps, or from the end; allowed: a crop")
    sizes = to.shape(node.output[0])
    begin = [0] * len(sizes)
    for start, axis in zip(starts, axes, strict=True):
        begin[layout(len(sizes)).index(axis)] = start
    ends = [to.constant(np.array(values, np.int32)) for values in (begin, sizes)]
    to.add("SLICE", [to.tensor(node.input[0]), *ends], node.output[0], "SliceOptions")


def _gather(to: _Writer, node: NodeProto, attributes: _Attributes) -> None:
    axis = layout(len(to.shape(node.input[0]))).index(attributes.get("axis", 0))
    index = to.constant(np.array(to.numbers(node.input[1]), np.int32))
    to.add("GATHER", [to.tensor(node.input[0]), index], node.output[0], "GatherOptions", axis=axis)


def _reshape(to: _Writer, node: NodeProto, attributes: _Attributes) -> None:
    """Split or join axes other than the image's."""
    inside, outside = to.shape(node.input[0]), to.shape(node.output[0])
    images = [shape[1:3] if len(shape) >= 4 else (1, 1) for shape in (inside, outside)]
    if images[0] != images[1] or prod(inside) != prod(outside):
        raise InputRefusedError(f"{node.op_type} from {inside} to {outside}; allowed: with the image kept")
    shape = to.constant(np.array(outside, np.int32))
    to.add("RESHAPE", [to.tensor(node.input[0]), shape], node.output[0], "ReshapeOptions", newShape=list(outside))


def _transpose(to: _Writer, node: NodeProto, attributes: _Attributes) -> None:
    order = list(attributes["perm"])
    places = layout(len(order))
    perm = to.constant(np.array([places.index(order[axis]) for axis in places], np.int32))
    to.add("TRANSPOSE", [to.tensor(node.input[0]), perm], node.output[0], "TransposeOptions")


def _resize(to: _Writer, node: NodeProto, attributes: _Attributes) -> None:
    form = resizing(node, attributes)
    inputs = [to.tensor(node.input[0]), to.constant(np.array(to.numbers(node.input[3])[2:], np.int32))]
    if form == "nearest":
        to.add("RESIZE_NEAREST_NEIGHBOR", inputs, node.output[0], "ResizeNearestNeighborOptions")
        return
    to.add(
        "RESIZE_BILINEAR", inputs, node.output[0], "ResizeBilinearOptions",
        alignCorners=form == "align_corners", halfPixelCenters=form == "half_pixel",
    )  # fmt: skip


def _global_pool(to: _Writer, node: NodeProto, attributes: _Attributes) -> None:
    axes = to.constant(np.array([1, 2], np.int32))
    to.add("MEAN", [to.tensor(node.input[0]), axes], node.output[0], "ReducerOptions", keepDims=True)


def _hard_sigmoid(to: _Writer, node: NodeProto, attributes: _Attributes) -> None:
    if abs(attributes.get("alpha", 0.2) - 1 / 6) > 1e-6 or attributes.get("beta", 0.5) != 0.5:
        raise InputRefusedError(f"HardSigmoid with {dict(attributes)}; allowed: alpha 1/6, beta 1/2")
    three, sixth = (to.constant(np.array([value], np.float32)) for value in (3, 1 / 6))
    clipped = to.temporary(to.shape(node.output[0]))
    relu6 = to.schema.ActivationFunctionType.RELU6
    to.add("ADD", [to.tensor(node.input[0]), three], clipped, "AddOptions", fusedActivationFunction=relu6)
    to.add("MUL", [clipped, sixth], node.output[0], "MulOptions")


def _zeros(to: _Writer, node: NodeProto, attributes: _Attributes) -> None:
    value = numpy_helper.to_array(attributes["value"]) if "value" in attributes else np.zeros(1, np.float32)
    to.set(node.output[0], to.constant(moved(np.full(to.numbers(node.input[0]), value[0]))))


def _simple(kind: str, options: str = "") -> Callable[[_Writer, NodeProto, _Attributes], None]:
    def write(to: _Writer, node: NodeProto, attributes: _Attributes) -> None:
        to.add(kind, [to.tensor(name) for name in node.input], node.output[0], options)

    return write


_OPERATORS: dict[str, Callable[[_Writer, NodeProto, _Attributes], None]] = {
    "Add": _sum,
    "AveragePool": _pool,
    "BatchNormalization": _batch_norm,
    "Concat": _concat,
    "Cos": _simple("COS", "CosOptions"),
    "ConstantOfShape": _zeros,
    "Conv": _conv,
    "Flatten": _reshape,
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _simple("HARD_SWISH"),
    "Identity": lambda to, node, attributes: to.alias(node.output[0], node.input[0]),
    "MatMul": _product,
    "MaxPool": _pool,
    "Mul": _simple("MUL", "MulOptions"),
    "Relu": _relu,
    "Resize": _resize,
    "Reshape": _reshape,
    "Sigmoid": _simple("LOGISTIC"),
    "Sin": _simple("SIN"),
    "Slice": _slice,
    "Sum": _sum,
    "Transpose": _transpose,
}
