"""What on this machine would make numbers better, with the command that does it.

Read from the system tree only; nothing is changed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

Level = Literal["good", "advice", "problem", "unknown"]

RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "tensorrt", "openvino", "torch")


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
        _governor(root),
        _turbo(root),
        _siblings(root),
        _load(root),
        _steal(root),
        _disk(root),
    ]


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _runtimes() -> list[Finding]:
    found: dict[str, str] = {}
    for name in RUNTIMES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    findings = [Finding("runtime", "good", f"{name} {number}") for name, number in found.items()]
    if {"onnxruntime", "onnxruntime-gpu"} <= found.keys():
        text = "onnxruntime and onnxruntime-gpu overwrite each other"
        findings.append(
            Finding("runtime", "problem", text, "pip uninstall onnxruntime onnxruntime-gpu, then install one")
        )
    if not {"onnxruntime", "onnxruntime-gpu"} & found.keys():
        findings.append(Finding("runtime", "problem", "no ONNX Runtime", "pip install onnxruntime"))
    return findings


def _cores(root: Path) -> Finding:
    online = _read(root / "sys/devices/system/cpu/online")
    if online is None:
        return Finding("cores", "unknown", "the number of cores cannot be read")
    count = sum(int(last or first) - int(first) + 1 for first, _, last in (p.partition("-") for p in online.split(",")))
    if count < 2:
        return Finding(
            "cores", "problem", "1 core: building and timing share it", "time on a machine with 2 cores or more"
        )
    return Finding("cores", "good", f"{count} cores: one is timed, the others build")


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
