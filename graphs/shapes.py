"""Shapes of inputs as a person writes them, and a model whose inputs all have one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, product
from math import prod

import numpy as np
from onnx import ModelProto, ValueInfoProto, defs, shape_inference

from ..errors import InputRefusedError, UnknownNameError, UsageError
from .network import Tensor, asked_inputs, tensor_of
from .operators import opset_of

Shapes = Mapping[str, tuple[int, ...]]
_MOST = 2**31 - 1
MOST_VARIANTS = 64


def read_shapes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Read ``name=1x3x224x224``; without a name, for the only input, the name is empty.

    Raises:
        UsageError: a text is no shape, or an input is named twice.

    >>> read_shapes(["x=1x3x8x8", "mask=1x8"])
    {'x': (1, 3, 8, 8), 'mask': (1, 8)}
    """
    found: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        if not re.fullmatch(r"[1-9]\d{0,9}(x[1-9]\d{0,9})*", sizes) or max(map(int, sizes.split("x"))) > _MOST:
            raise UsageError(f"--shape {text}; allowed: INPUT=SIZExSIZE..., such as x=1x3x224x224, all from 1")
        if name in found:
            raise UsageError(f"--shape names {name or 'the only input'} twice; give each input one shape")
        found[name] = tuple(map(int, sizes.split("x")))
    return found


def variants(texts: Sequence[str]) -> list[dict[str, tuple[int, ...]]]:
    """Read shapes in which a size may be several, ``x=1,8x3x224x224``: each combination, in order.

    Raises:
        UsageError: a text is no shape, or there are more than 64 combinations.

    >>> variants(["x=1,8x3"])
    [{'x': (1, 3)}, {'x': (8, 3)}]
    """
    each: list[list[str]] = []
    for text in texts:
        name, equals, sizes = text.rpartition("=")
        combined = product(*(size.split(",") for size in sizes.split("x")))
        each.append([f"{name}{equals}{'x'.join(one)}" for one in islice(combined, MOST_VARIANTS + 1)])
    found = list(islice(product(*each), MOST_VARIANTS + 1))
    if len(found) > MOST_VARIANTS:
        raise UsageError(f"--shape {' '.join(texts)}: more than {MOST_VARIANTS} combinations; give fewer sizes")
    return [read_shapes(one) for one in found]


def fixed(model: ModelProto, shapes: Shapes) -> tuple[ModelProto, bool]:
    """Return a model whose inputs have the sizes given, and whether anything had to be changed.

    A first dimension that is left open is a batch, and becomes 1. A size that the model names, such as ``batch``, is
    given by that name as a shape of one number.

    Raises:
        UnknownNameError: an input that the model does not have.
        UsageError: a rank or size that the model does not take, one that stays open, or an input that this machine's
            memory does not hold.
        InputRefusedError: the model's own operators do not take these sizes.
    """
    inputs = {value.name: value for value in asked_inputs(model)}
    given = dict(shapes)
    if "" in given:
        if len(inputs) != 1:
            raise UsageError(f"--shape names no input, and there are {len(inputs)}: {', '.join(inputs)}; name each")
        given[next(iter(inputs))] = given.pop("")
    named = {size.dim_param for value in inputs.values() for size in value.type.tensor_type.shape.dim} - {""}
    sizes = {name: shape[0] for name, shape in given.items() if name in named - inputs.keys() and len(shape) == 1}
    for name in given.keys() - inputs.keys() - sizes.keys():
        raise UnknownNameError("input", name, inputs.keys() | named)
    for name in inputs.keys() - given.keys():
        text = tensor_of(inputs[name]).text
        if any(size.HasField("dim_value") and size.dim_value < 1 for size in inputs[name].type.tensor_type.shape.dim):
            raise UsageError(
                f"input {text} has a size of 0 in its file; give those that are meant: --shape {_open(text)}"
            )
    changed = model
    before = {name: tensor_of(value) for name, value in inputs.items()}
    filled = {name: _filled(value, sizes) for name, value in inputs.items()}
    wanted = {name: _wanted(tensor.text, filled[name], given.get(name)) for name, tensor in before.items()}
    check_held(Tensor(name, before[name].dtype, shape) for name, shape in wanted.items())
    if any(wanted[name] != before[name].shape for name in wanted):
        changed = ModelProto()
        changed.CopyFrom(model)
        _set(changed, wanted)
    return changed, changed is not model


def check_held(inputs: Iterable[Tensor]) -> None:
    """Refuse inputs of fixed sizes that the memory of this machine does not hold, one by one.

    Raises:
        UsageError: with the input's size, and that of the memory.
    """
    import psutil

    there = psutil.virtual_memory().total
    for one in inputs:
        size = 0 if one.dtype == "no tensor" else np.dtype(one.dtype).itemsize
        taken = size * prod(side or 0 for side in one.shape)
        if taken > there:
            raise UsageError(
                f"input {one.text} takes {taken / 2**30:,.1f} GiB; allowed: what this machine holds, "
                f"{there / 2**30:.1f} GiB. Give a smaller --shape"
            )


def _filled(value: ValueInfoProto, sizes: Mapping[str, int]) -> tuple[int | None, ...]:
    """Return an input's sizes, those that have a name and were given by it too."""
    told = tensor_of(value).shape
    named = [size.dim_param for size in value.type.tensor_type.shape.dim]
    return tuple(sizes.get(name) if known is None else known for known, name in zip(told, named, strict=True))


def _wanted(text: str, shape: tuple[int | None, ...], given: tuple[int, ...] | None) -> tuple[int, ...]:
    if given is not None:
        fits = len(given) == len(shape) and all(a in (None, b) for a, b in zip(shape, given, strict=True))
        if not fits and shape:
            raise UsageError(
                f"--shape {'x'.join(map(str, given))} for {text}; allowed: what fits it, with x between sizes: --shape "
                f"{_open(text)}"
            )
        return given
    sizes = tuple(1 if size is None and place == 0 else size for place, size in enumerate(shape))
    if None in sizes:
        raise UsageError(f"input {text} is open; fix it: --shape {_open(text)}")
    return tuple(size for size in sizes if size is not None)


def _open(text: str) -> str:
    """Return an input as ``--shape`` takes it, with a word for each size that is open."""
    return text.partition(" ")[0].replace("?", "SIZE")


def _set(model: ModelProto, wanted: Shapes) -> None:
    for value in asked_inputs(model):
        dimensions = value.type.tensor_type.shape
        del dimensions.dim[:]
        for size in wanted[value.name]:
            dimensions.dim.add().dim_value = size
    for value in model.graph.output:  # what they were said to be may not hold any more: the runtime finds out
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    try:
        inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception as error:  # onnx's classes share no base but Exception
        sizes = ", ".join(f"{name}={'x'.join(map(str, shape))}" for name, shape in wanted.items())
        raise InputRefusedError(f"the network does not take {sizes}: {' '.join(str(error).split())[:300]}") from error
    for mine, found in zip(model.graph.output, inferred.graph.output, strict=True):
        mine.CopyFrom(found)


def check_operators(model: ModelProto) -> None:
    """Refuse an operator that ONNX does not have; runtimes' own domains are theirs to refuse.

    Raises:
        InputRefusedError: with its name.
    """
    own = {(function.domain, function.name) for function in model.functions}
    opset = opset_of(model) or 1
    for node in model.graph.node:
        standard = node.domain in ("", "ai.onnx") and (node.domain, node.op_type) not in own
        if standard and not defs.has(node.op_type, opset, ""):
            raise InputRefusedError(
                f"operator {node.op_type!r} (node {node.name!r}) is none of ONNX's opset {opset}; "
                "export the model with operators that the runtime has"
            )
