"""What an NVIDIA GPU says of itself through NVML: clocks, power, heat, why it is throttled, who else computes on it.

It is read, never set: no clock is locked, nothing is reset. Reading takes up to a millisecond and is done between
bursts. Without ``nvidia-ml-py``, or without a driver, there is nothing to read, and rows say so by lacking it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil

from ...errors import DeviceError
from .packages import NotInstalledError, Package, UnusableError

PACKAGE = Package.extra("nvidia-ml-py", "nvidia-ml-py", extra="gpu")
PATIENCE_S = 60.0
_POLL_S = 0.5
REASONS = {
    0x04: "gpu_throttle_power_cap",
    0x08: "gpu_throttle_hardware",
    0x20: "gpu_throttle_thermal_software",
    0x40: "gpu_throttle_thermal_hardware",
    0x80: "gpu_throttle_power_brake",
}
"""Bits of ``nvmlClocksEventReasons`` that slow a GPU down; others, such as idling and applications' clocks, do not."""


class Watch:
    """The GPU that computes: the first of ``CUDA_VISIBLE_DEVICES``.

    Raises:
        UnusableError: NVML's bindings are not installed, or there is no driver or no such GPU.
    """

    def __init__(self) -> None:
        PACKAGE.version()
        self._nvml: Any = import_module("pynvml")
        visible = asked_gpu()
        try:
            self._nvml.nvmlInit()
            if visible.startswith("GPU-"):
                self._gpu = self._nvml.nvmlDeviceGetHandleByUUID(visible)
            else:
                self._gpu = self._nvml.nvmlDeviceGetHandleByIndex(int(visible or 0))
        except (self._nvml.NVMLError, ValueError) as error:
            raise UnusableError(f"NVML tells of no GPU ({error})", "see whether nvidia-smi lists one") from error

    @property
    def uuid(self) -> str:
        """Return the GPU's own name, the same under every number that a process may know it by."""
        return str(self._nvml.nvmlDeviceGetUUID(self._gpu))

    def state(self) -> dict[str, float]:
        """Return clocks, power and temperature, as far as this GPU tells them."""
        nvml, gpu = self._nvml, self._gpu
        return self._told(
            {
                "gpu_sm_mhz": lambda: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM),
                "gpu_memory_mhz": lambda: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM),
                "gpu_power_w": lambda: nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3,
                "gpu_temperature_c": lambda: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
            }
        )

    def events(self) -> list[str]:
        """Return why the GPU is slower than it could be, now."""
        read = getattr(self._nvml, "nvmlDeviceGetCurrentClocksEventReasons", None)
        read = read or self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons  # its name before driver 535
        return reasons(int(self._told({"bits": lambda: read(self._gpu)}).get("bits", 0)))

    def foreign(self) -> list[int]:
        """Return the process ids of others that compute on the GPU, as far as this process can see them."""
        told: list[Any] = []
        try:
            told = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._gpu)
        except self._nvml.NVMLError:
            return []
        return others(one.pid for one in told)

    def _told(self, questions: dict[str, Callable[[], float]]) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, ask in questions.items():
            try:
                found[name] = float(ask())
            except self._nvml.NVMLError:  # not every GPU tells everything
                continue
        return found


def asked_gpu() -> str:
    """Return the first of ``CUDA_VISIBLE_DEVICES``, a number or an UUID; empty where nothing is said."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()


def watch() -> Watch | None:
    """Return a watch, or None where there is nothing to read."""
    try:
        return Watch()
    except UnusableError:
        return None


def described() -> str:
    """Return what reads the GPU's state, or why nothing does."""
    try:
        Watch()
        return f"nvidia-ml-py {PACKAGE.version()}"
    except (NotInstalledError, UnusableError) as error:
        return str(error)


def reasons(bits: int) -> list[str]:
    """Return the names of the reasons in a bit mask.

    >>> reasons(0x01), reasons(0x24)
    ([], ['gpu_throttle_power_cap', 'gpu_throttle_thermal_software'])
    """
    return [name for bit, name in REASONS.items() if bits & bit]


def others(pids: Iterable[int]) -> list[int]:
    """Return those that are neither this process nor started by it, nor the one that started it.

    That one waits while this one measures: a search trains on the GPU and has it measured in turn.
    In a container NVML tells the host's numbers: a process that does not exist here may be our own, and is left out.
    """
    mine = {os.getpid(), os.getppid(), *(child.pid for child in psutil.Process().children(recursive=True))}
    return sorted(pid for pid in set(pids) - mine if Path(f"/proc/{pid}").exists())


def wait_until_alone(
    watch: Watch, *, patience_s: float = PATIENCE_S, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Wait as long as another process computes on the GPU.

    Raises:
        DeviceError: it still does after ``patience_s``.
    """
    waited_s = 0.0
    while pids := watch.foreign():
        if waited_s >= patience_s:
            raise DeviceError(
                f"processes {', '.join(map(str, pids))} have computed on the GPU for {patience_s:.0f} s; end them, or "
                "wait: then the same command goes on"
            )
        sleep(_POLL_S)
        waited_s += _POLL_S
