"""Which layer each function of torch is, for `tracer`: by its name, whatever module or method it was called through."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from .recorder import Recorder


from . import computed, shaped, weighted

Read = Callable[["Recorder", str, Any, Any, Any], None]

# what tells of a tensor and computes nothing of the network
TOLD = {
    "get", "size", "dim", "ndimension", "numel", "nelement", "is_floating_point", "is_contiguous", "stride", "len",
    "is_complex", "get_device", "type", "hash", "repr", "format", "requires_grad", "element_size", "is_cuda",
    "untyped_storage", "storage_offset",
}  # fmt: skip
_WAYS_OUT = {
    "einsum": "write it as matmul, or use nn.MultiheadAttention",
    "bool": "a network whose layers depend on its numbers has no one graph: move the condition out of forward",
    "item": "a network whose layers depend on its numbers has no one graph: move it out of forward",
}


def name_of(function: Any) -> str:
    """Return what a function is called, without what tells the method from the function and in place from not."""
    name = str(getattr(function, "__name__", function)).strip("_")
    if name in ("iadd", "isub", "imul", "itruediv", "imatmul"):
        name = name[1:]
    return {"true_divide": "div", "truediv": "div", "rtruediv": "rdiv", "divide": "div", "multiply": "mul",
            "subtract": "sub", "concat": "cat", "concatenate": "cat", "negative": "neg", "swapaxes": "transpose"}.get(
        name, name
    )  # fmt: skip


def of_property(function: Any, args: tuple[Any, ...]) -> tuple[Any, str, tuple[Any, ...]]:
    """Return what a property of a tensor computes, as a function with its name and arguments: ``x.mT`` transposes."""
    asked = getattr(getattr(function, "__self__", None), "__name__", "")
    if asked == "mT" or (asked == "T" and args[0].ndim == 2):
        return Tensor.transpose, "transpose", (*args, -2, -1)
    if asked == "data":
        return Tensor.detach, "detach", args
    return function, name_of(function), args


def way_out(name: str) -> str:
    """Return what can be done about a function that has no reading."""
    return _WAYS_OUT.get(name, f"allowed: {', '.join(sorted(READ))}")


READ: dict[str, Read] = {
    **dict.fromkeys(("conv1d", "conv2d"), weighted.convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d"), weighted.transposed),
    "linear": weighted.linear,
    "batch_norm": weighted.batch_norm,
    "layer_norm": weighted.layer_norm,
    **dict.fromkeys(("group_norm", "instance_norm"), weighted.group_norm),
    "embedding": weighted.embedding,
    **dict.fromkeys(
        ("relu", "relu6", "hardtanh", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "tanh", "hardsigmoid",
         "hardswish", "softplus", "mish", "exp", "log", "sqrt", "abs", "neg"), computed.activation,
    ),
    **dict.fromkeys(("clamp", "clip"), computed.clamp),
    **dict.fromkeys(
        ("dropout", "dropout1d", "dropout2d", "feature_dropout", "alpha_dropout", "contiguous", "clone", "detach", "to",
         "float"), computed.same,
    ),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d"), computed.pool),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d"),
                    computed.adaptive),
    "interpolate": computed.interpolate,
    "pad": computed.pad,
    "pixel_shuffle": computed.pixel_shuffle,
    **dict.fromkeys(("add", "sub", "mul", "div", "radd", "rsub", "rmul", "rdiv"), computed.arithmetic),
    **dict.fromkeys(("pow", "square"), computed.power),
    **dict.fromkeys(("matmul", "bmm"), computed.matmul),
    "scaled_dot_product_attention": computed.attention,
    **dict.fromkeys(("softmax", "log_softmax"), computed.softmax),
    **dict.fromkeys(("reshape", "view", "flatten", "unflatten", "squeeze", "unsqueeze"), shaped.reshape),
    **dict.fromkeys(("permute", "transpose", "t"), shaped.permute),
    "getitem": shaped.item,
    **dict.fromkeys(("chunk", "split", "unbind", "select", "tensor_split"), shaped.parts),
    "narrow": shaped.narrow,
    "cat": shaped.cat,
    "stack": shaped.stack,
    **dict.fromkeys(("mean", "sum", "amax"), shaped.reduce),
}  # fmt: skip
