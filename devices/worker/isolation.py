"""What a worker gives up before it opens foreign bytes (Linux; elsewhere what cannot be had is reported as absent)."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from ...errors import DeviceError

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
FILE_BYTES = 64 * 2**20
_DESCRIPTORS = 256
CPU_SECONDS = 120  # of each thread for one request, at the least; see allow_cpu


def confine(parent: int, memory_bytes: int | None, file_bytes: int = FILE_BYTES) -> dict[str, Any]:
    """Limit this process for good and return what is in force.

    Args:
        parent: process id of the parent: this process dies with it.
        memory_bytes: address space, or None for engines that reserve more than they use.
        file_bytes: size of a file that it writes.

    Raises:
        DeviceError: a limit cannot be set.
    """
    try:
        _limit(resource.RLIMIT_CORE, 0)
        _limit(resource.RLIMIT_FSIZE, file_bytes)
        _limit(resource.RLIMIT_NOFILE, _DESCRIPTORS)
        if memory_bytes is not None:
            _limit(resource.RLIMIT_AS, memory_bytes)
    except (OSError, ValueError) as error:
        raise DeviceError(f"the worker cannot limit itself: {error}") from error
    dies = _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above took effect
        os._exit(1)
    return {
        "memory_bytes": memory_bytes,
        "file_bytes": file_bytes,
        "descriptors": _DESCRIPTORS,
        "core_files": False,
        "own_process_group": os.getpgid(0) == os.getpid(),
        "dies_with_parent": dies,
        "no_new_privileges": _prctl(_PR_SET_NO_NEW_PRIVS, 1),
        "network": "not isolated",
        "file_system": "not isolated",
    }


def allow_cpu(threads: int, seconds: int = CPU_SECONDS) -> None:
    """Grant the next request its CPU time: a limit over the whole life would end a long, healthy session."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    granted = int(usage.ru_utime + usage.ru_stime) + 1 + seconds * threads
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    granted = granted if hard == resource.RLIM_INFINITY else min(granted, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (granted, hard))


def move_to(cores: list[int]) -> None:
    """Bind every thread of this process to these cores; threads created later inherit it.

    Raises:
        DeviceError: a core does not exist or is not allowed.
    """
    if sys.platform != "linux":
        return
    for thread in Path("/proc/self/task").iterdir():
        try:
            os.sched_setaffinity(int(thread.name), cores)
        except ProcessLookupError:  # a thread that has just ended
            continue
        except OSError as error:
            raise DeviceError(f"cannot move to cores {cores}: {error}") from error


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _prctl(option: int, value: int) -> bool:
    if sys.platform != "linux":
        return False
    return ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) == 0
