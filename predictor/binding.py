"""What a predictor's numbers are of: a space, an encoding of it, a device and a quantity."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import UsageError
from .document import UNITS, Unit


class FingerprintLike(Protocol):
    """A device's fingerprint, as far as it is needed here."""

    @property
    def id(self) -> str: ...

    def to_json(self) -> str: ...


@dataclass(frozen=True)
class Binding:
    """What a predictor's numbers are of.

    Attributes:
        space: the search space's full spec.
        encoding: the name of the encoding that its features are.
        fingerprint_id: the device.
        fingerprint_json: the device's fingerprint as canonical JSON.
        quantity: what is predicted; its name ends in its unit.
    """

    space: str
    encoding: str
    fingerprint_id: str
    fingerprint_json: str
    quantity: str = "latency_ms"

    def __post_init__(self) -> None:
        if not self.quantity.endswith(tuple(f"_{unit}" for unit in UNITS)):
            raise UsageError(
                f"quantity={self.quantity!r}; its name must end in one of {', '.join(UNITS)}, as energy_mj"
            )
        try:
            tree = json.loads(self.fingerprint_json)
        except ValueError as error:
            raise UsageError(
                f"fingerprint_json is not JSON: {error}; give what the fingerprint's to_json wrote"
            ) from error
        if not isinstance(tree, dict):
            raise UsageError("fingerprint_json must be a JSON object; give what the fingerprint's to_json wrote")

    @classmethod
    def of(cls, *, space: str, encoding: str, fingerprint: FingerprintLike, quantity: str = "latency_ms") -> Binding:
        """Bind to a space, an encoding, a device and a quantity."""
        return cls(space, encoding, fingerprint.id, fingerprint.to_json(), quantity)

    @property
    def unit(self) -> Unit:
        """Return the quantity's unit."""
        return next(unit for unit in UNITS if self.quantity.endswith(f"_{unit}"))


def fingerprint_differences(saved_json: str, asked_json: str) -> list[str]:
    """Return in words every value in which two devices' fingerprints, as JSON, differ."""
    saved, asked = (_flat(json.loads(text)) for text in (saved_json, asked_json))
    different = [key for key in sorted({*saved, *asked}) if saved.get(key) != asked.get(key)]
    return [f"device {key}: saved {saved.get(key)!r}, asked {asked.get(key)!r}" for key in different]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
