"""ONNX Runtime in the measuring process.

Every option that its threads in the issue tracker show to ruin timings is set, not left to a default: workers never
spin (an idle pool of one session disturbs the next), denormals are flushed (in the first session of the process too,
for that one decides for the main thread), the provider asked for is the one that runs.
"""

from __future__ import annotations

import logging
from collections import Counter
from importlib import import_module
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DeviceError, InputRefusedError, UsageError
from ..packages import Package, UnusableError
from ..program import INPUTS, at_least_one_thread, line, not_finite, one_of, seeded
from ..runtime import FallbackError, Needs

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
PRECISIONS = ("fp32", "int8-dynamic", "int8-static")
FUSING = ("extended", "all")  # levels that turn a graph quantised by QuantizeLinear and DequantizeLinear into integers
CALIBRATION_RUNS = 8
PACKAGE = Package(
    "ONNX Runtime",
    ("onnxruntime", "onnxruntime-openvino", "onnxruntime-gpu", "onnxruntime-training"),
    "pip install onnxruntime",
)
_INTEGER = frozenset({
    "ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat", "QGemm",
})  # fmt: skip
_SESSION_ENTRIES = {
    "session.intra_op.allow_spinning": "0",
    "session.inter_op.allow_spinning": "0",
    "session.set_denormal_as_zero": "1",
}


class OnnxRuntime:
    """ONNX Runtime with its options fixed.

    Args:
        threads: intra-op threads; inter-op is 1 and the order of nodes sequential.
        precision: ``fp32``; ``int8-static``: weights and activations quantised when a network is loaded, with ranges
            from seeded inputs; or ``int8-dynamic``: weights quantised then, activations at every run, which makes
            convolutions slower than ``fp32`` on most processors. A network that would run no integer kernel is refused.
        optimisation: ``none``, ``basic``, ``extended`` or ``all``.
        provider: ``cpu`` or another that computes in host memory. With any but ``cpu``, falling back to the CPU is an
            error. Where a node runs is read from ONNX Runtime's own record of the assignment; it is made before the
            last fusions, so the counts are of nodes assigned, not of kernels launched.
    """

    package = PACKAGE
    ways = ("",)
    needs = Needs()

    def __init__(
        self, *, threads: int = 1, precision: str = "fp32", optimisation: str = "all", provider: str = "cpu"
    ) -> None:
        one_of("precision", precision, PRECISIONS)
        one_of("optimisation", optimisation, LEVELS)
        one_of("provider", provider, PROVIDERS)
        at_least_one_thread(threads)
        if precision == "int8-static" and optimisation not in FUSING:
            raise UsageError(
                f"optimisation={optimisation!r} would run int8-static in floating point; allowed: {', '.join(FUSING)}"
            )
        if precision != "fp32" and provider != "cpu":
            raise UsageError(
                f"precision={precision!r} with provider={provider!r}: which kernels run could not be seen; "
                "allowed: provider=cpu, or precision=fp32"
            )
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
            NotInstalledError: ONNX Runtime is not installed.
        """
        return {"onnxruntime": PACKAGE.version(), "onnx": version("onnx"), "numpy": version("numpy")}

    def start(self) -> str:
        """Import ONNX Runtime and check that it has the provider.

        Raises:
            DeviceError: ONNX Runtime cannot be imported, or this build lacks the provider.
        """
        try:
            available: list[str] = _ort().get_available_providers()
        except ImportError as error:
            raise UnusableError(f"ONNX Runtime cannot be imported ({line(error)})", PACKAGE.install) from error
        if self._provider not in available:
            raise DeviceError(
                f"this ONNX Runtime has no {self._provider}; it has {', '.join(available)}. "
                "Install the build that brings it, or take provider=cpu"
            )
        return ", ".join(available)

    def load(self, model: bytes, folder: Path) -> OrtProgram:
        """Create a session and bind seeded inputs and outputs to memory that stays.

        It leaves the calling thread flushing denormals, in whatever else it computes too: call it in a worker.

        Raises:
            InputRefusedError: ONNX Runtime refuses the network, or nothing in it can be quantised.
            FallbackError: a node went to another provider.
            MemoryError: an allocation failed.
        """
        if self._precision == "fp32":
            return OrtProgram(self._session(model, folder), self._provider)
        with TemporaryDirectory() as scratch:
            ran = Path(scratch, "optimised.onnx")
            model = self._quantised(model, folder, Path(scratch))
            program = OrtProgram(self._session(model, folder, ran), self._provider, _kernels(ran))
        if not any(_is_integer(kind) for kind in program.kernels):
            raise InputRefusedError(
                f"nothing in this network can be quantised to {self._precision}: no kernel would compute with integers"
            )
        return program

    def _session(self, model: bytes | Path, folder: Path, ran: Path | None = None, level: str = "") -> Any:
        """Return a session; the graph that it runs is written to ``ran``, if given."""
        options = self._session_options(folder, level or self._optimisation)
        if ran is not None:
            options.optimized_model_filepath = str(ran)
        source = model if isinstance(model, bytes) else str(model)
        try:
            return _ort().InferenceSession(source, options, providers=[self._provider])
        except Exception as error:  # pybind's classes share no base but Exception
            if "bad_alloc" in str(error) or "Failed to allocate memory" in str(error):
                raise MemoryError(line(error)) from error
            if "fallback" in str(error).lower():
                raise FallbackError(line(error)) from error
            raise InputRefusedError(f"ONNX Runtime refuses this network: {line(error)}") from error

    def _quantised(self, model: bytes, folder: Path, scratch: Path) -> bytes:
        """Return the network quantised to int8, its weights taken in from ``folder``."""
        import onnx

        logging.getLogger().setLevel(logging.ERROR)  # it advises on the root logger at every call
        whole, target = scratch / "whole.onnx", scratch / "quantised.onnx"
        try:
            loaded = onnx.load_from_string(model)
            onnx.load_external_data_for_model(loaded, str(folder))
            if self._precision == "int8-dynamic":
                _ort("quantization").quantize_dynamic(loaded, target)
            else:
                # constants and BatchNorm are folded now: later, what quantises a tensor would stand between them
                self._session(loaded.SerializeToString(), folder, whole, level="basic")
                self._quantise(whole, target, scratch)
            return target.read_bytes()
        except (FallbackError, InputRefusedError, MemoryError):
            raise
        except Exception as error:  # it raises bare exceptions of many kinds
            raise InputRefusedError(f"cannot be quantised to {self._precision}: {line(error)}") from error

    def _quantise(self, source: Path, target: Path, scratch: Path) -> None:
        """Find every tensor's range on seeded inputs, then write the network with its tensors quantised.

        It does what ``quantize_static`` does, which would calibrate in a session of its own making: that starts threads
        on every core, the timed ones too. Weights have a scale for each channel and seven bits: with eight, processors
        without VNNI saturate; the time is the same.
        """
        import onnx

        kinds, calibrate, registry = (_ort(f"quantization.{part}") for part in ("quant_utils", "calibrate", "registry"))
        augmented = scratch / "augmented.onnx"
        calibrator = calibrate.MinMaxCalibrater(source, None, str(augmented))
        calibrator.augment_graph()
        calibrator.infer_session = self._session(augmented, scratch, level="none")
        calibrator.collect_data(_Calibration(calibrator.infer_session))
        quantizer = _ort("quantization.qdq_quantizer").QDQQuantizer(
            onnx.shape_inference.infer_shapes(onnx.load(str(source))),
            per_channel=True,
            reduce_range=True,
            weight_qType=kinds.QuantType.QInt8,
            activation_qType=kinds.QuantType.QUInt8,
            tensors_range=calibrator.compute_data(),
            nodes_to_quantize=[],
            nodes_to_exclude=[],
            op_types_to_quantize=sorted({*registry.QLinearOpsRegistry, *registry.QDQRegistry}),
            extra_options={},
        )
        quantizer.quantize_model()
        onnx.save(quantizer.model.model, str(target))

    def _session_options(self, folder: Path, level: str) -> Any:
        ort = _ort()
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, LEVELS[level])
        options.log_severity_level = 3
        for key, value in _SESSION_ENTRIES.items():
            options.add_session_config_entry(key, value)
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
        if self._provider != PROVIDERS["cpu"]:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        return options


class _Calibration:
    """Seeded inputs by which the ranges of tensors are found; ``get_next`` is asked for one after the other."""

    def __init__(self, session: Any) -> None:
        self._inputs = session.get_inputs()
        self._rng = np.random.Generator(np.random.PCG64(1))
        self._left = CALIBRATION_RUNS

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return one set of inputs, or None after the last."""
        self._left -= 1
        if self._left < 0:
            return None
        return {meta.name: _seeded(meta.name, meta.type, meta.shape, self._rng) for meta in self._inputs}


class OrtProgram:
    """A session with its inputs and outputs bound; see `Program`."""

    def __init__(self, session: Any, provider: str, kernels: dict[str, int] | None = None) -> None:
        self._session = session
        self._providers: dict[str, int] = {}
        for part in session.get_provider_graph_assignment_info():
            self._providers[part.ep_name] = self._providers.get(part.ep_name, 0) + len(part.get_nodes())
        if session.get_providers()[0] != provider or set(self._providers) - {provider}:
            raise FallbackError(f"{provider} was asked for; nodes went to {self._providers}")
        self._kernels = kernels or {}
        rng = np.random.Generator(np.random.PCG64(0))
        self._bindings = [self._bind(rng) for _ in range(INPUTS)]
        self._turns = cycle(self._bindings)
        self._last = self._bindings[0]

    @property
    def providers(self) -> dict[str, int]:
        """Execution provider -> number of nodes assigned to it."""
        return self._providers

    @property
    def kernels(self) -> dict[str, int]:
        """Operator -> number of nodes after all optimisations, of a quantised network; else empty."""
        return self._kernels

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
                raise MemoryError(line(error)) from error
            raise InputRefusedError(f"ONNX Runtime cannot run this network: {line(error)}") from error

    def compute(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the first output for these values of the only input.

        Raises:
            InputRefusedError: they do not fit, there are several inputs, or a node cannot run.
        """
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise InputRefusedError(f"this network has {len(inputs)} inputs; outputs are compared for one input only")
        try:
            found = self._session.run(None, {inputs[0].name: values})[0]
        except Exception as error:  # pybind's classes share no base but Exception
            raise InputRefusedError(f"ONNX Runtime cannot run this network: {line(error)}") from error
        return np.asarray(found, np.float32)

    def hold(self, held: bool) -> None:
        """Run on one and the same input from now on, or on several in turn as at first."""
        self._turns = cycle(self._bindings[:1] if held else self._bindings)

    def invalid_output(self) -> str | None:
        """Return which output of the last run holds NaN or an infinity, or None."""
        pairs = zip(self._session.get_outputs(), self._last.get_outputs(), strict=True)
        return not_finite({meta.name: value.numpy() for meta, value in pairs if value.is_tensor()})

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


def _seeded(name: str, type_: str, shape: list[Any], rng: np.random.Generator) -> NDArray[Any]:
    if type_ not in _DTYPES:
        raise InputRefusedError(f"input {name!r} is {type_}; allowed: {', '.join(_DTYPES)}")
    return seeded(name, _DTYPES[type_], shape, rng)


def _kernels(optimised: Path) -> dict[str, int]:
    """Return operator -> number of nodes of the graph that a session runs, as it wrote it."""
    import onnx

    nodes = onnx.load(str(optimised), load_external_data=False).graph.node
    return dict(sorted(Counter(node.op_type for node in nodes).items()))


def _is_integer(kind: str) -> bool:
    return kind.startswith("QLinear") or kind in _INTEGER


def _ort(part: str = "") -> Any:
    """Import ONNX Runtime by its name: to a type checker, ``import onnxruntime`` here would mean this very file."""
    return import_module(".".join(filter(None, ("onnxruntime", part))))


RUNTIME = OnnxRuntime
