"""OpenVINO on the CPU, in the measuring process.

Left alone it may compute in bfloat16 or float16, pins threads to cores of its own choice, and takes as many threads as
it likes: all three are set, and what it says it did is compared with what was asked. One stream and the latency hint:
one inference at a time. Its kernels are kept to AVX-512 at most: virtual machines that announce AMX without granting it
end the process, and float32 has no use for it.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....arguments import Threads
from ....errors import DeviceError, InputRefusedError
from ....graphs.fused import Ran, kernels_of
from ....graphs.kernels import FAST, Array, Profile, seen_through
from ....shown import counted
from ..packages import Package, UnusableError
from ..program import (
    PreparedProgram,
    at_least_one_thread,
    inputs_of,
    line,
    one_of,
    only_shape,
    watched,
    whole,
)
from ..runtime import FallbackError, Needs

PACKAGE = Package.extra("OpenVINO", "openvino", extra="openvino")
PROVIDER = "CPU"
PRECISIONS = ("fp32",)
ISA = ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")
_LOWER = frozenset({"bf16", "f16"})
_NOT_RUN = frozenset({"Const", "Input", "Output"})


class OpenVino:
    """OpenVINO with its options fixed.

    Args:
        threads: Threads of one inference; the worker's affinity says on which cores.
        precision: ``fp32``.
    """

    package = PACKAGE
    ways = ("",)
    needs = Needs()

    def __init__(self, *, threads: Threads = 1, precision: str = "fp32") -> None:
        one_of("precision", precision, PRECISIONS)
        at_least_one_thread(threads)
        self._threads, self._precision = threads, precision
        self._core: Any = None

    @property
    def options(self) -> dict[str, Any]:
        """Everything set that changes a latency."""
        return {
            "threads": self._threads,
            "precision": self._precision,
            "provider": PROVIDER,
            "hint": "latency",
            "streams": 1,
            "pinning": "by tempograd",
            "denormals": "zero",
            "isa_at_most": ISA[1],
        }

    def versions(self) -> dict[str, str]:
        """Return the versions of OpenVINO, onnx and numpy.

        Raises:
            NotInstalledError: OpenVINO is not installed.
        """
        return {"openvino": PACKAGE.version(), "onnx": version("onnx"), "numpy": version("numpy")}

    def start(self) -> str:
        """Import OpenVINO, and take the threads that were asked for.

        Raises:
            DeviceError: it cannot be imported, or it has no such device.
        """
        os.environ.setdefault(*ISA)
        try:
            self._core = _openvino().Core()
            name = str(self._core.get_property(PROVIDER, "FULL_DEVICE_NAME"))
        except ImportError as error:
            raise UnusableError(f"OpenVINO cannot be imported ({line(error)})", PACKAGE.install) from error
        except RuntimeError as error:
            raise DeviceError(f"OpenVINO has no {PROVIDER} here: {line(error)}") from error
        return f"{PROVIDER}: {name}"

    def load(self, model: bytes, folder: Path) -> PreparedProgram:
        """Compile a network and prepare a request for each seeded input.

        Raises:
            InputRefusedError: OpenVINO refuses the network.
            FallbackError: it would compute in a lower precision, elsewhere, or with fewer threads.
            MemoryError: an allocation failed.
        """
        network = whole(model, folder)
        inputs = inputs_of(network)
        try:
            compiled = self._core.compile_model(
                self._core.read_model(network.SerializeToString()), PROVIDER, self._asked
            )
            requests = [_request(compiled, one) for one in inputs]
        except RuntimeError as error:
            if "bad_alloc" in str(error):
                raise MemoryError(line(error)) from error
            raise InputRefusedError(f"OpenVINO refuses this network: {line(error)}") from error
        kernels = self._kernels(compiled)
        last: list[Any] = [requests[0]]

        def run(request: Any) -> None:
            request.infer()
            last[0] = request

        names = [value.name for value in network.graph.output]
        return PreparedProgram(
            [partial(run, request) for request in requests],
            lambda: {name: last[0].get_output_tensor(i).data for i, name in enumerate(names)},
            lambda values: _compute(compiled, values),
            input_shape=only_shape(inputs[0]),
            keep=inputs,  # a tensor that shares memory with an array does not keep the array
            providers={PROVIDER: kernels.total()} if kernels else {},
            kernels=dict(sorted(kernels.items())),
        )

    def profile(self, model: bytes, folder: Path, *, seconds: float) -> Profile:
        """Run a network while OpenVINO counts the time of its kernels.

        Raises:
            InputRefusedError: OpenVINO refuses the network, or it has control flow.
            FallbackError: it would compute otherwise than asked for.
        """
        network = whole(model, folder)
        seen_through(network.graph)
        inputs = inputs_of(network)
        try:
            compiled = self._core.compile_model(
                self._core.read_model(network.SerializeToString()), PROVIDER, self._asked | {"PERF_COUNT": True}
            )
            request = _request(compiled, inputs[0])
        except RuntimeError as error:
            raise InputRefusedError(f"OpenVINO refuses this network: {line(error)}") from error
        self._kernels(compiled)
        times: defaultdict[str, list[float]] = defaultdict(list)

        def after() -> None:
            for told in request.profiling_info:
                if str(told.status).endswith(".EXECUTED"):
                    times[told.node_name].append(told.real_time.total_seconds() * 1e3)

        runs_ms = watched(request.infer, seconds, after)
        nodes = ((node.get_friendly_name(), node) for node in _nodes(compiled))
        ran = [_ran(node, times[name]) for name, node in nodes if name in times]
        return Profile(kernels_of(ran, network, "openvino"), tuple(runs_ms))

    @property
    def _asked(self) -> dict[str, Any]:
        return {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": self._threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
            "ENABLE_HYPER_THREADING": False,
            "CPU_DENORMALS_OPTIMIZATION": True,
        }

    def _kernels(self, compiled: Any) -> Counter[str]:
        """Return nodes by kernel, as the compiled network states them, if it is what was asked for."""
        threads, devices = (compiled.get_property(p) for p in ("INFERENCE_NUM_THREADS", "EXECUTION_DEVICES"))
        if threads != self._threads:
            raise FallbackError(f"OpenVINO takes {counted(threads, 'thread')} of the {self._threads} asked for")
        nodes = [{key: value.get() for key, value in node.get_rt_info().items()} for node in _nodes(compiled)]
        nodes = [node for node in nodes if node["layerType"] not in _NOT_RUN]
        lowered = sorted(node["layerType"] for node in nodes if node["runtimePrecision"] in _LOWER)
        if lowered:
            raise FallbackError(f"fp32 was asked for; OpenVINO computes in a lower precision: {', '.join(lowered)}")
        if list(devices) != [PROVIDER]:
            raise FallbackError(f"{PROVIDER} was asked for; OpenVINO takes {', '.join(devices)}")
        return Counter(f"{node['layerType']} {node['primitiveType']}" for node in nodes)


def _nodes(compiled: Any) -> list[Any]:
    return list(compiled.get_runtime_model().get_ordered_ops())


def _ran(node: Any, ms: Sequence[float]) -> Ran:
    """Return what OpenVINO tells of a kernel that it executed."""
    told = {key: value.get() for key, value in node.get_rt_info().items()}
    origins = (name.partition("/WithoutBiases")[0] for name in str(told["originalLayersNames"]).split(","))
    inputs = [port for port in node.inputs() if not port.get_element_type().is_dynamic()]  # else one that is left out
    sources = [port.get_source_output().get_node() for port in inputs]
    return Ran(
        name=node.get_friendly_name(),
        kind=str(told["layerType"]),
        origins=tuple(dict.fromkeys(filter(None, origins))),
        inputs=tuple(map(_array, inputs)),
        outputs=tuple(map(_array, node.outputs())),
        constants=tuple(n for n, source in enumerate(sources) if _is_constant(source)),
        primitive=str(told["primitiveType"]),
        ms=float(np.quantile(ms, FAST)),
    )


def _array(port: Any) -> Array:
    dtype = str(port.get_element_type().to_dtype().name)
    return Array(dtype, tuple(size.get_length() if size.is_static else 1 for size in port.get_partial_shape()))


def _is_constant(node: Any) -> bool:
    """Return whether a value is known before a network runs: constants, and shapes made of them."""
    kind = str(node.get_rt_info()["layerType"].get())
    inputs = [port.get_source_output().get_node() for port in node.inputs()]
    return kind == "Const" or (kind in ("Reshape", "Reorder") and all(map(_is_constant, inputs)))


def _request(compiled: Any, inputs: Mapping[str, NDArray[Any]]) -> Any:
    """Return a request whose inputs live in memory that stays; one that reaches no output is no input any more."""
    request = compiled.create_infer_request()
    for port in compiled.inputs:
        values = inputs[port.get_any_name()]
        request.set_tensor(port, _openvino().Tensor(values, shared_memory=True))
    return request


def _compute(compiled: Any, values: NDArray[np.float32]) -> NDArray[Any]:
    """Return the first output for these values of the only input."""
    request = compiled.create_infer_request()
    for port in compiled.inputs:
        request.set_tensor(port, _openvino().Tensor(values))
    request.infer()
    return np.array(request.get_output_tensor(0).data)


def _openvino() -> Any:
    """Import OpenVINO by its name: to a type checker, ``import openvino`` here would mean this very file."""
    return import_module("openvino")


RUNTIME = OpenVino
