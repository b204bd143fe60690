"""TensorRT from ONNX to a timed engine; the classic library and TensorRT-RTX differ in names and in a few calls.

Written against the Python API of TensorRT 10 and 11 and of TensorRT-RTX 1.7, in calls that 8.6 has too. A network is
parsed, built for the GPU and serialised (`Builder`); that half of TensorRT-RTX needs no GPU. Then it is deserialised
and run (`TensorRt.load`). Engines are built on the machine that runs them and never come from outside.

References:
    https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/python-api-docs.html
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from ...errors import InputRefusedError, UnknownNameError, UsageError
from ...registry import create
from .. import host
from . import cuda
from .engine_cache import EngineCache
from .packages import Package, UnusableError
from .program import PreparedProgram, at_least_one_thread, halved, inputs_of, line, one_of, only_shape, whole
from .runtime import Needs

PRECISIONS = ("fp32", "fp16", "int8-static")
LEVELS = range(6)
WORKSPACE_BYTES = 2**30


class Builder:
    """Parses networks and builds engines.

    Args:
        library: the imported ``tensorrt`` or ``tensorrt_rtx_bindings``.
        level: how long the builder looks for faster kernels, 0 to 5.

    Raises:
        UnusableError: the library makes no builder, as where there is no GPU.
    """

    def __init__(self, library: Any, *, level: int = 3) -> None:
        self._trt, self._level = library, level
        self.messages: list[str] = []
        self.logger = _logger(library, self.messages)
        try:
            self._builder = library.Builder(self.logger)
        except (TypeError, RuntimeError) as error:  # classic TensorRT gives a null pointer where there is no GPU
            raise UnusableError(
                f"TensorRT makes no builder here ({line(error)})", "see whether nvidia-smi lists a GPU, and its driver"
            ) from error

    def build(
        self, model: ModelProto, *, capability: str = "", timing_cache: bytes | None = None
    ) -> tuple[bytes, bytes]:
        """Return a serialised engine, and the timing cache after it (empty where the library keeps none).

        Args:
            model: with its weights embedded; its element types are the precisions that the engine computes in.
            capability: for TensorRT-RTX, build ahead of time for GPUs such as ``SM86``; by default for the one here.
            timing_cache: Timing cache of earlier builds by the same library on the same GPU and driver.

        Raises:
            UnknownNameError: a compute capability that the library does not build for.
            InputRefusedError: it cannot parse or build this network; the reason is the library's.
        """
        self.messages.clear()
        network = self._builder.create_network(self._flags())
        parser = self._trt.OnnxParser(network, self.logger)
        if not parser.parse(model.SerializeToString()):
            errors = "; ".join(_told(parser.get_error(i)) for i in range(parser.num_errors))
            raise InputRefusedError(f"TensorRT cannot parse this network: {errors or self.said()}"[:500])
        config = self._config(model, capability)
        cache = self._timing_cache(config, timing_cache)
        plan = self._builder.build_serialized_network(network, config)
        if plan is None:
            raise InputRefusedError(f"TensorRT cannot build this network: {self.said()}"[:500])
        return bytes(plan), bytes(cache.serialize()) if cache is not None else b""

    def _flags(self) -> int:
        """Return what kind of network: types as the model says (TensorRT 10), or at least an explicit batch (8.6)."""
        kinds = self._trt.NetworkDefinitionCreationFlag.__members__
        flag = kinds.get("STRONGLY_TYPED") or kinds.get("EXPLICIT_BATCH")
        return 1 << int(flag) if flag is not None else 0

    def _config(self, model: ModelProto, capability: str) -> Any:
        config, trt = self._builder.create_builder_config(), self._trt
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
        config.builder_optimization_level = self._level
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        config.clear_flag(trt.BuilderFlag.TF32)  # it is on by default; float32 is float32
        if "STRONGLY_TYPED" not in trt.NetworkDefinitionCreationFlag.__members__:
            # 8.6 refuses types that it was not told of, and where it was told takes them for anything
            if any(tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer):
                config.set_flag(trt.BuilderFlag.FP16)
            if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
                config.set_flag(trt.BuilderFlag.INT8)
        if capability:
            known = trt.ComputeCapability.__members__
            if capability not in known:
                raise UnknownNameError("compute capability", capability, known)
            config.num_compute_capabilities = 1
            config.set_compute_capability(known[capability], 0)
        return config

    def _timing_cache(self, config: Any, content: bytes | None) -> Any:
        try:
            cache = config.create_timing_cache(content or b"")
            return cache if config.set_timing_cache(cache, False) else None
        except (RuntimeError, TypeError):  # TensorRT-RTX chooses kernels when it runs, not when it builds
            return None

    def said(self) -> str:
        """Return the library's last words."""
        return " | ".join(self.messages[-3:])[:400] or "no reason given"


class TensorRt:
    """TensorRT with its options fixed, see `Runtime`.

    Args:
        module: name of the library's module.
        package: that brings it.
        provider: name of what its layers run on.
        precision: ``fp32``, ``fp16``, or ``int8-static``: layers that multiply take int8, in ranges from seeded inputs
            that ONNX Runtime finds, the rest float32.
        level: Optimisation level of the builder, 0 (fast) to 5 (long).
        cuda_graph: capture one inference and replay it.
        engine_cache: take an engine that an earlier process built of the same network. Off by default: builds differ
            from one to the next, and what two processes measured would not show it.
    """

    def __init__(
        self,
        *,
        module: str,
        package: Package,
        provider: str,
        threads: int,
        precision: str,
        level: int,
        cuda_graph: bool,
        engine_cache: bool,
    ) -> None:
        at_least_one_thread(threads)
        one_of("precision", precision, PRECISIONS)
        if level not in LEVELS:
            raise UsageError(f"level={level}; allowed: 0 to 5")
        self.package, self._module, self._provider, self._threads = package, module, provider, threads
        self._precision, self._level, self._cuda_graph, self._engine_cache = precision, level, cuda_graph, engine_cache

    @property
    def needs(self) -> Needs:
        """A build takes from a second to minutes; CUDA reserves address space far beyond what it uses."""
        return Needs(start_s=1800.0, load_s=600.0, memory_limited=False)

    @property
    def options(self) -> dict[str, Any]:
        """Everything set that changes a latency."""
        return {
            "threads": self._threads,
            "precision": self._precision,
            "provider": self._provider,
            "level": self._level,
            "cuda_graph": self._cuda_graph,
            "tf32": False,
            "engine_cache": self._engine_cache,
        }

    def versions(self) -> dict[str, str]:
        """Return the versions of the library, CUDA's bindings, onnx and numpy.

        Raises:
            NotInstalledError: one of them is not installed.
        """
        found = {self.package.names[0]: self.package.version(), "cuda-bindings": cuda.PACKAGE.version()}
        return found | {"onnx": version("onnx"), "numpy": version("numpy")}

    def start(self) -> str:
        """Import the library and find the GPU; only then is anything of it called that could end the process.

        Raises:
            UnusableError: there is no GPU, or the library cannot be imported.
        """
        gpu = cuda.name()
        self._trt: Any = imported(self._module, self.package)
        self._builder = Builder(self._trt, level=self._level)
        self._runtime = self._trt.Runtime(self._builder.logger)
        self._stream, self._cache = cuda.Stream(), EngineCache()
        machine = [gpu, *host.driver(), self._module, str(self._trt.__version__)]
        self._key = json.dumps([machine, self._precision, self._level])
        return f"{self._provider}: {gpu}"

    def load(self, model: bytes, folder: Path) -> PreparedProgram:
        """Build a network's engine, deserialise it, and prepare seeded inputs on the GPU.

        Raises:
            InputRefusedError: TensorRT cannot parse, build or run this network.
            MemoryError: the GPU has no memory left.
        """
        network = whole(model, folder)
        if self._precision == "fp16":
            network = halved(network)
        elif self._precision == "int8-static":
            network = create("runtime", "onnxruntime", threads=self._threads).for_tensorrt(network)
        plan, build_ms = self._built(network)
        engine: Any = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise InputRefusedError(f"TensorRT cannot load the engine that it built: {self._builder.said()}")
        context = engine.create_execution_context()
        if context is None:
            raise MemoryError(f"TensorRT finds no room on the GPU: {self._builder.said()}")
        arrays = inputs_of(network)
        turns = [{name: cuda.DeviceArray.of(values) for name, values in one.items()} for one in arrays]
        outputs = _outputs(self._trt, engine, context)
        launch = partial(self._launch, context, outputs)
        runs: list[Callable[[], object]] = [partial(launch, one) for one in turns]
        for run in runs:
            run()
            self._stream.wait()
        if self._cuda_graph:
            runs = [self._stream.captured(run) for run in runs]

        def compute(values: NDArray[np.float32]) -> NDArray[Any]:
            (name, kept), *_ = turns[0].items()
            launch({name: cuda.DeviceArray.of(values.astype(kept.dtype))})
            self._stream.wait()
            return next(iter(outputs.values())).read()

        return PreparedProgram(
            runs,
            lambda: {name: array.read() for name, array in outputs.items()},
            compute,
            input_shape=only_shape(arrays[0]),
            providers={self._provider: int(engine.num_layers)} if engine.num_layers else {},
            kernels=_layers(self._trt, engine),
            gpu=self._stream,
            build_ms=build_ms,
            keep=(engine, context, turns, outputs),
        )

    def _built(self, network: ModelProto) -> tuple[bytes, float]:
        """Return an engine and the time that building it took, 0 if it was built by an earlier process."""
        key = f"engine {self._key} {sha256(network.SerializeToString(deterministic=True)).hexdigest()}"
        if self._engine_cache and (plan := self._cache.read(key)):
            return plan, 0.0
        timings = f"timings {self._key}"
        begin = time.perf_counter_ns()
        plan, learnt = self._builder.build(network, timing_cache=self._cache.read(timings))
        build_ms = (time.perf_counter_ns() - begin) / 1e6
        if learnt:
            self._cache.write(timings, learnt)
        if self._engine_cache:
            self._cache.write(key, plan)
        return plan, build_ms

    def _launch(self, context: Any, outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
        for name, array in (*inputs.items(), *outputs.items()):
            context.set_tensor_address(name, int(array.address))
        if not context.execute_async_v3(int(self._stream.handle)):
            raise InputRefusedError(f"TensorRT cannot run this network: {self._builder.said()}")


def imported(module: str, package: Package) -> Any:
    """Return the library.

    Raises:
        UnusableError: it cannot be imported.
    """
    try:
        return import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        raise UnusableError(f"{package.title} cannot be imported ({line(error)})", package.install) from error


def _told(error: Any) -> str:
    """Return what a parser's error says, with the operator concerned where the library tells it (TensorRT 10)."""
    operator = getattr(error, "node_operator", str)()
    return ": ".join(filter(None, (operator, str(error.desc()))))


def _outputs(trt: Any, engine: Any, context: Any) -> dict[str, cuda.DeviceArray]:
    """Return memory for every output."""
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    return {
        name: cuda.DeviceArray(tuple(context.get_tensor_shape(name)), trt.nptype(engine.get_tensor_dtype(name)))
        for name in names
        if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT
    }


def _layers(trt: Any, engine: Any) -> dict[str, int]:
    """Return kind of layer -> number, after all fusions, as the engine's inspector tells them."""
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    layers: list[Any] = json.loads(text).get("Layers", [])
    kinds = Counter(str(one.get("LayerType", "layer")) if isinstance(one, dict) else "layer" for one in layers)
    return dict(sorted(kinds.items()))


def _logger(trt: Any, messages: list[str]) -> Any:
    """Return a logger that keeps errors and warnings, for the row of the network concerned."""

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR, trt.ILogger.WARNING):
                messages.append(" ".join(msg.split())[:300])

    return Logger()
