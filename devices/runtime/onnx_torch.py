"""An ONNX network as a torch module: straight-line code, made of the operators that our builder emits.

torch reads no ONNX. The result is what a person would have written by hand, so that eager mode, the compiler and
graph capture see an ordinary module.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper
from torch import fx, nn
from torch.nn import functional

from ...errors import InputRefusedError
from .resizing import resizing


def to_module(model: ModelProto) -> fx.GraphModule:
    """Return a module that takes the network's inputs, in order, and returns its first output.

    Args:
        model: with its weights embedded.

    Raises:
        InputRefusedError: an operator, or a use of one, that is not among those of our spaces.
    """
    return _Translator(model).module()


class _Translator:
    """Appends one call to a traced graph for each ONNX node."""

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self._root, self._graph = nn.Module(), fx.Graph()
        self._values: dict[str, fx.Node] = {}

    def module(self) -> fx.GraphModule:
        for value in self._model.graph.input:
            if value.name not in self.constants:
                self._values[value.name] = self._graph.placeholder(f"input{len(self._values)}")
        for node in self._model.graph.node:
            translate = _OPERATORS.get(node.op_type)
            if translate is None or node.domain not in ("", "ai.onnx"):
                raise InputRefusedError(f"torch is given no operator {node.op_type}; allowed: {', '.join(_OPERATORS)}")
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            made = translate(self, node, attributes)
            several = len(node.output) > 1
            for place, name in enumerate(node.output):
                self._values[name] = self.call(operator.getitem, made, place) if several else made
        self._graph.output(self.value(self._model.graph.output[0].name))
        return fx.GraphModule(self._root, self._graph).eval()

    def value(self, name: str) -> fx.Node:
        """Return a tensor: computed, or a constant that the module keeps."""
        if name not in self._values:
            self._values[name] = self.keep(self.constants[name])
        return self._values[name]

    def keep(self, array: NDArray[Any]) -> fx.Node:
        """Return the node of a constant of any shape."""
        name = f"constant{len(list(self._root.buffers()))}"
        self._root.register_buffer(name, torch.from_numpy(np.array(array)))
        return self._graph.get_attr(name)

    def numbers(self, name: str) -> list[int]:
        """Return an input that must be known when the network is built, such as a shape.

        Raises:
            InputRefusedError: it is computed.
        """
        if name not in self.constants:
            raise InputRefusedError(f"{name!r} is computed; shapes and indices must be constants")
        return [int(value) for value in self.constants[name].reshape(-1)]

    def call(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> fx.Node:
        return self._graph.call_function(function, arguments, keywords)


_Attributes = Mapping[str, Any]


def _padding(node: NodeProto, attributes: _Attributes) -> list[int]:
    pads = list(attributes.get("pads", [0] * 4))
    if pads[:2] != pads[2:] or attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or attributes.get("ceil_mode", 0):
        raise InputRefusedError(f"{node.op_type} with pads {pads}; allowed: as much on both sides, rounded down")
    return pads[:2]


def _conv(to: _Translator, node: NodeProto, attributes: _Attributes) -> fx.Node:
    x, *weights = (to.value(name) for name in node.input)
    bias = weights[1] if len(weights) > 1 else None
    strides, dilations = (list(attributes.get(key, [1, 1])) for key in ("strides", "dilations"))
    groups, padding = attributes.get("group", 1), _padding(node, attributes)
    return to.call(functional.conv2d, x, weights[0], bias, strides, padding, dilations, groups)


def _pool(to: _Translator, node: NodeProto, attributes: _Attributes) -> fx.Node:
    kernel, strides = list(attributes["kernel_shape"]), list(attributes.get("strides", [1, 1]))
    padding, x = _padding(node, attributes), to.value(node.input[0])
    if node.op_type == "MaxPool":
        return to.call(functional.max_pool2d, x, kernel, strides, padding)
    counted = bool(attributes.get("count_include_pad", 0))
    return to.call(functional.avg_pool2d, x, kernel, strides, padding, count_include_pad=counted)


def _batch_norm(to: _Translator, node: NodeProto, attributes: _Attributes) -> fx.Node:
    x, scale, shift, mean, variance = (to.value(name) for name in node.input)
    return to.call(functional.batch_norm, x, mean, variance, scale, shift, False, 0.0, attributes.get("epsilon", 1e-5))


def _gemm(to: _Translator, node: NodeProto, attributes: _Attributes) -> fx.Node:
    if attributes.get("transA", 0) or not attributes.get("transB", 0) or len(node.input) != 3:
        raise InputRefusedError("Gemm without transB, or without a bias; allowed: a linear layer")
    if attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
        raise InputRefusedError("Gemm with alpha or beta; allowed: 1")
    return to.call(functional.linear, *(to.value(name) for name in node.input))


def _slice(to: _Translator, node: NodeProto, attributes: _Attributes) -> fx.Node:
    starts, ends, axes, *steps = (to.numbers(name) for name in node.input[1:])
    cuts = [slice(None)] * (max(axes) + 1)
    for start, end, axis, step in zip(starts, ends, axes, steps[0] if steps else [1] * len(axes), strict=True):
        cuts[axis] = slice(start, None if end >= np.iinfo(np.int64).max else end, step)
    return to.call(operator.getitem, to.value(node.input[0]), tuple(cuts))


def _sum(to: _Translator, node: NodeProto, attributes: _Attributes) -> fx.Node:
    first, *others = (to.value(name) for name in node.input)
    for other in others:
        first = to.call(torch.add, first, other)
    return first


def _mean(to: _Translator, node: NodeProto, attributes: _Attributes) -> fx.Node:
    return to.call(torch.mul, _sum(to, node, attributes), 1 / len(node.input))


def _gather(to: _Translator, node: NodeProto, attributes: _Attributes) -> fx.Node:
    axis, index = attributes.get("axis", 0), node.input[1]
    if index in to.constants and to.constants[index].ndim == 0:
        return to.call(torch.select, to.value(node.input[0]), axis, int(to.constants[index]))
    if index in to.constants:
        return to.call(torch.index_select, to.value(node.input[0]), axis, to.value(index))
    if axis:
        raise InputRefusedError(f"Gather of what is computed along axis {axis}; allowed: 0")
    return to.call(functional.embedding, to.value(index), to.value(node.input[0]))


def _split(to: _Translator, node: NodeProto, attributes: _Attributes) -> fx.Node:
    if len(node.input) > 1:
        raise InputRefusedError("Split into parts of given sizes; allowed: equal parts")
    return to.call(torch.chunk, to.value(node.input[0]), len(node.output), attributes.get("axis", 0))


def _scatter(to: _Translator, node: NodeProto, attributes: _Attributes) -> fx.Node:
    if attributes.get("reduction", b"none") != b"add":
        raise InputRefusedError("ScatterElements that does not add; allowed: reduction=add")
    x, index, values = (to.value(name) for name in node.input)
    return to.call(torch.scatter_add, x, attributes.get("axis", 0), index, values)


def _layer_norm(to: _Translator, node: NodeProto, attributes: _Attributes) -> fx.Node:
    x, *weights = (to.value(name) for name in node.input)
    sides = list(to.constants[node.input[1]].shape)
    if attributes.get("axis", -1) != -len(sides):
        raise InputRefusedError(f"LayerNormalization at axis {attributes.get('axis', -1)}; allowed: the weights' axes")
    return to.call(functional.layer_norm, x, sides, *weights, eps=attributes.get("epsilon", 1e-5))


def _reduce_mean(to: _Translator, node: NodeProto, attributes: _Attributes) -> fx.Node:
    axes, keep = list(attributes["axes"]), bool(attributes.get("keepdims", 1))
    return to.call(torch.mean, to.value(node.input[0]), axes, keep)


def _hard_sigmoid(to: _Translator, node: NodeProto, attributes: _Attributes) -> fx.Node:
    if abs(attributes.get("alpha", 0.2) - 1 / 6) > 1e-6 or attributes.get("beta", 0.5) != 0.5:
        raise InputRefusedError(f"HardSigmoid with {dict(attributes)}; allowed: alpha 1/6, beta 1/2")
    return to.call(functional.hardsigmoid, to.value(node.input[0]))


def _resize(to: _Translator, node: NodeProto, attributes: _Attributes) -> fx.Node:
    form = resizing(node, attributes)
    corners = None if form == "nearest" else form == "align_corners"
    mode = "nearest" if form == "nearest" else "bilinear"
    sides = to.numbers(node.input[3])[2:]
    return to.call(functional.interpolate, to.value(node.input[0]), size=sides, mode=mode, align_corners=corners)


def _constant_of_shape(to: _Translator, node: NodeProto, attributes: _Attributes) -> fx.Node:
    value = numpy_helper.to_array(attributes["value"]) if "value" in attributes else np.zeros(1, np.float32)
    return to.keep(np.full(to.numbers(node.input[0]), value[0]))


def _flatten(to: _Translator, node: NodeProto, attributes: _Attributes) -> fx.Node:
    if attributes.get("axis", 1) != 1:
        raise InputRefusedError(f"Flatten at axis {attributes['axis']}; allowed: 1")
    return to.call(torch.flatten, to.value(node.input[0]), 1)


def _simple(function: Callable[..., Any], *more: Any) -> Callable[[_Translator, NodeProto, _Attributes], fx.Node]:
    return lambda to, node, attributes: to.call(function, *(to.value(name) for name in node.input), *more)


_OPERATORS: dict[str, Callable[[_Translator, NodeProto, _Attributes], fx.Node]] = {
    "Add": _simple(torch.add),
    "AveragePool": _pool,
    "BatchNormalization": _batch_norm,
    "Concat": lambda to, node, a: to.call(torch.cat, [to.value(name) for name in node.input], a["axis"]),
    "ConstantOfShape": _constant_of_shape,
    "Conv": _conv,
    "Flatten": _flatten,
    "Div": _simple(torch.div),
    "Erf": _simple(torch.erf),
    "Expand": lambda to, node, a: to.call(torch.broadcast_to, to.value(node.input[0]), to.numbers(node.input[1])),
    "Gather": _gather,
    "GatherElements": lambda to, node, a: to.call(
        torch.gather, to.value(node.input[0]), a.get("axis", 0), to.value(node.input[1])
    ),
    "Gemm": _gemm,
    "GlobalAveragePool": _simple(functional.adaptive_avg_pool2d, 1),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _simple(functional.hardswish),
    "Identity": lambda to, node, a: to.value(node.input[0]),
    "LayerNormalization": _layer_norm,
    "MatMul": _simple(torch.matmul),
    "MaxPool": _pool,
    "Mean": _mean,
    "Mul": _simple(torch.mul),
    "ReduceMean": _reduce_mean,
    "Relu": _simple(functional.relu),
    "Resize": _resize,
    "Reshape": lambda to, node, a: to.call(torch.reshape, to.value(node.input[0]), to.numbers(node.input[1])),
    "Sigmoid": _simple(torch.sigmoid),
    "ScatterElements": _scatter,
    "Slice": _slice,
    "Softmax": lambda to, node, a: to.call(torch.softmax, to.value(node.input[0]), a.get("axis", -1)),
    "Split": _split,
    "Sub": _simple(torch.sub),
    "Sum": _sum,
    "Tanh": _simple(torch.tanh),
    "Transpose": lambda to, node, a: to.call(torch.permute, to.value(node.input[0]), list(a["perm"])),
}
