"""Arguments of torch's functions, by name and in one form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .recorder import Recorder

_ALSO = {"axis": "dim", "keepdims": "keepdim", "x": "input", "self": "input"}  # numpy's names, which torch takes too


def bound(tracer: Recorder, names: str, args: Any, kwargs: Any) -> dict[str, Any]:
    """Return arguments by name; ``names`` are those of a function, ``name=None`` where one may be left out.

    An argument that has no name here may change what is computed: it is refused, unless it asks for nothing.
    """
    found: dict[str, Any] = {}
    told, given = names.split(), {_ALSO.get(key, key): value for key, value in kwargs.items()}
    for number, name in enumerate(told):
        key, _, default = name.partition("=")
        if number < len(args):
            found[key] = args[number]
        elif key in given:
            found[key] = given[key]
        elif default:
            found[key] = {"None": None, "True": True, "False": False}.get(default, default)
    more = [("further", value) for value in args[len(told) :]]
    more += [(key, value) for key, value in given.items() if key not in found and key != "_stacklevel"]
    for key, value in more:
        if _asks(value):
            what = f"an argument {key}" if isinstance(value, Tensor) else f"an argument {key}={value}"
            tracer.refuse(what, f"leave it out; allowed: {', '.join(name.partition('=')[0] for name in told)}")
    for key, value in found.items():
        if isinstance(value, str) and value.lstrip("-").replace(".", "").replace("e-", "").isdigit():
            found[key] = float(value) if "." in value or "e" in value else int(value)
    return found


def _asks(value: Any) -> bool:
    """Return whether an argument asks for anything; a type of numbers is seen by what comes out."""
    return value is not None and value is not False and not isinstance(value, torch.dtype)


def sides_of(value: Any, count: int) -> tuple[int, ...]:
    """Return one number for each axis."""
    values = [value] if isinstance(value, int) else [int(one) for one in value]
    return tuple(values * count if len(values) == 1 else values)


def weights_given(**weights: Tensor | None) -> dict[str, Tensor]:
    """Return the weights that are there."""
    return {key: value for key, value in weights.items() if value is not None}


def axis_of(tracer: Recorder, value: Tensor, axis: int) -> int:
    """Return an axis without the batch, which must not be touched."""
    axis = axis % value.ndim
    if axis == 0:
        tracer.refuse("what works along the batch", "let every input of a batch be computed alone")
    return axis - 1


def each_side(value: Any, count: int) -> list[Any]:
    """Return one size or factor for each axis, None where it stays."""
    return [value] * count if isinstance(value, int | float) or value is None else list(value)
