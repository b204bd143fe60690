"""ONNX Runtime in the measuring process.

Every option that its threads in the issue tracker show to ruin timings is set, not left to a default: workers never
spin (an idle pool of one session disturbs the next), denormals are flushed (in the first session of the process too,
for that one decides for the main thread), the provider asked for is the one that runs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ...errors import DeviceError, InputRefusedError, UsageError
from ..runtime import FallbackError

LEVELS = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "dnnl": "DnnlExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
PRECISIONS = ("fp32", "int8")
INPUTS = 3  # different inputs, taken in turn, so that nothing can be remembered from one run to the next
_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-openvino", "onnxruntime-gpu", "onnxruntime-training")
_SESSION_ENTRIES = {
    "session.intra_op.allow_spinning": "0",
    "session.inter_op.allow_spinning": "0",
    "session.set_denormal_as_zero": "1",
}


class OnnxRuntime:
    """ONNX Runtime with its options fixed.

    Args:
        threads: intra-op threads; inter-op is 1 and the order of nodes sequential.
        precision: ``fp32``, or ``int8``: weights quantised when a network is loaded, activations at every run
            (``quantize_dynamic``), which makes convolutions slower than ``fp32`` on most processors. A network of which
            nothing can be quantised is refused.
        optimisation: ``none``, ``basic``, ``extended`` or ``all``.
        provider: ``cpu`` or another that computes in host memory. With any but ``cpu``, falling back to the CPU is an
            error. Where a node runs is read from ONNX Runtime's own record of the assignment; it is made before the
            last fusions, so the counts are of nodes assigned, not of kernels launched.
    """

    def __init__(
        self, *, threads: int = 1, precision: str = "fp32", optimisation: str = "all", provider: str = "cpu"
    ) -> None:
        _one_of("precision", precision, PRECISIONS)
        _one_of("optimisation", optimisation, LEVELS)
        _one_of("provider", provider, PROVIDERS)
        if threads < 1:
            raise UsageError(f"threads={threads}; at least 1 is needed")
        self._threads, self._precision = threads, precision
        self._optimisation, self._provider = optimisation, PROVIDERS[provider]

    @property
    def options(self) -> dict[str, Any]:
        """Everything set that changes a latency."""
        return {
            "threads": self._threads,
            "precision": self._precision,
            "optimisation": self._optimisation,
            "provider": self._provider,
            "spinning": False,
            "denormals": "zero",
        }

    def versions(self) -> dict[str, str]:
        """Return the versions of ONNX Runtime, onnx and numpy.

        Raises:
            DeviceError: ONNX Runtime is not installed.
        """
        return {"onnxruntime": _installed(_DISTRIBUTIONS), "onnx": version("onnx"), "numpy": version("numpy")}

    def start(self) -> None:
        """Import ONNX Runtime and check that it has the provider.

        Raises:
            DeviceError: ONNX Runtime cannot be imported, or this build lacks the provider.
        """
        try:
            available: list[str] = _ort().get_available_providers()
        except ImportError as error:
            raise DeviceError(f"ONNX Runtime cannot be imported ({error}); pip install onnxruntime") from error
        if self._provider not in available:
            raise DeviceError(
                f"this ONNX Runtime has no {self._provider}; it has {', '.join(available)}. "
                "Install the build that brings it, or take provider=cpu"
            )

    def load(self, model: bytes, folder: Path) -> OrtProgram:
        """Create a session and bind seeded inputs and outputs to memory that stays.

        It leaves the calling thread flushing denormals, in whatever else it computes too: call it in a worker.

        Raises:
            InputRefusedError: ONNX Runtime refuses the network, or nothing in it can be quantised.
            FallbackError: a node went to another provider.
            MemoryError: an allocation failed.
        """
        ort = _ort()
        if self._precision == "int8":
            model = _quantised(model, folder)
        options = self._session_options(folder)
        try:
            session = ort.InferenceSession(model, options, providers=[self._provider])
        except Exception as error:  # pybind's classes share no base but Exception
            if "bad_alloc" in str(error) or "Failed to allocate memory" in str(error):
                raise MemoryError(_line(error)) from error
            if "fallback" in str(error).lower():
                raise FallbackError(_line(error)) from error
            raise InputRefusedError(f"ONNX Runtime refuses this network: {_line(error)}") from error
        nodes = self._nodes(session)
        if session.get_providers()[0] != self._provider or set(nodes) - {self._provider}:
            raise FallbackError(f"{self._provider} was asked for; nodes went to {nodes}")
        return OrtProgram(session, nodes)

    def _session_options(self, folder: Path) -> Any:
        ort = _ort()
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, LEVELS[self._optimisation])
        options.log_severity_level = 3
        for key, value in _SESSION_ENTRIES.items():
            options.add_session_config_entry(key, value)
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
        if self._provider != PROVIDERS["cpu"]:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        return options

    def _nodes(self, session: Any) -> dict[str, int]:
        counts: dict[str, int] = {}
        for part in session.get_provider_graph_assignment_info():
            counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
        return counts


class OrtProgram:
    """A session with its inputs and outputs bound; see `Program`."""

    def __init__(self, session: Any, providers: dict[str, int]) -> None:
        self._session = session
        self._providers = providers
        rng = np.random.Generator(np.random.PCG64(0))
        bindings = [self._bind(rng) for _ in range(INPUTS)]
        self._turns = cycle(bindings)
        self._last = bindings[0]

    @property
    def providers(self) -> dict[str, int]:
        """Execution provider -> number of nodes assigned to it."""
        return self._providers

    def run(self) -> None:
        """Run one inference on the next inputs.

        Raises:
            MemoryError: an allocation failed.
            InputRefusedError: a node cannot run.
        """
        self._last = next(self._turns)
        try:
            self._session.run_with_iobinding(self._last)
        except Exception as error:  # pybind's classes share no base but Exception
            if "bad_alloc" in str(error) or "Failed to allocate memory" in str(error):
                raise MemoryError(_line(error)) from error
            raise InputRefusedError(f"ONNX Runtime cannot run this network: {_line(error)}") from error

    def invalid_output(self) -> str | None:
        """Return which output of the last run holds NaN or an infinity, or None."""
        for meta, value in zip(self._session.get_outputs(), self._last.get_outputs(), strict=True):
            if not value.is_tensor():
                continue
            array = value.numpy()
            if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
                return (
                    f"output {meta.name!r} holds {int((~np.isfinite(array)).sum())} of {array.size} values not finite"
                )
        return None

    def _bind(self, rng: np.random.Generator) -> Any:
        ort = _ort()
        binding = self._session.io_binding()
        for meta in self._session.get_inputs():
            value = ort.OrtValue.ortvalue_from_numpy(_seeded(meta.name, meta.type, meta.shape, rng))
            binding.bind_ortvalue_input(meta.name, value)
        for meta in self._session.get_outputs():
            dtype = _DTYPES.get(meta.type)
            if dtype is not None and all(isinstance(size, int) for size in meta.shape):
                value = ort.OrtValue.ortvalue_from_shape_and_type(meta.shape, dtype)
                binding.bind_ortvalue_output(meta.name, value)
            else:
                binding.bind_output(meta.name)
        return binding


_DTYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(bool)": np.bool_,
}


def _seeded(name: str, type_: str, shape: list[Any], rng: np.random.Generator) -> np.ndarray:
    dtype = _DTYPES.get(type_)
    if dtype is None:
        raise InputRefusedError(f"input {name!r} is {type_}; allowed: {', '.join(_DTYPES)}")
    if not all(isinstance(size, int) and size > 0 for size in shape):
        raise InputRefusedError(f"input {name!r} has shape {shape}; every size must be fixed before timing")
    if np.issubdtype(dtype, np.floating):
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


def _quantised(model: bytes, folder: Path) -> bytes:
    """Return the network with int8 weights, taken in from ``folder``, and activations quantised at run time."""
    import onnx

    logging.getLogger().setLevel(logging.ERROR)  # it advises on the root logger at every call
    with TemporaryDirectory() as scratch:
        target = Path(scratch, "quantised.onnx")
        try:
            whole = onnx.load_from_string(model)
            onnx.load_external_data_for_model(whole, str(folder))
            _ort("quantization").quantize_dynamic(whole, target)
            quantised = target.read_bytes()
        except Exception as error:  # it raises bare exceptions of many kinds
            raise InputRefusedError(f"cannot be quantised to int8: {_line(error)}") from error
    integer = {"ConvInteger", "MatMulInteger", "DynamicQuantizeLSTM"}
    if not any(node.op_type in integer for node in onnx.load_from_string(quantised).graph.node):
        raise InputRefusedError(
            "nothing in this network can be quantised to int8: its weights are no constants of Conv, MatMul or Gemm"
        )
    return quantised


def _ort(part: str = "") -> Any:
    """Import ONNX Runtime by its name: to a type checker, ``import onnxruntime`` here would mean this very file."""
    return import_module(".".join(filter(None, ("onnxruntime", part))))


def _installed(distributions: Iterable[str]) -> str:
    for name in distributions:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    raise DeviceError("ONNX Runtime is not installed; pip install onnxruntime")


def _one_of(name: str, value: str, allowed: Iterable[str]) -> None:
    if value not in allowed:
        raise UsageError(f"{name}={value!r}; allowed: {', '.join(allowed)}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]


RUNTIME = OnnxRuntime
