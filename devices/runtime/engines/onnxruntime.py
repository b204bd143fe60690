"""ONNX Runtime in the measuring process.

Every option that its threads in the issue tracker show to ruin timings is set, not left to a default: workers never
spin (an idle pool of one session disturbs the next), denormals are flushed (in the first session of the process too,
for that one decides for the main thread), the provider asked for is the one that runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, load

from ....arguments import Threads
from ....errors import InputRefusedError, UsageError
from ....graphs.kernels import Profile, profiled, seen_through
from .. import cuda
from ..int8 import is_integer, kernels_of, quantised
from ..packages import Package, UnusableError
from ..program import (
    INPUTS,
    PreparedProgram,
    at_least_one_thread,
    halved,
    line,
    one_of,
    only_shape,
    seeded,
    watched,
    whole,
)
from ..runtime import GPU_PROVIDERS, FallbackError, Needs

LEVELS = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "dnnl": "DnnlExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
BUILDS = dict.fromkeys(
    (PROVIDERS["cuda"], PROVIDERS["tensorrt"]),
    "on a machine with an NVIDIA GPU: pip uninstall onnxruntime; pip install onnxruntime-gpu 'tempograd[gpu]'",
)
LIBRARIES = " If it is every node, CUDA's libraries may be missing: pip install 'onnxruntime-gpu[cuda,cudnn]'"
INT8 = ("int8-dynamic", "int8-static")
PRECISIONS = ("fp32", "fp16", *INT8)
FUSING = ("extended", "all")  # levels that turn a graph quantised by QuantizeLinear and DequantizeLinear into integers
PACKAGE = Package(
    "ONNX Runtime",
    ("onnxruntime", "onnxruntime-openvino", "onnxruntime-gpu", "onnxruntime-training"),
    "pip install onnxruntime",
    module="onnxruntime",
)
_SESSION_ENTRIES = {
    "session.intra_op.allow_spinning": "0",
    "session.inter_op.allow_spinning": "0",
    "session.set_denormal_as_zero": "1",
}
_APART = {"file_name": "weights.bin", "min_size_in_bytes": "4096"}  # what nobody reads of a graph that ran


class OnnxRuntime:
    """ONNX Runtime with its options fixed.

    Args:
        threads: intra-op threads; inter-op is 1 and the order of nodes sequential.
        precision: ``fp32``; on a GPU ``fp16``; ``int8-static``: weights and activations quantised when a network is
            loaded, with ranges from seeded inputs; or ``int8-dynamic``: weights quantised then, activations at every
            run, which makes convolutions slower than ``fp32`` on most processors. A network that would run no integer
            kernel is refused.
        optimisation: ``none``, ``basic``, ``extended`` or ``all``.
        provider: ``cpu``, another that computes in host memory, or ``cuda`` or ``tensorrt`` on an NVIDIA GPU: inputs
            and outputs then live in its memory. With any but ``cpu``, falling back to the CPU is an error. Where a node
            runs is read from ONNX Runtime's own record of the assignment; it is made before the last fusions, so the
            counts are of nodes assigned, not of kernels launched.
        cuda_graph: on a GPU, capture one inference and replay it.
        allow_fallback: let nodes run on the CPU; how many did is part of each measurement.
    """

    package = PACKAGE
    ways = ("", "provider=cuda", "provider=tensorrt")

    def __init__(
        self,
        *,
        threads: Threads = 1,
        precision: str = "fp32",
        optimisation: str = "all",
        provider: str = "cpu",
        cuda_graph: bool = False,
        allow_fallback: bool = False,
    ) -> None:
        one_of("precision", precision, PRECISIONS)
        one_of("optimisation", optimisation, LEVELS)
        one_of("provider", provider, PROVIDERS)
        at_least_one_thread(threads)
        if precision == "int8-static" and optimisation not in FUSING:
            raise UsageError(
                f"optimisation={optimisation!r} would run int8-static in floating point; allowed: {', '.join(FUSING)}"
            )
        on_gpu = PROVIDERS[provider] in GPU_PROVIDERS
        if not on_gpu and (cuda_graph or precision == "fp16"):
            raise UsageError(
                f"precision={precision}, cuda_graph={cuda_graph} with provider={provider}; allowed: neither fp16 nor a "
                "graph, or provider=cuda or tensorrt"
            )
        if precision in INT8 and provider != "cpu":
            raise UsageError(
                f"precision={precision!r} with provider={provider!r}: which kernels run could not be seen; "
                "allowed: provider=cpu, or precision=fp32"
            )
        self._threads, self._precision = threads, precision
        self._optimisation, self._provider = optimisation, PROVIDERS[provider]
        self._cuda_graph, self._allow_fallback = cuda_graph, allow_fallback
        self._stream: cuda.Stream | None = None

    @property
    def needs(self) -> Needs:
        """The TensorRT provider builds an engine for each network."""
        if self._provider == PROVIDERS["tensorrt"]:
            return Needs(900.0, 600.0, memory_limited=False)
        return Needs(60.0, 60.0, memory_limited=False) if self._provider == PROVIDERS["cuda"] else Needs()

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
            **({"allow_fallback": True} if self._allow_fallback else {}),
            **({"cuda_graph": self._cuda_graph, "tf32": False} if self._provider in GPU_PROVIDERS else {}),
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
            UnusableError: ONNX Runtime cannot be imported, this build lacks the provider, or there is no GPU for it.
        """
        try:
            available: list[str] = _ort().get_available_providers()
        except ImportError as error:
            raise UnusableError(f"ONNX Runtime cannot be imported ({line(error)})", PACKAGE.install) from error
        if self._provider not in available:
            raise UnusableError(
                f"this ONNX Runtime has no {self._provider}; it has {', '.join(available)}",
                BUILDS.get(self._provider, "install the build that brings it, or take provider=cpu"),
            )
        if self._provider in GPU_PROVIDERS:
            gpu = cuda.name()  # without a GPU, a session would run on the CPU with no more than a warning
            _ort().preload_dlls()
            self._stream = cuda.Stream()
            return f"{self._provider}: {gpu}"
        return self._provider

    def load(self, model: bytes, folder: Path) -> PreparedProgram:
        """Create a session and bind seeded inputs and outputs to memory that stays.

        It leaves the calling thread flushing denormals, in whatever else it computes too: call it in a worker.

        Raises:
            InputRefusedError: ONNX Runtime refuses the network, or nothing in it can be quantised.
            FallbackError: a node went to another provider.
            MemoryError: an allocation failed.
        """
        if self._precision == "fp16":
            model = halved(whole(model, folder)).SerializeToString()
        if self._precision not in INT8:
            return self._prepared(self._session(model, folder))
        with TemporaryDirectory() as scratch:
            ran = Path(scratch, "optimised.onnx")
            model = quantised(whole(model, folder), Path(scratch), self._precision, self._session, _drawn)
            program = self._prepared(self._session(model, folder, ran), kernels_of(ran))
        if not any(map(is_integer, program.kernels)):
            raise InputRefusedError(
                f"nothing in this network can be quantised to {self._precision}: no kernel would compute with integers"
            )
        return program

    def profile(self, model: bytes, folder: Path, *, seconds: float) -> Profile:
        """Run a network while ONNX Runtime watches its kernels.

        Raises:
            InputRefusedError: ONNX Runtime refuses the network, it has control flow, or a GPU runs it.
        """
        if self._stream is not None:
            raise InputRefusedError(
                "kernels on a GPU overlap, and ONNX Runtime tells no times of each: measure the whole"
            )
        given = ModelProto.FromString(model)
        seen_through(given.graph)
        with TemporaryDirectory() as scratch:
            ran = Path(scratch, "optimised.onnx")
            if self._precision in INT8:
                model = quantised(whole(model, folder), Path(scratch), self._precision, self._session, _drawn)
            session = self._session(model, folder, ran, watched=Path(scratch, "profile"))
            program = self._prepared(session)
            runs_ms = watched(program.run, seconds)
            events = msgspec.json.decode(Path(session.end_profiling()).read_bytes())
            return Profile(tuple(profiled(load(ran, load_external_data=False), events, given)), tuple(runs_ms))

    def for_tensorrt(self, network: ModelProto) -> ModelProto:
        """Return a network, its weights embedded, quantised to ``int8-static`` as TensorRT reads it.

        Raises:
            InputRefusedError: it cannot be quantised, or nothing in it multiplies.
        """
        with TemporaryDirectory() as scratch:
            content = quantised(network, Path(scratch), "int8-static", self._session, _drawn, for_tensorrt=True)
        found = ModelProto.FromString(content)
        if not any(node.op_type == "QuantizeLinear" for node in found.graph.node):
            raise InputRefusedError("nothing in this network can be quantised to int8: no layer multiplies")
        return found

    def _prepared(self, session: Any, kernels: dict[str, int] | None = None) -> PreparedProgram:
        """Bind seeded inputs to a session.

        Raises:
            FallbackError: a node went to another provider.
        """
        providers = _providers(session)
        strayed = session.get_providers()[0] != self._provider or set(providers) - {self._provider}
        if strayed and not (self._allow_fallback and session.get_providers()[0] == self._provider):
            raise FallbackError(f"{self._provider} was asked for; nodes went to {providers}")
        rng = np.random.Generator(np.random.PCG64(0))
        metas = session.get_inputs()
        arrays = [_drawn(session, rng) for _ in range(INPUTS)]
        binder = _Binder(session, "cuda" if self._stream else "cpu")
        bindings = [binder.bound(one) for one in arrays]
        last = [bindings[0]]
        settings = [self._run_options(number) for number in range(INPUTS)]

        def run(binding: Any, options: Any) -> None:
            last[0] = binding
            try:
                session.run_with_iobinding(binding, options)
            except Exception as error:  # pybind's classes share no base but Exception
                raise _cannot_run(error) from error

        def compute(values: NDArray[np.float32]) -> NDArray[Any]:
            try:
                inputs = {metas[0].name: values.astype(_DTYPES[metas[0].type])}
                return session.run(None, inputs, self._uncaptured())[0]
            except Exception as error:
                raise _cannot_run(error) from error

        def outputs() -> dict[str, NDArray[Any]]:
            pairs = zip(session.get_outputs(), last[0].get_outputs(), strict=True)
            return {meta.name: value.numpy() for meta, value in pairs if value.is_tensor()}

        return PreparedProgram(
            [partial(run, *pair) for pair in zip(bindings, settings, strict=True)],
            outputs,
            compute,
            input_shape=only_shape(arrays[0]),
            providers=providers,
            kernels=kernels or {},
            gpu=self._stream,
        )

    def _run_options(self, number: int) -> Any:
        """Return how inputs are run on a GPU: without waiting, and in a captured graph of their own; None on a CPU."""
        if self._stream is None:
            return None
        options = _ort().RunOptions()
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        if self._cuda_graph:
            options.add_run_config_entry("gpu_graph_id", str(number + 1))
        return options

    def _uncaptured(self) -> Any:
        """Return how inputs of any address are run: a captured graph reads and writes its own."""
        if not self._cuda_graph:
            return None
        options = _ort().RunOptions()
        options.add_run_config_entry("gpu_graph_id", "-1")
        return options

    def _session(
        self, model: bytes | Path, folder: Path, ran: Path | None = None, level: str = "", watched: Path | None = None
    ) -> Any:
        """Return a session; what it runs is written to ``ran``, its kernels' times to ``watched``."""
        options = self._session_options(folder, level or self._optimisation)
        if ran is not None:
            options.optimized_model_filepath = str(ran)
        if watched is not None:
            for name, value in _APART.items():
                options.add_session_config_entry(f"session.optimized_model_external_initializers_{name}", value)
            options.enable_profiling = True
            options.profile_file_prefix = str(watched)
        source = model if isinstance(model, bytes) else str(model)
        try:
            return _ort().InferenceSession(source, options, providers=self._asked_providers())
        except Exception as error:  # pybind's classes share no base but Exception
            if "bad_alloc" in str(error) or "Failed to allocate memory" in str(error):
                raise MemoryError(line(error)) from error
            if "fallback" in str(error).lower():
                hint = LIBRARIES if self._stream is not None else ""
                raise FallbackError(f"{line(error)}{hint}") from error
            raise InputRefusedError(f"ONNX Runtime refuses this network: {line(error)}") from error

    def _asked_providers(self) -> list[Any]:
        """Return the provider asked for with everything that changes a latency, and the CPU where it may fall back."""
        own: dict[str, str] = {}
        if self._stream is not None:
            own = {
                "device_id": "0",
                "user_compute_stream": str(int(self._stream.handle)),
                "has_user_compute_stream": "1",
            }
        if self._provider == PROVIDERS["cuda"]:
            own |= {"use_tf32": "0", "enable_cuda_graph": str(int(self._cuda_graph))}
        elif self._provider == PROVIDERS["tensorrt"]:
            own |= {"trt_cuda_graph_enable": str(int(self._cuda_graph)), "trt_builder_optimization_level": "3"}
        asked: list[Any] = [(self._provider, own)] if own else [self._provider]
        return [*asked, PROVIDERS["cpu"]] if self._allow_fallback else asked

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
        if self._provider != PROVIDERS["cpu"] and not self._allow_fallback:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        return options


class _Binder:
    """Binds inputs and outputs to memory that stays, in the host's memory or on the GPU."""

    def __init__(self, session: Any, place: str) -> None:
        self._session, self._place, self._ort = session, (place, 0), _ort()

    def bound(self, inputs: Mapping[str, NDArray[Any]]) -> Any:
        """Return a binding of these inputs; what has no fixed shape is allocated by each run."""
        binding = self._session.io_binding()
        kept: list[Any] = []
        binding.kept = kept  # before 1.30 a binding knows its inputs by address only: they must live as long as it
        for name, values in inputs.items():
            value = self._ort.OrtValue.ortvalue_from_numpy(values, *self._place)
            binding.bind_ortvalue_input(name, value)
            kept += (values, value)
        for meta in self._session.get_outputs():
            dtype = _DTYPES.get(meta.type)
            known = meta.shape or self._place[0] != "cpu"  # ONNX Runtime says [] of a scalar, and of an unknown rank
            if known and dtype is not None and all(isinstance(size, int) for size in meta.shape):
                value = self._ort.OrtValue.ortvalue_from_shape_and_type(meta.shape, dtype, *self._place)
                binding.bind_ortvalue_output(meta.name, value)
            else:
                binding.bind_output(meta.name, *self._place)
        return binding


def _providers(session: Any) -> dict[str, int]:
    """Return provider -> number of nodes, from ONNX Runtime's own record of the assignment."""
    found: dict[str, int] = {}
    for part in session.get_provider_graph_assignment_info():
        found[part.ep_name] = found.get(part.ep_name, 0) + len(part.get_nodes())
    return found


def _cannot_run(error: Exception) -> Exception:
    if "bad_alloc" in str(error) or "Failed to allocate memory" in str(error):
        return MemoryError(line(error))
    return InputRefusedError(f"ONNX Runtime cannot run this network: {line(error)}")


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


def _drawn(session: Any, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Return one set of inputs that a session takes."""
    found: dict[str, NDArray[Any]] = {}
    for meta in session.get_inputs():
        if meta.type not in _DTYPES:
            raise InputRefusedError(f"input {meta.name!r} is {meta.type}; allowed: {', '.join(_DTYPES)}")
        found[meta.name] = seeded(meta.name, _DTYPES[meta.type], meta.shape, rng)
    return found


def _ort(part: str = "") -> Any:
    """Import ONNX Runtime by its name: to a type checker, ``import onnxruntime`` here would mean this very file."""
    return import_module(".".join(filter(None, ("onnxruntime", part))))


RUNTIME = OnnxRuntime
