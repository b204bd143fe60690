"""A graph as an ``nn.Module``: the network to train, or, where choices are left, the supernet.

One interpreter serves both, so that a supernet at one-hot gates computes what the built network computes. Weights are
named by node, ``cells/3/e1/nor_conv_3x3/conv``, in both; :func:`inherit` passes them on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from .graph import (
    INPUT,
    Add,
    BatchNorm,
    Choice,
    Concat,
    Conv,
    Crop,
    GlobalPool,
    Graph,
    Identity,
    Linear,
    Node,
    Operation,
    Pool,
    Relu,
    Shape,
    Zero,
)

Gates = Mapping[str, Tensor]


class Network(nn.Module):
    """Runs a graph: ``(b, C, H, W) -> (b, classes)``.

    Args:
        graph: plain, or with choices; then ``forward`` needs gates ``site -> (K,)``.
        affine: whether BatchNorm learns scale and shift; a supernet does without.
    """

    def __init__(self, graph: Graph, *, affine: bool = True) -> None:
        super().__init__()
        self.graph = graph
        self.layers = nn.ModuleDict()
        for node, inputs in graph.walk():
            if type(node.operation) in _LEARNT:
                self.layers[node.name] = _LEARNT[type(node.operation)](node.operation, inputs, affine)

    def forward(self, x: Tensor, gates: Gates | None = None) -> Tensor:
        """Return the logits; options whose gate is exactly 0 are not run."""
        weights = {site: gate.detach().tolist() for site, gate in gates.items()} if gates else {}
        x = x.contiguous(memory_format=torch.channels_last)
        value = self._run(self.graph, "", x, gates or {}, weights)
        return _zeros(x, self.graph.shape) if value is None else value

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

    def _run(
        self, graph: Graph, prefix: str, x: Tensor, gates: Gates, weights: Mapping[str, list[float]]
    ) -> Tensor | None:
        """Run one graph; None stands for zeros, which sums skip."""
        values: dict[str, Tensor | None] = {INPUT: x}
        for node in graph.nodes:
            name, operation = prefix + node.name, node.operation
            inputs = [values[i] for i in node.inputs]
            if isinstance(operation, Zero):
                values[node.name] = None
                continue
            if isinstance(operation, Add):
                live = [value for value in inputs if value is not None]
                values[node.name] = sum(live[1:], live[0]) if live else None
                continue
            shapes = graph.shapes if any(value is None for value in inputs) else {}
            dense = [_zeros(x, shapes[i]) if v is None else v for i, v in zip(node.inputs, inputs, strict=True)]
            if isinstance(operation, Choice):
                values[node.name] = self._mix(operation, name, dense[0], gates, weights)
            else:
                values[node.name] = self._layer(node, name, dense)
        return values[graph.output]

    def _mix(
        self, choice: Choice, name: str, x: Tensor, gates: Gates, weights: Mapping[str, list[float]]
    ) -> Tensor | None:
        if choice.site not in gates:
            raise ValueError(f"no gate for site {choice.site!r}; given: {', '.join(gates) or 'none'}")
        gate, mixed = gates[choice.site], None
        for index, (option, graph) in enumerate(zip(choice.options, choice.graphs, strict=True)):
            if weights[choice.site][index] == 0.0:
                continue
            value = self._run(graph, f"{name}/{option}/", x, gates, weights)
            if value is not None:
                mixed = gate[index] * value if mixed is None else mixed + gate[index] * value
        return mixed

    def _layer(self, node: Node, name: str, inputs: list[Tensor]) -> Tensor:
        if name in self.layers:
            return self.layers[name](inputs[0])
        return _FIXED[type(node.operation)](node.operation, inputs)


def inherit(network: Network, supernet: Network) -> Network:
    """Copy the supernet's weights into a network built from the same space; missing affine weights are 1 and 0."""
    shared = supernet.state_dict()
    own = network.state_dict()
    network.load_state_dict({name: shared.get(name, value) for name, value in own.items()})
    return network


def _zeros(like: Tensor, shape: Shape) -> Tensor:
    return like.new_zeros((like.shape[0], *shape))


def _conv(op: Conv, inputs: tuple[Shape, ...], affine: bool) -> nn.Module:
    layer = nn.Conv2d(inputs[0][0], op.out, op.kernel, op.stride, op.padding, op.dilation, op.groups, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    # Depthwise convolutions run several times faster on a CPU in this layout.
    layer.weight = nn.Parameter(layer.weight.detach().contiguous(memory_format=torch.channels_last))
    return layer


def _batch_norm(op: BatchNorm, inputs: tuple[Shape, ...], affine: bool) -> nn.Module:
    return nn.BatchNorm2d(inputs[0][0], affine=affine)


def _linear(op: Linear, inputs: tuple[Shape, ...], affine: bool) -> nn.Module:
    return nn.Linear(inputs[0][0], op.out)


def _pool(op: Pool, inputs: list[Tensor]) -> Tensor:
    if op.kind == "max":
        return F.max_pool2d(inputs[0], op.kernel, op.stride, op.padding)
    return F.avg_pool2d(inputs[0], op.kernel, op.stride, op.padding, count_include_pad=False)


# The two tables of this reading: layers that hold weights, and those that do not.
_LEARNT: dict[type[Operation], Callable[..., nn.Module]] = {Conv: _conv, BatchNorm: _batch_norm, Linear: _linear}
_FIXED: dict[type[Operation], Callable[[Any, list[Tensor]], Tensor]] = {
    Relu: lambda op, inputs: F.relu(inputs[0]),
    Identity: lambda op, inputs: inputs[0],
    Pool: _pool,
    Crop: lambda op, inputs: inputs[0][:, :, 1:, 1:],
    Concat: lambda op, inputs: torch.cat(inputs, dim=1),
    GlobalPool: lambda op, inputs: inputs[0].mean(dim=(2, 3)),
}
