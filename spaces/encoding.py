"""Encodings: how an architecture becomes a vector of numbers.

A space lists its encodings from simple to rich. Each is a value that knows its name, whether it has a slope in the
gates, and how it is made. Saved predictors keep the name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError

if TYPE_CHECKING:
    import torch

    from .architecture import Architecture
    from .space import SearchSpace

Rows = dict[str, Any]  # site -> (..., options), arrays of numpy or torch alike


@dataclass(frozen=True)
class Encoding(ABC):
    """One view of a space's architectures.

    Attributes:
        name: within its space; what saved predictors keep.

    Class attributes:
        slope: whether gates can be encoded too, so that a gradient search can follow a predictor through it. One of
            whole graphs has none: a search prices it by single changes.
        sparing: whether a few networks are enough to learn from it, by a model that knows of its `blocks`.
    """

    name: str

    slope: ClassVar[bool] = False
    sparing: ClassVar[bool] = False

    @abstractmethod
    def encode(self, space: SearchSpace, architectures: Sequence[Architecture]) -> NDArray[np.float32]:
        """Return ``(n, d)`` features of ``n`` architectures; they begin with one-hots of all sites."""

    def relax(self, space: SearchSpace, gates: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return ``(..., d)`` features of gates ``site -> (..., K)``, differentiable; ``encode`` at one-hots.

        Raises:
            UsageError: it has no slope.
        """
        raise UsageError(f"the encoding {self.name!r} has no slope in the gates; encode architectures instead")

    def blocks(self, space: SearchSpace) -> tuple[int, ...]:
        """Return numbers of consecutive columns that belong together; none if all do."""
        return ()


@dataclass(frozen=True)
class OneHots(Encoding):
    """The one-hots of all sites, zeros where they decide nothing.

    Attributes:
        view: what it makes of the rows of all sites, such as leaving out what reaches no output; None for nothing.
    """

    view: Callable[[Rows], Rows] | None = None

    slope: ClassVar[bool] = True

    def encode(self, space: SearchSpace, architectures: Sequence[Architecture]) -> NDArray[np.float32]:
        choices = space.choices(architectures)
        rows = {
            site.name: np.eye(k + 1, k, dtype=np.float32)[choices[:, i]]  # row -1 is zero
            for i, (site, k) in enumerate(zip(space.sites, space.widths, strict=True))
        }
        rows = self._seen(space, rows)
        return np.concatenate([rows[site.name] for site in space.sites], axis=1)

    def relax(self, space: SearchSpace, gates: Mapping[str, torch.Tensor]) -> torch.Tensor:
        import torch

        rows = self._seen(space, dict(gates))
        return torch.cat([rows[site.name] for site in space.sites], dim=-1)

    def _seen(self, space: SearchSpace, rows: Rows) -> Rows:
        for site in space.sites:
            if site.when:
                reached: Any = sum(rows[name][..., option] for name, option in site.when)
                rows[site.name] = rows[site.name] * reached[..., None]
        return rows if self.view is None else self.view(rows)


@dataclass(frozen=True)
class LayerTotals(Encoding):
    """One-hots, and totals over the network's layers; of gates their mean."""

    one_hots: OneHots

    slope: ClassVar[bool] = True

    def encode(self, space: SearchSpace, architectures: Sequence[Architecture]) -> NDArray[np.float32]:
        return self.relax(space, space.gates(architectures)).numpy()

    def relax(self, space: SearchSpace, gates: Mapping[str, torch.Tensor]) -> torch.Tensor:
        import torch

        views = self.one_hots.relax(space, gates)
        totals = space.circuit.totals(*space.layer_totals, gates)
        return torch.cat([views, totals.expand(*views.shape[:-1], -1)], dim=-1)


@dataclass(frozen=True)
class CompiledGraph(Encoding):
    """One or more views of the one-hots, and features of the graph that a compiler is left with."""

    one_hots: tuple[OneHots, ...]

    def encode(self, space: SearchSpace, architectures: Sequence[Architecture]) -> NDArray[np.float32]:
        from .compiled import encode

        views = [view.encode(space, architectures) for view in self.one_hots]
        features = encode(space.compiled_cells, space.sites, space.choices(architectures))
        return np.concatenate([*views, features], axis=1)


@dataclass(frozen=True)
class Counts(Encoding):
    """All views of the one-hots, features, how many sites take each option, and the network's size.

    Attributes:
        one_hots: the views.
        features: the encoding whose columns behind its one-hots are the features.
    """

    one_hots: tuple[OneHots, ...]
    features: LayerTotals | CompiledGraph

    sparing: ClassVar[bool] = True

    def encode(self, space: SearchSpace, architectures: Sequence[Architecture]) -> NDArray[np.float32]:
        views = [view.encode(space, architectures) for view in self.one_hots]
        counted = [view @ _composition(space) for view in views]
        return np.concatenate(
            [*views, self._features(space, architectures), *counted, _sizes(space, architectures)], axis=1
        )

    def blocks(self, space: SearchSpace) -> tuple[int, ...]:
        """Return how many columns are one-hots, features, and counts."""
        views = len(self.one_hots)
        features = self._features(space, []).shape[1]
        return views * sum(space.widths), features, views * _composition(space).shape[1] + 2

    def _features(self, space: SearchSpace, architectures: Sequence[Architecture]) -> NDArray[np.float32]:
        return self.features.encode(space, architectures)[:, sum(space.widths) :]


def _composition(space: SearchSpace) -> NDArray[np.float32]:
    """Return ``(d, options)``: one where a column of the one-hots is of this option, whatever the site."""
    columns = [option for site in space.sites for option in site.options]
    names = list(dict.fromkeys(columns))
    return np.eye(len(names), dtype=np.float32)[[names.index(option) for option in columns]]


def _sizes(space: SearchSpace, architectures: Sequence[Architecture]) -> NDArray[np.float32]:
    """Return ``(n, 2)``: the logarithms of the multiply-accumulates and parameters of what was chosen."""
    from .circuit import counts

    gates = space.gates(architectures)
    tables = [counts(space.graph, space.operations, unit) for unit in ("macs", "parameters")]
    sizes = [np.broadcast_to(space.circuit.cost(t, gates).numpy(), len(architectures)) for t in tables]
    return np.log1p(np.stack(sizes, axis=1)).astype(np.float32)


RAW = OneHots("raw")
LAYERS = LayerTotals("layers", RAW)
COUNTS = Counts("counts", (RAW,), LAYERS)


def cell_encodings(*one_hots: OneHots) -> tuple[Encoding, ...]:
    """Return the encodings of a space of cells, from simple to rich, of views of its one-hots, the raw one first."""
    compiled = CompiledGraph("compiled", one_hots[-1:])
    full = (CompiledGraph("full", one_hots),) if len(one_hots) > 1 else ()
    return (*one_hots, compiled, *full, Counts("counts", one_hots, compiled))
