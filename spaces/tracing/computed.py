"""Functions of torch that compute without weights: activations, pooling, resizing, arithmetic, products."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..common.convolution import Pad, PixelShuffle, Pooling, Upsample
from ..common.elementwise import Activation, Arithmetic, ByWeight, Scalar
from ..common.reshaping import Softmax
from ..common.sequence import Attention, Dense, MatMul
from ..layers import (
    Add,
    GlobalPool,
    HardSigmoid,
    HardSwish,
    Operation,
    Pool,
    Relu,
    Scale,
)

if TYPE_CHECKING:
    from .recorder import Recorder

from .bound import axis_of, bound, each_side, sides_of

_PLAIN: dict[str, Callable[[], Operation]] = {"relu": Relu, "hardsigmoid": HardSigmoid, "hardswish": HardSwish}
# names of further arguments, those that `Activation` takes, in its order, or that are checked
_ARGUMENTS = {"leaky_relu": "negative_slope=0.01", "elu": "alpha=1", "hardtanh": "min_val=-1 max_val=1",
              "softplus": "beta=1 threshold=20", "gelu": "approximate=none"}  # fmt: skip


def activation(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read a function of one number."""
    more = _ARGUMENTS.get(name, "")
    a = bound(tracer, f"input {more} inplace=False", args, kwargs)
    if name == "relu6":
        operation: Operation = Activation("hardtanh", (0.0, 6.0))
    elif name in _PLAIN:
        operation = _PLAIN[name]()
    elif name == "gelu":
        operation = Activation("gelu_tanh" if a["approximate"] == "tanh" else "gelu")
    elif name == "softplus":
        if (a["beta"], a["threshold"]) != (1, 20):
            tracer.refuse("softplus with a beta or a threshold", "scale its input")
        operation = Activation(name)
    else:
        operation = Activation(name, tuple(float(a[key.partition("=")[0]]) for key in more.split()))
    tracer.add(operation, [a["input"]], out)


def clamp(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read ``clamp``."""
    a = bound(tracer, "input min=None max=None", args, kwargs)
    low, high = (math.copysign(3e38, sign) if a[k] is None else float(a[k]) for k, sign in (("min", -1), ("max", 1)))
    tracer.add(Activation("hardtanh", (low, high)), [a["input"]], out)


def same(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read what passes a value on, dropout too."""
    x = args[0] if args else kwargs["input"]
    if out.dtype != x.dtype:
        tracer.refuse(f"a change of type to {out.dtype}", "keep float32")
    tracer.same(out, x)


def pool(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Any) -> None:
    """Read pooling."""
    kind, rank = name.partition("_")[0], int(name[-2])
    names = "input kernel_size stride=None padding=0 "
    names += {
        "max": "dilation=1 ceil_mode=False return_indices=False",
        "avg": "ceil_mode=False count_include_pad=True divisor_override=None",
    }[kind]
    a = bound(tracer, names, args, kwargs)
    kernel, padding = sides_of(a["kernel_size"], rank), sides_of(a["padding"], rank)
    stride = sides_of(a["stride"], rank) if a["stride"] not in (None, [], ()) else kernel
    ceil = bool(a["ceil_mode"])
    fits = kind == "max" and not any(padding) and all(k >= s for k, s in zip(kernel, stride, strict=True))
    if not isinstance(out, Tensor) or (ceil and not fits) or set(sides_of(a.get("dilation", 1), rank)) != {1}:
        tracer.refuse("pooling with indices, dilation, or a padded ceil_mode", "use plain pooling with a padding")
    if a.get("divisor_override") is not None:
        tracer.refuse("an average over another number than that of its cells", "multiply what it gives")
    padded = bool(a.get("count_include_pad", True)) and any(padding)
    square = rank == 2 and all(len(set(one)) == 1 for one in (kernel, stride, padding))
    if square and not padded and not ceil:
        operation: Operation = Pool(kind, kernel[0], stride[0], padding[0])
    else:
        operation = Pooling(kind, kernel, stride, padding, padded, ceil)
    tracer.add(operation, [a["input"]], out)


def adaptive(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Any) -> None:
    """Read adaptive pooling, where it is plain pooling."""
    a = bound(tracer, "input output_size return_indices=False", args, kwargs)
    x, kind, rank = a["input"], name.split("_")[1], int(name[-2])
    size = [side if side is not None else x.shape[2 + i] for i, side in enumerate(each_side(a["output_size"], rank))]
    if kind == "avg" and rank == 2 and size == [1, 1]:
        tracer.add(GlobalPool(keep_map=True), [x], out)
        return
    if any(side % to for side, to in zip(x.shape[2:], size, strict=True)):
        tracer.refuse(f"adaptive pooling of {tuple(x.shape[2:])} to {tuple(size)}", "choose sizes that divide the map")
    window = tuple(side // to for side, to in zip(x.shape[2:], size, strict=True))
    tracer.add(Pooling(kind, window, window, (0,) * rank, padded=False), [x], out)


def interpolate(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read resizing."""
    names = "input size=None scale_factor=None mode=nearest align_corners=None"
    a = bound(tracer, f"{names} recompute_scale_factor=None antialias=False", args, kwargs)
    x, mode = a["input"], a["mode"]
    if mode not in ("nearest", "bilinear") or x.ndim != 4 or a["antialias"]:
        tracer.refuse(f"resizing by {mode}", "use nearest or bilinear on a map")
    factors = a["scale_factor"]
    for side, to, factor in zip(x.shape[2:], out.shape[2:], each_side(factors, 2), strict=True):
        if factor is not None and side * factor != to:
            tracer.refuse(f"resizing {side} by {factor}", "give the size")
    tracer.add(Upsample(tuple(out.shape[2:]), mode, bool(a["align_corners"])), [x], out)


def pad(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read padding."""
    a = bound(tracer, "input pad mode=constant value=None", args, kwargs)
    pairs = [(a["pad"][i], a["pad"][i + 1]) for i in range(0, len(a["pad"]), 2)][::-1]
    if a["mode"] not in ("constant", "reflect", "replicate") or any(n < 0 for pair in pairs for n in pair):
        tracer.refuse(f"padding by {a['mode']}", "use constant, reflect or replicate, and slice to crop")
    before, after = (tuple(int(pair[i]) for pair in pairs) for i in (0, 1))
    tracer.add(Pad(before, after, a["mode"], float(a["value"] or 0)), [a["input"]], out)


def pixel_shuffle(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read ``pixel_shuffle``."""
    a = bound(tracer, "input upscale_factor", args, kwargs)
    tracer.add(PixelShuffle(int(a["upscale_factor"])), [a["input"]], out)


def arithmetic(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read sums, differences, products and quotients with values, numbers or weights."""
    if kwargs.get("alpha", 1) != 1 or kwargs.get("rounding_mode") is not None:
        tracer.refuse(f"{name} with alpha or rounding", "multiply before")
    turned = name.startswith("r")
    a, b = args[0] if args else kwargs["input"], args[1] if len(args) > 1 else kwargs["other"]
    kind = name.removeprefix("r")
    a, b = (b, a) if turned else (a, b)
    if tracer.knows(a) and tracer.knows(b):
        if a.ndim != b.ndim:
            tracer.refuse(f"{kind} of values of {a.ndim} and {b.ndim} axes", "unsqueeze one of them")
        same = a.shape == b.shape
        gate = kind == "mul" and a.ndim == 4 and tuple(b.shape[2:]) == (1, 1) and a.shape[1] == b.shape[1]
        operation: Operation = Add() if kind == "add" and same else Scale() if gate else Arithmetic(kind)
        tracer.add(operation, [a, b], out)
        return
    first = not tracer.knows(a)
    value, x = (a, b) if first else (b, a)
    if not isinstance(value, Tensor) or (value.numel() == 1 and not value.requires_grad):
        number = float(value)
        identity = (kind in ("add", "sub") and number == 0 and not first) or (kind in ("mul", "div") and number == 1)
        if identity and not (first and kind == "div"):
            tracer.same(out, x)
        else:
            tracer.add(Scalar(kind, number, first and kind in ("sub", "div")), [x], out)
        return
    if kind not in ("add", "mul"):
        tracer.refuse(f"{kind} by a weight", "add or multiply")
    sides = tuple(value.shape[1:] if value.ndim == x.ndim else value.shape) or (1,)
    if value.ndim > x.ndim or (value.ndim == x.ndim and value.shape[0] != 1):
        tracer.refuse(f"a weight of {tuple(value.shape)} for values of {tuple(x.shape)}", "give it a batch axis of 1")
    kept = value.reshape(sides)
    tracer.owners.setdefault(id(kept), tracer.owners.get(id(value), ""))
    tracer.add(ByWeight(kind, sides), [x], out, {"weight" if kind == "mul" else "bias": kept})


def power(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read powers."""
    exponent = 2.0 if name == "square" else args[1] if len(args) > 1 else kwargs["exponent"]
    if isinstance(exponent, Tensor) or not tracer.knows(args[0]):
        tracer.refuse("a power that is no number", "use a number")
    tracer.add(Scalar("pow", float(exponent)), [args[0]], out)


def matmul(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read products of values, or with a weight."""
    a, b = args[0], args[1] if len(args) > 1 else kwargs["other"]
    if tracer.knows(a) and tracer.knows(b) and a.ndim == b.ndim > 2:
        tracer.add(MatMul(), [a, b], out)
    elif tracer.knows(a) and isinstance(b, Tensor) and b.ndim == 2:
        tracer.add(Dense(b.shape[1], bias=False), [a], out, {"weight": b.t()})
    else:
        tracer.refuse("a product of these two values", "let both have a batch, or the second be a weight of two axes")


def attention(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read ``scaled_dot_product_attention``."""
    names = "query key value attn_mask=None dropout_p=0.0 is_causal=False scale=None enable_gqa=False"
    a = bound(tracer, names, args, kwargs)
    if a["attn_mask"] is not None or a["enable_gqa"]:
        tracer.refuse("attention with a mask or grouped heads", "use is_causal, or none")
    tracer.add(Attention(a["scale"], bool(a["is_causal"])), [a["query"], a["key"], a["value"]], out)


def softmax(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read softmax and its logarithm."""
    a = bound(tracer, "input dim=None", args, kwargs)
    if a.get("dim") is None:
        tracer.refuse(f"{name} along no axis", "name it: dim=-1")
    tracer.add(Softmax(axis_of(tracer, a["input"], a["dim"]), name == "log_softmax"), [a["input"]], out)
