"""What is written down: graphs that are being made, and the layers that functions of torch append to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ...errors import UsageError
from ..architecture import Site
from ..common.layer import Layer
from ..common.sequence import Dense
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
from .surroundings import content_of, users_line


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
        used: weights that stand in it, by identity.
    """

    builder: GraphBuilder
    prefix: str = ""
    values: dict[int, tuple[str, Tensor]] = field(default_factory=dict)
    dirty: set[str] = field(default_factory=set)
    weights: dict[str, Tensor] = field(default_factory=dict)
    inside: str = ""
    used: dict[int, Tensor] = field(default_factory=dict)


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
        if not self.knows(value):
            self.refuse("a value that is not computed from the inputs here", "pass it as an input of the network")
        return self.frame.values[id(value)][0]

    def refuse(self, what: str, way_out: str = "") -> None:
        """Raise the error that something cannot be traced, with the user's line."""
        where = self._path() or type(self.module).__name__
        raise UsageError(f"{users_line()}{where}: {what} cannot be traced{f'; {way_out}' if way_out else ''}")

    def same(self, out: Tensor, value: Tensor) -> None:
        """Say that one tensor is the value of another."""
        self.frame.values[id(out)] = self.name_of(value), out

    def add(
        self, operation: Operation, inputs: Sequence[Tensor], out: Tensor, weights: Mapping[str, Tensor] | None = None
    ) -> None:
        """Append a layer that makes ``out`` of its inputs with these weights."""
        frame, kind = self.frame, type(operation).__name__.lower()
        operation, widened = self._widened(operation, inputs)
        names = [self.name_of(value) for value in inputs]
        shapes = [frame.builder.shape(name) for name in names]
        if any(sites_of(side) for shape in shapes for side in shape):
            names = self._masked(operation, names, shapes, kind)
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
        frame.values[id(out)] = full, out
        self.pending = None if widened else self.pending
        if any(map(sites_of, frame.builder.shape(full))):
            frame.dirty.add(full)

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
        groups = getattr(operation, "groups", 1)
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
            if id(value) in self.frame.used:
                owner = self.owners.get(id(value), "of one tensor")
                self.refuse(f"the weight {owner} used twice", "give each place a module of its own")
            self.frame.used[id(value)] = value
        path = self._path()
        leaf = bool(self.calls) and not any(True for _ in self.calls[-1].children())
        path = path[len(self.frame.prefix) :].lstrip(".").replace(".", "/")
        return self._unique(path if leaf and path else f"{path}/{kind}".lstrip("/"))

    def _unique(self, name: str) -> str:
        taken = self.frame.builder.names
        name, number = name or "layer", 1
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
