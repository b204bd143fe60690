"""Parts of a space in turn, so that small and large networks are trained equally often.

References:
    Cheng et al., *ScaleNAS*, arXiv:2011.14584 (groups of sizes); Yu et al., *BigNAS*, arXiv:2003.11142 (sandwich rule).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...errors import UnknownNameError, UsageError
from ...spaces.space import SearchSpace
from ..law import Gates, Law, one_hot
from ..need import FREE, is_part

Group = Mapping[str, Sequence[float]]  # probabilities by site; sites left out are uniform

_SHARES = (0.2, 0.5, 0.8)  # of parts that a group takes
_FEWEST = 0.1  # of those of the smallest group; the largest takes all
_WINDOW = 2  # depths that a group draws from


def by_size(space: SearchSpace) -> tuple[Group, ...]:
    """Return the groups of ScaleNAS: two neighbouring depths by a share of parts taken, the smallest and the largest.

    Depths are sites whose options are ``d1``, ``d2``, ...; parts are sites of one option beside ``none``. With four
    depths these are 3 times 3 and 2 groups, by rising size.

    >>> from tempograd import registry
    >>> len(by_size(registry.create("space", "multibranch:least=2,depth=5")))
    11
    """
    depths = {s.name: len(s.options) for s in space.sites if all(re.fullmatch(r"d\d+", o) for o in s.options)}
    parts = [site.name for site in space.sites if is_part(site)]

    def group(first: float, last: float, share: float) -> Group:
        """Return depths between two shares of all that there are, and the share of parts."""
        rows: dict[str, Sequence[float]] = dict.fromkeys(parts, (1 - share, share))
        for name, count in depths.items():
            ends = range(round(first * (count - 1)), round(last * (count - 1)) + 1)
            rows[name] = [float(i in ends) / len(ends) for i in range(count)]
        return rows

    most = max(depths.values(), default=1) - 1
    windows = [(i / most, (i + _WINDOW - 1) / most) for i in range(most - _WINDOW + 2)] if most else [(0.0, 0.0)]
    between = [group(*window, share) for share in _SHARES for window in windows]
    return (group(0, 0, _FEWEST), *between, group(1, 1, 1.0))


class Grouped(Law):
    """A random architecture of one group each step, the groups in turn; nothing to learn.

    Args:
        space: without rules that tie sites together.
        generator: not used.
        noise: not used.
        groups: by default the sandwich: every site's first option, any, every site's last.

    Raises:
        UsageError: the space has such rules, or a group's row is no distribution.
        UnknownNameError: a group names no site of the space.
    """

    needs = FREE
    mixture = True

    def __init__(
        self,
        space: SearchSpace,
        generator: torch.Generator | None = None,
        *,
        noise: float = 0.0,
        groups: Sequence[Group] = (),
    ) -> None:
        super().__init__(space)
        self.names = tuple(site.name for site in space.sites)
        self.widths = space.widths
        self.register_buffer("turn", torch.zeros((), dtype=torch.long))
        self.turn: Tensor
        ends = [{s.name: [float(i == end % k) for i in range(k)] for s, k in zip(space.sites, self.widths, strict=True)}
                for end in (0, -1)]  # fmt: skip
        self.groups = [self._rows(group) for group in groups or (ends[0], {}, ends[1])]

    def draw(self, generator: torch.Generator, *, tau: float) -> Gates:
        rows = self.groups[int(self.turn) % len(self.groups)]
        self.turn += 1
        return self._gates(one_hot(rows.multinomial(1, generator=generator)[:, 0], rows))

    def sample(self, n: int, generator: torch.Generator) -> Gates:
        rows = torch.stack(self.groups)  # (groups, sites, K)
        group = torch.randint(len(rows), (n,), generator=generator)
        choice = rows[group].flatten(0, 1).multinomial(1, generator=generator).reshape(n, -1)
        return self._gates(one_hot(choice, rows))

    def marginals(self) -> Gates:
        return self._gates(self._mean())

    def entropy(self) -> Tensor:
        return torch.special.entr(self._mean()).sum()

    def scores(self) -> Tensor:
        return self._mean().log()

    def _mean(self) -> Tensor:
        return torch.stack(self.groups).mean(dim=0)

    def _rows(self, group: Group) -> Tensor:
        for name in group:
            if name not in self.names:
                raise UnknownNameError("site of a group", name, self.names)
        rows = torch.zeros(len(self.names), max(self.widths))
        for i, (name, width) in enumerate(zip(self.names, self.widths, strict=True)):
            row = torch.tensor([float(p) for p in group.get(name, [1 / width] * width)])
            if len(row) != width or bool((row < 0).any()) or abs(float(row.sum()) - 1) > 1e-6:
                raise UsageError(f"{row.tolist()} at site {name!r}; allowed: {width} probabilities that sum to 1")
            rows[i, :width] = row
        return rows

    def _gates(self, rows: Tensor) -> Gates:
        parts = zip(self.names, rows.unbind(dim=-2), self.widths, strict=True)
        return {name: row[..., :width] for name, row, width in parts}


LAW = Grouped
