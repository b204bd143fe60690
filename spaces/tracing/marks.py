"""Marks: what a practitioner puts into a module of his own to say what may be chosen.

A marked module stays an ordinary one: it trains, saves and runs as before, with the first option, the full width and
the full depth. `tracer.space_from` makes a search space of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ...errors import UsageError
from ...shown import counted


class Choice(nn.Module):
    """One of several modules, which take one tensor and give one of equal shapes.

    Args:
        options: at least two modules by name; without a search the first is run.
        name: Name of the choice; choices of one name are made together. By default its place in the module.

    Raises:
        UsageError: fewer than two options, or a name that a spec cannot hold.

    Example:
        >>> mix = Choice({"k3": nn.Conv2d(8, 8, 3, padding=1), "skip": nn.Identity()})
        >>> sorted(mix.options)
        ['k3', 'skip']
    """

    def __init__(self, options: Mapping[str, nn.Module], *, name: str | None = None) -> None:
        super().__init__()
        if len(options) < 2:
            raise UsageError(
                f"a Choice of {counted(len(options), 'option')}; allowed: two or more, as {{'k3': ..., 'skip': ...}}"
            )
        for option in (*options, *([name] if name else [])):
            _check_name(option)
        self.options = nn.ModuleDict(dict(options))
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        """Return what the first option makes of ``x``."""
        return next(iter(self.options.values()))(x)


class Width(nn.Module):
    """A layer whose number of output channels is chosen: the first ones are kept.

    Args:
        layer: a convolution or a linear layer, or a module that begins with one; it has the most channels.
        options: numbers of channels, the largest being the layer's own.
        name: Name of the choice; widths of one name are chosen together, as where two branches are added.

    Raises:
        UsageError: fewer than two options.

    Example:
        >>> Width(nn.Conv2d(8, 64, 3), options=(32, 48, 64)).sizes
        (32, 48, 64)
    """

    def __init__(self, layer: nn.Module, options: Sequence[int], *, name: str | None = None) -> None:
        super().__init__()
        self.sizes = tuple(sorted({int(size) for size in options}))
        if len(self.sizes) < 2 or self.sizes[0] < 1:
            raise UsageError(f"a Width of {list(options)}; allowed: two or more different numbers of channels")
        if name:
            _check_name(name)
        self.layer = layer
        self.name = name

    def forward(self, x: Tensor) -> Any:
        """Return what the layer makes of ``x``, all channels."""
        return self.layer(x)


class Depth(nn.Module):
    """Blocks in a row, of which the last ones may be left out; each gives the shape that it takes.

    Args:
        blocks: the modules.
        least: how many are there in any case.
        name: Name of the choice; depths of one name are chosen together.

    Raises:
        UsageError: nothing is left to choose.

    Example:
        >>> len(Depth([nn.Identity(), nn.Identity()], least=1).blocks)
        2
    """

    def __init__(self, blocks: Sequence[nn.Module], *, least: int = 1, name: str | None = None) -> None:
        super().__init__()
        if not 0 <= least < len(blocks):
            raise UsageError(
                f"a Depth of {counted(len(blocks), 'block')} with least={least}; allowed: from 0 to {len(blocks) - 1}"
            )
        if name:
            _check_name(name)
        self.blocks = nn.ModuleList(blocks)
        self.least = least
        self.name = name

    def forward(self, x: Tensor) -> Any:
        """Return what all blocks make of ``x``, one after the other."""
        for block in self.blocks:
            x = block(x)
        return x


MARKS = (Choice, Width, Depth)


def _check_name(name: str) -> None:
    if not name or set(name) & set(" \t\n=;,:|({[@/"):
        raise UsageError(f"the name {name!r}; allowed: letters, digits, and - _ . +")
