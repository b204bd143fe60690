"""Functions of torch that have weights, and modules that are one layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..common.convolution import Convolution, TransposedConvolution
from ..common.normalisation import GroupNorm, LayerNorm, Normalisation
from ..common.sequence import Dense, Embedding, MultiHead, Recurrent
from ..layers import (
    BatchNorm,
    Conv,
    Linear,
    Operation,
)

if TYPE_CHECKING:
    from .recorder import Recorder

from .bound import bound, sides_of, weights_given


def whole(tracer: Recorder, module: nn.Module, args: Any, kwargs: Any, out: Tensor) -> None:
    """Append a module that is one layer: a recurrent one, or multi-head attention."""
    if not getattr(module, "batch_first", False):
        tracer.refuse(f"a {type(module).__name__} that is not batch_first", "make it with batch_first=True")
    own = dict(module.named_parameters())
    if isinstance(module, nn.MultiheadAttention):
        values = [*args, *(kwargs[key] for key in ("query", "key", "value") if key in kwargs)]
        if len(values) != 3 or any(kwargs.get(key) is not None for key in ("attn_mask", "key_padding_mask")):
            tracer.refuse("an attention with a mask", "leave the mask out, or use scaled_dot_product_attention")
        if module.bias_k is not None or module.add_zero_attn or "in_proj_weight" not in own:
            tracer.refuse("an attention with bias_k, zero attention, or keys of another width", "use its plain form")
        names = {"in_weight": "in_proj_weight", "in_bias": "in_proj_bias", "out_weight": "out_proj.weight",
                 "out_bias": "out_proj.bias"}  # fmt: skip
        weights = {key: own[name] for key, name in names.items() if name in own}
        tracer.add(MultiHead(module.num_heads, "in_bias" in weights), values, out, weights)
        return
    if not isinstance(module, nn.LSTM | nn.GRU) or getattr(module, "proj_size", 0):
        tracer.refuse(f"a {type(module).__name__} with projections", "project with a linear layer behind it")
    if len(args) != 1 or kwargs:
        tracer.refuse(f"a {type(module).__name__} that begins with a given state", "let it begin with zeros")
    layer: Any = module
    kind = type(module).__name__
    operation = Recurrent(kind, layer.hidden_size, layer.num_layers, layer.bias, layer.bidirectional)
    tracer.add(operation, [args[0]], out, own)


def convolution(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read convolutions."""
    a = bound(tracer, "input weight bias=None stride=1 padding=0 dilation=1 groups=1", args, kwargs)
    weight, x, rank = a["weight"], a["input"], a["weight"].ndim - 2
    kernel, stride, dilation = tuple(weight.shape[2:]), sides_of(a["stride"], rank), sides_of(a["dilation"], rank)
    padding = a["padding"]
    if padding == "same":
        if any(d * (k - 1) % 2 for k, d in zip(kernel, dilation, strict=True)):
            tracer.refuse("padding='same' around an even kernel", "pad by nn.ZeroPad2d and use padding=0")
        padding = tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
    padding = (0,) * rank if padding == "valid" else sides_of(padding, rank)
    square = len({kernel, stride, dilation}) and all(len(set(one)) == 1 for one in (kernel, stride, dilation, padding))
    operation: Operation = Convolution(
        weight.shape[0], kernel, stride, padding, dilation, a["groups"], a["bias"] is not None
    )
    if rank == 2 and square and a["bias"] is None and kernel[0] % 2:
        plain = Conv(weight.shape[0], kernel[0], stride[0], dilation[0], a["groups"])
        operation = plain if plain.padding == padding[0] else operation
    tracer.add(operation, [x], out, weights_given(weight=weight, bias=a["bias"]))


def transposed(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read transposed convolutions."""
    a = bound(tracer, "input weight bias=None stride=1 padding=0 output_padding=0 groups=1 dilation=1", args, kwargs)
    weight, rank = a["weight"], a["weight"].ndim - 2
    stride, padding, extra, dilation = (
        sides_of(a[key], rank) for key in ("stride", "padding", "output_padding", "dilation")
    )
    channels = weight.shape[1] * a["groups"]
    operation = TransposedConvolution(
        channels, tuple(weight.shape[2:]), stride, padding, extra, dilation, a["groups"], a["bias"] is not None
    )  # fmt: skip
    tracer.add(operation, [a["input"]], out, weights_given(weight=weight, bias=a["bias"]))


def linear(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read linear layers."""
    a = bound(tracer, "input weight bias=None", args, kwargs)
    vector = a["input"].ndim == 2 and a["bias"] is not None
    rows = a["weight"].shape[0]
    operation = Linear(rows) if vector else Dense(rows, a["bias"] is not None)
    tracer.add(operation, [a["input"]], out, weights_given(weight=a["weight"], bias=a["bias"]))


def batch_norm(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read BatchNorm."""
    a = bound(
        tracer, "input running_mean running_var weight=None bias=None training=False momentum=0.1 eps=0.00001",
        args, kwargs,
    )  # fmt: skip
    if a["running_mean"] is None or a["training"]:
        tracer.refuse("a BatchNorm without running statistics", "let it track them")
    module = tracer.calls[-1] if tracer.calls else None
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        a["momentum"] = module.momentum  # None, the mean of all batches, comes here as 0
    affine, eps = a["weight"] is not None, float(a["eps"])
    plain = affine and a["input"].ndim == 4 and eps == 1e-5 and a["momentum"] == 0.1
    weights = weights_given(**{key: a[key] for key in ("weight", "bias", "running_mean", "running_var")})
    tracer.add(BatchNorm() if plain else Normalisation(eps, a["momentum"], affine), [a["input"]], out, weights)


def layer_norm(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read LayerNorm."""
    a = bound(tracer, "input normalized_shape weight=None bias=None eps=0.00001", args, kwargs)
    weight, bias, sides = a["weight"], a["bias"], tuple(map(int, a["normalized_shape"]))
    if weight is not None and bias is None:
        bias = torch.zeros_like(weight)
    tracer.add(
        LayerNorm(sides, a["eps"], weight is not None), [a["input"]], out, weights_given(weight=weight, bias=bias)
    )


def group_norm(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read GroupNorm and InstanceNorm."""
    if name == "instance_norm":
        a = bound(
            tracer, "input running_mean=None running_var=None weight=None bias=None use_input_stats=True momentum=0.1 "
            "eps=0.00001", args, kwargs,
        )  # fmt: skip
        if not a["use_input_stats"]:
            tracer.refuse("an instance norm with running statistics", "use a BatchNorm")
        a["num_groups"] = a["input"].shape[1]
    else:
        a = bound(tracer, "input num_groups weight=None bias=None eps=0.00001", args, kwargs)
    affine = a["weight"] is not None
    operation = GroupNorm(int(a["num_groups"]), a["eps"], affine)
    tracer.add(operation, [a["input"]], out, weights_given(weight=a["weight"], bias=a["bias"]))


def embedding(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read embeddings."""
    names = "input weight padding_idx=None max_norm=None norm_type=2.0 scale_grad_by_freq=False sparse=False"
    a = bound(tracer, names, args, kwargs)
    if a["max_norm"] is not None:
        tracer.refuse("an embedding that scales the rows it meets, by max_norm", "scale its weight once, before")
    tracer.add(Embedding(*a["weight"].shape), [a["input"]], out, {"weight": a["weight"]})
