"""What a device can do at best, as measured, and what of that each kernel of a network is held by.

Williams, Waterman and Patterson, *Roofline*, CACM 2009, with a third limit: what a node costs that does nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from ..devices.device import Place
from ..errors import DeviceError
from ..graphs.kernels import Kernel
from ..scratch import Scratch
from .networks import Network, items_of
from .plan import QUICK
from .verify import measure

Bound = Literal["arithmetic", "bandwidth", "dispatch"]

_CHAIN = 64  # nodes in a row that do next to nothing
_LARGE = 4 * 2**20  # numbers of an array that no cache near a core holds
_SMALL = 2**16  # numbers of an array that one holds
_CACHED_BYTES = 4 * 2**20  # traffic up to which a kernel may find in a cache what it reads


@dataclass(frozen=True)
class Rates:
    """A device's limits with one runtime, as measured by small networks of our own.

    Attributes:
        gmacs: multiply-accumulates, in 1e9 a second, of the faster of a convolution and a matrix product.
        gbps: traffic of a sum of two large arrays, in 1e9 bytes a second.
        dispatch_us: what a node of a long chain takes that computes sixteen numbers.
        cached_gbps: traffic of a sum of two arrays that stay in the processor's cache; 0 where nobody knows.
    """

    gmacs: float
    gbps: float
    dispatch_us: float
    cached_gbps: float = 0.0

    def limits_ms(self, kernel: Kernel) -> dict[Bound, float]:
        """Return how long a kernel takes at the least by each limit."""
        moved = kernel.read_bytes + kernel.written_bytes
        gbps = max(self.gbps, self.cached_gbps) if moved <= _CACHED_BYTES else self.gbps
        return {
            "arithmetic": kernel.macs / self.gmacs / 1e6,
            "bandwidth": moved / gbps / 1e6,
            "dispatch": self.dispatch_us / 1e3,
        }

    def bound(self, kernel: Kernel) -> tuple[Bound, float]:
        """Return the limit that holds a kernel back the most, and the ms that it takes by that."""
        limits = self.limits_ms(kernel)
        name = max(limits, key=lambda one: limits[one])
        return name, limits[name]


def measure_rates(device: Place, *, seed: int = 0, stop: threading.Event | None = None) -> Rates:
    """Measure a device's limits, in one process of some seconds.

    Raises:
        DeviceError: the device cannot be reached, or does not run them.
    """
    with Scratch() as folder:
        networks = [_written(name, model, Path(folder)) for name, model in _probes().items()]
        found = {m.key: m for m in measure(device, items_of(networks), QUICK, seed=seed, stop=stop)}
    for name in _probes():
        if name not in found or not found[name].latency_ms > 0:
            failure = found[name].failure if name in found else None
            why = failure.detail if failure else "it was stopped"
            raise DeviceError(f"the device's limits cannot be measured: {name} gave no latency ({why})")
    ms = {name: found[name].latency_ms for name in found}
    dispatch_ms = ms["chain"] / _CHAIN
    return Rates(
        gmacs=max(_MACS[name] / ms[name] / 1e6 for name in _MACS),
        gbps=_traffic(_LARGE) / ms["sum"] / 1e6,
        dispatch_us=1e3 * dispatch_ms,
        cached_gbps=_traffic(_SMALL) / max(ms["small sum"] - dispatch_ms, ms["small sum"] / 2) / 1e6,
    )


def _traffic(numbers: int) -> int:
    return 3 * 4 * numbers  # two are read, one is written


_MACS = {"convolution": 28 * 28 * 128 * 128 * 9, "product": 512**3}


def _probes() -> Mapping[str, ModelProto]:
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((128, 128, 3, 3), dtype=np.float32) / 34}
    square = {"w": rng.standard_normal((512, 512), dtype=np.float32) / 23}
    ops = ("Sin", "Cos")
    chain = [helper.make_node(ops[n % 2], [f"v{n}"], [f"v{n + 1}"]) for n in range(_CHAIN)]
    return {
        "convolution": _model([helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)], (1, 128, 28, 28), weights),
        "product": _model([helper.make_node("MatMul", ["x", "w"], ["y"])], (512, 512), square),
        "sum": _model([helper.make_node("Add", ["x", "z"], ["y"])], (_LARGE,), {}, more=("z",)),
        "small sum": _model([helper.make_node("Add", ["x", "z"], ["y"])], (_SMALL,), {}, more=("z",)),
        "chain": _model(chain, (16,), {}, first="v0", last=f"v{_CHAIN}"),
    }


def _model(
    nodes: Sequence[Any], shape: Sequence[int], weights: Mapping[str, Any], *, first: str = "x", last: str = "y",
    more: Sequence[str] = (),
) -> ModelProto:  # fmt: skip
    """Return a network whose output has its input's shape."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in (first, *more)]
    outputs = [helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)]
    held = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "limit", inputs, outputs, initializer=held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _written(name: str, model: ModelProto, folder: Path) -> Network:
    content, path = model.SerializeToString(), folder / f"{name}.onnx"
    path.write_bytes(content)
    return Network(name, name, path, sha256(content).hexdigest())
