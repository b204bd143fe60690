"""Which resizing of a map an ONNX node asks for, of those that our builder emits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from onnx import NodeProto

from ...errors import InputRefusedError

Resizing = Literal["nearest", "half_pixel", "align_corners"]  # the last two are bilinear
_FORMS: dict[tuple[Any, ...], Resizing] = {
    ("nearest", "asymmetric", "floor"): "nearest",
    ("linear", "half_pixel", None): "half_pixel",
    ("linear", "align_corners", None): "align_corners",
}


def resizing(node: NodeProto, attributes: Mapping[str, Any]) -> Resizing:
    """Return how a ``Resize`` node resizes, to the size that its fourth input says.

    Raises:
        InputRefusedError: by scales, or in a way that is none of these.
    """
    keys = ("mode", "coordinate_transformation_mode", "nearest_mode")
    told = tuple(value.decode() if isinstance(value, bytes) else value for value in map(attributes.get, keys))
    if told not in _FORMS or len(node.input) < 4:
        raise InputRefusedError(f"Resize with {dict(zip(keys, told, strict=True))}; allowed: to a size, by {[*_FORMS]}")
    return _FORMS[told]
