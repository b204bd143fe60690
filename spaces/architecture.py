"""The value that names one network: the key of everything that is measured, learnt or found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Site:
    """One place of choice: exactly one of ``options`` is taken there.

    Attributes:
        name: Name of the site.
        options: at least two.
        when: it decides something only if one of these options of earlier sites is taken, ``(site, option)``; no two
            of them are taken in one network. Empty: it always does.
    """

    name: str
    options: tuple[str, ...]
    when: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class KeepInputs:
    """The rule of DARTS cells: of these sites (the in-edges of one node) exactly ``keep`` are not ``none``.

    Where the sites depend on others, all of one rule do so alike: the rule holds where they decide something.
    """

    sites: tuple[str, ...]
    keep: int = 2
    none: str = "none"


@dataclass(frozen=True)
class Architecture:
    """One network of one space.

    Attributes:
        space: the space's full spec, such as ``darts:layers=5,width=8,size=32,classes=10,channels=3``.
        choices: for every site, in the space's order, the index of the option taken, -1 where it decides nothing.
    """

    space: str
    choices: tuple[int, ...]

    @property
    def key(self) -> str:
        """Return the choices as text, ``0.3.1``, ``x`` for -1: unique within the space."""
        return ".".join("x" if choice < 0 else str(choice) for choice in self.choices)
