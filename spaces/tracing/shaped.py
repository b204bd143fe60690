"""Functions of torch that move numbers about or sum them up along axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..common.elementwise import Learnt
from ..common.reshaping import Join, Permute, Reduce, Reshape, Slice
from ..layers import (
    Concat,
    GlobalPool,
    Width,
    sites_of,
)

if TYPE_CHECKING:
    from .recorder import Recorder

from .bound import axis_of, bound


def reshape(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read what gives the same numbers another shape."""
    x = args[0] if args else kwargs["input"]
    if not out.ndim or out.shape[0] != x.shape[0]:
        tracer.refuse(f"a reshape of {tuple(x.shape)} to {tuple(out.shape)}, which mixes the batch with other axes",
                      "keep the batch as the first axis")  # fmt: skip
    shape, sides = tracer.shape(x), list(map(int, out.shape[1:]))
    width = shape[0]
    if isinstance(width, Width):
        times, rest = math.prod(map(int, shape[1:])), sides[0] if sides else 0
        if rest not in (int(width) * times, int(width)):
            tracer.refuse(f"a reshape of chosen channels to {tuple(out.shape)}", "flatten them, or keep their axis")
        factor = rest // int(width)
        sides[0] = Width(width.sites, {key: size * factor for key, size in width.sizes.items()})
    elif any(map(sites_of, shape)):
        tracer.refuse("a reshape of chosen features", "end the Width before it")
    if tuple(out.shape) == tuple(x.shape):
        tracer.same(out, x)
    else:
        tracer.add(Reshape(tuple(sides)), [x], out)


def permute(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read permutations of axes."""
    x = args[0] if args else kwargs["input"]
    if name == "permute":
        axes = args[1] if len(args) == 2 and not isinstance(args[1], int) else args[1:] or kwargs["dims"]
        axes = [axis % x.ndim for axis in axes]
    else:
        one, other = (
            (args[1:3] if len(args) > 2 else (kwargs["dim0"], kwargs["dim1"])) if name == "transpose" else (-2, -1)
        )
        axes = list(range(x.ndim))
        axes[one], axes[other] = axes[other], axes[one]
    if axes[1] == 0:  # queries, keys and values before the batch: they are taken apart next
        tracer.lazy[id(out)] = out, x, tuple(axes)
        return
    if axes[0] != 0:
        tracer.refuse("a permutation of the batch", "keep the batch as the first axis")
    tracer.add(Permute(tuple(axis - 1 for axis in axes[1:])), [x], out)


def taken_apart(tracer: Recorder, name: str, args: Any, kwargs: Any) -> Any:
    """Read what takes apart a value that was permuted so that the batch is its second axis: ``q, k, v = qkv``."""
    whole, x, axes = tracer.lazy[id(args[0])]
    one = name == "getitem" and isinstance(args[1], int)
    if not one and (name not in ("unbind", "iter") or kwargs.get("dim", args[1] if len(args) > 1 else 0) != 0):
        tracer.refuse("a permutation of the batch", "take it apart along its first axis, or keep the batch first")
    made: list[Tensor] = []
    left = [axis - (axis > axes[0]) for axis in axes[1:]]
    for row in [args[1] % len(whole)] if one else range(len(whole)):
        part = x.select(axes[0], row)
        tracer.add(Slice(axes[0] - 1, row, row + 1, 1, single=True), [x], part)
        made.append(part.permute(left))
        tracer.add(Permute(tuple(axis - 1 for axis in left[1:])), [part], made[-1])
    return made[0] if one else iter(made) if name == "iter" else tuple(made)


def item(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read ``x[:, 1:3, ..., 0]``: slices and single rows."""
    x, index = args
    parts: list[Any] = list(index) if isinstance(index, tuple) else [index]
    if any(isinstance(part, Tensor | list) for part in parts) or None in parts:
        tracer.refuse("indexing by tensors, lists or None", "use slices, numbers and unsqueeze")
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (x.ndim - len(parts) + 1)
    if parts[0] != slice(None):
        tracer.refuse("a part of the batch", "keep the batch whole: x[:, ...]")
    value, axis = x, 0
    steps = [part for part in parts[1:] if part != slice(None)]
    for part in parts[1:]:
        if part == slice(None):
            axis += 1
            continue
        steps.pop()
        single = isinstance(part, int)
        side = value.shape[axis + 1]
        start, stop, step = (part % side, part % side + 1, 1) if single else part.indices(side)
        whole = (slice(None),) * (axis + 1)
        made = out if not steps else value[(*whole, start if single else slice(start, stop, step))]
        tracer.add(Slice(axis, start, stop, step, single), [value], made)
        value, axis = made, axis + (not single)
    if value is x:
        tracer.same(out, x)


def parts(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Any) -> None:
    """Read ``chunk``, ``split``, ``unbind`` and ``select``."""
    x = args[0] if args else kwargs["input"]
    place = {"chunk": 2, "split": 2, "tensor_split": 2, "unbind": 1, "select": 1}[name]
    axis = axis_of(tracer, x, kwargs.get("dim", args[place] if len(args) > place else 0))
    single, start = name in ("unbind", "select"), 0
    if name == "select":
        start, out = (args[2] if len(args) > 2 else kwargs["index"]) % x.shape[axis + 1], [out]
    for part in out:
        stop = start + (1 if single else part.shape[axis + 1])
        tracer.add(Slice(axis, start, stop, 1, single), [x], part)
        start = stop


def narrow(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read ``narrow``."""
    a = bound(tracer, "input dim start length", args, kwargs)
    axis = axis_of(tracer, a["input"], a["dim"])
    start = int(a["start"]) % a["input"].shape[axis + 1]
    tracer.add(Slice(axis, start, start + a["length"]), [a["input"]], out)


def cat(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read concatenation."""
    a = bound(tracer, "tensors dim=0", args, kwargs)
    values = list(a["tensors"])
    axis = axis_of(tracer, out, a["dim"])
    x = next(one for one in values if tracer.knows(one))
    for number, value in enumerate(values):
        if not tracer.knows(value):
            values[number] = _token(tracer, value, x)
    if any(sites_of(side) for value in values for side in tracer.shape(value)):
        tracer.refuse("a concatenation of channels that a Width chooses", "end the Width in a block before it")
    operation = Concat() if axis == 0 and out.ndim == 4 else Join(axis)
    tracer.add(operation, values, out)


def _token(tracer: Recorder, value: Tensor, x: Tensor) -> Tensor:
    """Append learnt numbers that stand beside values: a class token, once or for each input of the batch."""
    if value.shape[0] not in (1, x.shape[0]) or not torch.equal(value[:1].expand_as(value), value):
        tracer.refuse(f"a weight of {tuple(value.shape)} beside a batch", "expand one row over the batch")
    kept = value[0].detach().clone()
    made = kept.expand(x.shape[0], *kept.shape)
    tracer.add(Learnt(tuple(kept.shape)), [x], made, {"bias": kept})
    return made


def stack(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
    """Read ``stack``."""
    a = bound(tracer, "tensors dim=0", args, kwargs)
    axis, made = axis_of(tracer, out, a["dim"]), list[Tensor]()
    for value in a["tensors"]:
        made.append(value.unsqueeze(axis + 1))
        tracer.add(Reshape(tuple(made[-1].shape[1:])), [value], made[-1])
    tracer.add(Join(axis), made, out)


def reduce(tracer: Recorder, name: str, args: Any, kwargs: Any, out: Any) -> None:
    """Read means, sums and maxima along axes."""
    a = bound(tracer, "input dim=None keepdim=False", args, kwargs)
    x, dim = a["input"], a["dim"]
    if dim is None or not isinstance(out, Tensor):
        tracer.refuse(f"{name} of everything, or with indices", "name the axes: mean((2, 3)), amax(1)")
    axes = sorted(axis_of(tracer, x, axis) for axis in ([dim] if isinstance(dim, int) else list(dim or ())))
    if name == "mean" and x.ndim == 4 and axes == [1, 2]:
        tracer.add(GlobalPool(bool(a["keepdim"])), [x], out)
    else:
        tracer.add(Reduce({"amax": "max"}.get(name, name), tuple(axes), bool(a["keepdim"])), [x], out)
