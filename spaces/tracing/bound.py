"""Arguments of torch's functions, by name and in one form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from .recorder import Recorder


def bound(names: str, args: Any, kwargs: Any) -> dict[str, Any]:
    """Return arguments by name; ``names`` are those of a function, ``name=None`` where one may be left out."""
    found: dict[str, Any] = {}
    for number, name in enumerate(names.split()):
        key, _, default = name.partition("=")
        if number < len(args):
            found[key] = args[number]
        elif key in kwargs:
            found[key] = kwargs[key]
        elif default:
            found[key] = {"None": None, "True": True, "False": False}.get(default, default)
    found |= {key: value for key, value in kwargs.items() if key not in found}
    for key, value in found.items():
        if isinstance(value, str) and value.lstrip("-").replace(".", "").replace("e-", "").isdigit():
            found[key] = float(value) if "." in value or "e" in value else int(value)
    return found


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
