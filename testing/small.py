"""Small instances of spaces, as their classes state them, and a few networks of them."""

from __future__ import annotations

import numpy as np

from .. import registry
from ..spaces.architecture import Architecture
from ..spaces.space import SearchSpace


def small_specs(name: str) -> list[str]:
    """Return specs of the small instances that a space states, or its name alone where it states none."""
    space: type[SearchSpace] = registry.load("space", name)
    return [f"{name}:{arguments}".rstrip(":") for arguments in space.small or ("",)]


def several(space: SearchSpace, count: int, *, seed: int) -> list[Architecture]:
    """Draw so many architectures, or all of a space that has fewer."""
    return space.sample(space.at_most(count), np.random.default_rng(seed))
