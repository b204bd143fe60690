"""Which architectures are one network under several names.

Two architectures may build one network: identities and zeros vanish, dead branches are dropped, inner nodes of a cell
trade places. `canonical` is equal for two networks exactly where a runtime is given the same work: it computes what
hangs on constants alone once, when it loads, and equal work on equal inputs once an inference. Names and the values of
weights are left out. `network_groups` is for splits: it tells many architectures at once, and in doubt says "one".

References:
    Weisfeiler and Leman, 1968: colours refined by the colours of neighbours, inputs and consumers;
    Cocke, *Global common subexpression elimination*, 1970: values numbered by what they are computed of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from .common.reshaping import Input
from .graph import FIXED, INPUT, Choice, Condition, Graph, Mix, Node, constants, reaching
from .layers import Add, Identity, Operation, Zero, sites_of


def canonical(graph: Graph) -> str:
    """Return a digest that two simplified graphs share if a runtime executes the same nodes for both.

    Sums take their inputs in any order; nodes without weights that compute the same of the same are one node; nodes
    whose inputs are constant are constants.
    """
    nodes, output = _merged(graph)
    colours = {INPUT: "input"} | {node.name: _digest(repr(node.operation), repr(node.shape)) for node in nodes}
    users: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for node in nodes:
        for place, source in enumerate(node.inputs):
            users[source].append((node.name, -1 if isinstance(node.operation, Add) else place))
    classes = 0
    while len(set(colours.values())) > classes:
        classes = len(set(colours.values()))
        colours = {INPUT: colours[INPUT]} | {
            node.name: _digest(
                colours[node.name],
                *_sources(node, colours),
                "used by",
                *sorted(f"{place} {colours[user]}" for user, place in users[node.name]),
                "output" if node.name == output else "",
            )
            for node in nodes
        }
    return _digest(*sorted(colours.values()))


def _merged(graph: Graph) -> tuple[list[Node], str]:
    """Return the nodes with those that compute the same made one, and the output's name."""
    alias = {INPUT: INPUT}
    constant = constants(graph)
    known: dict[tuple[str, tuple[str, ...]], str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = tuple(alias[i] for i in node.inputs)
        operation = node.operation
        if isinstance(operation, Add):
            inputs = tuple(sorted(inputs))
        if node.name in constant:
            operation, inputs = Zero(), ()
        work = repr(operation), inputs
        if not _weighted(operation) and not isinstance(operation, Zero) and work in known:
            alias[node.name] = known[work]
            continue
        known[work] = alias[node.name] = node.name
        nodes.append(Node(node.name, operation, inputs, node.shape))
    merged = reaching(Graph(graph.input_shape, tuple(nodes), alias[graph.output]))
    return list(merged.nodes), merged.output


def _weighted(operation: Operation) -> bool:
    """Return whether a layer may have weights of its own: two of them are never one."""
    return type(operation).weights is not Operation.weights


def _sources(node: Node, colours: dict[str, str]) -> list[str]:
    found = [colours[i] for i in node.inputs]
    return sorted(found) if isinstance(node.operation, Add) else found


def _digest(*parts: str) -> str:
    return sha256("\n".join(parts).encode()).hexdigest()


Rows = NDArray[np.int64]
Values = NDArray[np.uint64]
_NOTHING, _ABSENT, _IMAGE = np.arange(3, dtype=np.uint64)  # zero or constant; not in this network; the network's input


def network_groups(graph: Graph, sites: Sequence[str], choices: NDArray[np.integer]) -> Rows:
    """Return ``(n,)`` numbers from 0, equal where `network_names` are.

    Args:
        graph: the space's choice graph.
        sites: names of the places of choice.
        choices: ``(n, sites)`` option indices, -1 where a site decides nothing.
    """
    return np.unique(network_names(graph, sites, choices), return_inverse=True)[1]


def network_names(graph: Graph, sites: Sequence[str], choices: NDArray[np.integer]) -> Values:
    """Return ``(n,)`` names of networks, 64-bit hashes that are equal for architectures whose output is computed alike.

    Every value of every network is named by a hash of its operation and its inputs, a layer of all networks at a time.
    What is constant counts as nothing, and two operations of one kind on one value count as one value even where each
    has weights of its own. So all architectures of one `canonical` form have one number, and some others that hardly
    differ have it too: a split by these numbers never has one network on both sides.

    Args:
        graph: the space's choice graph.
        sites: names of the places of choice.
        choices: ``(n, sites)`` option indices, -1 where a site decides nothing.
    """
    taken = {site: np.asarray(column, np.int64) for site, column in zip(sites, choices.T, strict=True)}
    return _Numbering(taken).values(graph, np.full(len(choices), _IMAGE), np.arange(len(choices)))


class _Numbering:
    """Names of values, the same for all networks of a space.

    Args:
        taken: site -> the option of every network ``(n,)``.
    """

    def __init__(self, taken: Mapping[str, Rows]) -> None:
        self.taken = taken

    def values(self, graph: Graph, x: Values, rows: Rows) -> Values:
        """Return the names ``(m,)`` of a graph's output where it reads ``x (m,)``, in the networks ``rows (m,)``."""
        found = {INPUT: x}
        for node in graph.nodes:
            if isinstance(node.operation, Input):
                name = int(_digest(repr(node.operation))[:16], 16)
                found[node.name] = np.full(len(rows), name, np.uint64)
                continue
            inputs = np.stack([found[name] for name in node.inputs])
            if isinstance(node.operation, Choice):
                found[node.name] = self._choice(node.operation, inputs[0], rows)
            elif isinstance(node.operation, Mix):
                live = np.stack([self._taken((term,), rows) for term in node.operation.terms]) & (inputs != _ABSENT)
                mixed = self._operation(node.operation.joined, np.where(live, inputs, _NOTHING), rows)
                found[node.name] = np.where(live.any(axis=0), mixed, _ABSENT)
            else:
                made = self._operation(node.operation, inputs, rows)
                found[node.name] = np.where((inputs == _ABSENT).any(axis=0), _ABSENT, made)
        return found[graph.output]

    def _choice(self, choice: Choice, x: Values, rows: Rows) -> Values:
        if choice.site == FIXED:
            there = self._taken(choice.when, rows) & self._taken(choice.among, rows)
            there &= ~self._taken(choice.unless, rows) | (not choice.unless)
            option = np.where(there, 0, -1)
        else:
            option = self.taken[choice.site][rows]
        value = np.full(len(rows), _ABSENT)
        for index, graph in enumerate(choice.graphs):
            here = (option == index) & (x != _ABSENT)
            if here.any():
                value[here] = self.values(graph, x[here], rows[here])
        return value

    def _taken(self, condition: Condition, rows: Rows) -> NDArray[np.bool_]:
        """Return flags ``(m,)``: whether one of the options is taken; none given, or a fixed one, always is."""
        flags = np.full(len(rows), not condition)
        for site, option in condition:
            flags |= True if site == FIXED else self.taken[site][rows] == option
        return flags

    def _operation(self, operation: Operation, inputs: Values, rows: Rows) -> Values:
        """Return the names ``(m,)`` of what an operation makes of ``inputs (k, m)``."""
        live = inputs != _NOTHING
        if isinstance(operation, Add):
            inputs = np.sort(inputs, axis=0)  # in any order, nothing first
        value = self._operations(operation, rows)
        if value is None:
            value = inputs[0]
        else:
            for column in inputs:
                mixed = _mixed(value, column)
                value = np.where(column == _NOTHING, value, mixed) if isinstance(operation, Add) else mixed
        if isinstance(operation, Add):
            value = np.where(live.sum(axis=0) == 1, inputs[-1], value)
        return np.where(live.any(axis=0) & (not isinstance(operation, Zero)), value, _NOTHING)

    def _operations(self, operation: Operation, rows: Rows) -> Values | None:
        """Return the names ``(m,)`` of an operation under the widths that are taken; None for one that does nothing."""
        values = [getattr(operation, f.name) for f in fields(operation)]
        sides = (side for value in values for side in (value if isinstance(value, tuple) else (value,)))
        widths = dict.fromkeys(site for side in sides for site in sites_of(side))
        different, place = np.zeros((1, 0), np.int64), np.zeros(len(rows), np.int64)
        if widths:
            options = np.stack([self.taken[site][rows] for site in widths], axis=1)
            different, place = np.unique(options, axis=0, return_inverse=True)
        resolved = [operation.resolved(dict(zip(widths, row.tolist(), strict=True))) for row in different]
        if all(isinstance(one, Identity) for one in resolved):
            return None
        return np.array([int(_digest(repr(one))[:16], 16) for one in resolved], np.uint64)[place.ravel()]


def _mixed(a: Values, b: Values) -> Values:
    """Return a hash of both, in this order: the finaliser of SplitMix64."""
    z = a * np.uint64(0x9E3779B97F4A7C15) + b
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
