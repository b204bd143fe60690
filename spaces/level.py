"""One level of a hierarchical search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .space import SearchSpace


@dataclass(frozen=True)
class Level:
    """Some of a space's sites, which a hierarchical search decides together while all others are given.

    Attributes:
        name: such as ``cells``.
        before: options at the sites that only later levels decide, while this one is searched.
        space: makes the space of this level's sites alone, given the options at all others, by site.
    """

    name: str
    before: Mapping[str, int]
    space: Callable[[Mapping[str, int]], SearchSpace]
