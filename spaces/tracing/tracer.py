"""A module of the user's becomes a search space: it is run once, and what it calls is written down as a choice graph.

The module runs on an example as it always does; every function of torch that it calls is seen (``TorchFunctionMode``),
so that Python's own control flow, shapes and loops need no care. Marks (`marks`) are opened: all options of a choice
are run, one after the other. What has no reading here is named with the user's line.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...arguments import public
from ...errors import TempogradError, UsageError
from ..architecture import Site
from ..common.reshaping import Input, Outputs
from ..graph import INPUT, Choice, Graph, GraphBuilder, Shape, ports, same_shape
from ..layers import (
    Identity,
    Width,
    sites_of,
)
from . import functions, shaped, weighted
from .marks import MARKS, site_of
from .marks import Choice as ChoiceMark
from .marks import Depth as DepthMark
from .marks import Width as WidthMark
from .recorder import Frame, Recorder
from .surroundings import calls_seen, close, evaluated, noise_like, outputs_of, tensors, users_place
from .traced import TracedSpace

OF_OUTPUT = "has channels that a Width chooses"
_WHOLE = (nn.LSTM, nn.GRU, nn.MultiheadAttention)  # modules that are one layer


@public()
def space_from(module: nn.Module, example_input: Tensor | Sequence[Tensor], *, name: str = "") -> TracedSpace:
    """Return the search space of a module with marks: `Choice`, `Width` and `Depth`.

    The module is run as in evaluation, on the example and on random numbers, and is left as it was: the space must
    compute what it computes. Its weights are what networks of the space and its supernet begin with. Dropout is left
    out.

    Args:
        module: with at least one mark; it takes tensors whose first axis is the batch, and gives one or several.
        example_input: one input, or one for each argument of ``forward``; whole numbers for an embedding.
        name: Name of the space; by default that of the module's class.

    Raises:
        UsageError: what cannot be traced, with the line of the user's file and the way out.

    Example:
        >>> from tempograd import Width
        >>> net = nn.Sequential(Width(nn.Conv2d(3, 8, 3), options=(4, 8)), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
        >>> space_from(net, torch.zeros(1, 3, 8, 8)).widths
        (2,)
    """
    examples = examples_of(example_input)
    space = traced(module_of(module), examples, name=name)
    _check(space, module, pairs_of(examples))
    return space


def traced(module: nn.Module, examples: Sequence[Tensor], *, name: str = "") -> TracedSpace:
    """Return the space of a module as it was read, not compared with what the module computes; see `space_from`."""
    tracer = Tracer(module, pairs_of(examples))
    graph = tracer.run()
    if not tracer.sites:
        raise UsageError(
            f"{type(module).__name__} holds no mark; put a Choice, a Width or a Depth where something is to be chosen"
        )
    sites = tuple(tracer.sites.values())
    return TracedSpace(name or type(module).__name__, graph, sites, tracer.start, tracer.whole)


def _check(space: TracedSpace, module: nn.Module, examples: Sequence[Tensor]) -> None:
    """Compare what the network of a space gives with what the module gives, on random numbers.

    Raises:
        UsageError: they differ: something that the module does was not seen.
    """
    values = noise_like(examples)
    expected = outputs_of(module, values)
    if expected is None or any(value.dtype in (torch.float16, torch.bfloat16) for value in expected):
        return  # it takes no such numbers, or rounds too much
    network = space.to_torch(space.whole).eval()
    given = [(value.float() if value.is_floating_point() else value).cpu() for value in values]
    with torch.no_grad():
        found = list(tensors(network(given)))
    if close(found, expected):
        return
    again = outputs_of(module, values, seed=1)
    if again is not None and close(again, expected):  # else it is random itself: a dropout that is never off
        raise UsageError(
            f"{type(module).__name__} does not compute what the functions of torch say that it calls; it may change "
            "values in a way that they do not show: do that outside of forward"
        )


def module_of(given: Any) -> nn.Module:
    """Return the user's module.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(given, nn.Module):
        raise UsageError(f"{type(given).__name__} is no network; allowed: a torch module")
    return given


def examples_of(given: Any) -> list[Tensor]:
    """Return the example inputs, each with a batch of one or more.

    Raises:
        UsageError: something else was given.
    """
    several = list(given) if isinstance(given, list | tuple) else [given]
    if not several or not all(isinstance(one, Tensor) and one.ndim > 1 and len(one) for one in several):
        raise UsageError("example_input; allowed: tensors of a batch of one or more, such as torch.zeros(1, 3, 64, 64)")
    return [one.detach() for one in several]


def pairs_of(examples: Sequence[Tensor]) -> list[Tensor]:
    """Return example inputs with a batch of two: what would mix inputs of a batch is seen."""
    return [torch.cat([one[:1], one[:1]]) for one in examples]


class Tracer(Recorder):
    """Runs a module, and opens the marks in it."""

    def run(self) -> Graph:
        """Run the module on its examples and return the choice graph."""
        first, *more = self.examples
        frame = Frame(GraphBuilder(tuple(first.shape[1:])))
        self.frames.append(frame)
        frame.values[id(first)] = INPUT, first
        names = self._arguments(len(self.examples))
        for name, value in zip(names[1:], more, strict=True):
            operation = Input(name, tuple(value.shape[1:]), not value.is_floating_point())
            frame.values[id(value)] = frame.builder.add(name, operation), value
        with evaluated(self.module), calls_seen(self._call):
            try:
                with self:
                    found = self.module(*self.examples)
            except TempogradError:
                raise
            except Exception as error:  # whatever a user's module raises
                shapes = ", ".join(str(tuple(one.shape)) for one in self.examples)
                raise UsageError(
                    f"{type(self.module).__name__} does not run on the example of {shapes}, the first of yours taken "
                    f"twice: {users_place(error)}{type(error).__name__}: {error}"
                ) from error
        output = self._output(list(tensors(found)))
        self._every_mark_was_met()
        self.start = frame.weights
        graph = frame.builder.graph(output)
        if ports(graph)[INPUT][1] == first.is_floating_point():
            what = "indexes no embedding with it; give the example as float32"
            raise UsageError(f"{type(self.module).__name__} takes {first.dtype} and {what}")
        return graph

    # -- modules ---------------------------------------------------------------------------------------------------

    def _call(self, forward: Callable[..., Any], module: nn.Module, args: Any, kwargs: Any) -> Any:
        if not self.frames:  # within a layer that is one whole
            return forward(module, *args, **kwargs)
        self.calls.append(module)
        try:
            if isinstance(module, ChoiceMark):
                return self._choose(module, *args, **kwargs)
            if isinstance(module, DepthMark):
                return self._deepen(module, *args, **kwargs)
            if isinstance(module, WidthMark):
                return self._widen(module, *args, **kwargs)
            if isinstance(module, _WHOLE):
                return self._whole(forward, module, args, kwargs)
            if self._is_block(module, args, kwargs):
                return self._fixed(forward, module, args[0])
            return forward(module, *args, **kwargs)
        finally:
            self.calls.pop()

    def _is_block(self, module: nn.Module, args: Any, kwargs: Any) -> bool:
        """Return whether a module beside marks in one depth is to be priced as one block."""
        if not self.condition or self.frame.inside or kwargs or len(args) != 1 or not self.knows(args[0]):
            return False
        return not any(isinstance(one, MARKS) for one in module.modules())

    def _whole(self, forward: Callable[..., Any], module: nn.Module, args: Any, kwargs: Any) -> Any:
        with torch.no_grad():
            frames, self.frames = self.frames, []
            try:
                found = forward(module, *args, **kwargs)
            finally:
                self.frames = frames
        out, *others = found
        weighted.whole(self, module, args, kwargs, out)
        for other in tensors(others):
            self._refused[id(other)] = (
                other, f"what {type(module).__name__} returns besides its outputs: take output[:, -1] for a last state",
            )  # fmt: skip
        return found

    def _inner(
        self, module: nn.Module, x: Tensor, inside: str, forward: Callable[..., Any] | None = None
    ) -> tuple[Frame, Graph, Tensor]:
        """Run a module on a value of this graph and write down a graph of its own."""
        own = x.clone() if forward is None else x
        frame = Frame(GraphBuilder(self.shape(x)), self.paths.get(id(module), ""), inside=inside)
        frame.values[id(own)] = INPUT, own
        self.frames.append(frame)
        try:
            out = module(own) if forward is None else forward(module, own)
            if not isinstance(out, Tensor):
                self.refuse(f"{inside} that gives a {type(out).__name__}", "let it give one tensor")
            name = self.name_of(out)
            for axis, side in enumerate(frame.builder.shape(name)):
                if sites_of(side):
                    name = self._clean(name, axis)
            if name == INPUT:
                name = frame.builder.add("identity", Identity(), INPUT)
            frame.changes = frame.values[id(own)][0] != INPUT
            return frame, frame.builder.graph(name), out
        finally:
            self.frames.pop()

    def _clean_name(self, x: Tensor) -> str:
        """Mask a value in place of itself where its channels are chosen, and return its name."""
        name = self.name_of(x)
        for axis, side in enumerate(self.frame.builder.shape(name)):
            if sites_of(side):
                name = self._clean(name, axis)
        self.frame.values[id(x)] = name, x
        return name

    def _fixed(self, forward: Callable[..., Any], module: nn.Module, x: Tensor) -> Any:
        """Write a module that is no mark as one block."""
        name = self._clean_name(x)
        kind = type(module).__name__.lower()
        frame, graph, out = self._inner(module, x, f"a block {kind}", forward)
        path = self._path()[len(self.frame.prefix) :].lstrip(".").replace(".", "/")
        full = self._block(self._unique(path or kind), kind, graph, name)
        self._take(frame, f"{full}/{self._label(kind, graph)}/")
        self.keep(out, full)
        return out

    def _take(self, frame: Frame, prefix: str) -> None:
        self.frame.weights |= {prefix + key: value for key, value in frame.weights.items()}
        self.frame.used |= frame.used

    def _site(self, mark: Any, options: tuple[str, ...]) -> str:
        """Return the site of a mark, new or that of its name."""
        name = site_of(mark, self._path())
        if self.frame.inside and not isinstance(mark, WidthMark):
            self.refuse(
                f"a {type(mark).__name__} within {self.frame.inside}", "list the combinations as options of one Choice"
            )
        known = self.sites.get(name)
        elsewhere = known is not None and known.when not in ((), self.condition)
        if known is not None and (known.options != options or not mark.name or elsewhere):
            self.refuse(
                f"{type(mark).__name__} {name!r}, which is there already",
                "give marks that are chosen together one name and the same options, and call each once",
            )
        if known is None:
            self.sites[name] = Site(name, options, self.condition)
            self.whole[name] = 0 if isinstance(mark, ChoiceMark) else len(options) - 1
        return name

    def _choose(self, mark: ChoiceMark, x: Tensor) -> Tensor:
        site = self._site(mark, tuple(mark.options))
        name, found = self._clean_name(x), list[tuple[Frame, Graph, Tensor]]()
        condition = self.condition
        for number, (option, module) in enumerate(mark.options.items()):
            self.condition = ((site, number),)
            found.append(self._inner(module, x, f"option {option!r} of {site}"))
        self.condition = condition
        shapes = [graph.shape for _, graph, _ in found]
        for option, shape in zip(mark.options, shapes, strict=True):
            if not same_shape(shape, shapes[0]):
                self.refuse(
                    f"option {option!r} of shape {_shape_text(shape)} beside one of {_shape_text(shapes[0])}",
                    "let all options give one shape: padding, stride, channels, by one Width in all or in none",
                )
        labels = tuple(self._label(o, g) for o, (_, g, _) in zip(mark.options, found, strict=True))
        operation = Choice(site, labels, tuple(graph for _, graph, _ in found))
        path = self._path()[len(self.frame.prefix) :].lstrip(".").replace(".", "/")
        full = self.frame.builder.add(self._unique(path or site), operation, name)
        for label, (frame, _, _) in zip(labels, found, strict=True):
            self._take(frame, f"{full}/{label}/")
        if found[0][0].changes:  # as it runs without a search
            self.changed(x, self.frames)
            self.frame.stale[id(x)] = x
        out = found[0][2]
        self.keep(out, full)
        return out

    def _deepen(self, mark: DepthMark, x: Tensor) -> Tensor:
        if self.condition:
            self.refuse("a Depth within a Depth", "put the blocks of both into one Depth")
        depths = range(mark.least, len(mark.blocks) + 1)
        site = self._site(mark, tuple(map(str, depths)))
        ends: dict[str, tuple[str, int]] = {}
        for number in range(len(mark.blocks) + 1):
            if number in depths:
                name = self._clean_name(x)
                if name in ends or name == INPUT:
                    name = self.frame.builder.add(self._unique(f"{site}/end{number}"), Identity(), name)
                ends[name] = site, number - mark.least
            if number < len(mark.blocks):
                self.condition = tuple((site, i) for i, depth in enumerate(depths) if depth > number)
                self.condition = () if number < mark.least else self.condition
                before = self.shape(x)
                x = mark.blocks[number](x)
                self.condition = ()
                if number >= mark.least and not same_shape(self.shape(x), before):
                    self.refuse(
                        f"block {number} of a Depth, which gives {self.shape(x)} of {before}",
                        "blocks that may be left out give the shape that they take",
                    )
        mixed = self.frame.builder.mix(self._unique(f"{site.replace('.', '/')}/depth"), ends)
        out = x.clone() if any(x is one for one in self.examples) else x
        self.keep(out, mixed)
        return out

    def _widen(self, mark: WidthMark, x: Tensor) -> Any:
        site = self._site(mark, tuple(map(str, mark.sizes)))
        self.pending = Width.of(site, mark.sizes)
        found = mark.layer(x)
        if self._left_over():
            self.refuse(
                f"a Width up to {mark.sizes[-1]} around {type(mark.layer).__name__}, none of whose layers has as many "
                "channels", "make the largest option the layer's own number of channels",
            )  # fmt: skip
        return found

    def _left_over(self) -> bool:
        pending, self.pending = self.pending, None
        return pending is not None

    # -- the ends --------------------------------------------------------------------------------------------------

    def _arguments(self, count: int) -> list[str]:
        """Return how the inputs are called: as the arguments of ``forward``."""
        names = [name for name in inspect.signature(self.module.forward).parameters if name != INPUT]
        own = names if len(names) >= count else []
        taken = re.compile(r"output\d*")  # how the exported network calls what it gives
        return [own[i] if own and not taken.fullmatch(own[i]) else f"input{i}" for i in range(count)]

    def _every_mark_was_met(self) -> None:
        marks = {name: one for name, one in self.module.named_modules() if isinstance(one, MARKS)}
        for name, mark in marks.items():
            if site_of(mark, name) not in self.sites:
                raise UsageError(f"the mark {name} was not met when the module ran; call it, or take it out")

    def _output(self, found: list[Tensor]) -> str:
        if not found:
            raise UsageError(f"{type(self.module).__name__} gives no tensor")
        names = [self._clean_name(one) if self.knows(one) else self.name_of(one) for one in found]
        builder = self.frame.builder
        for name in names:
            if any(map(sites_of, builder.shape(name))):
                raise UsageError(
                    f"an output of {type(self.module).__name__} {OF_OUTPUT}; end with a layer that has no mark"
                )
        if len(names) > 1:
            return builder.add(self._unique("outputs"), Outputs(), *names)
        return builder.add("identity", Identity(), INPUT) if names[0] == INPUT else names[0]

    # -- functions -------------------------------------------------------------------------------------------------

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, given = functions.name_of(func), list(tensors((args, kwargs)))
        if self.frames and name == "get" and given and self.comes_in(given[0]):
            func, name, args = functions.of_property(func, args)
        if not self.frames or name in functions.TOLD:
            return self._told(name, func(*args, **kwargs), given)
        if given and id(given[0]) in self.lazy:
            return shaped.taken_apart(self, name, args, kwargs)
        for value in given:
            if id(value) in self._refused or id(value) in self.frame.stale:
                self.name_of(value)
            if id(value) in self.lazy:
                self.refuse("a permutation of the batch", "keep the batch as the first axis")
            if not self.knows(value) and any(id(value) in frame.values for frame in self.frames):
                self.refuse(f"a value from outside of {self.frame.inside}", "pass it, as the one input")
        called = {id(value): self.frame.values[id(value)][0] for value in given if self.knows(value)}
        if not called:
            return func(*args, **kwargs)
        if name not in functions.READ:
            self.refuse(f"the function {name}", functions.way_out(name))
        out = func(*args, **kwargs)
        functions.READ[name](self, name, args, kwargs, out)
        if id(out) in called and self.frame.values[id(out)][0] != called[id(out)]:
            self.changed(out, self.frames)
        return out

    def _told(self, name: str, out: Any, given: list[Tensor]) -> Any:
        """Note what is told of a value by a tensor, of which nothing is written down: it is no weight."""
        if self.frames and any(map(self.comes_in, given)):
            for value in tensors(out):
                if not self.knows(value):
                    self._refused[id(value)] = value, f"what {name} gives of a value"
        return out


def _shape_text(shape: Shape) -> str:
    """Return a shape as people read it: ``(up to 24 by width, 8, 8)``."""
    sizes = (f"up to {size} by {' and '.join(sites_of(size))}" if sites_of(size) else str(size) for size in shape)
    return f"({', '.join(sizes)})"
