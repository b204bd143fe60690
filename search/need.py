"""What laws and methods ask of a space, in words and as a test: from it follow refusals, and which can search what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .. import registry
from ..errors import UsageError
from ..spaces.architecture import Site
from ..spaces.saved import is_own
from ..spaces.space import SearchSpace


@dataclass(frozen=True)
class Need:
    """What is asked of a space.

    Attributes:
        text: words that follow "it needs".
        holds: tells whether a space has it.
        also: specs of spaces that have it by their arguments, and not by their defaults.
    """

    text: str
    holds: Callable[[SearchSpace], bool]
    also: tuple[str, ...] = ()

    def __and__(self, other: Need) -> Need:
        """Return the need of both.

        >>> (FREE & ROUTES).text
        'sites that no rule ties together, and routes or depths: choices that decide which others there are'
        """
        if self == other or other == ANY:
            return self
        if self == ANY:
            return other
        also = tuple(dict.fromkeys((*self.also, *other.also)))
        return Need(f"{self.text}, and {other.text}", lambda space: self.holds(space) and other.holds(space), also)

    def check(self, space: SearchSpace, who: str) -> None:
        """Refuse a space that has it not.

        Raises:
            UsageError: ``who`` cannot do with this space; the message says what it needs, and which spaces have it.
        """
        if not self.holds(space):
            having = ", ".join(self.spaces()) or "none of those installed"
            also = ", ".join(spec for spec in self.also if self.holds(registry.create("space", spec)))
            more = f"; with arguments: {also}" if also else ""
            asked = "FILE.py:NAME" if is_own(space.spec) else f"'{space.spec}'"
            raise UsageError(
                f"{who} cannot search {space.name}: it needs {self.text} (with their defaults: {having}{more}). "
                f"See which methods can: tempograd methods --space {asked}"
            )

    def spaces(self) -> list[str]:
        """Return the names of the registered spaces that have it with their default arguments."""
        having: list[str] = []
        for name in registry.names("space"):
            try:
                space = registry.create("space", name)
            except UsageError:  # one that has no defaults
                continue
            if self.holds(space):
                having.append(name)
        return having


def is_part(site: Site) -> bool:
    """Return whether a site decides whether something is taken or left out: one option beside ``none``."""
    return len(site.options) == 2 and site.options[0] == "none"


ANY = Need("any space", lambda space: True)
CELLS = Need("cells: nodes with in-edges to choose", lambda space: bool(space.nodes))
LAYERS = Need("layers one after the other", lambda space: not space.nodes)
EDGES = Need(
    "edges to choose, each of them or none: a graph of nodes",
    lambda space: bool(space.edges) and all(len(site.options) == 2 and "none" in site.options for site in space.sites),
)
SLOTS = Need("slots of blocks that its stages take", lambda space: bool(space.slots))
PARTS = Need("parts to take or leave", lambda space: any(map(is_part, space.sites)))
FREE = Need("sites that no rule ties together", lambda space: not space.rules)
LEVELS = Need(
    "levels: stages with cells of their own, or a graph of cells in each",
    lambda space: bool(space.levels),
    ("darts:stages=3",),
)
ROUTES = Need(
    "routes or depths: choices that decide which others there are",
    lambda space: any(site.when for site in space.sites),
    ("mbconv:family=ofa",),
)
