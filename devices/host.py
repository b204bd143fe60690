"""What this machine is, and the state it is in: read from the kernel, None where it does not say, never guessed."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..errors import UsageError

_CPU = "sys/devices/system/cpu"
_CACHE_KINDS = {"Data": "d", "Instruction": "i"}


def hardware(root: Path = Path("/")) -> dict[str, Any]:
    """Return what stays: processor, cores, caches, instruction sets, memory, system.

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    info = _cpu_info(root)
    groups = core_groups(root)
    return {
        "cpu": info.get("model name") or info.get("Hardware") or platform.processor() or None,
        "architecture": platform.machine(),
        "physical_cores": len(groups) or None,
        "logical_cores": sum(map(len, groups)) or None,
        "caches": _caches(root),
        "isa": _digest(info.get("flags") or info.get("Features")),
        "memory_gib": _memory_gib(root),
        "system": f"{platform.system()} {platform.release()}",
        "libc": " ".join(filter(None, platform.libc_ver())) or None,
    } | ({"emulated": True} if emulated(root) else {})


def emulated(root: Path = Path("/")) -> bool:
    """Return whether qemu runs this program on a processor of another kind: its times mean nothing."""
    return (text_of(root / "proc/self/comm") or "").startswith("qemu-")


def conditions(cores: list[int], root: Path = Path("/")) -> dict[str, Any]:
    """Return what changes from day to day.

    Args:
        cores: those that are timed; governor and frequency are theirs.
        root: where ``proc`` and ``sys`` are.
    """
    policies = [root / _CPU / f"cpu{core}/cpufreq" for core in cores]
    load = text_of(root / "proc/loadavg")
    return {
        "governor": _common([text_of(policy / "scaling_governor") for policy in policies]),
        "frequency_khz": _common([integer_of(policy / "scaling_cur_freq") for policy in policies]),
        "turbo": _turbo(root),
        "load_average_1min": float(load.split()[0]) if load else None,
        "steal_ticks": _steal_ticks(root),
        "boot_id": text_of(root / "proc/sys/kernel/random/boot_id"),
        "isolated_cores": text_of(root / _CPU / "isolated") or None,
        "memory_available_gib": _meminfo_gib(root, "MemAvailable"),
    }


def gpus(root: Path = Path("/")) -> list[str]:
    """Return the models of NVIDIA's GPUs, as their driver tells them; none where it is not loaded."""
    found: list[str] = []
    for file in sorted((root / "proc/driver/nvidia/gpus").glob("*/information")):
        lines = (text_of(file) or "").splitlines()
        found += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    return found


def driver(root: Path = Path("/")) -> list[str]:
    """Return the version of NVIDIA's driver, or nothing."""
    text = text_of(root / "proc/driver/nvidia/version") or ""
    return [word for word in text.split() if word.count(".") >= 1 and word.replace(".", "").isdigit()][:1]


def core_groups(root: Path = Path("/")) -> list[tuple[int, ...]]:
    """Return the logical CPUs of each physical core, sorted; each on its own where the kernel does not say."""
    groups: set[tuple[int, ...]] = set()
    for folder in sorted((root / _CPU).glob("cpu[0-9]*")):
        siblings = text_of(folder / "topology/thread_siblings_list")
        groups.add(tuple(parse_cores(siblings)) if siblings else (int(folder.name[3:]),))
    return sorted(groups)


def allowed_cores() -> list[int]:
    """Return the logical CPUs that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def choose_cores(threads: int, groups: Sequence[Sequence[int]], allowed: Sequence[int]) -> list[int]:
    """Return the CPUs to time on: one a physical core, the last ones, CPU 0's core only if there is no other.

    Args:
        threads: how many.
        groups: logical CPUs of each physical core.
        allowed: logical CPUs that may be used.

    Raises:
        UsageError: there are fewer physical cores.
    """
    usable = [[cpu for cpu in group if cpu in allowed] for group in groups]
    free = sorted(((0 not in group, cpus[0]) for group, cpus in zip(groups, usable, strict=True) if cpus))
    if threads > len(free):
        raise UsageError(f"threads={threads}, but this process may use {len(free)} physical cores; take fewer threads")
    return sorted(cpu for _, cpu in free[-threads:])


def idle_cores(timed: Sequence[int], groups: Sequence[Sequence[int]], allowed: Sequence[int]) -> list[int]:
    """Return the CPUs for everything else: not the timed ones, nor their siblings, as long as any are left."""
    siblings = {cpu for group in groups if set(group) & set(timed) for cpu in group}
    for busy in (siblings, set(timed)):
        left = [cpu for cpu in allowed if cpu not in busy]
        if left:
            return left
    return list(timed)


def parse_cores(text: str) -> list[int]:
    """Read the kernel's list of CPUs; ``+`` may stand for the comma.

    >>> parse_cores("0-2,5")
    [0, 1, 2, 5]

    Raises:
        ValueError: it is no such list.
    """
    cores: set[int] = set()
    for part in text.replace("+", ",").split(","):
        first, _, last = part.partition("-")
        cores.update(range(int(first), int(last or first) + 1))
    return sorted(cores)


def _cpu_info(root: Path) -> dict[str, str]:
    info: dict[str, str] = {}
    for line in (text_of(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        info.setdefault(key.strip(), value.strip())
    return info


def _caches(root: Path) -> list[str] | None:
    """Return the caches of CPU 0, such as ``L1d 32K``."""
    found: list[str] = []
    for folder in sorted((root / _CPU / "cpu0/cache").glob("index[0-9]*")):
        level, kind, size = (text_of(folder / name) for name in ("level", "type", "size"))
        if level and kind and size:
            found.append(f"L{level}{_CACHE_KINDS.get(kind, '')} {size}")
    return found or None


def _digest(flags: str | None) -> str | None:
    return sha256(" ".join(sorted(flags.split())).encode()).hexdigest()[:12] if flags else None


def _memory_gib(root: Path) -> int | None:
    """Return the memory in whole GiB: what the kernel keeps for itself differs from boot to boot."""
    gib = _meminfo_gib(root, "MemTotal")
    return None if gib is None else round(gib)


def _meminfo_gib(root: Path, field: str) -> float | None:
    for line in (text_of(root / "proc/meminfo") or "").splitlines():
        if line.startswith(f"{field}:"):
            return round(int(line.split()[1]) / 2**20, 2)
    return None


def _turbo(root: Path) -> bool | None:
    off = integer_of(root / _CPU / "intel_pstate/no_turbo")
    if off is not None:
        return off == 0
    boost = integer_of(root / _CPU / "cpufreq/boost")
    return None if boost is None else boost == 1


def _steal_ticks(root: Path) -> int | None:
    fields = (text_of(root / "proc/stat") or "").split("\n", 1)[0].split()
    return int(fields[8]) if len(fields) > 8 else None


def _common(values: list[Any]) -> Any:
    """Return the value that all share, the list if they differ, None if none is known."""
    return values[0] if len(set(values)) == 1 else values


def integer_of(path: Path) -> int | None:
    """Return the whole number in a file; None where there is none."""
    text = text_of(path)
    return int(text) if text and text.isdigit() else None


def text_of(path: Path) -> str | None:
    """Return a file's text, stripped; None where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None
