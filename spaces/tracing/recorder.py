"""What is written down: graphs that are being made, and the layers that functions of torch append to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ...errors import UsageError
from ..architecture import Site
from ..common.elementwise import Learnt
from ..common.layer import Layer
from ..common.reshaping import Join, Permute, Reshape, Slice
from ..common.sequence import Dense, Embedding
from ..graph import FIXED, INPUT, Choice, Condition, Graph, GraphBuilder
from ..layers import (
    Add,
    Conv,
    Linear,
    Mask,
    Operation,
    Scale,
    Shape,
    Width,
    sites_of,
)
from .surroundings import content_of, leaves_of, overlap, users_line

_OF_WHOLE = (Embedding, Learnt, Join, Permute, Reshape, Slice)  # what whole numbers may go into
_LAYERS = nn.ModuleDict()  # what holds the layers of a network, by name


@dataclass
class Frame:
    """One graph that is being written: of the network, an option, or a block.

    Attributes:
        builder: Builder of the graph.
        prefix: qualified name of the module that it began in.
        values: by the identity of a tensor its name, and the tensor, which must live as long.
        dirty: values whose masked channels are not zero.
        weights: by ``node.weight`` what a layer begins with.
        inside: what it is the inside of, for messages; empty for the network.
        used: weights that stand in it, by where they lie in memory.
        stale: values that were changed since they were written down, by identity.
        changes: it changes its input in place.
    """

    builder: GraphBuilder
    prefix: str = ""
    values: dict[int, tuple[str, Tensor]] = field(default_factory=dict)
    dirty: set[str] = field(default_factory=set)
    weights: dict[str, Tensor] = field(default_factory=dict)
    inside: str = ""
    used: dict[Any, Tensor] = field(default_factory=dict)
    stale: dict[int, Tensor] = field(default_factory=dict)
    changes: bool = False


class Recorder(TorchFunctionMode):
    """Writes down what a module calls.

    Args:
        module: the user's.
        examples: its inputs, of a batch of two.
    """

    def __init__(self, module: nn.Module, examples: Sequence[Tensor]) -> None:
        super().__init__()
        self.module, self.examples = module, examples
        self.sites: dict[str, Site] = {}
        self.start: dict[str, Tensor] = {}
        self.whole: dict[str, int] = {}
        self.owners = {id(value): name for name, value in (*module.named_parameters(), *module.named_buffers())}
        self.parameters = {value.untyped_storage().data_ptr(): name for name, value in module.named_parameters()}
        self.paths = {id(one): name for name, one in module.named_modules()}
        self.frames: list[Frame] = []
        self.calls: list[nn.Module] = []
        self.condition: Condition = ()
        self.pending: Width | None = None
        self.lazy: dict[int, tuple[Tensor, Tensor, tuple[int, ...]]] = {}  # permuted with the batch behind, and of what
        self._labels: dict[str, list[str]] = {}
        self._refused: dict[int, tuple[Tensor, str]] = {}

    # -- what functions ask for ------------------------------------------------------------------------------------

    @property
    def frame(self) -> Frame:
        """Return the graph that is being written."""
        return self.frames[-1]

    def knows(self, value: Any) -> bool:
        """Return whether a value is computed from the network's inputs, here."""
        return isinstance(value, Tensor) and id(value) in self.frame.values

    def shape(self, value: Tensor) -> Shape:
        """Return the shape of a value without its batch; where channels are chosen they are a `Width`."""
        return self.frame.builder.shape(self.name_of(value))

    def name_of(self, value: Tensor) -> str:
        """Return the name of a value.

        Raises:
            UsageError: it is computed from elsewhere.
        """
        if id(value) in self._refused:
            self.refuse(self._refused[id(value)][1])
        if id(value) in self.frame.stale:
            self.refuse("a value that was changed in place since it was made", "make another: relu(x), x = x + y")
        if not self.knows(value):
            self.refuse("a value that is not computed from the inputs here", "pass it as an input of the network")
        return self.frame.values[id(value)][0]

    def refuse(self, what: str, way_out: str = "") -> None:
        """Raise the error that something cannot be traced, with the user's line."""
        where = self._path() or type(self.module).__name__
        raise UsageError(f"{users_line()}{where}: {what} cannot be traced{f'; {way_out}' if way_out else ''}")

    def comes_in(self, value: Any) -> bool:
        """Return whether a value is computed from the network's inputs, anywhere."""
        made = (id(value) in kept for kept in (*(frame.values for frame in self.frames), self.lazy, self._refused))
        return isinstance(value, Tensor) and any(made)

    def keep(self, out: Tensor, name: str) -> None:
        """Say what a tensor is called from here on."""
        self.frame.values[id(out)] = name, out
        self.frame.stale.pop(id(out), None)

    def same(self, out: Tensor, value: Tensor) -> None:
        """Say that one tensor is the value of another."""
        self.keep(out, self.name_of(value))

    def changed(self, value: Tensor, frames: Sequence[Frame]) -> None:
        """Say that a value was changed in place: what else lies in its memory is no longer what was written down."""
        for frame in frames:
            for _, other in frame.values.values():
                if not (other is value and frame is self.frame) and overlap(value, other):
                    frame.stale[id(other)] = other

    def add(
        self, operation: Operation, inputs: Sequence[Tensor], out: Tensor, weights: Mapping[str, Tensor] | None = None
    ) -> None:
        """Append a layer that makes ``out`` of its inputs with these weights."""
        frame, kind = self.frame, type(operation).__name__.lower()
        self._check(operation, inputs, out, weights or {}, kind)
        operation, widened = self._widened(operation, inputs)
        names = [self.name_of(value) for value in inputs]
        shapes = [frame.builder.shape(name) for name in names]
        if any(sites_of(side) for shape in shapes for side in shape):
            names = self._masked(operation, names, shapes, kind)
        self._check_widths(operation, shapes, kind)
        expected = operation.weights(tuple(shapes))
        if set(weights or {}) != set(expected):
            self.refuse(f"{kind} with {', '.join(weights or {}) or 'no weights'}", f"give it {', '.join(expected)}")
        name = self._fresh(kind, weights or {})
        chosen = any(sites_of(side) for shape in (*shapes, operation.shape(tuple(shapes))) for side in shape)
        prefix, full = "", name
        works = weights or operation.macs(tuple(shapes))
        if works and not frame.inside and (chosen or self.condition):
            if len(set(names)) > 1:
                self.refuse(f"{kind} of several inputs beside marks in one depth", "put it into a module of its own")
            inner = GraphBuilder(shapes[0])
            graph = inner.graph(inner.add("layer", operation, *[INPUT] * len(names)))
            full = self._block(name, kind, graph, names[0])
            prefix = f"{full}/{self._label(kind, graph)}/layer"
        else:
            full = frame.builder.add(name, operation, *names)
        if tuple(map(int, frame.builder.shape(full))) != tuple(out.shape[1:]):
            self.refuse(f"{kind} of shape {tuple(out.shape[1:])}, read as {frame.builder.shape(full)}")
        frame.weights |= {f"{prefix or full}.{key}": value.detach() for key, value in (weights or {}).items()}
        self.keep(out, full)
        self.pending = None if widened else self.pending
        if any(map(sites_of, frame.builder.shape(full))):
            frame.dirty.add(full)

    def _check(
        self, operation: Operation, inputs: Sequence[Tensor], out: Tensor, weights: Mapping[str, Tensor], kind: str
    ) -> None:
        """Refuse weights that come in with the inputs, and numbers of another type."""
        for key, value in weights.items():
            if self.comes_in(value):
                self.refuse(f"{kind} with a {key} that is computed from the inputs", "multiply values by matmul")
        kinds = {value.dtype for value in inputs if value.is_floating_point()}
        if len(kinds) < len({value.dtype for value in inputs}) and not isinstance(operation, _OF_WHOLE):
            self.refuse(f"{kind} of whole numbers", "give what is no index as float32, the example too")
        if kinds and kinds != {out.dtype}:
            self.refuse(f"a change of type from {', '.join(map(str, kinds))} to {out.dtype}", "keep float32")

    # -- widths ----------------------------------------------------------------------------------------------------

    def _widened(self, operation: Operation, inputs: Sequence[Tensor]) -> tuple[Operation, bool]:
        """Return a layer with the channels that a `Width` around it, or a depthwise one's input, leaves open.

        Also whether the `Width` is taken by it.
        """
        out: int | None = getattr(operation, "out", None)
        if out is None:
            return operation, False
        if self.pending is not None and int(self.pending) == out:
            if getattr(operation, "groups", 1) not in (1,):
                self.refuse("a Width around a grouped convolution", "mark the convolution before it")
            operation = Dense(out) if isinstance(operation, Linear) else operation
            return replace(operation, out=self.pending), True  # type: ignore[call-arg]
        groups = getattr(operation, "groups", 1)
        channels = self.shape(inputs[0])[0]
        if groups > 1 and sites_of(channels):
            if groups != channels or out != channels:
                self.refuse("a grouped convolution of chosen channels", "mark a layer whose channels are not grouped")
            return replace(operation, out=channels, groups=channels), False  # type: ignore[call-arg]
        return operation, False

    def _masked(self, operation: Operation, names: list[str], shapes: list[Shape], kind: str) -> list[str]:
        """Return the inputs of a layer, masked where it mixes channels that are chosen."""
        groups = getattr(operation, "groups", 1) if hasattr(operation, "out") else 1  # not those of a GroupNorm
        mixing = isinstance(operation, Conv | Linear) or getattr(operation, "mixes", None) is not None
        if mixing and groups == 1:
            axis = -1 if isinstance(operation, Layer) and operation.mixes == -1 else 0
            for shape in shapes:
                if any(sites_of(side) for at, side in enumerate(shape) if at != axis % len(shape)):
                    self.refuse(f"{kind} along an axis other than that of a Width's channels")
            return [self._clean(name, axis) for name in names]
        if not operation.follows and groups == 1:
            self.refuse(
                f"{kind} of channels that a Width chooses",
                "end the Width before it: a convolution or linear layer without a mark in between, or a BatchNorm",
            )
        if isinstance(operation, Add | Scale) or len(names) > 1:
            for axis in range(len(shapes[0])):
                sides = [shape[axis] for shape in shapes if int(shape[axis]) > 1 or sites_of(shape[axis])]
                if len({sites_of(side) for side in sides}) > 1:
                    self.refuse(
                        f"{kind} of values whose channels are not chosen together",
                        "mark the layers that make both with Width(..., name=) of one name",
                    )
        return names

    def _check_widths(self, operation: Operation, shapes: Sequence[Shape], kind: str) -> None:
        """Refuse a layer that mixes no channels and yet loses sight of what chooses them: one that pads them, say."""
        before, after = (
            {site for side in sides for site in sites_of(side)}
            for sides in ((side for shape in shapes for side in shape), operation.shape(tuple(shapes)))
        )
        if before - after and not hasattr(operation, "out"):
            self.refuse(f"{kind} of channels that a Width chooses", "end the Width before it")

    def _clean(self, name: str, axis: int) -> str:
        """Return a value with the channels that are masked out at zero."""
        frame = self.frame
        width = frame.builder.shape(name)[axis]
        if not isinstance(width, Width) or name not in frame.dirty:
            return name
        return frame.builder.add(self._unique(f"{name}/mask"), Mask(width, axis), name)

    # -- names -----------------------------------------------------------------------------------------------------

    def _path(self) -> str:
        return self.paths.get(id(self.calls[-1]), "") if self.calls else ""

    def _fresh(self, kind: str, weights: Mapping[str, Tensor]) -> str:
        """Return a name for a layer: its place in the module, and what it does unless it is a module of its own."""
        for value in weights.values():
            place = self._place(value)
            if any(place in frame.used for frame in self.frames):
                at = self.parameters.get(value.untyped_storage().data_ptr(), "of one tensor")
                owner = self.owners.get(id(value)) or at
                self.refuse(f"the weight {owner} used twice", "give each place a module of its own")
            self.frame.used[place] = value
        path = self._path()
        leaf = bool(self.calls) and not any(True for _ in self.calls[-1].children())
        path = path[len(self.frame.prefix) :].lstrip(".").replace(".", "/")
        return self._unique(path if leaf and path else f"{path}/{kind}".lstrip("/"))

    def _place(self, value: Tensor) -> Any:
        """Return what tells whether two weights are one: where it lies, or what it is computed of and its numbers."""
        if value.untyped_storage().data_ptr() in self.parameters:
            return value.untyped_storage().data_ptr(), value.storage_offset(), value.numel()
        leaves = leaves_of(value)
        for place, other in ((p, v) for frame in self.frames for p, v in frame.used.items()) if leaves else ():
            if leaves == leaves_of(other) and value.shape == other.shape and torch.equal(value, other):
                return place
        return id(value)

    def _unique(self, name: str) -> str:
        taken = self.frame.builder.names
        name, number = name or "layer", 1
        name += "_" if not self.frame.inside and hasattr(_LAYERS, name) else ""
        found = name
        while found in taken or found == INPUT:
            number += 1
            found = f"{name}{number}"
        return found

    def _label(self, option: str, graph: Graph) -> str:
        """Return what a block is called in tables: equal names of unlike blocks are told apart."""
        known = self._labels.setdefault(option, [])
        content = content_of(graph)
        if content not in known:
            known.append(content)
        number = known.index(content)
        return f"{option}-{number + 1}" if number else option

    def _block(self, name: str, kind: str, graph: Graph, x: str) -> str:
        operation = Choice(FIXED, (self._label(kind, graph),), (graph,), when=self.condition)
        return self.frame.builder.add(name, operation, x)
