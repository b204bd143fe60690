"""A plain graph as JSON and back: a network of the user's own is opened where his file is not at hand.

What is read is data: layers by name, with numbers and texts. A name that is no layer of ours is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from ..arguments import check
from . import common
from .graph import INPUT, Choice, Graph, Mix, Node
from .layers import Mask, Operation

_UNDECIDED = (Choice, Mix, Mask)


def graph_json(graph: Graph) -> dict[str, Any]:
    """Return a graph in which everything is decided, JSON-ready.

    >>> from .graph import GraphBuilder
    >>> from .layers import Relu
    >>> builder = GraphBuilder((3, 8, 8))
    >>> graph_json(builder.graph(builder.add("a", Relu(), INPUT)))["nodes"]
    [{'name': 'a', 'layer': 'Relu', 'arguments': {}, 'inputs': ['input']}]
    """
    nodes = [
        {
            "name": node.name,
            "layer": type(node.operation).__name__,
            "arguments": {f.name: _plain(getattr(node.operation, f.name)) for f in fields(node.operation) if f.init},
            "inputs": list(node.inputs),
            **({} if node.inputs else {"shape": _plain(node.shape)}),  # of zeros, which nothing tells
        }
        for node in graph.nodes
    ]
    return {"input_shape": _plain(graph.input_shape), "nodes": nodes, "output": graph.output}


def graph_of(told: Mapping[str, Any]) -> Graph:
    """Return the graph that `graph_json` told of, its shapes computed anew.

    Raises:
        ValueError: it names a layer that there is not, or arguments or inputs that the layer does not take.
    """
    known = {kind.__name__: kind for kind in _kinds()}
    shapes, nodes = {INPUT: _tuple(told["input_shape"])}, list[Node]()
    for node in told["nodes"]:
        kind = known.get(node["layer"])
        if kind is None:
            raise ValueError(f"no layer {node['layer']!r}; there are {', '.join(sorted(known))}")
        missing = set(node["inputs"]) - set(shapes)
        if missing:
            raise ValueError(f"{node['name']} takes {', '.join(sorted(missing))}, which nothing before it gives")
        try:
            values = {name: _tuple(value) for name, value in node["arguments"].items()}
            check(kind, values)
            operation, inputs = kind(**values), tuple(node["inputs"])
            shape = operation.shape(tuple(shapes[name] for name in inputs)) if inputs else _tuple(node["shape"])
        except Exception as error:  # whatever a layer makes of arguments and shapes that are not its own
            raise ValueError(f"{node['name']} is no {node['layer']}: {error}") from error
        shapes[node["name"]] = shape
        nodes.append(Node(node["name"], operation, inputs, shape))
    if told["output"] not in shapes:
        raise ValueError(f"no node {told['output']!r}, which is to be the output")
    return Graph(shapes[INPUT], tuple(nodes), told["output"])


def _kinds() -> Iterator[type[Operation]]:
    """Yield all layers that ship."""
    for module in iter_modules(common.__path__):
        import_module(f"{common.__name__}.{module.name}")
    left = [Operation]
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        if kind.__module__.startswith(f"{__package__}.") and not issubclass(kind, _UNDECIDED):
            yield kind


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)  # of a width its size
    return value


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value  # pyright: ignore[reportUnknownArgumentType]
