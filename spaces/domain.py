"""The domain of a space: which options, one a site, make an architecture; how many there are; how they are drawn.

It knows sites and rules and no graph: what stands here is about whole numbers alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import comb, log10
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidArchitectureError
from ..shown import counted
from .architecture import KeepInputs, Site


@dataclass(frozen=True)
class Domain:
    """The option indices ``(sites,)`` that are architectures; -1 stands where a site decides nothing.

    Attributes:
        name: Name of the space, for messages.
        sites: every place of choice; one that depends on others comes after them.
        rules: which combinations are architectures; all, where there are none.

    Example:
        >>> domain = Domain("two", (Site("a", ("x", "y")), Site("b", ("u", "v"), when=(("a", 1),))))
        >>> list(domain.enumerate())
        [(0, -1), (1, 0), (1, 1)]
        >>> domain.checked((0, 1))
        (0, -1)
    """

    name: str
    sites: tuple[Site, ...]
    rules: tuple[KeepInputs, ...] = ()

    @cached_property
    def index(self) -> dict[str, int]:
        """Return the place of every site, by its name."""
        return {site.name: index for index, site in enumerate(self.sites)}

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Return the number of options of every site."""
        return tuple(len(site.options) for site in self.sites)

    @property
    def size_log10(self) -> float:
        """Return log10 of the number of architectures."""
        ruled = {name: rule for rule in self.rules for name in rule.sites}
        below: dict[tuple[str, int], int] = {}  # architectures of what an option decides about, from the last site back
        total = 0.0
        for site in reversed(self.sites):
            rule = ruled.get(site.name)
            if rule is None:
                n = sum(below.get((site.name, option), 1) for option in range(len(site.options)))
            elif site.name == rule.sites[0]:  # for all of its rule
                n = comb(len(rule.sites), rule.keep) * (len(site.options) - 1) ** rule.keep
            else:
                continue
            for condition in site.when:
                below[condition] = below.get(condition, 1) * n
            if not site.when:
                total += log10(n)  # of whole numbers: they may be larger than any float
        return total

    def live(self, choices: Sequence[int]) -> list[bool]:
        """Return for every site whether it decides something, given the option taken at each."""
        found = [True] * len(self.sites)
        for index, when in self._dependent:
            found[index] = any(found[other] and choices[other] == option for other, option in when)
        return found

    def checked(self, choices: Iterable[int]) -> tuple[int, ...]:
        """Return an option for every site as an architecture; what is given where nothing is decided is forgotten.

        Raises:
            InvalidArchitectureError: a wrong number of choices, an index out of range, or a broken rule.
        """
        taken = tuple(int(c) for c in choices)
        if len(taken) != len(self.sites):
            given = ".".join(map(str, taken))
            raise InvalidArchitectureError(
                f"{given!r} makes {counted(len(taken), 'choice')}; {self.name} has {counted(len(self.sites), 'site')}"
            )
        lives = self.live(taken)
        taken = tuple(index if live else -1 for index, live in zip(taken, lives, strict=True))
        for site, index, live in zip(self.sites, taken, lives, strict=True):
            if live and not 0 <= index < len(site.options):
                raise InvalidArchitectureError(
                    f"option {index} at site {site.name!r}; allowed: 0..{len(site.options) - 1}, {site.options}"
                )
        for rule, columns, none in self._ruled:
            kept = sum(taken[column] != none for column in columns)
            if taken[columns[0]] >= 0 and kept != rule.keep:
                raise InvalidArchitectureError(
                    f"{kept} of the sites {', '.join(rule.sites)} are not {rule.none!r}; "
                    f"exactly {rule.keep} must be kept"
                )
        return taken

    def changed(self, choices: Sequence[int], changes: Mapping[int, int]) -> list[int]:
        """Return choices with other options at some sites, by index, before they are checked.

        A site that comes in takes its first option; of those under a rule, the last so many are kept, at the first
        option that is not ``none``.
        """
        asked = [changes.get(index, choice) for index, choice in enumerate(choices)]
        return [first if choice < 0 else choice for choice, first in zip(asked, self._entering, strict=True)]

    def enumerate(self) -> Iterator[tuple[int, ...]]:
        """Yield the choices of every architecture; only sensible for small spaces."""
        stack: list[tuple[int, ...]] = [()]
        while stack:
            taken = stack.pop()
            if len(taken) == len(self.sites):
                try:
                    yield self.checked(taken)
                except InvalidArchitectureError:
                    continue
            else:
                live = self.live((*taken, *[-1] * (len(self.sites) - len(taken))))[len(taken)]
                stack += [(*taken, option) for option in reversed(range(self.widths[len(taken)]) if live else (-1,))]

    def decode(self, rows: NDArray[Any]) -> list[list[int]]:
        """Return the choices of one-hots ``(n, d)`` or ``(d,)``, d the sum of widths; -1 where a site's are all 0."""
        parts = np.split(np.atleast_2d(rows), np.cumsum(self.widths)[:-1], axis=1)
        choices = np.stack([np.where(part.any(axis=1), part.argmax(axis=1), -1) for part in parts], axis=1)
        return choices.tolist()

    def draw(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the choices ``(n, sites)`` of random architectures, some of them perhaps equal.

        They are uniform, except that where sites depend on others every site is.
        """
        rows = np.stack([rng.integers(0, k, n) for k in self.widths], axis=1)
        for rule, columns, none in self._ruled:
            others = np.array([i for i in range(self.widths[columns[0]]) if i != none])
            block = np.full((n, len(columns)), none)
            kept = np.argsort(rng.random((n, len(columns))), axis=1)[:, : rule.keep]
            np.put_along_axis(block, kept, others[rng.integers(0, len(others), kept.shape)], axis=1)
            rows[:, np.array(columns)] = block
        for index, when in self._dependent:
            live = [rows[:, other] == option for other, option in when]
            rows[~np.any(live, axis=0), index] = -1
        return rows

    @cached_property
    def _ruled(self) -> tuple[tuple[KeepInputs, tuple[int, ...], int], ...]:
        """Return the rules with the indices of their sites and of ``none``."""
        columns = [tuple(self.index[name] for name in rule.sites) for rule in self.rules]
        pairs = zip(self.rules, columns, strict=True)
        return tuple((rule, own, self.sites[own[0]].options.index(rule.none)) for rule, own in pairs)

    @cached_property
    def _dependent(self) -> tuple[tuple[int, tuple[tuple[int, int], ...]], ...]:
        """Return the sites that depend on others, by index, and on which options."""
        return tuple(
            (index, tuple((self.index[name], option) for name, option in site.when))
            for index, site in enumerate(self.sites)
            if site.when
        )

    @cached_property
    def _entering(self) -> tuple[int, ...]:
        """Return the option that every site takes where it comes in with a change."""
        found = [0] * len(self.sites)
        for rule, columns, none in self._ruled:
            for column in columns:
                found[column] = int(none == 0) if column in columns[-rule.keep :] else none
        return tuple(found)
