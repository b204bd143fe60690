"""LiteRT (TensorFlow Lite), the runtime of Android, on the CPU in the measuring process.

Its own XNNPACK kernels take what they can, its built-in ones the rest; both are counted. The network is written as a
flatbuffer when it is loaded (`onnx_tflite`). Inputs are copied into the engine at every run, as an application does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from ....arguments import Threads
from ....errors import InputRefusedError
from ....graphs.kernels import Profile, seen_through
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
from ..runtime import Needs

PACKAGE = Package.extra("LiteRT", "ai-edge-litert", extra="litert")
PROVIDER = "CPU"
PRECISIONS = ("fp32",)


class LiteRt:
    """LiteRT with its options fixed.

    Args:
        threads: Threads of XNNPACK and of the built-in kernels.
        precision: ``fp32``.
    """

    package = PACKAGE
    ways = ("",)
    needs = Needs()

    def __init__(self, *, threads: Threads = 1, precision: str = "fp32") -> None:
        at_least_one_thread(threads)
        one_of("precision", precision, PRECISIONS)
        self._threads, self._precision = threads, precision

    @property
    def options(self) -> dict[str, Any]:
        """Everything set that changes a latency."""
        return {
            "threads": self._threads,
            "precision": self._precision,
            "provider": PROVIDER,
            "delegate": "xnnpack",
            "denormals": "as they are",
        }

    def versions(self) -> dict[str, str]:
        """Return the versions of LiteRT, onnx and numpy.

        Raises:
            NotInstalledError: LiteRT is not installed.
        """
        return {"ai-edge-litert": PACKAGE.version(), "onnx": version("onnx"), "numpy": version("numpy")}

    def start(self) -> str:
        """Import LiteRT.

        Raises:
            UnusableError: it cannot be imported.
        """
        try:
            _litert()
        except ImportError as error:
            raise UnusableError(f"LiteRT cannot be imported ({line(error)})", PACKAGE.install) from error
        return "CPU: XNNPACK and built-in kernels"

    def load(self, model: bytes, folder: Path) -> PreparedProgram:
        """Write the network as a flatbuffer and prepare seeded inputs.

        Raises:
            InputRefusedError: an operator that `onnx_tflite` does not know, or LiteRT refuses the network.
        """
        from ..onnx_tflite import moved, moved_back, to_tflite

        network = whole(model, folder)
        engine = self._engine(to_tflite(network))
        arrays = inputs_of(network)
        places, (out, *_) = (
            [one["index"] for one in d()] for d in (engine.get_input_details, engine.get_output_details)
        )
        turns = [list(zip(places, map(moved, one.values()), strict=True)) for one in arrays]

        def run(inputs: list[tuple[int, NDArray[Any]]]) -> None:
            for place, values in inputs:
                engine.set_tensor(place, values)
            engine.invoke()

        def compute(values: NDArray[np.float32]) -> NDArray[Any]:
            run([(places[0], moved(values))])
            return moved_back(engine.get_tensor(out))

        kernels = _kernels(engine)
        return PreparedProgram(
            [partial(run, inputs) for inputs in turns],
            lambda: {"output": engine.get_tensor(out)},
            compute,
            input_shape=only_shape(arrays[0]),
            providers={PROVIDER: sum(kernels.values())},
            kernels=kernels,
        )

    def profile(self, model: bytes, folder: Path, *, seconds: float) -> Profile:
        """Say what LiteRT makes of a network, and time each of its kernels alone: it tells no times of its own.

        A kernel is a node of the network with what was written into it; which of its operators XNNPACK runs is in its
        ``provider``. XNNPACK may join some of them further, which it does not tell.

        Raises:
            InputRefusedError: an operator that `onnx_tflite` does not know, control flow, or LiteRT refuses it.
        """
        from ..onnx_tflite import converted
        from ..tflite_kernels import kernels_of, timed

        network = whole(model, folder)
        seen_through(network.graph)
        content, made = converted(network)
        engine = self._engine(content)
        runs_ms = watched(engine.invoke, seconds / 4)
        return timed(kernels_of(network, made, _taken(engine)), runs_ms, seconds, self._invoke)

    def _invoke(self, model: ModelProto) -> Callable[[], object]:
        from ..onnx_tflite import to_tflite

        return self._engine(to_tflite(model)).invoke

    def _engine(self, content: bytes) -> Any:
        try:
            engine = _litert().Interpreter(model_content=content, num_threads=self._threads)
            engine.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise InputRefusedError(f"LiteRT refuses this network: {line(error)}") from error
        return engine


def _kernels(engine: Any) -> dict[str, int]:
    """Return operator -> number of nodes, those that XNNPACK took over marked so."""
    listed = [one for one in engine._get_ops_details() if one["op_name"] != "DELEGATE"]  # the only way to ask
    taken = _taken(engine)
    names = [f"{'XNNPACK ' if one['index'] in taken else ''}{one['op_name']}" for one in listed]
    return dict(sorted(Counter(names).items()))


def _taken(engine: Any) -> set[int]:
    """Return the places of operators that XNNPACK took over.

    The engine lists every operator of the file, then a DELEGATE for each group taken over, which has the group's
    inputs and outputs: what lies between these is the group.
    """
    listed = engine._get_ops_details()
    makers = {int(out): one for one in listed if one["op_name"] != "DELEGATE" for out in one["outputs"]}
    taken: set[int] = set()
    for group in (one for one in listed if one["op_name"] == "DELEGATE"):
        seen, ahead = set(map(int, group["inputs"])), list(map(int, group["outputs"]))
        while ahead:
            tensor = ahead.pop()
            if tensor not in seen and tensor in makers:
                taken.add(makers[tensor]["index"])
                ahead += map(int, makers[tensor]["inputs"])
            seen.add(tensor)
    return taken


def _litert() -> Any:
    """Import LiteRT's interpreter by name: it has no types."""
    return import_module("ai_edge_litert.interpreter")


RUNTIME = LiteRt
