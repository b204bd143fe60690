"""Digests: of what a space of the user's own describes, which is part of its name, and of weights."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import fields
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from .. import registry
from .encoding import OneHots
from .graph import Choice, Graph
from .layers import Operation, Width

if TYPE_CHECKING:
    from torch import Tensor

    from .space import SearchSpace


def name_of(space: SearchSpace) -> str:
    """Return the name that a space bears in its spec: that of the registry, or ``NAME@DIGEST`` of one of the user's."""
    shipped = type(space).__module__.startswith(f"{__package__}.zoo.")
    if shipped or (space.name in registry.names("space") and registry.load("space", space.name) is type(space)):
        return space.name
    return f"{space.name}@{digest_of(space)}"


def identity_of(space: SearchSpace) -> str:
    """Return what tells trainings in one space from those in another: its spec, and the weights they begin with."""
    return space.spec if space.weights is None else f"{space.spec} with weights {space.weights}"


def digest_of(space: SearchSpace) -> str:
    """Return twelve hexadecimal digits, equal for spaces whose sites, rules, encodings and graphs are equal."""
    told = [repr(space.sites), repr(space.rules), repr((space.affine, space.elastic))]
    told += [f"{type(e).__name__} {e.name} {_code(e)}" for e in space.encodings]
    return sha256("\n".join([*told, *_lines(space.graph)]).encode()).hexdigest()[:12]


def _code(encoding: Any) -> str:
    """Return the source of what a user's encoding makes of the one-hots."""
    view = encoding.view if isinstance(encoding, OneHots) else None
    try:
        return "" if view is None else inspect.getsource(view)
    except (OSError, TypeError):
        return getattr(view, "__qualname__", "")


def _lines(graph: Graph) -> Iterator[str]:
    """Yield what a graph is made of; unlike the ``repr`` of its nodes, all that is chosen is told."""
    yield f"{value_of(graph.input_shape)} > {graph.output}"
    for node in graph.nodes:
        operation = node.operation
        yield f"{node.name} {value_of(operation)} {node.inputs} {value_of(node.shape)}"
        if isinstance(operation, Choice):
            for inner in operation.graphs:
                yield from (f"  {line}" for line in _lines(inner))


def value_of(value: Any) -> str:
    """Return the text of a layer, shape or argument, with all that is chosen in it."""
    if isinstance(value, Width):
        return f"{value.sites}{sorted(value.sizes.items())}"
    if isinstance(value, Operation):
        told = {f.name: value_of(getattr(value, f.name)) for f in fields(value) if f.name != "graphs"}
        return f"{type(value).__name__} {told}"
    return f"({', '.join(map(value_of, value))})" if isinstance(value, tuple) else repr(value)  # type: ignore[arg-type]


def of_tensors(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return sixteen hexadecimal digits that differ where names or values of tensors do."""
    import torch

    found = sha256()
    for name, value in tensors:
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]
