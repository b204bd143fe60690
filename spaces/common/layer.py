"""What a layer states that brings all its readings along: shape, weights, work, torch, ONNX.

The layers of published spaces (`spaces.layers`) are read by tables in `network` and `export`. One of this folder is
read by its own methods, so that another layer is another class and no edit. Neither torch nor onnx is imported before a
network is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

from ..layers import Operation, Shape, chosen

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Layer(Operation):
    """A layer with all its readings.

    Class attributes:
        mixes: axis of its input along which all channels enter each output; those that are masked out must be zero
            there. None where channels stay apart: then what is masked out may hold anything until it is mixed.
    """

    mixes: ClassVar[int | None] = None

    def run(self, *x: Tensor, **weights: Tensor) -> Tensor:
        """Return what the layer makes of its inputs ``(b, ...)`` with its weights, by the names in `weights`."""
        raise NotImplementedError(f"{type(self).__name__} has no torch reading")

    def emit(self, emitter: Any, node: Any) -> None:
        """Append the layer's ONNX nodes to an emitter of `export`; the last bears the node's name."""
        raise NotImplementedError(f"{type(self).__name__} has no ONNX reading")

    def module(self, inputs: tuple[Shape, ...]) -> nn.Module:
        """Return a module that holds the weights."""
        from .module import Weighted

        return Weighted(self, self.weights(inputs))

    def resolved(self, taken: Mapping[str, int]) -> Operation:
        changed = {f.name: decided(getattr(self, f.name), taken) for f in fields(self)}
        return replace(self, **changed)


def decided(value: Any, taken: Mapping[str, int]) -> Any:
    """Return an argument of a layer under the options taken: widths in it, and in its tuples, are chosen."""
    if isinstance(value, tuple):
        return tuple(decided(each, taken) for each in value)  # type: ignore[arg-type]
    return chosen(value, taken) if isinstance(value, int) and not isinstance(value, bool) else value
