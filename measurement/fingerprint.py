"""What must be equal for two measurements to be comparable."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any


@dataclass(frozen=True)
class Fingerprint:
    """Hardware, runtime, versions and options of a device.

    Attributes:
        place: ``local``, ``simulated``, ...
        hardware: processor model, cores, cache, memory.
        runtime: name and version of the inference engine, and of the libraries that built the models.
        options: everything that changes a latency and was asked for: threads, precision, batch, optimisation level, ...
    """

    place: str
    hardware: dict[str, Any] = field(default_factory=dict[str, Any])
    runtime: dict[str, Any] = field(default_factory=dict[str, Any])
    options: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def id(self) -> str:
        """Return twelve hexadecimal digits that name this fingerprint."""
        return sha256(self.to_json().encode()).hexdigest()[:12]

    def to_json(self) -> str:
        """Return the canonical JSON text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Fingerprint:
        """Read what ``to_json`` wrote."""
        return cls(**json.loads(text))

    def difference(self, other: Fingerprint) -> dict[str, tuple[Any, Any]]:
        """Return ``field -> (mine, theirs)`` for every entry that differs, dotted names."""
        mine, theirs = _flat(asdict(self)), _flat(asdict(other))
        return {k: (mine.get(k), theirs.get(k)) for k in sorted({*mine, *theirs}) if mine.get(k) != theirs.get(k)}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
