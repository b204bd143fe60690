"""What operators are and cost: families of kernels, and multiply-accumulates from shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from onnx import ModelProto

Shape = tuple[int, ...]

FAMILIES = (
    "convolution", "pointwise", "depthwise", "grouped", "matmul", "attention", "normalisation", "pool", "elementwise",
    "layout", "recurrent", "rest",
)  # fmt: skip
"""Kernels that behave alike: pointwise are 1x1 convolutions; pool holds reductions, attention softmax."""

_CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "ConvTranspose": 1, "QLinearConv": 3, "ConvInteger": 1, "NhwcFusedConv": 1}
_PRODUCTS = {
    "Gemm": 1, "FusedGemm": 1, "MatMul": 1, "FusedMatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3, "QGemm": 3,
    "DynamicQuantizeMatMul": 1, "MatMulIntegerToFloat": 1, "MatMulNBits": 1, "Einsum": 1,
}  # fmt: skip
"""Operator -> which input is the second factor: the weights."""

FACTORED = frozenset({*_CONVOLUTIONS, *_PRODUCTS})
"""Operators that multiply by weights or by another value, into which others are fused."""

_BY_FAMILY = {
    "attention": "Attention MultiHeadAttention GroupQueryAttention QAttention Softmax LogSoftmax QLinearSoftmax",
    "normalisation": (
        "BatchNormalization LayerNormalization SkipLayerNormalization InstanceNormalization GroupNormalization "
        "GroupNorm RMSNormalization SimplifiedLayerNormalization SkipSimplifiedLayerNormalization LpNormalization LRN "
        "MeanVarianceNormalization EmbedLayerNormalization"
    ),
    "pool": (
        "MaxPool AveragePool LpPool GlobalMaxPool GlobalAveragePool GlobalLpPool QLinearAveragePool "
        "QLinearGlobalAveragePool ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum "
        "ReduceLogSumExp ReduceSumSquare ArgMax ArgMin TopK CumSum"
    ),
    "elementwise": (
        "Relu LeakyRelu PRelu Elu Celu Selu ThresholdedRelu Clip Sigmoid HardSigmoid HardSwish Tanh Softplus Softsign "
        "Mish Gelu FastGelu BiasGelu QuickGelu Swish Erf Exp Log Sqrt Pow Abs Neg Reciprocal Floor Ceil Round Sign Sin "
        "Cos Add Sub Mul Div Mod Sum Mean Min Max And Or Xor Not Equal Greater GreaterOrEqual Less LessOrEqual Where "
        "Cast CastLike IsNaN IsInf QuantizeLinear DequantizeLinear DynamicQuantizeLinear QLinearAdd QLinearMul "
        "QLinearSigmoid QLinearLeakyRelu Dropout BitShift Affine ScaledTanh ParametricSoftplus RotaryEmbedding"
    ),
    "layout": (
        "Reshape Flatten Squeeze Unsqueeze Transpose Concat QLinearConcat Split Slice Gather GatherElements GatherND "
        "Scatter ScatterElements ScatterND Expand Tile Pad Identity Shape Size Constant ConstantOfShape Resize "
        "Upsample DepthToSpace SpaceToDepth ReorderInput ReorderOutput Range OneHot ReverseSequence Trilu Compress "
        "CenterCropPad Unique NonZero EyeLike"
    ),
    "recurrent": "LSTM GRU RNN DynamicQuantizeLSTM",
}
_FAMILY = {op: family for family, ops in _BY_FAMILY.items() for op in ops.split()}


def opset_of(model: ModelProto, domain: str = "") -> int:
    """Return the version of a domain's operators that a network is written in; 0 where it tells none."""
    names = (domain,) if domain not in ("", "ai.onnx") else ("", "ai.onnx")
    return next((entry.version for entry in model.opset_import if entry.domain in names), 0)


def family_of(op: str, inputs: Sequence[Shape], group: int) -> str:
    """Return the family of a kernel.

    Args:
        op: operator.
        inputs: its shapes.
        group: Groups of a convolution, else 1.

    >>> family_of("Conv", [(1, 32, 8, 8), (32, 1, 3, 3)], 32)
    'depthwise'
    """
    if op in _CONVOLUTIONS:
        weights = _at(inputs, _CONVOLUTIONS[op])
        if group > 1:
            return "depthwise" if len(weights) > 1 and weights[1] == 1 else "grouped"
        return "pointwise" if prod(weights[2:]) == 1 else "convolution"
    return "matmul" if op in _PRODUCTS else _FAMILY.get(op, "rest")


def macs_of(op: str, inputs: Sequence[Shape], outputs: Sequence[Shape], attributes: Mapping[str, Any]) -> int:
    """Return multiply-accumulates of one inference of a kernel; 0 where it multiplies nothing, or nothing is known.

    >>> macs_of("Conv", [(1, 3, 8, 8), (4, 3, 3, 3)], [(1, 4, 8, 8)], {})
    6912
    """
    out = prod(_at(outputs, 0)) if outputs else 0
    if op in _CONVOLUTIONS:
        weights = _at(inputs, _CONVOLUTIONS[op])
        return (prod(_at(inputs, 0)) if op == "ConvTranspose" else out) * prod(weights[1:])
    if op == "Einsum":
        return _einsum(str(attributes.get("equation", "")), inputs)
    if op in _PRODUCTS:
        a = _at(inputs, 0)
        inner = -2 if attributes.get("transA") and len(a) > 1 else -1
        return out * (a[inner] if a else 0)
    if op in ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM") and len(inputs) > 2:
        steps = prod(inputs[0][:-1])
        return steps * (prod(inputs[1]) + prod(inputs[2]))
    if op in ("Attention", "QAttention") and len(inputs) > 1 and len(inputs[0]) == 3:
        batch, length, width = inputs[0]
        return batch * length * prod(inputs[1]) + 2 * batch * length * length * width
    if op in ("MultiHeadAttention", "GroupQueryAttention") and len(inputs) > 1 and len(inputs[0]) == 3:
        batch, length, width = inputs[0]
        return 2 * batch * length * (inputs[1][1] if len(inputs[1]) > 1 else length) * width
    return 0


def _einsum(equation: str, inputs: Sequence[Shape]) -> int:
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, inputs, strict=False):
        if len(term) != len(shape):  # an ellipsis
            return 0
        sizes |= dict(zip(term, shape, strict=True))
    return prod(sizes.values()) if len(terms) > 1 else 0


def _at(shapes: Sequence[Shape], place: int) -> Shape:
    return shapes[place] if place < len(shapes) else ()
