"""A layer graph: what a network is, before any framework.

Shapes leave the batch out: ``(C, H, W)`` for images, ``(F,)`` for vectors. Every operation knows its output shape, its
weights and its multiply-accumulates; a :class:`Choice` is an operation that holds alternatives. A node is named by a
path, ``cells/3/e1/conv``, and keeps this name in every reading, so that weights can be passed from one to another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from math import prod
from typing import Final

Shape = tuple[int, ...]
INPUT: Final = "input"


@dataclass(frozen=True)
class Operation:
    """One layer. Subclasses state what they add to a network."""

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """Return the output shape; by default that of the first input."""
        return inputs[0]

    def weights(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        """Return the shapes of the weights, running statistics included."""
        return {}

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        """Return the multiply-accumulates for one input; layers without weights count 0."""
        return 0


@dataclass(frozen=True)
class Conv(Operation):
    """Square convolution without bias."""

    out: int
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    groups: int = 1

    @property
    def padding(self) -> int:
        """Return the padding that keeps the size at stride 1."""
        return self.dilation * (self.kernel - 1) // 2

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        _, height, width = inputs[0]
        return (self.out, *(-(-side // self.stride) for side in (height, width)))

    def weights(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        return {"weight": (self.out, inputs[0][0] // self.groups, self.kernel, self.kernel)}

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        return prod(self.weights(inputs)["weight"]) * prod(self.shape(inputs)[1:])


@dataclass(frozen=True)
class BatchNorm(Operation):
    """Batch normalisation over channels; ``affine`` weights may be left out in a supernet."""

    def weights(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        channels = inputs[0][:1]
        return {"weight": channels, "bias": channels, "running_mean": channels, "running_var": channels}


@dataclass(frozen=True)
class Relu(Operation):
    """Rectifier."""


@dataclass(frozen=True)
class Identity(Operation):
    """Passes its input."""


@dataclass(frozen=True)
class Zero(Operation):
    """Zeros in the shape of the (strided) input: the operation ``none``."""

    stride: int = 1

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        channels, height, width = inputs[0]
        return (channels, -(-height // self.stride), -(-width // self.stride))


@dataclass(frozen=True)
class Pool(Operation):
    """Pooling, ``max`` or ``avg``; padded cells are not counted in an average."""

    kind: str
    kernel: int
    stride: int = 1
    padding: int = 0

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        channels, *sides = inputs[0]
        return (channels, *((side + 2 * self.padding - self.kernel) // self.stride + 1 for side in sides))


@dataclass(frozen=True)
class Crop(Operation):
    """Drops the first row and column: the shifted grid of a factorised reduction."""

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        channels, height, width = inputs[0]
        return (channels, height - 1, width - 1)


@dataclass(frozen=True)
class Add(Operation):
    """Sum of inputs of one shape."""


@dataclass(frozen=True)
class Concat(Operation):
    """Concatenation along channels."""

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (sum(shape[0] for shape in inputs), *inputs[0][1:])


@dataclass(frozen=True)
class GlobalPool(Operation):
    """Mean over the map: ``(C, H, W)`` to ``(C,)``."""

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return inputs[0][:1]


@dataclass(frozen=True)
class Linear(Operation):
    """Fully connected layer with bias."""

    out: int

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (self.out,)

    def weights(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        return {"weight": (self.out, inputs[0][0]), "bias": (self.out,)}

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        return self.out * inputs[0][0]


@dataclass(frozen=True)
class Choice(Operation):
    """One of K alternatives, each a graph of one input; which one is decided at a site."""

    site: str
    options: tuple[str, ...]
    graphs: tuple[Graph, ...] = field(repr=False)

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return self.graphs[0].shape


@dataclass(frozen=True)
class Node:
    """One layer of a graph: its operation, where its inputs come from, and the shape of its output."""

    name: str
    operation: Operation
    inputs: tuple[str, ...]
    shape: Shape


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order, from one input to one output."""

    input_shape: Shape
    nodes: tuple[Node, ...]
    output: str

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Return the shape of every value, by name."""
        return {INPUT: self.input_shape} | {node.name: node.shape for node in self.nodes}

    @property
    def shape(self) -> Shape:
        """Return the output's shape."""
        return self.shapes[self.output]

    def macs(self) -> int:
        """Return the multiply-accumulates for one input; choices must be resolved."""
        shapes = self.shapes
        return sum(node.operation.macs(tuple(shapes[i] for i in node.inputs)) for node in self.nodes)

    def parameters(self) -> int:
        """Return the number of trained weights; choices must be resolved."""
        return sum(prod(shape) for name, shape in self.weights.items() if ".running_" not in name)

    @cached_property
    def weights(self) -> dict[str, Shape]:
        """Return the shapes of all weights, ``node.weight`` -> shape, those inside choices too."""
        found: dict[str, Shape] = {}
        for node, inputs in self.walk():
            found |= {f"{node.name}.{name}": shape for name, shape in node.operation.weights(inputs).items()}
        return found

    def walk(self, prefix: str = "") -> Iterator[tuple[Node, tuple[Shape, ...]]]:
        """Yield every node under its full name with its input shapes, going into all alternatives of a choice."""
        shapes = self.shapes
        for node in self.nodes:
            full = Node(prefix + node.name, node.operation, node.inputs, node.shape)
            yield full, tuple(shapes[i] for i in node.inputs)
            if isinstance(node.operation, Choice):
                for option, graph in zip(node.operation.options, node.operation.graphs, strict=True):
                    yield from graph.walk(f"{full.name}/{option}/")


class GraphBuilder:
    """Builds a graph node by node; ``at`` gives the same builder under a longer path."""

    def __init__(self, input_shape: Shape, prefix: str = "", nodes: dict[str, Node] | None = None) -> None:
        self._input_shape = input_shape
        self._prefix = prefix
        self._nodes: dict[str, Node] = {} if nodes is None else nodes

    def at(self, path: str) -> GraphBuilder:
        """Return a builder that prefixes the names of its nodes."""
        return GraphBuilder(self._input_shape, f"{self._prefix}{path}/", self._nodes)

    def shape(self, name: str) -> Shape:
        """Return the shape of a value."""
        return self._input_shape if name == INPUT else self._nodes[name].shape

    def add(self, name: str, operation: Operation, *inputs: str) -> str:
        """Append a node and return its full name."""
        full = self._prefix + name
        shape = operation.shape(tuple(self.shape(i) for i in inputs))
        self._nodes[full] = Node(full, operation, inputs, shape)
        return full

    def choice(self, name: str, site: str, options: Mapping[str, Callable[[GraphBuilder, str], str]], x: str) -> str:
        """Append a choice among blocks; a block is a function that builds from ``x`` and returns its output.

        Raises:
            ValueError: the alternatives do not give one shape.
        """
        graphs = tuple(block_graph(self.shape(x), block) for block in options.values())
        if len({graph.shape for graph in graphs}) != 1:
            raise ValueError(f"options of {site} differ in shape: {[graph.shape for graph in graphs]}")
        return self.add(name, Choice(site, tuple(options), graphs), x)

    def graph(self, output: str) -> Graph:
        """Return what was built."""
        return Graph(self._input_shape, tuple(self._nodes.values()), output)


def block_graph(input_shape: Shape, block: Callable[[GraphBuilder, str], str]) -> Graph:
    """Return a block alone as a graph."""
    builder = GraphBuilder(input_shape)
    return builder.graph(block(builder, INPUT))


def resolve(graph: Graph, taken: Mapping[str, int]) -> Graph:
    """Return the plain graph in which every choice is replaced by the option taken at its site."""
    alias: dict[str, str] = {INPUT: INPUT}
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = tuple(alias[i] for i in node.inputs)
        if not isinstance(node.operation, Choice):
            nodes.append(Node(node.name, node.operation, inputs, node.shape))
            alias[node.name] = node.name
            continue
        index = taken[node.operation.site]
        inner, prefix = node.operation.graphs[index], f"{node.name}/{node.operation.options[index]}/"
        names = {INPUT: inputs[0]} | {n.name: prefix + n.name for n in inner.nodes}
        nodes += [Node(names[n.name], n.operation, tuple(names[i] for i in n.inputs), n.shape) for n in inner.nodes]
        alias[node.name] = names[inner.output]
    return Graph(graph.input_shape, tuple(nodes), alias[graph.output])


def simplify(graph: Graph) -> Graph:
    """Return the graph that computes the same with fewer nodes.

    Identities vanish, zeros are carried as far as they stay zero (not through BatchNorm, which turns them into its
    shift), and nodes that do not reach the output are dropped. Sums take their inputs in an order that depends on what
    these compute, not on where they stood: runtimes fuse the first or the last, and networks that differ in nothing
    else must not differ in that.
    """
    alias: dict[str, str] = {INPUT: INPUT}
    zeros: set[str] = set()
    kept: dict[str, Node] = {}
    for node in graph.nodes:
        inputs = tuple(alias[i] for i in node.inputs)
        live = tuple(i for i in inputs if i not in zeros)
        operation = node.operation
        if isinstance(operation, Identity) or (isinstance(operation, Add) and len(live) == 1):
            alias[node.name] = (live or inputs)[0]
            continue
        if isinstance(operation, Zero) or (
            not live and isinstance(operation, Add | Relu | Pool | Conv | Concat | Crop)
        ):
            zeros.add(node.name)
            operation, inputs = Zero(), ()
        elif isinstance(operation, Add):
            inputs = live
        alias[node.name] = node.name
        kept[node.name] = Node(node.name, operation, inputs, node.shape)
    return _ordered(reaching(Graph(graph.input_shape, tuple(kept.values()), alias[graph.output])))


def _ordered(graph: Graph) -> Graph:
    constant = ""  # what hangs on zeros alone is folded by a runtime, however it came about
    work: dict[str, str] = {INPUT: "input"}
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = node.inputs
        if isinstance(node.operation, Add):
            inputs = tuple(sorted(inputs, key=work.__getitem__))
        told = f"{node.operation} {[work[i] for i in inputs]}"
        folds = all(work[i] == constant for i in inputs)
        work[node.name] = constant if folds else sha256(told.encode()).hexdigest()
        nodes.append(Node(node.name, node.operation, inputs, node.shape))
    return Graph(graph.input_shape, tuple(nodes), graph.output)


def reaching(graph: Graph) -> Graph:
    """Return the graph without the nodes that do not reach its output."""
    nodes = {node.name: node for node in graph.nodes}
    needed: set[str] = set()
    stack = [graph.output]
    while stack:
        name = stack.pop()
        if name in needed or name == INPUT:
            continue
        needed.add(name)
        stack += nodes[name].inputs
    return Graph(graph.input_shape, tuple(node for node in graph.nodes if node.name in needed), graph.output)
