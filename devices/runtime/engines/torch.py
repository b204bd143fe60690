"""torch in the measuring process: eager or compiled by Inductor, on the CPU or an NVIDIA GPU.

The network comes as ONNX, as for every other runtime, and is turned into an ordinary module (`onnx_torch`). TF32 is
off: float32 is float32. Inductor compiles whole graphs of fixed shapes, with frozen weights, in one process; what it
writes stays in the worker's folder, so a compilation is always done anew and its time is that of a first one.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from ....arguments import Threads
from ....errors import InputRefusedError, UsageError
from ..packages import Package, UnusableError
from ..program import PreparedProgram, at_least_one_thread, inputs_of, line, one_of, only_shape, whole
from ..runtime import Needs

PACKAGE = Package("torch", ("torch",), "pip install torch")
PROVIDERS = {"cpu": "CPU", "cuda": "CUDA"}
PRECISIONS = ("fp32", "fp16")
MODES = ("eager", "inductor")
WARM_UP_RUNS = 3  # before a CUDA graph is captured, as torch asks for


class TorchRuntime:
    """torch with its options fixed.

    Args:
        threads: intra-op threads; inter-op is 1.
        precision: ``fp32``, or on a GPU ``fp16``.
        provider: ``cpu`` or ``cuda``.
        mode: ``eager``, or ``inductor`` (torch.compile; it needs a C++ compiler on the CPU, Triton on a GPU).
        cuda_graph: capture one inference and replay it: the host then no longer launches kernel by kernel.
    """

    package = PACKAGE
    ways = ("", "mode=inductor", "provider=cuda")

    def __init__(
        self,
        *,
        threads: Threads = 1,
        precision: str = "fp32",
        provider: str = "cpu",
        mode: str = "eager",
        cuda_graph: bool = False,
    ) -> None:
        at_least_one_thread(threads)
        one_of("precision", precision, PRECISIONS)
        one_of("provider", provider, PROVIDERS)
        one_of("mode", mode, MODES)
        if provider == "cpu" and (cuda_graph or precision != "fp32"):
            raise UsageError(
                f"precision={precision}, cuda_graph={cuda_graph} with provider=cpu; allowed: fp32 without a graph, or "
                "provider=cuda"
            )
        self._threads, self._precision, self._provider = threads, precision, PROVIDERS[provider]
        self._mode, self._cuda_graph = mode, cuda_graph

    @property
    def needs(self) -> Needs:
        """Importing torch takes seconds, Inductor up to minutes a network."""
        limited = self._provider == "CPU"
        return Needs(600.0, 300.0, limited) if self._mode == "inductor" else Needs(120.0, 60.0, limited)

    @property
    def options(self) -> dict[str, Any]:
        """Everything set that changes a latency."""
        return {
            "threads": self._threads,
            "precision": self._precision,
            "provider": self._provider,
            "mode": self._mode,
            "cuda_graph": self._cuda_graph,
            "tf32": False,
            "denormals": "zero",
        }

    def versions(self) -> dict[str, str]:
        """Return the versions of torch, onnx and numpy.

        Raises:
            NotInstalledError: torch is not installed.
        """
        return {"torch": PACKAGE.version(), "onnx": version("onnx"), "numpy": version("numpy")}

    def start(self) -> str:
        """Import torch and set its threads and modes for good.

        Raises:
            UnusableError: it cannot be imported, there is no compiler, or no GPU where one is asked for.
        """
        if self._mode == "inductor":  # told before torch is imported: afterwards nobody asks
            if self._provider == "CPU" and not any(map(which, ("g++", "clang++"))):
                raise UnusableError("mode=inductor needs a C++ compiler", "apt-get install g++")
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path.cwd() / "inductor")
            os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
        try:
            torch = _torch()
        except (ImportError, OSError) as error:
            raise UnusableError(f"torch cannot be imported ({line(error)})", PACKAGE.install) from error
        torch.set_num_threads(self._threads)
        torch.set_num_interop_threads(1)
        torch.set_flush_denormal(True)
        torch.set_grad_enabled(False)
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        if self._mode == "inductor":
            inductor: Any = import_module("torch._inductor.config")
            inductor.freezing = True
            inductor.cpp_cache_precompile_headers = False  # a file larger than a worker may write
        if self._provider == "CUDA" and not torch.cuda.is_available():
            built = (
                f"this torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "this torch has no CUDA"
            )
            raise UnusableError(
                f"provider=cuda: torch sees no NVIDIA GPU ({built})",
                "see whether nvidia-smi lists one, and take a build for it: pip install --force-reinstall torch",
            )
        return f"CUDA: {torch.cuda.get_device_name()}" if torch.cuda.is_available() else "CPU"

    def load(self, model: bytes, folder: Path) -> PreparedProgram:
        """Build the module, compile and capture it as the options say, and prepare seeded inputs.

        Raises:
            InputRefusedError: an operator that `onnx_torch` does not know, or the compiler refuses the network.
            MemoryError: an allocation failed.
        """
        network = whole(model, folder)
        try:
            return self._prepared(network)
        except InputRefusedError:
            raise
        except Exception as error:  # the compiler raises exceptions of many kinds
            if "CUDA error" in str(error):  # its context is poisoned: the process must end
                raise
            if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
                raise MemoryError(line(error)) from error
            raise InputRefusedError(f"torch refuses this network: {line(error)}") from error

    def _prepared(self, network: ModelProto) -> PreparedProgram:
        from ..onnx_torch import to_module

        torch = _torch()
        module = to_module(network)
        kernels = Counter(node.target.__name__ for node in module.graph.nodes if node.op == "call_function")
        kind = torch.float16 if self._precision == "fp16" else torch.float32
        forward: Callable[..., Any] = module.to(self._place, kind)
        if self._mode == "inductor":
            forward = torch.compile(module, fullgraph=True, dynamic=False)
        arrays = inputs_of(network)
        turns = [tuple(self._tensor(values, kind) for values in one.values()) for one in arrays]
        for inputs in turns:
            forward(*inputs)  # the compiler works at the first call
        last: list[Any] = [None]

        def run(inputs: tuple[Any, ...]) -> None:
            last[0] = forward(*inputs)

        runs = _captured(forward, turns, last) if self._cuda_graph else [partial(run, one) for one in turns]
        return PreparedProgram(
            runs,
            lambda: {"output": last[0].float().cpu().numpy()},
            lambda values: forward(self._tensor(values, kind)).float().cpu().numpy(),
            input_shape=only_shape(arrays[0]),
            providers={self._provider: sum(kernels.values())} if kernels else {},
            kernels=dict(sorted(kernels.items())) if self._mode == "eager" else {},
            gpu=_TorchQueue() if self._provider == "CUDA" else None,
        )

    @property
    def _place(self) -> str:
        return self._provider.lower()

    def _tensor(self, values: NDArray[Any], kind: Any) -> Any:
        tensor = _torch().from_numpy(np.array(values)).to(self._place)
        return tensor.to(kind) if tensor.is_floating_point() else tensor


class _TorchQueue:
    """torch's current stream; see `GpuQueue`."""

    def __init__(self) -> None:
        self._cuda = _torch().cuda
        self._first, self._last = (self._cuda.Event(enable_timing=True) for _ in range(2))

    def start(self) -> None:
        self._first.record()

    def stop_ms(self) -> float:
        self._last.record()
        self._last.synchronize()
        return float(self._first.elapsed_time(self._last))

    def wait(self) -> None:
        self._cuda.current_stream().synchronize()


def _captured(forward: Callable[..., Any], turns: list[tuple[Any, ...]], last: list[Any]) -> list[Callable[[], None]]:
    """Return a replay of one captured inference for each set of inputs."""
    cuda = _torch().cuda
    side = cuda.Stream()
    side.wait_stream(cuda.current_stream())
    with cuda.stream(side):
        for _ in range(WARM_UP_RUNS):
            forward(*turns[0])
    cuda.current_stream().wait_stream(side)

    def replay(inputs: tuple[Any, ...]) -> Callable[[], None]:
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            output = forward(*inputs)

        def run() -> None:
            graph.replay()
            last[0] = output

        return run

    return [replay(inputs) for inputs in turns]


def _torch() -> Any:
    """Import torch by its name: to a type checker, ``import torch`` here would mean this very file."""
    return import_module("torch")


RUNTIME = TorchRuntime
