"""Marks: what a practitioner puts into a module of his own to say what may be chosen.

A marked module stays an ordinary one: it trains, saves and runs as before, with the first option, the full width and
the full depth. `tracer.space_from` makes a search space of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from operator import index
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
        UsageError: fewer than two options, one that is no module, or a name that a spec cannot hold.

    Example:
        >>> mix = Choice({"k3": nn.Conv2d(8, 8, 3, padding=1), "skip": nn.Identity()})
        >>> sorted(mix.options)
        ['k3', 'skip']
    """

    def __init__(self, options: Mapping[str, nn.Module], *, name: str | None = None) -> None:
        super().__init__()
        named = isinstance(options, Mapping | nn.ModuleDict)  # pyright: ignore[reportUnnecessaryIsInstance]
        if not named or len(options) < 2:
            found = counted(len(options), "option") if named else f"a {type(options).__name__}"
            raise UsageError(f"a Choice of {found}; allowed: two or more, as {{'k3': ..., 'skip': ...}}")
        for option in (*options, *([name] if name else [])):
            _check_name(option)
        _check_modules("a Choice", dict(options))
        try:
            self.options = nn.ModuleDict(dict(options))
        except KeyError as error:  # a name with a point, or one of its own
            raise UsageError(f"an option of a Choice has a name that no ModuleDict takes: {error.args[0]}") from error
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
        UsageError: fewer than two options, or a layer that is no module.

    Example:
        >>> Width(nn.Conv2d(8, 64, 3), options=(32, 48, 64)).sizes
        (32, 48, 64)
    """

    def __init__(self, layer: nn.Module, options: Sequence[int], *, name: str | None = None) -> None:
        super().__init__()
        self.sizes: tuple[int, ...] = ()
        with suppress(TypeError):  # told below
            self.sizes = tuple(sorted({index(size) for size in options}))
        if len(self.sizes) < 2 or self.sizes[0] < 1:
            raise UsageError(
                f"a Width of {list(options) if isinstance(options, tuple) else options}; allowed: two or more "
                "different numbers of channels"
            )
        _check_modules("a Width", {"layer": layer})
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
        UsageError: nothing is left to choose, or a block is no module.

    Example:
        >>> len(Depth([nn.Identity(), nn.Identity()], least=1).blocks)
        2
    """

    def __init__(self, blocks: Sequence[nn.Module], *, least: int = 1, name: str | None = None) -> None:
        super().__init__()
        _check_modules("a Depth", dict(enumerate(blocks)))
        if not isinstance(least, int) or not 0 <= least < len(blocks):  # pyright: ignore[reportUnnecessaryIsInstance]
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


_FORBIDDEN = " \t\n=;,:|({[@/"


def site_of(mark: nn.Module, path: str) -> str:
    """Return where a mark chooses: by its name, or by its place without what a spec cannot hold.

    >>> site_of(Depth([nn.Identity()], least=0), "stages.k=3")
    'stages.k-3'
    """
    name: str | None = getattr(mark, "name", None)
    return name or re.sub(f"[{re.escape(_FORBIDDEN)}]", "-", path) or type(mark).__name__.lower()


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not name or set(name) & set(_FORBIDDEN):
        raise UsageError(f"the name {name!r}; allowed: letters, digits, and - _ . +")


def _check_modules(what: str, given: Mapping[Any, Any]) -> None:
    for name, module in given.items():
        if not isinstance(module, nn.Module):
            raise UsageError(f"{what} with {name!r}, which is a {type(module).__name__}; allowed: modules of torch")
