"""What the runtimes share: seeded inputs, taken in turn, and a `Program` made of an engine's own calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from itertools import cycle
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, helper, load_external_data_for_model

from ...errors import InputRefusedError, UnknownNameError, UsageError

INPUTS = 3
"""Different inputs, taken in turn, so that nothing can be remembered from one run to the next."""

LEAST_RUNS, MOST_RUNS = 3, 200
"""Of a network while its kernels are watched."""

Arrays = Mapping[str, NDArray[Any]]


class GpuQueue(Protocol):
    """The queue of a GPU that an engine launches its kernels into."""

    def start(self) -> None:
        """Put an event into the queue."""
        ...

    def stop_ms(self) -> float:
        """Put another, wait for it, and return the GPU's time between the two."""
        ...

    def wait(self) -> None:
        """Wait until everything launched has ended."""
        ...


class PreparedProgram:
    """A network made ready by an engine; see `Program`.

    Args:
        runs: one inference on each of several inputs, in place; each leaves its outputs where ``outputs`` finds them.
        outputs: name -> output of the last run.
        compute: the first output for values of the only input.
        input_shape: what ``compute`` takes; None if the network has several inputs.
        providers, kernels: see `Program`.
        gpu: the queue that ``runs`` only launch into; None where they return when the outputs are there.
        build_ms: time that building it took, where that is more than reading it; 0 where an earlier build was taken.
        keep: what must live as long as the program.
    """

    def __init__(
        self,
        runs: Sequence[Callable[[], object]],
        outputs: Callable[[], Arrays],
        compute: Callable[[NDArray[np.float32]], NDArray[Any]],
        *,
        input_shape: tuple[int, ...] | None,
        providers: dict[str, int],
        kernels: dict[str, int],
        gpu: GpuQueue | None = None,
        build_ms: float = 0.0,
        keep: object = None,
    ) -> None:
        self._runs, self._outputs, self._compute, self._input_shape = list(runs), outputs, compute, input_shape
        self.providers, self.kernels, self.build_ms, self._keep = providers, kernels, build_ms, keep
        self._turns, self._gpu = cycle(self._runs), gpu
        self.gpu_time = self._gpu_time if gpu else None

    def run(self) -> None:
        """Run one inference on the next inputs, to its end."""
        next(self._turns)()
        if self._gpu is not None:
            self._gpu.wait()

    def _gpu_time(self, runs: int) -> tuple[float, float]:
        """Launch so many inferences, wait, and return (GPU ms, host ms until all were launched)."""
        assert self._gpu is not None
        self._gpu.start()
        begin = perf_counter_ns()
        for _ in range(runs):
            next(self._turns)()
        enqueue_ms = (perf_counter_ns() - begin) / 1e6
        return self._gpu.stop_ms(), enqueue_ms

    def compute(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the first output, ``(batch, ...)``, for values ``(batch, ...)`` of the only input.

        Raises:
            InputRefusedError: they do not fit, or there are several inputs.
        """
        if values.shape != self._input_shape:
            raise InputRefusedError(f"an input of shape {values.shape}; allowed: {self._input_shape or 'one input'}")
        return np.asarray(self._compute(values), np.float32)

    def hold(self, held: bool) -> None:
        """Run on one and the same input from now on, or on several in turn as at first."""
        self._turns = cycle(self._runs[:1] if held else self._runs)

    def invalid_output(self) -> str | None:
        """Return which output of the last run holds NaN or an infinity, or None."""
        return not_finite(self._outputs())


def whole(model: bytes, folder: Path) -> ModelProto:
    """Return a network with its external weights taken in from ``folder``."""
    loaded = ModelProto.FromString(model)
    load_external_data_for_model(loaded, str(folder))
    return loaded


def halved(model: ModelProto) -> ModelProto:
    """Return a network, its weights embedded, in float16, its inputs and outputs too."""
    convert = import_module("onnxruntime.transformers.float16").convert_float_to_float16
    return convert(model, keep_io_types=False)


def inputs_of(model: ModelProto) -> list[dict[str, NDArray[Any]]]:
    """Return ``INPUTS`` seeded inputs of a network, each a mapping of name -> array.

    Raises:
        InputRefusedError: an input is no tensor of numbers of a fixed shape.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    asked = [value for value in model.graph.input if value.name not in constants]
    rng = np.random.Generator(np.random.PCG64(0))
    found: list[dict[str, NDArray[Any]]] = []
    for _ in range(INPUTS):
        one: dict[str, NDArray[Any]] = {}
        for value in asked:
            tensor = value.type.tensor_type
            dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
            one[value.name] = seeded(value.name, dtype, [size.dim_value for size in tensor.shape.dim], rng)
        found.append(one)
    return found


def only_shape(inputs: Arrays) -> tuple[int, ...] | None:
    """Return the shape of the only input, None if there are several."""
    return next(iter(inputs.values())).shape if len(inputs) == 1 else None


def seeded(name: str, dtype: Any, shape: Sequence[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Return values of this shape for one input: normal, or 0 and 1 where it holds whole numbers.

    Raises:
        InputRefusedError: a size is not fixed, or the elements are no numbers.
    """
    if not all(isinstance(size, int) and size > 0 for size in shape):
        raise InputRefusedError(f"input {name!r} has shape {list(shape)}; every size must be fixed before timing")
    if np.issubdtype(dtype, np.floating):
        return rng.standard_normal(shape).astype(dtype)
    if np.issubdtype(dtype, np.integer) or dtype == np.bool_:
        return rng.integers(0, 2, shape).astype(dtype)
    raise InputRefusedError(f"input {name!r} holds {np.dtype(dtype)}; allowed: numbers")


def not_finite(outputs: Arrays) -> str | None:
    """Return which output holds NaN or an infinity, or None."""
    for name, array in outputs.items():
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            return f"output {name!r} holds {int((~np.isfinite(array)).sum())} of {array.size} values not finite"
    return None


def one_of(name: str, value: str, allowed: Iterable[str]) -> None:
    """Refuse a value of an option that is not allowed.

    Raises:
        UnknownNameError: with what is.
    """
    if value not in allowed:
        raise UnknownNameError(name, value, allowed)


def at_least_one_thread(threads: int) -> None:
    """Refuse a number of threads that is none.

    Raises:
        UsageError: it is below 1.
    """
    if threads < 1:
        raise UsageError(f"threads={threads}; at least 1 is needed")


def watched(run: Callable[[], object], seconds: float, after: Callable[[], None] = lambda: None) -> list[float]:
    """Run a network that is watched for so many seconds, at the least three times; return the ms of each run.

    For no time at all it is run once, which tells its kernels' shapes. ``after`` is called after each, and not timed.
    """
    runs_ms: list[float] = []
    least = LEAST_RUNS if seconds > 0 else 1
    if seconds > 0:
        run()
    began = perf_counter()
    while len(runs_ms) < least or (perf_counter() - began < seconds and len(runs_ms) < MOST_RUNS):
        start = perf_counter()
        run()
        runs_ms.append((perf_counter() - start) * 1e3)
        after()
    return runs_ms


def line(error: Exception) -> str:
    """Return an engine's message as one line."""
    return " ".join(str(error).split())[:500]
