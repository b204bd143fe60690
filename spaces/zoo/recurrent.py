"""A recurrent cell as a graph of nodes of which any edge may be left out: ShrinkRNN of AutoShrink.

The network is one step: of a symbol and the last state it makes the logits of the next symbol and the new state. So a
device times a token, and a task of sequences runs it once for each of their symbols. Node 0 mixes symbol and state; an
edge carries the state of its source through a gate, ``s + sigmoid(c) (f(k) - s)`` with ``(c, k) = W s``, f being the
operation of its target. A node is the mean of what enters it, and the new state the mean of the leaves: the nodes that
nothing reads.

References:
    Zhang et al., *AutoShrink*, arXiv:1911.09251; the cell is that of Pham et al., *ENAS*, arXiv:1802.03268.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

from msgspec import Meta

from ...arguments import Classes, Seed, Size
from ..architecture import Architecture, Site
from ..common.highway import KINDS, Highway
from ..common.reshaping import Input, Outputs, Reshape
from ..common.sequence import Dense, Embedding
from ..graph import FIXED, INPUT, Block, Graph, GraphBuilder
from ..kind import Kind
from ..masks import EdgeMasks, deal
from ..unrolled import Unrolled

_FIRST = "tanh"  # the operation of node 0
STATE = "state"


@dataclass(frozen=True)
class RecurrentCell(EdgeMasks):
    """One step of the cell: ``(symbol, state) -> (logits, state)``.

    Args:
        n: nodes of the graph, N; it has N (N - 1) / 2 edges.
        hidden: numbers in a state, H, and in the vector of a symbol.
        free: whether the operations of nodes 1, 2, ... are chosen too; otherwise they are dealt out by a seed.
        dealt: that seed.
        classes: symbols that are told apart: characters or words.

    Example:
        >>> from tempograd import registry
        >>> space = registry.create("space", "recurrent:n=3,hidden=8,classes=5")
        >>> step = space.network_graph(space.parse("0>1 1>2"))
        >>> step.input_shape, step.shape, step.macs()
        ((1,), (5,), 552)
    """

    n: Annotated[int, Meta(ge=2, le=12)] = 6
    hidden: Size = 256
    free: bool = False
    dealt: Seed = 0
    classes: Classes = 104

    name: ClassVar[str] = "recurrent"
    small: ClassVar[tuple[str, ...]] = ("n=5,hidden=8,classes=7", "n=3,hidden=6,free=true,classes=5")
    outputs: ClassVar[tuple[Kind, ...]] = ("sequence",)
    elastic: ClassVar[bool] = False
    everywhere: ClassVar[bool] = False

    @cached_property
    def operations_of_nodes(self) -> tuple[str, ...]:
        """Return f of every node but the first, as dealt out by the seed."""
        return deal(KINDS, self.n - 1, self.dealt)

    @property
    def operation_sites(self) -> tuple[Site, ...]:
        return tuple(Site(f"f{node}", KINDS) for node in range(1, self.n)) if self.free else ()

    def build(self) -> Graph:
        builder = GraphBuilder((1,))
        symbol = builder.add("embedding", Embedding(self.classes, self.hidden), INPUT)
        symbol = builder.add("symbol", Reshape((self.hidden,)), symbol)
        state = builder.add(STATE, Input(STATE, (self.hidden,)))
        values = [builder.add("node0", Highway(_FIRST), state, symbol)]
        leaves: dict[str, tuple[str, int]] = {}
        for node in range(self.n):
            into = self.into(node)
            if node:
                label, block = self._edge(node)
                edges = {
                    builder.block(site, label, block, values[source], when=((site, on),)): (site, on)
                    for source, (site, on) in enumerate(into)
                }
                values.append(builder.mix(f"node{node}", edges, mean=True))
            leaf = builder.block(f"leaf{node}", "leaf", _same, values[node], among=into, unless=self.out_of(node))
            leaves[leaf] = (FIXED, 0)
        state = builder.mix("leaves", leaves, mean=True)
        return builder.graph(builder.add("told", Outputs(), builder.add("logits", Dense(self.classes), state), state))

    def _edge(self, node: int) -> tuple[str, Block]:
        """Return the label in tables of an edge into a node, and what it does to the state of its source."""
        if not self.free:
            kind = self.operations_of_nodes[node - 1]
            return kind, _gated(kind)
        options = {kind: _gated(kind) for kind in KINDS}
        return "edge", lambda builder, x: builder.choice("as", f"f{node}", options, x)

    def to_torch(self, architecture: Architecture) -> Unrolled:
        """Return the network as an ``nn.Module``: of a step, or ``(b, length) -> (b, classes, length)``."""
        return Unrolled(self.network_graph(architecture))

    def supernet(self) -> Unrolled:
        return Unrolled(self.graph, affine=self.affine, elastic=self.elastic)


def _same(builder: GraphBuilder, x: str) -> str:
    return x


def _gated(kind: str) -> Block:
    return lambda builder, x: builder.add("gate", Highway(kind), x)


SPACE = RecurrentCell
