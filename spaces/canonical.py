"""The canonical form of a graph: equal for two networks exactly where a runtime is given the same work.

Two architectures may build one network: identities and zeros vanish, dead branches are dropped, inner nodes of a cell
trade places. A runtime goes further: it computes what hangs on constants alone once, when it loads, and equal work on
equal inputs once an inference. Names and the values of weights are left out.

Reference:
    Weisfeiler and Leman, 1968: colours refined by the colours of neighbours, inputs and consumers.
"""

from __future__ import annotations

from collections import defaultdict
from hashlib import sha256

from .graph import INPUT, Graph, Node, constants, reaching
from .layers import Add, BatchNorm, Conv, Linear, Zero

_WEIGHTED = (Conv, BatchNorm, Linear)


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
        if not isinstance(operation, (*_WEIGHTED, Zero)) and work in known:
            alias[node.name] = known[work]
            continue
        known[work] = alias[node.name] = node.name
        nodes.append(Node(node.name, operation, inputs, node.shape))
    merged = reaching(Graph(graph.input_shape, tuple(nodes), alias[graph.output]))
    return list(merged.nodes), merged.output


def _sources(node: Node, colours: dict[str, str]) -> list[str]:
    found = [colours[i] for i in node.inputs]
    return sorted(found) if isinstance(node.operation, Add) else found


def _digest(*parts: str) -> str:
    return sha256("\n".join(parts).encode()).hexdigest()
