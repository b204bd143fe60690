"""Small instances of spaces, as their classes state them."""

from __future__ import annotations

from .. import registry
from ..spaces.space import SearchSpace


def small_specs(name: str) -> list[str]:
    """Return specs of the small instances that a space states, or its name alone where it states none."""
    space: type[SearchSpace] = registry.load("space", name)
    return [f"{name}:{arguments}".rstrip(":") for arguments in space.small or ("",)]
