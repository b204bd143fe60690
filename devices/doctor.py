"""What on this machine would make numbers better, with the command that does it.

Read from the system tree only; nothing is changed.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from inspect import signature
from pathlib import Path
from typing import Literal

from .. import registry
from ..registry import load, names
from ..shown import counted
from . import host

Level = Literal["good", "advice", "problem", "unknown"]

_CPU = "sys/devices/system/cpu"
_CLOCK = "sys/devices/system/clocksource/clocksource0"
_GOOD_CLOCKS = ("tsc", "arch_sys_counter")  # read in the process itself, in nanoseconds
_NO_LIMIT = 2**60  # what version 1 of control groups says where there is none
_ALLOW_MORE = "allow another: taskset --cpu-list 0-1 tempograd ..., or docker update --cpuset-cpus 0-1 CONTAINER"
_LEAST_GIB = 2.0  # a measuring process with a batch of networks, and torch beside it


@dataclass(frozen=True)
class Finding:
    """One fact, its judgement, and the remedy (a command where there is one)."""

    topic: str
    level: Level
    found: str
    remedy: str = ""


def examine(root: Path = Path("/")) -> list[Finding]:
    """Return the findings for the machine whose system tree lies under ``root``."""
    return [
        *_runtimes(),
        _cores(root),
        _timed_core(root),
        _isolated(root),
        _quota(root),
        _governor(root),
        _turbo(root),
        _siblings(root),
        _heat(root),
        _clock(root),
        _load(root),
        _steal(root),
        _memory(root),
        _swap(root),
        _disk(root),
    ]


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _runtimes() -> list[Finding]:
    findings: list[Finding] = []
    default = signature(registry.load("device", "local")).parameters["runtime"].default  # of a device that names none
    for runtime in names("runtime"):
        package = load("runtime", runtime)().package
        found: dict[str, str] = {}
        for name in package.names:
            with suppress(PackageNotFoundError):
                found[name] = version(name)
        findings += [Finding("runtime", "good", f"{name} {number}") for name, number in found.items()]
        if len(found) > 1:  # they bring one and the same module
            text = f"{' and '.join(found)} overwrite each other"
            findings.append(Finding("runtime", "problem", text, f"pip uninstall {' '.join(found)}, then install one"))
        if not found and runtime == default:
            findings.append(Finding("runtime", "problem", f"no {package.title}", package.install))
    return findings


def _cores(root: Path) -> Finding:
    """Say how many there are, and how many of them this process may use."""
    online = _read(root / "sys/devices/system/cpu/online")
    if online is None:
        return Finding("cores", "unknown", "the number of cores cannot be read")
    there = host.parse_cores(online)
    told = _field(root / "proc/self/status", "Cpus_allowed_list")
    usable = sorted(set(there) & set(host.parse_cores(told))) if told else there
    text = counted(len(there), "core")
    if len(usable) < len(there):
        text += f", of which this process may use {len(usable)} ({told})"
    if len(usable) > 1:
        return Finding("cores", "good", f"{text}: one is timed, the others build")
    remedy = "time on a machine with 2 cores or more" if len(there) < 2 else _ALLOW_MORE
    return Finding("cores", "problem", f"{text}: building and timing share it", remedy)


def _timed_core(root: Path) -> Finding:
    """Say which core a measuring process would be bound to."""
    allowed = _field(root / "proc/self/status", "Cpus_allowed_list")
    groups = host.core_groups(root)
    if not allowed or not groups:
        return Finding("timed core", "unknown", "the allowed cores cannot be read")
    (timed,) = host.choose_cores(1, groups, host.parse_cores(allowed))
    if timed:
        return Finding("timed core", "good", f"CPU {timed} of {allowed}")
    return Finding(
        "timed core", "advice", "only CPU 0's core is allowed, and it serves interrupts",
        _ALLOW_MORE,
    )  # fmt: skip


def _isolated(root: Path) -> Finding:
    isolated, online = _read(root / _CPU / "isolated"), _read(root / _CPU / "online")
    if isolated is None or online is None:
        return Finding("isolated cores", "unknown", "cannot be read")
    if isolated:
        return Finding("isolated cores", "good", f"{isolated}; time on them with --device local:cores=N")
    last = host.parse_cores(online)[-1]
    return Finding(
        "isolated cores", "advice", "none: other work may be put on the timed core",
        f"sudo grubby --update-kernel=ALL --args=isolcpus={last} (or GRUB_CMDLINE_LINUX and update-grub), then reboot",
    )  # fmt: skip


def _quota(root: Path) -> Finding:
    """Look for a limit of CPU time, as containers have: who has used it up stands still until the period ends."""
    limits = [found for path in _cgroups(root) if (found := _limit(path)) is not None]
    if not limits:
        return Finding("CPU quota", "unknown", "no control group can be read")
    cpus = min(limits)
    if cpus == float("inf"):
        return Finding("CPU quota", "good", "none")
    return Finding(
        "CPU quota", "problem", f"{cpus:g} CPUs: a process that has used them up is stopped in mid-run",
        "docker update --cpu-quota=-1 CONTAINER, or systemctl set-property UNIT CPUQuota=; give it whole cores instead",
    )  # fmt: skip


def _cgroups(root: Path, controller: str = "cpu") -> list[Path]:
    """Return the folders of this process's control groups of a controller, its own first; versions 2 and 1."""
    base, found = root / "sys/fs/cgroup", list[Path]()
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            top = base / controller if controllers else base
            own = top / path.strip("/")
            found += [own, *(folder for folder in own.parents if folder.is_relative_to(top))]
    return found


def _limit(group: Path) -> float | None:
    """Return how many CPUs a control group may use, None if it does not say."""
    text = _read(group / "cpu.max")
    if text is None:
        quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
        text = f"{quota} {period}" if quota and period else "max" if (group / "cgroup.procs").exists() else ""
    quota, _, period = text.partition(" ")
    if not quota:
        return None
    return float("inf") if quota in ("max", "-1") else int(quota) / int(period)


def _heat(root: Path) -> Finding:
    counts = [_read(path) for path in (root / _CPU).glob("cpu[0-9]*/thermal_throttle/core_throttle_count")]
    if not counts:
        return Finding("heat", "unknown", "no count of throttling is visible (usual in a virtual machine)")
    total = sum(int(count or 0) for count in counts)
    if not total:
        return Finding("heat", "good", "never throttled since boot")
    base = _read(root / _CPU / "cpu0/cpufreq/base_frequency")
    return Finding(
        "heat", "advice", f"throttled {total} times since boot",
        f"cool it, or cap its clock: sudo cpupower frequency-set --max {f'{base}kHz' if base else 'FREQUENCY'}",
    )  # fmt: skip


def _clock(root: Path) -> Finding:
    now, others = _read(root / _CLOCK / "current_clocksource"), _read(root / _CLOCK / "available_clocksource")
    if now is None:
        return Finding("clock", "unknown", "the clock source cannot be read")
    if now in _GOOD_CLOCKS:
        return Finding("clock", "good", now)
    remedy = f"echo tsc | sudo tee /{_CLOCK}/current_clocksource"
    if "tsc" not in (others or "").split():
        remedy = "sudo grubby --update-kernel=ALL --args=tsc=reliable (or GRUB_CMDLINE_LINUX and update-grub), reboot"
    return Finding("clock", "advice", f"{now}: slower and noisier to read than tsc", remedy)


def _memory(root: Path) -> Finding:
    """Say what this process can still get: what the machine has, and what its control groups leave of their limits."""
    gib = host.conditions([], root)["memory_available_gib"]
    if gib is None:
        return Finding("memory", "unknown", "cannot be read")
    rooms = [room for group in _cgroups(root, "memory") if (room := _room_gib(group)) is not None]
    limit_gib, left_gib = min(rooms, key=lambda room: room[1], default=(None, gib))
    text = f"{min(gib, left_gib):.1f} GiB available"
    if limit_gib is not None and left_gib < gib:
        text += f", of the {limit_gib:.1f} GiB to which a control group limits this process"
    if min(gib, left_gib) >= _LEAST_GIB:
        return Finding("memory", "good", text)
    remedy = "stop what takes it; see it with: ps aux --sort=-rss | head"
    if left_gib < gib:
        remedy = "docker update --memory=8g --memory-swap=8g CONTAINER, or systemctl set-property UNIT MemoryMax=8G"
    return Finding("memory", "problem", f"{text}; {_LEAST_GIB:g} are needed", remedy)


def _room_gib(group: Path) -> tuple[float, float] | None:
    """Return a control group's limit of memory and what is left of it in GiB, None if it has none."""
    for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        most, now = host.integer_of(group / limit), host.integer_of(group / used)
        if most is not None and most < _NO_LIMIT:
            return most / 2**30, (most - (now or 0)) / 2**30
    return None


def _swap(root: Path) -> Finding:
    text = _read(root / "proc/swaps")
    if text is None:
        return Finding("swap", "unknown", "cannot be read")
    used_kib = sum(int(line.split()[3]) for line in text.splitlines()[1:])
    if not used_kib:
        return Finding("swap", "good", "not in use")
    text = f"{used_kib / 2**10:.0f} MiB in use: what is timed may wait for the disk"
    return Finding("swap", "advice", text, "sudo swapoff --all && sudo swapon --all")


def _field(path: Path, name: str) -> str | None:
    """Return the value of a line such as ``name: value``."""
    for line in (_read(path) or "").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return None


def _governor(root: Path) -> Finding:
    governors = {_read(p) for p in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")}
    if not governors:
        return Finding("governor", "unknown", "no frequency control is visible (usual in a virtual machine)")
    if governors == {"performance"}:
        return Finding("governor", "good", "performance")
    return Finding(
        "governor",
        "advice",
        ", ".join(sorted(map(str, governors))),
        "sudo cpupower frequency-set --governor performance",
    )


def _turbo(root: Path) -> Finding:
    intel = _read(root / "sys/devices/system/cpu/intel_pstate/no_turbo")
    boost = _read(root / "sys/devices/system/cpu/cpufreq/boost")
    if intel is None and boost is None:
        return Finding("turbo", "unknown", "turbo cannot be read")
    if intel == "1" or boost == "0":
        return Finding("turbo", "good", "off: clocks do not depend on heat")
    switch = "intel_pstate/no_turbo" if intel is not None else "cpufreq/boost"
    value = 1 if intel is not None else 0
    return Finding(
        "turbo", "advice", "on: clocks depend on heat", f"echo {value} | sudo tee /sys/devices/system/cpu/{switch}"
    )


def _siblings(root: Path) -> Finding:
    active = _read(root / "sys/devices/system/cpu/smt/active")
    if active is None:
        return Finding("hyper-threading", "unknown", "cannot be read")
    if active == "0":
        return Finding("hyper-threading", "good", "off")
    return Finding(
        "hyper-threading",
        "advice",
        "on: a sibling disturbs the timed core",
        "echo off | sudo tee /sys/devices/system/cpu/smt/control",
    )


def _load(root: Path) -> Finding:
    text = _read(root / "proc/loadavg")
    if text is None:
        return Finding("load", "unknown", "the load cannot be read")
    load = float(text.split()[0])
    if load < 0.5:
        return Finding("load", "good", f"{load:.2f} in the last minute")
    return Finding("load", "advice", f"{load:.2f} in the last minute", "stop other work; see it with: top")


def _steal(root: Path) -> Finding:
    text = _read(root / "proc/stat")
    fields = [int(x) for x in text.splitlines()[0].split()[1:]] if text else []
    if len(fields) < 8 or not sum(fields):
        return Finding("stolen time", "unknown", "cannot be read")
    share = fields[7] / sum(fields)
    level: Level = "good" if share < 0.01 else "advice"
    remedy = "" if level == "good" else "the host gives this machine's time to others: use a dedicated host"
    return Finding("stolen time", level, f"{share:.2%} since boot", remedy)


def _disk(root: Path) -> Finding:
    numbers = os.statvfs(root)
    free_gib = numbers.f_bavail * numbers.f_frsize / 2**30
    if free_gib < 1:
        return Finding(
            "disk", "problem", f"{free_gib:.2f} GiB free", "free some space: a store needs about 10 KB a network"
        )
    return Finding("disk", "good", f"{free_gib:.0f} GiB free")
