"""A space that was made of a module of the user's: its graph, its sites, and his weights to begin with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from ...shown import counted
from ..architecture import Architecture, Site
from ..digest import of_tensors
from ..graph import Graph
from ..kind import Kind
from ..space import SearchSpace

if TYPE_CHECKING:
    from torch import Tensor

    from ..network import Network


class TracedSpace(SearchSpace):
    """What `tracer.space_from` returns.

    Args:
        name: Name of the module's class.
        graph: the choice graph.
        sites: where something is chosen.
        start: the user's weights by the supernet's names, ``node.weight``: networks and supernets begin with them.
        whole: by site the option of the module as it was given: first options, all channels, all blocks.
        trained: whether that network is worth learning from.
    """

    outputs: ClassVar[tuple[Kind, ...]] = ("classes", "map", "heatmaps", "sequence")
    elastic: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        graph: Graph,
        sites: tuple[Site, ...],
        start: Mapping[str, Tensor],
        whole: Mapping[str, int],
        *,
        trained: bool = False,
    ) -> None:
        self.name = name  # type: ignore[misc]  # of each space its own
        self._traced, self._sites, self.start = graph, sites, dict(start)
        self._whole, self.trained = dict(whole), trained
        self.weights = of_tensors(sorted(self.start.items()))
        self.left_out: dict[str, str] = {}  # by layer, why its channels are no choice; see `shrink`

    @property
    def whole(self) -> Architecture:
        """Return the architecture of the module as it was given: first options, all channels, all blocks."""
        return self.architecture(self._whole[site.name] for site in self.sites)

    def teacher(self) -> Network | None:
        return self.to_torch(self.whole).eval() if self.trained else None

    @property
    def sites(self) -> tuple[Site, ...]:
        return self._sites

    def build(self) -> Graph:
        return self._traced

    @property
    def gives(self) -> tuple[Kind, ...]:
        """Return what an output of its rank may be; what the user's module means by it only he knows."""
        by_rank: dict[int, tuple[Kind, ...]] = {1: ("classes",), 2: ("sequence",), 3: ("map", "heatmaps")}
        return by_rank.get(len(self.graph.shape), ())

    def supernet(self) -> Network:
        network = super().supernet()
        self._begin(network)
        return network

    def to_torch(self, architecture: Architecture) -> Network:
        network = super().to_torch(architecture)
        self._begin(network)
        return network

    def _begin(self, network: Network) -> None:
        """Set every weight to the first of the user's."""
        own = network.state_dict()
        for key, value in own.items():
            kept = self.start.get(key.removeprefix("layers."))
            if kept is not None:
                value.copy_(kept[tuple(map(slice, value.shape))])

    def _named(self, name: str) -> str:
        return name

    def __repr__(self) -> str:
        return f"{self.spec}: {counted(len(self.sites), 'site')}, 10^{self.size_log10:.1f} networks"
