"""A graph as an ``nn.Module``: the network to train, or, where choices are left, the supernet.

One interpreter serves both, so that a supernet at one-hot gates computes what the built network computes. Weights are
named by node, ``cells/3/e1/nor_conv_3x3/conv``, in both; :func:`inherit` passes them on.

In an elastic supernet the options of a choice share their parameters: the smaller layer has the first channels, and of
a kernel the middle, of the largest. All options learn from each that is drawn, and what follows meets maps that are
alike. Running statistics are each layer's own.

References:
    Cai et al., *Once-for-All*, arXiv:1908.09791 (elastic kernels and widths); Yu et al., *BigNAS*, arXiv:2003.11142
    (without its kernels' transformations).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from .channels_last import ordered
from .circuit import sum_product
from .common.convolution import Pointwise
from .common.layer import Layer
from .common.reshaping import Input, Outputs
from .depthwise import DepthwiseConv2d
from .graph import FIXED, INPUT, Choice, Condition, Graph, Mix, Node, ports
from .layers import (
    Add,
    BatchNorm,
    Concat,
    Conv,
    Crop,
    GlobalPool,
    HardSigmoid,
    HardSwish,
    Identity,
    Linear,
    Mask,
    Mean,
    Operation,
    Pool,
    Relu,
    Resize,
    Scale,
    Shape,
    Shuffle,
    Subsample,
    TransformedConv,
    Zero,
)
from .mixture import weighted_sum
from .pointwise import PointwiseConv2d, StridedPointwiseConv2d

Gates = Mapping[str, Tensor]
Beside = Mapping[str, Collection[int]]


class Network(nn.Module):
    """Runs a graph: ``(b, C, H, W) -> (b, classes)``.

    Args:
        graph: plain, or with choices; then ``forward`` needs gates ``site -> (K,)``.
        affine: whether BatchNorm learns scale and shift.
        elastic: whether the options of a choice share the parameters of their convolutions and BatchNorms.
        shared: names of layers by the place at which they share parameters; by default those that `elastic` says.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        affine: bool = True,
        elastic: bool = False,
        shared: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__()
        self.graph = graph
        self.on_skip: Callable[[Tensor], Tensor] | None = None  # what training does to what an identity passes on
        self.layers = nn.ModuleDict()
        for node, inputs in graph.walk():
            if node.name in self.layers:
                continue
            if type(node.operation) in _LEARNT:
                self.layers[node.name] = _LEARNT[type(node.operation)](node.operation, inputs, affine)
            elif isinstance(node.operation, Layer) and node.operation.weights(inputs):
                self.layers[node.name] = node.operation.module(inputs)
        self._more = [name for name in ports(graph) if name != INPUT]
        self.shared = nn.ParameterDict()
        self._parts: dict[str, dict[str, tuple[str, Shape]]] = {}  # of a layer: by parameter what it is a part of
        self._matrices: dict[str, dict[int, tuple[str, int]]] = {}  # of a shared kernel: by size matrix, and its result
        transformed = {node.name for node, _ in graph.walk() if isinstance(node.operation, TransformedConv)}
        for place, names in (shared or (_alike(graph) if elastic else {})).items():
            self._share(place, names, transformed)

    def forward(
        self,
        x: Tensor | Sequence[Tensor],
        gates: Gates | None = None,
        *,
        every: bool = False,
        beside: Beside | None = None,
    ) -> Tensor:
        """Return the logits ``(b, ...)``; of a network of several outputs a tuple of them.

        Args:
            x: images ``(b, C, H, W)``; or one tensor ``(b, ...)`` for each input, where the network has several.
            gates: Gates ``site -> (K,)`` of the choices, on the CPU or where the images are.
            every: run all options; by default those whose gate is exactly 0, which has to be looked up, are not run.
            beside: options by site that are run although their gate is 0, so that it gets its slope.
        """
        weights = None if every else {site: gate.detach().tolist() for site, gate in (gates or {}).items()}
        first, *others = [_laid_out(value) for value in ([x] if isinstance(x, Tensor) else x)]
        more = dict(zip(self._more, others, strict=True))
        drawn = _Drawn(_beside(first, gates) if gates else {}, weights, more, beside or {})
        value = self._run(self.graph, "", first, drawn)
        return _zeros(first, self.graph.shape) if value is None else value

    def weights(self) -> dict[str, Tensor]:
        """Return the weights and statistics of every layer by name, as ``state_dict`` does; what is shared in parts."""
        found = {key: value for key, value in self.state_dict().items() if not key.startswith("shared.")}
        for name in self._parts:
            found |= {f"layers.{name}.{key}": part.detach() for key, part in self._parts_of(name).items()}
        return found

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return all weights as arrays, ``node.weight -> array``: what ``to_onnx`` embeds."""
        weights = {k.removeprefix("layers."): v for k, v in self.state_dict().items() if v.ndim}
        return {name: np.ascontiguousarray(value.cpu().numpy()) for name, value in weights.items()}

    def load_arrays(self, arrays: Mapping[str, NDArray[np.float32]]) -> Network:
        """Set every weight from arrays such as ``WeightPool.weights`` or ``arrays`` gives."""
        own = {k: v for k, v in self.state_dict().items() if v.ndim}
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(torch.from_numpy(np.array(arrays[name.removeprefix("layers.")])))
        return self

    def _run(self, graph: Graph, prefix: str, x: Tensor, drawn: _Drawn) -> Tensor | None:
        """Run one graph; None stands for zeros, which sums skip.

        A value that nothing takes is not computed, and one that no option computes is no value at all: what reads it
        has none either, and a mix leaves it out.
        """
        values: dict[str, Tensor | None] = {INPUT: x}
        needed = _needed(graph, drawn) if graph.mixes else None
        for node in graph.nodes:
            name, operation = prefix + node.name, node.operation
            inputs = [values[i] for i in node.inputs if i in values]
            if needed is not None and node.name not in needed:
                continue
            if len(inputs) < len(node.inputs) and not isinstance(operation, Mix):
                continue
            if isinstance(operation, Zero):
                values[node.name] = None
            elif isinstance(operation, Input):
                values[node.name] = drawn.more[node.name]
            elif isinstance(operation, Mix):
                terms = zip(node.inputs, operation.terms, strict=True)
                live = [(i, term) for i, term in terms if i in values and drawn.takes(*term)]
                if operation.mean and not any(drawn.weighs(*term) for _, term in live):
                    continue  # of what is only run beside there is no mean
                if live:
                    found = _sum([drawn.weigh(values[i], *term) for i, term in live])
                    if operation.mean and found is not None:
                        found = found / sum(drawn.weight(graph.leaves.get(i, ()), *term) for i, term in live)
                    values[node.name] = found
            elif isinstance(operation, Add):
                found = _sum(inputs)
                values[node.name] = found / len(inputs) if isinstance(operation, Mean) and found is not None else found
            else:
                shapes = graph.shapes if any(value is None for value in inputs) else {}
                dense = [_zeros(x, shapes[i]) if v is None else v for i, v in zip(node.inputs, inputs, strict=True)]
                if isinstance(operation, Choice):
                    self._choose(node.name, operation, name, dense[0], drawn, values)
                elif isinstance(operation, Outputs):
                    return tuple(dense)  # type: ignore[return-value]  # of networks of several outputs alone
                elif isinstance(operation, Mask):
                    values[node.name] = dense[0] * drawn.mask(operation, dense[0].ndim - 1)
                else:
                    values[node.name] = self._layer(node, name, dense, drawn)
        return values.get(graph.output)

    def _choose(
        self, key: str, choice: Choice, name: str, x: Tensor, drawn: _Drawn, values: dict[str, Tensor | None]
    ) -> None:
        """Set ``values[key]`` to the mixture of the options that are on, if there is one."""
        options = zip(choice.options, choice.graphs, strict=True)
        live = [(i, option, graph) for i, (option, graph) in enumerate(options) if drawn.takes(choice.site, i)]
        left = drawn.left(choice.unless)
        if live and left is not None and (not choice.when or any(drawn.takes(*term) for term in choice.when)):
            found = [(i, self._run(graph, choice.path(name, option), x, drawn)) for i, option, graph in live]
            value = drawn.mix(found, choice.site)
            values[key] = value if value is None or not choice.unless else left * value

    def _layer(self, node: Node, name: str, inputs: list[Tensor], drawn: _Drawn) -> Tensor:
        if name in self.layers:
            if name in self._parts:
                for parameter, part in self._parts_of(name).items():
                    setattr(self.layers[name], parameter, part)
            return self.layers[name](*inputs)
        if self.on_skip is not None and self.training and isinstance(node.operation, Identity):
            return self.on_skip(inputs[0])
        if drawn.gates and isinstance(node.operation, _SHARED):
            return drawn.once(node.operation, inputs[0])
        if isinstance(node.operation, Layer):
            return node.operation.run(*inputs)
        return _FIXED[type(node.operation)](node.operation, inputs)

    def _share(self, place: str, names: Sequence[str], transformed: Collection[str]) -> None:
        """Put one set of parameters, of the largest shape, in place of those of several layers.

        The kernels of layers in ``transformed`` are made of the largest by matrices.
        """
        layers = [self.layers[name] for name in names]
        for parameter in [key for key, _ in layers[0].named_parameters()]:
            own = [getattr(layer, parameter) for layer in layers]
            shape = [max(sides) for sides in zip(*(each.shape for each in own), strict=True)]
            key = f"{place}/{parameter}"
            if names[0] in transformed:
                self._transform(key, place, sorted({each.shape[-1] for each in own}))
            self.shared[key] = _kernel(torch.empty(shape)) if len(shape) == 4 else max(own, key=Tensor.numel)
            for name, layer, each in zip(names, layers, own, strict=True):
                delattr(layer, parameter)
                self._parts.setdefault(name, {})[parameter] = key, tuple(each.shape)

    def _parts_of(self, name: str) -> dict[str, Tensor]:
        """Return the parameters that a layer has as parts of shared ones."""
        return {
            parameter: self._smaller(key, shape) if key in self._matrices else _part(self.shared[key], shape)
            for parameter, (key, shape) in self._parts[name].items()
        }

    def _transform(self, key: str, place: str, kernels: Sequence[int]) -> None:
        """Add the matrices that make smaller kernels of the largest one of ``key``, the identity at first."""
        self._matrices[key] = {}
        for small, large in pairwise(kernels):
            self._matrices[key][large] = f"{place}/{large}to{small}_matrix", small
            self.shared[f"{place}/{large}to{small}_matrix"] = nn.Parameter(torch.eye(small**2))

    def _smaller(self, key: str, shape: Shape) -> Tensor:
        """Return the first channels of a kernel ``(C, 1, k, k)``, made of the next larger one's middle at each step."""
        part = self.shared[key][: shape[0]]
        while part.shape[-1] > shape[-1]:
            matrix, small = self._matrices[key][part.shape[-1]]
            middle = _part(part, (*part.shape[:2], small, small)).reshape(-1, small**2)
            part = F.linear(middle, self.shared[matrix]).reshape(*part.shape[:2], small, small)
        return part.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class _Drawn:
    """The gates of one pass, ``site -> (K,)``, the same as plain numbers unless all are on, and what options share.

    Many edges of a cell begin with the same layer on the same map: the ReLU of each convolution, a pool. What holds no
    weights is computed once.
    """

    gates: Gates
    weights: Mapping[str, list[float]] | None
    more: Mapping[str, Tensor] = field(default_factory=dict)  # inputs beyond the first
    beside: Beside = field(default_factory=dict)
    done: dict[tuple[Operation, int], tuple[Tensor, Tensor]] = field(default_factory=dict)
    masks: dict[tuple[Any, ...], Tensor] = field(default_factory=dict)

    def once(self, operation: Operation, x: Tensor) -> Tensor:
        """Return what a layer without weights makes of a value, which is kept as long as this pass lasts."""
        key = operation, id(x)
        if key not in self.done:
            self.done[key] = x, _FIXED[type(operation)](operation, [x])
        return self.done[key][1]

    def takes(self, site: str, option: int) -> bool:
        """Return whether an option is run."""
        return self.weighs(site, option) or option in self.beside.get(site, ())

    def weighs(self, site: str, option: int) -> bool:
        """Return whether an option is on."""
        if site == FIXED or self.weights is None:
            return True
        if site not in self.weights:
            raise ValueError(f"no gate for site {site!r}; given: {', '.join(self.gates) or 'none'}")
        return self.weights[site][option] != 0.0

    def weigh(self, value: Tensor | None, site: str, option: int) -> Tensor | None:
        """Return a value times an option's gate."""
        return value if value is None or site == FIXED else self.gates[site][option] * value

    def mix(self, values: Sequence[tuple[int, Tensor | None]], site: str) -> Tensor | None:
        """Return the sum of options' values times their gates."""
        live = [(i, value) for i, value in values if value is not None]
        if self.weights is None or site == FIXED or len({(_is_last(v), v.dtype) for _, v in live}) != 1:
            return _sum([self.weigh(value, site, i) for i, value in live])
        return weighted_sum(self.gates[site], {i: self.weights[site][i] for i, _ in live}, [value for _, value in live])

    def weight(self, unless: Condition, site: str, option: int) -> Tensor | float:
        """Return what a term of a mix weighs: an option's gate, or what these options leave to a leaf."""
        if site != FIXED:
            return self.gates[site][option]
        left = self.left(unless)
        return 0.0 if left is None else left

    def left(self, unless: Condition) -> Tensor | float | None:
        """Return the weight that these options leave to what is there unless one is taken; None for nothing."""
        if self.weights is not None and any(self.weights[site][option] == 1.0 for site, option in unless):
            return None
        return prod((1 - self.gates[site][option] for site, option in unless), start=1.0)

    def mask(self, mask: Mask, rank: int) -> Tensor:
        """Return ``(C, 1, 1)`` for a map: for every channel, the weight of the sizes that have it."""
        width, sizes = mask.width, tuple(mask.width.sizes.values())
        key = width.sites, sizes, mask.axis % rank, rank
        if key not in self.masks:
            rows = [self.gates[site] for site in width.sites]
            found = sum_product(_open(sizes, rows[0].device, rows[0].dtype), rows)
            self.masks[key] = found.reshape(-1, *[1] * (rank - 1 - mask.axis % rank))
        return self.masks[key]


@cache
def _open(sizes: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return ``(sizes, C)``: 1 for the channels that each size has."""
    return (torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]).to(device, dtype)


def _laid_out(x: Tensor) -> Tensor:
    """Return images channels last, and so what layers make of them: of one channel, torch asks the strides alone."""
    if x.ndim != 4:
        return x
    batch, channels, height, width = x.shape
    if channels == 1:
        return x.reshape(batch, height, width, 1).permute(0, 3, 1, 2)
    return x.contiguous(memory_format=torch.channels_last)


def _beside(x: Tensor, gates: Gates) -> Gates:
    """Return gates on the device of x, sent there together."""
    if all(gate.device == x.device for gate in gates.values()):
        return gates
    sent = torch.cat(list(gates.values())).to(x.device)
    return dict(zip(gates, sent.split([len(gate) for gate in gates.values()]), strict=True))


def _needed(graph: Graph, drawn: _Drawn) -> set[str]:
    """Return the values that the output takes under these gates."""
    needed = {graph.output}
    for node in reversed(graph.nodes):
        if node.name in needed and isinstance(node.operation, Mix):
            terms = zip(node.inputs, node.operation.terms, strict=True)
            needed |= {i for i, term in terms if drawn.takes(*term)}
        elif node.name in needed:
            needed |= set(node.inputs)
    return needed


def _sum(values: Sequence[Tensor | None]) -> Tensor | None:
    live = [value for value in values if value is not None]
    if len({_is_last(value) for value in live if value.ndim == 4}) > 1:  # the gradient would have one order for all
        live = [ordered(value) for value in live]
    return sum(live[1:], live[0]) if live else None


def _is_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


def inherit(network: Network, supernet: Network) -> Network:
    """Copy the supernet's weights into a network built from the same space; missing affine weights are 1 and 0.

    A layer that is narrower takes the first of the supernet's channels.
    """
    shared = supernet.weights()
    own = network.state_dict()
    network.load_state_dict({k: shared[k][tuple(map(slice, v.shape))] if k in shared else v for k, v in own.items()})
    return network


def _zeros(like: Tensor, shape: Shape) -> Tensor:
    kind = like.dtype if like.is_floating_point() else torch.get_default_dtype()
    zeros = like.new_zeros((like.shape[0], *shape), dtype=kind)
    return zeros.contiguous(memory_format=torch.channels_last) if len(shape) == 3 else zeros


def _alike(graph: Graph) -> dict[str, list[str]]:
    """Return the layers that stand at one place in several options of a choice and differ in their size at most."""
    found: dict[str, dict[str, None]] = {}
    for node, _ in graph.walk():
        choice = node.operation
        if isinstance(choice, Choice):
            for option, alternative in zip(choice.options, choice.graphs, strict=True):
                for inner in alternative.nodes:
                    if isinstance(inner.operation, Conv | BatchNorm | Pointwise):
                        place = f"{node.name}/{inner.name}/{_kind(inner.operation)}"
                        found.setdefault(place, {})[choice.path(node.name, option) + inner.name] = None
    return {place: list(names) for place, names in found.items() if len(names) > 1}


def places(graph: Graph, prefix: str = "", place: str = "") -> dict[str, list[str]]:
    """Return all layers that hold weights by their place: their name without the options on the way to it."""
    found: dict[str, list[str]] = {}
    for node, inputs in graph.nodes_with_shapes():
        if isinstance(node.operation, Choice):
            for option, inner in zip(node.operation.options, node.operation.graphs, strict=True):
                path = node.operation.path(prefix + node.name, option)
                for at, names in places(inner, path, f"{place}{node.name}/").items():
                    found.setdefault(at, []).extend(names)
        elif node.operation.weights(inputs):
            found.setdefault(place + node.name, []).append(prefix + node.name)
    return found


def _kind(op: Conv | BatchNorm | Pointwise) -> str:
    if isinstance(op, BatchNorm):
        return f"residual={op.residual}"
    if isinstance(op, Pointwise):
        return "biased"
    return f"stride={op.stride},dilation={op.dilation},groups={'each' if op.groups == op.out else op.groups}"


def _part(whole: Tensor, shape: Shape) -> Tensor:
    """Return the first channels, and the middle of the rows and columns."""
    starts = [
        0 if axis < 2 else (size - own) // 2 for axis, (size, own) in enumerate(zip(whole.shape, shape, strict=True))
    ]
    part = whole[tuple(slice(start, start + own) for start, own in zip(starts, shape, strict=True))]
    return part.contiguous(memory_format=torch.channels_last) if part.ndim == 4 else part


def _conv(op: Conv, inputs: tuple[Shape, ...], affine: bool) -> nn.Module:
    channels, shape = inputs[0][0], (op.kernel, op.stride, op.padding, op.dilation)
    if op.groups == channels == op.out:
        layer: nn.Conv2d = DepthwiseConv2d(channels, *shape)
    elif op.kernel == 1 and op.stride > 1:
        layer = StridedPointwiseConv2d(channels, op.out, op.stride, op.groups)
    elif op.kernel == op.groups == 1 and op.padding == 0:
        layer = PointwiseConv2d(channels, op.out)
    else:
        layer = nn.Conv2d(channels, op.out, *shape, op.groups, bias=False)
    layer.weight = _kernel(layer.weight)
    return layer


def _kernel(weight: Tensor) -> nn.Parameter:
    """Return the first weights of a convolution, in the layout in which depthwise ones run several times faster."""
    nn.init.kaiming_normal_(weight, nonlinearity="relu")
    return nn.Parameter(weight.detach().contiguous(memory_format=torch.channels_last))


def _batch_norm(op: BatchNorm, inputs: tuple[Shape, ...], affine: bool) -> nn.Module:
    layer = nn.BatchNorm2d(inputs[0][0], affine=affine)
    if affine and op.residual:
        nn.init.zeros_(layer.weight)
    return layer


def _linear(op: Linear, inputs: tuple[Shape, ...], affine: bool) -> nn.Module:
    return nn.Linear(inputs[0][0], op.out)


def _rows(op: Subsample, dimension: int, x: Tensor) -> Tensor:
    return _index(tuple(op.rows(x.shape[dimension])), x.device)


def image_of(images: Tensor, size: int) -> Tensor:
    """Return images ``(b, C, H, W)`` at another height and width, as they are where they have it."""
    if tuple(images.shape[-2:]) == (size, size):
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True)


@cache
def _index(rows: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(rows).to(device)


def _pool(op: Pool, inputs: list[Tensor]) -> Tensor:
    if op.kind == "max":
        return F.max_pool2d(inputs[0], op.kernel, op.stride, op.padding)
    return F.avg_pool2d(inputs[0], op.kernel, op.stride, op.padding, count_include_pad=False)


# The two tables of this reading: layers that hold weights, and those that do not. Some of these cost time, and are met
# again and again on one value.
_LEARNT: dict[type[Operation], Callable[..., nn.Module]] = {
    Conv: _conv, TransformedConv: _conv, BatchNorm: _batch_norm, Linear: _linear,
}  # fmt: skip
_FIXED: dict[type[Operation], Callable[[Any, list[Tensor]], Tensor]] = {
    Relu: lambda op, inputs: F.relu(inputs[0]),
    Identity: lambda op, inputs: inputs[0],
    Pool: _pool,
    Crop: lambda op, inputs: ordered(inputs[0])[:, :, 1:, 1:],
    Concat: lambda op, inputs: torch.cat([ordered(x) for x in inputs], dim=1),
    GlobalPool: lambda op, inputs: ordered(inputs[0]).mean(dim=(2, 3), keepdim=op.keep_map),
    HardSigmoid: lambda op, inputs: F.hardsigmoid(inputs[0]),
    HardSwish: lambda op, inputs: F.hardswish(inputs[0]),
    Resize: lambda op, inputs: image_of(inputs[0], op.size),
    Scale: lambda op, inputs: inputs[0] * inputs[1],
    Shuffle: lambda op, inputs: F.channel_shuffle(inputs[0], op.groups),
    Subsample: lambda op, inputs: inputs[0][:, :, _rows(op, 2, inputs[0])][:, :, :, _rows(op, 3, inputs[0])],
}
_SHARED = (Relu, Pool)
