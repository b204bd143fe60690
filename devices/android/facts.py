"""What a phone says of itself: processor, core clusters, versions; and its state: battery, charger, screen, heat."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ...errors import DeviceError, UsageError
from .. import host

Say = Callable[[Sequence[str]], bytes]
"""Runs a command on the phone and returns what it printed."""

_PROPERTIES = {
    "manufacturer": "ro.product.manufacturer",
    "model": "ro.product.model",
    "soc": "ro.soc.model",
    "board": "ro.board.platform",
    "android": "ro.build.version.release",
    "abi": "ro.product.cpu.abi",
    "emulator": "ro.boot.qemu",
}

_FACTS = f"""
for name in {" ".join(_PROPERTIES.values())}; do echo "property $name $(getprop $name)"; done
echo "kernel x $(uname -r)"
grep MemTotal /proc/meminfo | while read -r name size unit; do echo "memory x $size"; done
cd /sys/devices/system/cpu && for cpu in cpu[0-9]*; do
  echo "core ${{cpu#cpu}} $(cat $cpu/cpufreq/cpuinfo_max_freq 2>/dev/null)"
done
cd /sys/class/thermal && for zone in thermal_zone*; do echo "zone $PWD/$zone $(cat $zone/type 2>/dev/null)"; done
ls /sys/class/power_supply/battery/capacity 2>/dev/null | while read -r file; do echo "battery $file x"; done
while read -r line; do echo "cpuinfo x $line"; done < /proc/cpuinfo
"""

_STATE = """
echo "boot_id $(cat /proc/sys/kernel/random/boot_id)"
cd /sys/devices/system/cpu && for cpu in cpu[0-9]*; do
  echo "governor $(cat $cpu/cpufreq/scaling_governor 2>/dev/null)"
done
dumpsys battery
dumpsys thermalservice
dumpsys power | grep -E 'mWakefulness='
echo "airplane_mode $(settings get global airplane_mode_on 2>/dev/null)"
"""

_CPU_ZONES = re.compile("cpu|soc|big|prime|tsens|ap", re.IGNORECASE)


@dataclass(frozen=True)
class Cluster:
    """Cores of one kind.

    Attributes:
        name: ``all``, or ``little``, ``middle``, ``big`` by what they reach.
        cores: logical CPUs.
        part: the kind of core, as the kernel numbers it, such as ``0xd41``.
        max_mhz: the highest frequency, None where the kernel does not say.
    """

    name: str
    cores: tuple[int, ...]
    part: str
    max_mhz: float | None


@dataclass(frozen=True)
class Facts:
    """What stays as it is while a phone is used.

    Attributes:
        hardware: for a fingerprint; neither serial nor name of the owner is in it.
        abi: that programs must be built for, such as ``arm64-v8a``.
        clusters: from the slowest to the fastest.
        temperature_file, battery_file: Paths of the kernel's files, empty where there is none.
        emulated: it is no phone: its times mean nothing.
    """

    hardware: dict[str, Any]
    abi: str
    clusters: tuple[Cluster, ...]
    temperature_file: str
    battery_file: str
    emulated: bool

    @property
    def cores(self) -> list[int]:
        """Return all logical CPUs."""
        return sorted(core for cluster in self.clusters for core in cluster.cores)

    def choose(self, asked: str | None) -> tuple[str, list[int]]:
        """Return the name and the cores of what is asked for: a cluster's name, or cores such as ``4-7``.

        Cores of several clusters are refused: nobody could say where a network ran.

        Raises:
            UsageError: there are no such cores, or they are of several clusters.
        """
        if asked is None:
            return self.clusters[-1].name, list(self.clusters[-1].cores)
        names = ", ".join(f"{c.name} ({c.cores[0]}-{c.cores[-1]})" for c in self.clusters)
        for cluster in self.clusters:
            if asked == cluster.name:
                return cluster.name, list(cluster.cores)
        try:
            cores = host.parse_cores(asked)
        except ValueError as error:
            raise UsageError(f"cores={asked!r}; this phone has {names}") from error
        for cluster in self.clusters:
            if cores and set(cores) <= set(cluster.cores):
                return cluster.name, cores
        raise UsageError(f"cores={asked!r} are not of one cluster; this phone has {names}")


def facts(say: Say) -> Facts:
    """Ask a phone what it is, in one go.

    Raises:
        DeviceError: it does not say which cores it has.
    """
    lines = say(["sh", "-c", _FACTS]).decode(errors="replace").splitlines()
    told = [(*line.split(" ", 2), "", "")[:3] for line in lines if line]
    properties = {name: value.strip() for kind, name, value in told if kind == "property"}
    known = {field: properties.get(name) or None for field, name in _PROPERTIES.items()}
    parts = _parts([value for kind, _, value in told if kind == "cpuinfo"])
    cores = {int(n): float(khz) / 1e3 if khz else None for kind, n, khz in told if kind == "core" and n.isdigit()}
    if not cores:
        raise DeviceError(f"the phone names no cores; it said {' '.join(lines)[:300]!r}")
    clusters = _clusters(cores, parts)
    zones = [(name, kind) for word, name, kind in told if word == "zone" and kind]
    warm = next((name for name, kind in zones if _CPU_ZONES.search(kind)), "")
    memory_kib = next((int(value) for kind, _, value in told if kind == "memory"), 0)
    hardware = {
        "cpu": known["soc"] or known["board"] or known["model"],
        **{name: known[name] for name in ("manufacturer", "model", "android", "abi")},
        "clusters": [f"{len(c.cores)} x {c.part or '?'} up to {c.max_mhz or '?'} MHz" for c in clusters],
        "logical_cores": len(cores),
        "memory_gib": round(memory_kib / 2**20) or None,
        "system": next((f"Linux {value}" for kind, _, value in told if kind == "kernel"), None),
    }
    emulated = known["emulator"] == "1"
    return Facts(
        hardware | ({"emulated": True} if emulated else {}),
        known["abi"] or "",
        clusters,
        f"{warm}/temp" if warm else "",
        next((name for kind, name, _ in told if kind == "battery"), ""),
        emulated,
    )


def state(say: Say) -> dict[str, Any]:
    """Ask a phone how it is; what it does not say is None."""
    text = say(["sh", "-c", _STATE]).decode(errors="replace")

    def found(pattern: str) -> str | None:
        match = re.search(pattern, text, re.MULTILINE)
        return match[1] if match else None

    plugs = [plug for plug in ("AC", "USB", "Wireless", "Dock") if found(rf"{plug} powered: (true)")]
    level, thermal, warm = found(r"^\s*level: (\d+)"), found(r"Thermal Status: (\d+)"), found(r"^\s*temperature: (\d+)")
    governors = re.findall(r"^governor (\S+)", text, re.MULTILINE)
    wakefulness = found(r"mWakefulness=(\w+)")
    return {
        "boot_id": found(r"^boot_id (\S+)"),
        "governor": governors[0] if len(set(governors)) == 1 else governors or None,
        "battery_percent": int(level) if level else None,
        "battery_temperature_c": int(warm) / 10 if warm else None,
        "charger": ("+".join(plugs) or "none") if "powered:" in text else None,
        "thermal_status": int(thermal) if thermal else None,
        "screen_on": None if wakefulness is None else wakefulness == "Awake",
        "airplane_mode": {"0": False, "1": True}.get(found(r"^airplane_mode (\S+)") or ""),
    }


def _parts(lines: Sequence[str]) -> dict[int, str]:
    """Return core -> its kind, from ``/proc/cpuinfo``; an x86 has one kind."""
    found: dict[int, str] = {}
    core = 0
    for line in lines:
        name, _, value = (piece.strip() for piece in line.partition(":"))
        if name == "processor" and value.isdigit():
            core = int(value)
        elif name in ("CPU part", "model name"):
            found[core] = value
    return found


def _clusters(cores: dict[int, float | None], parts: dict[int, str]) -> tuple[Cluster, ...]:
    """Group cores by kind and highest frequency, from the slowest to the fastest."""

    def kind(core: int) -> tuple[float, str]:
        return cores[core] or 0.0, parts.get(core, "")

    groups = [(of, tuple(members)) for of, members in groupby(sorted(cores, key=lambda c: (kind(c), c)), kind)]
    names = {1: ["all"], 2: ["little", "big"], 3: ["little", "middle", "big"]}.get(len(groups))
    if names is None:
        names = ["little", *(f"middle{i}" for i in range(1, len(groups) - 1)), "big"]
    return tuple(
        Cluster(name, members, part, mhz or None) for name, ((mhz, part), members) in zip(names, groups, strict=True)
    )
