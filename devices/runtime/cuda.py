"""The CUDA runtime, as far as measuring needs it: memory, one stream, events on it, and graphs captured from it.

NVIDIA's own bindings (``cuda-bindings``) do the work; every call's status is looked at. An error of the GPU poisons its
context for good, so it ends the measuring process: its parent blames the network that ran, and starts another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .packages import Package, UnusableError

PACKAGE = Package.extra("cuda-bindings", "cuda-bindings", extra="gpu")


class GpuLostError(RuntimeError):
    """The GPU's context is gone. Not one of `errors`: nobody in the measuring process may catch it and go on."""


def name() -> str:
    """Return what the first GPU is called.

    Raises:
        UnusableError: the bindings are not installed, or there is no GPU.
    """
    PACKAGE.version()
    cuda = _cuda()
    status, count = cuda.cudaGetDeviceCount()
    if int(status) or not count:
        why = status.name if int(status) else "none is visible"
        raise UnusableError(f"there is no NVIDIA GPU ({why})", "see whether nvidia-smi lists one, and its driver")
    properties = _checked(cuda.cudaGetDeviceProperties(0))
    return properties.name.decode().strip("\0")


class Stream:
    """One stream with two events; see `GpuQueue`.

    Raises:
        UnusableError: there is no GPU.
        GpuLostError: any call's status is an error.
    """

    def __init__(self) -> None:
        name()
        self._cuda = _cuda()
        self.handle: Any = _checked(self._cuda.cudaStreamCreate())
        self._first, self._last = (_checked(self._cuda.cudaEventCreate()) for _ in range(2))

    def start(self) -> None:
        """Put an event into the stream."""
        _checked(self._cuda.cudaEventRecord(self._first, self.handle))

    def stop_ms(self) -> float:
        """Put another, wait for it, and return the GPU's time between the two."""
        _checked(self._cuda.cudaEventRecord(self._last, self.handle))
        _checked(self._cuda.cudaEventSynchronize(self._last))
        return float(_checked(self._cuda.cudaEventElapsedTime(self._first, self._last)))

    def wait(self) -> None:
        """Wait until everything launched has ended."""
        _checked(self._cuda.cudaStreamSynchronize(self.handle))

    def captured(self, launch: Callable[[], object]) -> Callable[[], None]:
        """Return a replay of what ``launch`` puts into the stream; it must have run before, to allocate."""
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        _checked(self._cuda.cudaStreamBeginCapture(self.handle, mode))
        try:
            launch()
        finally:
            graph = _checked(self._cuda.cudaStreamEndCapture(self.handle))
        ready = _checked(self._cuda.cudaGraphInstantiate(graph, 0))
        return lambda: _checked(self._cuda.cudaGraphLaunch(ready, self.handle))


class DeviceArray:
    """Memory on the GPU, of one shape and type; freed with the object."""

    def __init__(self, shape: Sequence[int], dtype: Any) -> None:
        self._cuda, self.shape, self.dtype = _cuda(), tuple(shape), np.dtype(dtype)
        self._bytes = max(1, int(np.prod(self.shape)) * self.dtype.itemsize)
        status, self.address = self._cuda.cudaMalloc(self._bytes)
        if status == self._cuda.cudaError_t.cudaErrorMemoryAllocation:
            raise MemoryError(f"the GPU has no {self._bytes} bytes left")
        _checked((status,))

    @classmethod
    def of(cls, values: NDArray[Any]) -> DeviceArray:
        """Return a copy of host values of any shape on the GPU."""
        self = cls(values.shape, values.dtype)
        self.write(values)
        return self

    def write(self, values: NDArray[Any]) -> None:
        """Copy host values of this shape and type in."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        held = np.ascontiguousarray(values, self.dtype).reshape(self.shape)
        _checked(self._cuda.cudaMemcpy(self.address, held.ctypes.data, held.nbytes, kind))

    def read(self) -> NDArray[Any]:
        """Return a host copy, of the shape and type of this array."""
        found = np.empty(self.shape, self.dtype)
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        _checked(self._cuda.cudaMemcpy(found.ctypes.data, self.address, found.nbytes, kind))
        return found

    def __del__(self) -> None:
        if getattr(self, "address", 0):
            self._cuda.cudaFree(self.address)


def _checked(answer: tuple[Any, ...]) -> Any:
    """Return what a call gave, or raise its error."""
    status, *values = answer
    if int(status):
        raise GpuLostError(f"CUDA: {status.name}; what the GPU holds is lost")
    return values[0] if values else None


def _cuda() -> Any:
    return import_module("cuda.bindings.runtime")
