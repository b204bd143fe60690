"""A search space: one choice graph, five readings.

A space states its sites, its rules and one choice graph; everything else is derived here:

=====================================  =================================================================
``sample``, ``enumerate``, ``encode``  architectures and their ``(d,)`` encoding
``write_onnx``                         the network as ONNX, straight from the graph, without torch
``to_torch``                           the same network as an ``nn.Module``
``supernet``                           an ``nn.Module`` that mixes the alternatives by gates
``circuit``                            the cost of gates, exact at one-hot gates and in expectation
=====================================  =================================================================
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import psutil
from numpy.typing import NDArray

from ..arguments import check_fields, written
from ..errors import InvalidArchitectureError, UnknownNameError, UsageError
from ..shown import counted
from .architecture import Architecture, KeepInputs, Site
from .digest import name_of
from .domain import Domain
from .encoding import COUNTS, LAYERS, RAW, CompiledGraph, Encoding, OneHots
from .graph import Graph, is_connected, resolve, simplify
from .kind import Kind
from .level import Level
from .notation import Notation, by_key, by_sites, read_any
from .wiring import Wiring, wiring_of

if TYPE_CHECKING:
    import torch

    from .circuit import Circuit
    from .compiled import Cell
    from .export import WeightPool
    from .network import Network

CHUNK = 256  # architectures drawn at a time: fixed, so that a longer sample begins with the shorter one


class SearchSpace(ABC):
    """Base of all spaces. Subclasses are frozen dataclasses whose fields are the space's arguments.

    Class attributes:
        name: as in the registry and in specs; of a space of the user's own that of its class, if he states none.
        small: arguments, as in a spec, of instances whose networks run in milliseconds: contract tests run on them,
            those of laws and methods on the first. With none, the defaults are small.
        encodings: how its architectures become numbers, from simple to rich, the default first.
        affine: whether BatchNorm in a supernet has a scale and a shift. Cells go without: behind a gate on an edge they
            would make up for it (Liu et al., *DARTS*, arXiv:1806.09055, section A.1.1).
        outputs: the kinds of output that its networks can be built for. A space of several has an argument ``output``
            that says which, and `gives` tells it; a task sets it, and the sizes that go with it, see `tasks.fit`.
        elastic: whether options of a choice share their parameters in a supernet; in cells, as published, none do.
        everywhere: whether every runtime that ships runs its networks; others refuse what they have no operator for.
        weights: Digest of the weights that networks begin with; None: they are random.
    """

    name: ClassVar[str]
    small: ClassVar[tuple[str, ...]] = ()
    encodings: ClassVar[tuple[Encoding, ...]] = (RAW, LAYERS, COUNTS)
    affine: ClassVar[bool] = True
    outputs: ClassVar[tuple[Kind, ...]] = ("classes",)
    elastic: ClassVar[bool] = True
    everywhere: ClassVar[bool] = True
    weights: str | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Call a space that states no name by that of its class."""
        super().__init_subclass__(**options)
        cls.name = getattr(cls, "name", cls.__name__)

    def __post_init__(self) -> None:
        """Hold every argument against its annotation; a subclass with more to check calls this first.

        Raises:
            UsageError: an argument of another type or out of its range.
        """
        check_fields(self, what=f"space {self.name}")

    @property
    @abstractmethod
    def sites(self) -> tuple[Site, ...]:
        """Return every place of choice; one that depends on others comes after them."""

    @property
    def rules(self) -> tuple[KeepInputs, ...]:
        """Return which combinations of choices are architectures; all, where there are none."""
        return ()

    @abstractmethod
    def build(self) -> Graph:
        """Return the choice graph."""

    @property
    def gives(self) -> tuple[Kind, ...]:
        """Return as what the output of this instance's networks may be taken, of `outputs`."""
        return self.outputs

    @property
    def notations(self) -> tuple[Notation, ...]:
        """Return the ways in which people write architectures; ``format`` writes the first, ``parse`` reads all."""
        return (by_sites(self.sites, self.architecture), by_key(len(self.sites), self.architecture))

    def format(self, architecture: Architecture) -> str:
        """Return the text by which people name this architecture, in the first of ``notations``."""
        return self._notations[0].write(architecture)

    def parse(self, text: str) -> Architecture:
        """Read an architecture in any of ``notations``.

        Raises:
            InvalidArchitectureError: it is of none, or has a mistake, which is shown at its place.
        """
        return read_any(
            text, self._notations, of=self.name, example=lambda: self.sample(1, np.random.default_rng(0))[0]
        )

    @cached_property
    def _notations(self) -> tuple[Notation, ...]:
        return self.notations

    # -- identity ------------------------------------------------------------------------------------------------

    @cached_property
    def graph(self) -> Graph:
        """Return the choice graph, built once.

        Raises:
            UsageError: its weights and its largest map do not fit into this machine.
        """
        graph = self.build()
        there = psutil.virtual_memory().total
        if graph.size_bytes > there:
            asked = self._named(self.name)
            raise UsageError(
                f"{asked} takes {graph.size_bytes / 2**30:,.1f} GiB for its weights and one map; allowed: what "
                f"this machine holds, {there / 2**30:.1f} GiB. Make it narrower, shorter or of smaller images"
            )
        return graph

    @cached_property
    def spec(self) -> str:
        """Return the full text identity: the name with every argument; one of the user's own bears its digest."""
        return self._named(name_of(self))

    def _named(self, name: str) -> str:
        return f"{name}:{said}" if (said := written(self)) else name

    @cached_property
    def domain(self) -> Domain:
        """Return which options, one a site, make an architecture."""
        return Domain(self.name, self.sites, self.rules)

    @property
    def nodes(self) -> tuple[tuple[str, ...], ...]:
        """Return the in-edges of every node, as sites; none where a space is not one of cells."""
        return tuple(rule.sites for rule in self.rules)

    @property
    def wiring(self) -> Wiring:
        """Return for every cell its nodes, and for every node its in-edges: the site and the state each comes from.

        The states are the cell's inputs, then its nodes; its first node sees all inputs. By default a node sees every
        state before it, and a cell begins where a node has no more in-edges than the one before.
        """
        return wiring_of(self.nodes)

    @property
    def levels(self) -> tuple[Level, ...]:
        """Return what a hierarchical search decides one after the other; none where nothing is above or below."""
        return ()

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Return for every site the nodes that its edge joins, from and to; none where sites are no edges."""
        return ()

    @property
    def slots(self) -> Mapping[str, tuple[str, ...]]:
        """Return for every block that networks are made of its sites; its name is an option at sites outside."""
        return {}

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Return the number of options of every site; their sum is the width ``d`` of the encoding."""
        return self.domain.widths

    @property
    def size_log10(self) -> float:
        """Return log10 of the number of architectures."""
        return self.domain.size_log10

    # -- architectures -------------------------------------------------------------------------------------------

    def architecture(self, choices: Iterable[int]) -> Architecture:
        """Return the architecture of these option indices, in the order of ``sites``.

        What is given for a site that decides nothing is forgotten: it makes no other network.

        Raises:
            InvalidArchitectureError: a wrong number of choices, an index out of range, or a broken rule.
        """
        return Architecture(self.spec, self.domain.checked(choices))

    def changed(self, architecture: Architecture, changes: Mapping[int, int]) -> Architecture:
        """Return the architecture with other options at some sites, by index.

        A site that comes in takes its first option; of those under a rule, the last so many are kept, at the first
        option that is not ``none``.
        """
        return self.architecture(self.domain.changed(architecture.choices, changes))

    def live(self, choices: Sequence[int]) -> list[bool]:
        """Return for every site whether it decides something, given the option taken at each."""
        return self.domain.live(choices)

    def from_key(self, key: str) -> Architecture:
        """Return the architecture of an ``Architecture.key``."""
        return by_key(len(self.sites), self.architecture).read(key)

    def groups(self, architectures: Sequence[Architecture]) -> NDArray[np.int64]:
        """Return ``(n,)`` numbers from 0, equal for architectures that are one network: see `spaces.canonical`.

        A split of measured networks must keep those of one number together: what is known of one is known of all.
        """
        from .canonical import network_groups

        return network_groups(self.graph, [site.name for site in self.sites], self.choices(architectures))

    @cached_property
    def columns(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return for every site its column in tables, and the value that stands there for each option."""
        return {s.name: (f"e{i}", tuple(range(len(s.options)))) for i, s in enumerate(self.sites)}

    def unread(self, column: str) -> str | None:
        """Return whether a table's column says something of a network that this space does not choose.

        It is empty if so, or the arguments of a space that chooses it; None if the column says nothing of networks. The
        base knows columns ``e0``, ``e1``, ... and ``site.*`` beyond its own sites.
        """
        own = {name for name, _ in self.columns.values()} | {f"site.{site.name}" for site in self.sites}
        return "" if re.fullmatch(r"e\d+|site\..+", column) and column not in own else None

    def from_row(self, row: Mapping[str, int]) -> Architecture:
        """Return the architecture of a table's row; -1 stands where a site decides nothing.

        Raises:
            InvalidArchitectureError: a column is missing or holds a value that stands for no option.
        """
        choices: list[int] = []
        for site, (name, values) in self.columns.items():
            if row.get(name) not in (-1, *values):
                allowed = ", ".join(map(str, values))
                raise InvalidArchitectureError(
                    f"{name}={row.get(name)}: no option at site {site!r}; allowed: {allowed}"
                )
            choices.append(-1 if row[name] == -1 else values.index(row[name]))
        return self.architecture(choices)

    def at_most(self, n: int) -> int:
        """Return ``n``, or how many architectures there are where these are fewer."""
        return min(n, round(10 ** min(self.size_log10, 9)))

    def sample(self, n: int, rng: np.random.Generator) -> list[Architecture]:
        """Return ``n`` different architectures; a longer sample begins with the shorter one.

        They are uniform, except that where sites depend on others every site is: else nearly all networks would be of
        the largest depth, since most are.

        Raises:
            UsageError: the space has fewer than ``n``.
        """
        if np.log10(max(n, 1)) > self.size_log10 + 1e-9:
            raise UsageError(f"{counted(n, 'network')} asked; {self.spec} has only {round(10**self.size_log10)}")
        found: dict[Architecture, None] = {}
        while len(found) < n:
            for row in self._draw(CHUNK, rng):
                found.setdefault(Architecture(self.spec, tuple(row.tolist())))
        return list(found)[:n]

    def enumerate(self) -> Iterator[Architecture]:
        """Yield every architecture; only sensible for small spaces."""
        return (Architecture(self.spec, choices) for choices in self.domain.enumerate())

    def _draw(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return ``(n, sites)`` option indices, -1 where a site decides nothing."""
        return self.domain.draw(n, rng)

    # -- reading 1: the encoding ---------------------------------------------------------------------------------

    def encoding(self, name: str | None = None) -> Encoding:
        """Return an encoding by its name; the default without one.

        Raises:
            UnknownNameError: it is none of this space's.
        """
        known = {encoding.name: encoding for encoding in self.encodings}
        if name is not None and name not in known:
            raise UnknownNameError(f"encoding of {self.name}", name, tuple(known))
        return self.encodings[0] if name is None else known[name]

    @property
    def sparing_encoding(self) -> Encoding:
        """Return the encoding of which a few networks tell enough: its last block counts options and sizes."""
        return next(encoding for encoding in self.encodings if encoding.sparing)

    def counts(self, architectures: Sequence[Architecture]) -> NDArray[np.float32]:
        """Return ``(n, c)``: how many sites take each option, and sizes, the last block of `sparing_encoding`."""
        encoding = self.sparing_encoding
        return encoding.encode(self, architectures)[:, -encoding.blocks(self)[-1] :]

    @property
    def pruned(self) -> OneHots:
        """Return the view of the one-hots that sees least of what reaches no output."""
        return [encoding for encoding in self.encodings if isinstance(encoding, OneHots)][-1]

    def encode(self, architectures: Sequence[Architecture], encoding: str | None = None) -> NDArray[np.float32]:
        """Return ``(n, d)`` features of architectures by one of `encodings`, the default if none is named."""
        return self.encoding(encoding).encode(self, architectures)

    def choices(self, architectures: Sequence[Architecture]) -> NDArray[np.int64]:
        """Return ``(n, sites)`` option indices, -1 where a site decides nothing."""
        return np.array([a.choices for a in architectures], dtype=np.int64).reshape(-1, len(self.sites))

    @cached_property
    def layer_totals(self) -> tuple[dict[str, int], torch.Tensor]:
        """Return row by operation, and the table of what its layers add up to; see `totals`."""
        from .totals import layer_totals

        return layer_totals(self.graph, self.operations)

    def decode(self, encoded: NDArray[Any]) -> list[Architecture]:
        """Return the architectures of a raw ``(n, d)`` encoding."""
        return [self.architecture(choices) for choices in self.domain.decode(encoded)]

    def relax(self, gates: Mapping[str, torch.Tensor], encoding: str | None = None) -> torch.Tensor:
        """Return ``(..., d)``: the encoding of gates ``site -> (..., K)``, differentiable; ``encode`` at one-hots.

        The row of a site is multiplied by the probability that it decides something; so it may be given as if it did.
        """
        return self.encoding(encoding).relax(self, gates)

    @cached_property
    def schedule(self) -> tuple[tuple[tuple[tuple[int, ...], ...], ...], ...]:
        """Return the cells as steps over the one-hot encoding, see :func:`.compiled.stages`; none if unknown."""
        from .compiled import stages

        return stages(self.compiled_cells, self.sites) if self.has_cells else ()

    def gates(self, architectures: Sequence[Architecture]) -> dict[str, torch.Tensor]:
        """Return one-hot gates ``site -> (n, K)``."""
        import torch

        parts = torch.from_numpy(self.encode(architectures, "raw")).split(list(self.widths), dim=1)
        return {site.name: part for site, part in zip(self.sites, parts, strict=True)}

    @property
    def has_cells(self) -> bool:
        """Return whether it is a space of cells, whose compiled graphs are encoded."""
        return any(isinstance(encoding, CompiledGraph) for encoding in self.encodings)

    @cached_property
    def compiled_cells(self) -> tuple[Cell, ...]:
        """Return the cells whose compiled graph is encoded."""
        from .compiled import cells_of

        return cells_of(self.graph)

    # -- readings 2 to 5 -----------------------------------------------------------------------------------------

    def raw_graph(self, architecture: Architecture) -> Graph:
        """Return the network with every operation chosen, also those that do not reach the output."""
        return resolve(self.graph, self.taken(architecture))

    def is_connected(self, architecture: Architecture) -> bool:
        """Return whether the network's output depends on its input; where ``none`` is an option it may not."""
        return _connected(self, architecture)

    def network_graph(self, architecture: Architecture) -> Graph:
        """Return the network that is built, run and trained: only what reaches the output."""
        return simplify(self.raw_graph(architecture))

    def write_onnx(
        self, architecture: Architecture, directory: Path, *, batch: int = 1, seed: int = 0
    ) -> tuple[Path, str]:
        """Write the network with seeded weights that all networks of the space share; return its path and SHA-256."""
        from .export import WeightPool, write_model

        self._own(architecture)
        pool = self._pools.get(seed) or self._pools.setdefault(seed, WeightPool.of(self.graph, seed))
        metadata = {"space": self.spec, "architecture": self.format(architecture)}
        return write_model(self.network_graph(architecture), directory, pool, batch=batch, metadata=metadata)

    @cached_property
    def _pools(self) -> dict[int, WeightPool]:
        return {}

    def to_torch(self, architecture: Architecture) -> Network:
        """Return the network as an ``nn.Module``: ``(b, C, H, W) -> (b, classes)``, or what else it `gives`."""
        from .network import Network

        return Network(self.network_graph(architecture))

    def teacher(self) -> torch.nn.Module | None:
        """Return a network that those of this space learn from; none, where they begin with no weights."""
        return None

    def supernet(self) -> Network:
        """Return a module that mixes the alternatives: ``(b, C, H, W)`` and gates ``site -> (K,)`` to ``(b, ...)``."""
        from .network import Network

        return Network(self.graph, affine=self.affine, elastic=self.elastic)

    @cached_property
    def circuit(self) -> Circuit:
        """Return the cost of gates, in terms of a table keyed as in :meth:`operations`."""
        from .circuit import circuit_of

        return circuit_of(self.graph, self.sites)

    @cached_property
    def operations(self) -> dict[str, Graph]:
        """Return every block that a choice can put into the network, by table key, each as a network of its own."""
        from .circuit import blocks_of

        return blocks_of(self.graph, self.sites)

    def taken(self, architecture: Architecture) -> dict[str, int]:
        """Return the option taken at every site, -1 where it decides nothing."""
        self._own(architecture)
        return {site.name: choice for site, choice in zip(self.sites, architecture.choices, strict=True)}

    def _own(self, architecture: Architecture) -> None:
        if architecture.space != self.spec:
            raise InvalidArchitectureError(f"architecture of {architecture.space!r} given to {self.spec!r}")


@lru_cache(maxsize=65_536)
def _connected(space: SearchSpace, architecture: Architecture) -> bool:
    return is_connected(space.graph, space.taken(architecture))
