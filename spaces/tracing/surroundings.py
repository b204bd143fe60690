"""What a tracer needs around it: the user's line, tensors in whatever holds them, calls of modules seen for a while."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ... import arguments
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


def leaves_of(value: Tensor) -> frozenset[int]:
    """Return the identities of the parameters that a weight is computed of; none where it is one itself."""
    found, seen, left = set[int](), set[Any](), [value.grad_fn]
    while left:
        step = left.pop()
        if step is None or step in seen:
            continue
        seen.add(step)
        variable = getattr(step, "variable", None)
        found |= set() if variable is None else {id(variable)}
        left += [before for before, _ in step.next_functions]
    return frozenset(found)


def overlap(changed: Tensor, other: Tensor) -> bool:
    """Return whether a tensor that was changed in place shares numbers with another."""
    whole = changed.untyped_storage()
    if other.numel() == 0 or whole.data_ptr() != other.untyped_storage().data_ptr():
        return False
    touched = torch.zeros(whole.nbytes() // changed.element_size(), dtype=torch.bool)
    touched.as_strided(changed.shape, changed.stride(), changed.storage_offset()).fill_(True)
    return bool(touched.as_strided(other.shape, other.stride(), other.storage_offset()).any())


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


def noise_like(examples: Sequence[Tensor]) -> list[Tensor]:
    """Return random numbers of the shapes of inputs, the same ones every time; whole numbers as they are."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(one.shape, generator=generator).to(one) if one.is_floating_point() else one for one in examples]


def outputs_of(module: nn.Module, values: Sequence[Tensor], *, seed: int = 0) -> list[Tensor] | None:
    """Return what a module gives in evaluation, None if it does not take these values."""
    with evaluated(module), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return list(tensors(module(*(value.clone() for value in values))))
        except Exception:  # whatever a user's module raises: of numbers that are none of his data
            return None


def close(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Return whether outputs are equal but for rounding: within a thousandth of the largest number."""
    if len(found) != len(expected):
        return False
    for one, other in zip(found, expected, strict=True):
        one, other = one.detach().cpu().double(), other.detach().cpu().double()
        room = 1e-3 * float(other.nan_to_num(0, 0, 0).abs().max()) if other.numel() else 0.0
        if one.shape != other.shape or not torch.allclose(one, other, rtol=0, atol=room, equal_nan=True):
            return False
    return True


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


_OWN = {Path(__file__).parents[1], Path(arguments.__file__), Path(torch.__file__).parent}


def _users(frames: list[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    return [f for f in frames if not _OWN & {Path(f.filename), *Path(f.filename).parents}]


def users_line() -> str:
    """Return the innermost line of the user's that is being run."""
    frames = _users(list(traceback.extract_stack()))
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}: {frames[-1].line}: " if frames else ""


def users_place(error: Exception) -> str:
    """Return the innermost line of the user's that an error came through."""
    frames = _users(list(traceback.extract_tb(error.__traceback__)))
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}: " if frames else ""
