"""What a tracer needs around it: the user's line, tensors in whatever holds them, calls of modules seen for a while."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..digest import value_of
from ..graph import INPUT, Graph


def content_of(graph: Graph) -> str:
    """Return a digest of what a graph computes, whatever its nodes are called.

    Of one layer the channels are left out: with the shapes of its input and output they are told.
    """
    if len(graph.nodes) == 1:
        (node,) = graph.nodes
        given = {f.name: getattr(node.operation, f.name) for f in fields(node.operation) if f.name != "out"}
        if given.get("groups", 1) == graph.input_shape[0] > 1:
            given["groups"] = "each"
        return f"{type(node.operation).__name__} {sorted((key, value_of(value)) for key, value in given.items())}"
    numbers = {INPUT: 0} | {node.name: i for i, node in enumerate(graph.nodes, 1)}
    told = [
        f"{value_of(node.operation)} {[numbers[i] for i in node.inputs]} {value_of(node.shape)}" for node in graph.nodes
    ]
    return sha256("\n".join([value_of(graph.input_shape), *told, str(numbers[graph.output])]).encode()).hexdigest()


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in a value."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():  # type: ignore[reportUnknownVariableType]
            yield from tensors(each)
    elif isinstance(value, list | tuple):
        for each in value:  # type: ignore[reportUnknownVariableType]
            yield from tensors(each)


@contextmanager
def evaluated(module: nn.Module) -> Generator[None]:
    """Keep a module in evaluation for a while, and leave each part of it as it was."""
    training = {one: one.training for one in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for one, was in training.items():
            one.training = was


@contextmanager
def calls_seen(called: Callable[[Callable[..., Any], nn.Module, Any, Any], Any]) -> Generator[None]:
    """See every call of a module."""
    forward: Any = nn.Module.__call__

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return called(forward, module, args, kwargs)

    nn.Module.__call__ = call
    try:
        yield
    finally:
        nn.Module.__call__ = forward


_OWN, _TORCH = Path(__file__).parents[1], Path(torch.__file__).parent


def _users(frames: list[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    return [f for f in frames if not {_OWN, _TORCH} & set(Path(f.filename).parents)]


def users_line() -> str:
    """Return the innermost line of the user's that is being run."""
    frames = _users(list(traceback.extract_stack()))
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}: {frames[-1].line}: " if frames else ""


def users_place(error: Exception) -> str:
    """Return the innermost line of the user's that an error came through."""
    frames = _users(list(traceback.extract_tb(error.__traceback__)))
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}: " if frames else ""
