"""A layer graph: what a network is, before any framework.

Its nodes are layers (``layers.py``) and what is not decided yet: a :class:`Choice` holds alternatives, a :class:`Mix`
takes one of several values computed before it, and channels may be a ``Width``. A node is named by a path,
``cells/3/e1/conv``, and keeps this name in every reading, so that weights can be passed from one to another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from math import prod
from typing import Final

from .common.reshaping import Input, Join, Permute, Reshape, Slice
from .common.sequence import Embedding
from .layers import Add, Identity, Mean, Operation, Relu, Resize, Shape, Zero, chosen, sites_of

INPUT: Final = "input"
FIXED: Final = ""  # the site of a choice of one: a block that is there, priced by the table like any other

Condition = tuple[tuple[str, int], ...]  # options by site, of which one must be taken; empty for always


@dataclass(frozen=True)
class Choice(Operation):
    """One of K alternatives, each a graph of one input; which one is decided at a site.

    Attributes:
        site: where, or ``FIXED``.
        options: their names.
        graphs: the alternatives.
        shared: they are one block under several shapes, and hold the same weights.
        when: at a fixed block, what it is there for.
        among: at a fixed block, options of which any number may be taken together: it is there if one of them is.
        unless: at a fixed block, options of which none may be taken: the leaf of a graph, which nothing else reads. In
            a supernet it has the weight that all of them leave.
    """

    site: str
    options: tuple[str, ...]
    graphs: tuple[Graph, ...] = field(repr=False)
    shared: bool = False
    when: Condition = ()
    among: Condition = ()
    unless: Condition = ()

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return self.graphs[0].shape

    @property
    def nested(self) -> bool:
        """Return whether an alternative holds choices of its own: then it is no block that a table prices."""
        return any(isinstance(node.operation, Choice) for graph in self.graphs for node in graph.nodes)

    def path(self, name: str, option: str) -> str:
        """Return what the names of an alternative's nodes begin with, where the choice itself is called ``name``."""
        return f"{name}/" if self.shared else f"{name}/{option}/"

    def taken(self, taken: Mapping[str, int]) -> int | None:
        """Return which alternative is taken, if any."""
        if self.site == FIXED:
            there = all(not any_of or _holds(any_of, taken) for any_of in (self.when, self.among))
            return 0 if there and not _holds(self.unless, taken) else None
        return taken[self.site] if taken[self.site] >= 0 else None


def _holds(condition: Condition, taken: Mapping[str, int]) -> bool:
    return any(taken[site] == option for site, option in condition)


@dataclass(frozen=True)
class Mix(Operation):
    """The sum of its inputs, each weighted by the gate of one option: a depth, or the routes that meet in a block.

    Attributes:
        terms: for every input the option that takes it, ``(site, option)``; ``(FIXED, 0)`` always does.
        mean: it is the weighted mean of them instead; a leaf weighs what the edges out of it leave.
    """

    terms: Condition
    mean: bool = False

    @property
    def joined(self) -> Add:
        """Return what stands in its place where everything is decided."""
        return Mean() if self.mean else Add()


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

    @cached_property
    def leaves(self) -> dict[str, Condition]:
        """Return the blocks that are there unless an option is taken, by name, with these options."""
        blocks = ((node.name, node.operation) for node in self.nodes)
        return {name: block.unless for name, block in blocks if isinstance(block, Choice) and block.unless}

    @cached_property
    def mixes(self) -> bool:
        """Return whether some of its values may be left out of a mix."""
        return any(isinstance(node.operation, Mix) for node in self.nodes)

    def macs(self) -> int:
        """Return the multiply-accumulates for one input; choices must be resolved."""
        return sum(node.operation.macs(inputs) for node, inputs in self.nodes_with_shapes())

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

    @property
    def size_bytes(self) -> int:
        """Return what all weights and the largest value of one input take as float32."""
        numbers = sum(prod(shape) for shape in self.weights.values())
        return 4 * (numbers + max(prod(node.shape) for node, _ in self.walk()))

    def nodes_with_shapes(self) -> Iterator[tuple[Node, tuple[Shape, ...]]]:
        """Yield every node with its input shapes, choices as they are."""
        shapes = self.shapes
        for node in self.nodes:
            yield node, tuple(shapes[i] for i in node.inputs)

    def walk(self, prefix: str = "") -> Iterator[tuple[Node, tuple[Shape, ...]]]:
        """Yield every node under its full name with its input shapes, going into all alternatives of a choice."""
        for node, inputs in self.nodes_with_shapes():
            full = Node(prefix + node.name, node.operation, node.inputs, node.shape)
            yield full, inputs
            if isinstance(node.operation, Choice):
                for option, graph in zip(node.operation.options, node.operation.graphs, strict=True):
                    yield from graph.walk(node.operation.path(full.name, option))


class GraphBuilder:
    """Builds a graph node by node; ``at`` gives the same builder under a longer path."""

    def __init__(self, input_shape: Shape, prefix: str = "", nodes: dict[str, Node] | None = None) -> None:
        self._input_shape = input_shape
        self._prefix = prefix
        self._nodes: dict[str, Node] = {} if nodes is None else nodes

    def at(self, path: str) -> GraphBuilder:
        """Return a builder that prefixes the names of its nodes."""
        return GraphBuilder(self._input_shape, f"{self._prefix}{path}/", self._nodes)

    @property
    def names(self) -> Collection[str]:
        """Return the full names of all nodes so far."""
        return self._nodes

    def shape(self, name: str) -> Shape:
        """Return the shape of a value."""
        return self._input_shape if name == INPUT else self._nodes[name].shape

    def add(self, name: str, operation: Operation, *inputs: str) -> str:
        """Append a node and return its full name."""
        full = self._prefix + name
        shape = operation.shape(tuple(self.shape(i) for i in inputs))
        self._nodes[full] = Node(full, operation, inputs, shape)
        return full

    def choice(self, name: str, site: str, options: Mapping[str, Block], x: str, *, shared: bool = False) -> str:
        """Append a choice among blocks.

        Args:
            name: Name of the node.
            site: where it is decided.
            options: the blocks by name.
            x: what they read.
            shared: they hold the same weights.

        Raises:
            ValueError: the alternatives do not give one shape.
        """
        graphs = tuple(block_graph(self.shape(x), block) for block in options.values())
        first = graphs[0].shape
        if any(not same_shape(g.shape, first) for g in graphs):
            raise ValueError(f"options of {site} differ in shape: {[graph.shape for graph in graphs]}")
        return self.add(name, Choice(site, tuple(options), graphs, shared), x)

    def block(
        self,
        name: str,
        label: str,
        block: Block,
        x: str,
        *,
        when: Condition = (),
        among: Condition = (),
        unless: Condition = (),
    ) -> str:
        """Append a block that is not chosen, ``label`` in tables; for certain options only, see :class:`Choice`."""
        graphs = (block_graph(self.shape(x), block),)
        return self.add(name, Choice(FIXED, (label,), graphs, when=when, among=among, unless=unless), x)

    def mix(
        self,
        name: str,
        terms: Mapping[str, tuple[str, int]] | Sequence[tuple[str, tuple[str, int]]],
        *,
        mean: bool = False,
    ) -> str:
        """Append a mix of values, each taken by the option ``(site, option)`` named; by several, if it stands twice.

        Args:
            name: Name of the node.
            terms: values and what takes them.
            mean: it is their mean, not their sum.
        """
        pairs = list(terms.items()) if isinstance(terms, Mapping) else terms
        return self.add(name, Mix(tuple(term for _, term in pairs), mean), *(value for value, _ in pairs))

    def graph(self, output: str) -> Graph:
        """Return what was built."""
        return Graph(self._input_shape, tuple(self._nodes.values()), output)


def same_shape(a: Shape, b: Shape) -> bool:
    """Return whether two shapes are equal whatever is chosen."""
    return a == b and all(sites_of(one) == sites_of(other) for one, other in zip(a, b, strict=True))


Block = Callable[[GraphBuilder, str], str]  # builds from the value named, returns its output's name


def block_graph(input_shape: Shape, block: Block) -> Graph:
    """Return a block alone as a graph."""
    builder = GraphBuilder(input_shape)
    return builder.graph(block(builder, INPUT))


def resolve(graph: Graph, taken: Mapping[str, int]) -> Graph:
    """Return the plain graph in which everything is decided.

    Args:
        graph: with choices.
        taken: the option at every site, -1 where the site decides nothing; what it would have decided is left out.
    """
    nodes: dict[str, Node] = {}
    shape = tuple(chosen(side, taken) for side in graph.input_shape)
    output = _place(graph, "", INPUT, taken, nodes, shape)
    if output is None:
        raise ValueError(f"the output {graph.output!r} depends on a site that decides nothing")
    return Graph(shape, tuple(nodes.values()), output)


def _place(
    graph: Graph, prefix: str, x: str, taken: Mapping[str, int], nodes: dict[str, Node], shape: Shape
) -> str | None:
    """Append a graph's nodes, reading ``x``; return the name of its output if that is there."""
    alias = {INPUT: x}
    for node in graph.nodes:
        operation, name = node.operation, prefix + node.name
        if isinstance(operation, Mix):
            terms = zip(node.inputs, operation.terms, strict=True)
            live = [alias[i] for i, (site, o) in terms if i in alias and (site == FIXED or taken[site] == o)]
            if len(live) == 1:
                alias[node.name] = live[0]
                continue
            operation, inputs = operation.joined, tuple(live)
        else:
            inputs = tuple(alias[i] for i in node.inputs if i in alias)
            if len(inputs) < len(node.inputs):
                continue
        if not inputs and node.inputs:
            continue
        if isinstance(operation, Choice):
            index = operation.taken(taken)
            if index is not None:
                path = operation.path(name, operation.options[index])
                output = _place(operation.graphs[index], path, inputs[0], taken, nodes, shape)
                if output is not None:
                    alias[node.name] = output
            continue
        operation = operation.resolved(taken)
        shapes = tuple(shape if i == INPUT else nodes[i].shape for i in inputs)
        nodes[name] = Node(name, operation, inputs, operation.shape(shapes))
        alias[node.name] = name
    return alias.get(graph.output)


def is_connected(graph: Graph, taken: Mapping[str, int]) -> bool:
    """Return whether the network in which everything is decided depends on its input: zeros pass nothing on.

    Args:
        graph: with choices.
        taken: the option at every site, -1 where the site decides nothing.
    """
    return bool(_passes(graph, taken, fed=True))


def _passes(graph: Graph, taken: Mapping[str, int], *, fed: bool) -> bool | None:
    """Return whether the output depends on what is fed in; None where it is left out, as :func:`resolve` does."""
    passes = {INPUT: fed}
    for node in graph.nodes:
        operation = node.operation
        if isinstance(operation, Mix):
            terms = zip(node.inputs, operation.terms, strict=True)
            live = [passes[i] for i, (site, o) in terms if i in passes and (site == FIXED or taken[site] == o)]
            if live:
                passes[node.name] = any(live)
        elif all(name in passes for name in node.inputs):
            if isinstance(operation, Choice):
                index = operation.taken(taken)
                if index is not None:
                    inner = _passes(operation.graphs[index], taken, fed=passes[node.inputs[0]])
                    if inner is not None:
                        passes[node.name] = inner
            else:
                reads = isinstance(operation, Input) or any(passes[name] for name in node.inputs)
                passes[node.name] = reads and not isinstance(operation, Zero)
    return passes.get(graph.output)


def simplify(graph: Graph) -> Graph:
    """Return the graph that computes the same with fewer nodes.

    Identities vanish, and rectifiers of what is rectified; zeros are carried as far as they stay zero (not through
    BatchNorm, which turns them into its shift), and nodes that do not reach the output are dropped. Sums take their
    inputs in an order that depends on what these compute, not on where they stood: runtimes fuse the first or the last,
    and networks that differ in nothing else must not differ in that.
    """
    alias: dict[str, str] = {INPUT: INPUT}
    zeros: set[str] = set()
    kept: dict[str, Node] = {}
    for node in graph.nodes:
        inputs = tuple(alias[i] for i in node.inputs)
        live = tuple(i for i in inputs if i not in zeros)
        operation = node.operation
        if isinstance(operation, Mean):
            live = inputs  # zeros count among those of which it is the mean
        rectified = isinstance(operation, Relu) and any(i in kept and isinstance(kept[i].operation, Relu) for i in live)
        if isinstance(operation, Identity) or rectified or (isinstance(operation, Add) and len(live) == 1):
            alias[node.name] = (live or inputs)[0]
            continue
        if isinstance(operation, Zero) or (inputs and zeros.issuperset(inputs) and operation.keeps_zeros):
            zeros.add(node.name)
            operation, inputs = Zero(), ()
        elif isinstance(operation, Add):
            inputs = live
        alias[node.name] = node.name
        kept[node.name] = Node(node.name, operation, inputs, node.shape)
    return _ordered(reaching(Graph(graph.input_shape, tuple(kept.values()), alias[graph.output])))


def _ordered(graph: Graph) -> Graph:
    folded = constants(graph)
    work: dict[str, str] = {INPUT: "input"}
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = node.inputs
        if isinstance(node.operation, Add):
            inputs = tuple(sorted(inputs, key=work.__getitem__))
        told = f"{node.operation} {[work[i] for i in inputs]}"
        work[node.name] = "" if node.name in folded else sha256(told.encode()).hexdigest()
        nodes.append(Node(node.name, node.operation, inputs, node.shape))
    return Graph(graph.input_shape, tuple(nodes), graph.output)


def constants(graph: Graph) -> set[str]:
    """Return the nodes that hang on zeros alone: a runtime computes them once, when it loads."""
    found: set[str] = set()
    for node in graph.nodes:
        constant = isinstance(node.operation, Zero) or all(i in found for i in node.inputs)
        if constant and not isinstance(node.operation, Input):
            found.add(node.name)
    return found


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


def _indexes(graph: Graph) -> tuple[bool, bool]:
    """Return whether an embedding reads the input of a graph, and whether its output is the input, moved about."""
    moved, found = {INPUT}, False
    for node in graph.nodes:
        operation = node.operation
        if moved.isdisjoint(node.inputs):
            continue
        if isinstance(operation, Choice):
            inner = [_indexes(one) for one in operation.graphs]
            found = found or any(reads for reads, _ in inner)
            moved |= {node.name} if any(gives for _, gives in inner) else set()
        elif isinstance(operation, Embedding):
            found = True
        elif isinstance(operation, Mix | Identity | Reshape | Permute | Slice | Join):
            moved.add(node.name)
    return found, graph.output in moved


def ports(graph: Graph) -> dict[str, tuple[Shape, bool]]:
    """Return a network's inputs by name: shape, and whether it holds whole numbers.

    A network that brings its image to another size takes it at that size.
    """
    shape = next((n.shape for n in graph.nodes if isinstance(n.operation, Resize)), graph.input_shape)
    found = {INPUT: (shape, _indexes(graph)[0])}
    for node in graph.nodes:
        if isinstance(node.operation, Input):
            found[node.name] = node.shape, node.operation.whole
    return found
