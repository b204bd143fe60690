"""An agent's file, ``agent.toml``: who it is, which queue it asks, which device it lends."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import InputRefusedError, UsageError
from ..address import check_name
from ..connection import read_access
from ..queue import Access


@dataclass(frozen=True)
class Settings:
    """What an agent needs to know.

    Attributes:
        name: id; no other agent of the farm has it.
        device_class: Class of the jobs that it takes.
        url, access: the queue, and how it is reached.
        device: spec of the device, such as ``local:threads=2``.
        spool: folder for leases in hand, undelivered results, models.
        spool_bytes: Size of undelivered results above which it takes nothing more.
        batch_size: jobs that it asks for at a time.
    """

    name: str
    device_class: str
    url: str
    spool: Path
    access: Access = field(default_factory=Access)
    device: str = "local"
    spool_bytes: int = 10**9
    batch_size: int = 32

    def __post_init__(self) -> None:
        check_name("agent", self.name)
        check_name("class", self.device_class)
        for name, low, high in (("batch_size", 1, 256), ("spool_bytes", 2**20, 10**12)):
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"{name}={getattr(self, name)}; allowed: from {low} to {high}")

    @classmethod
    def read(cls, path: Path, **given: Any) -> Settings:
        """Read ``agent.toml``; what is ``given`` and not None goes before what it says.

        Raises:
            InputRefusedError: it cannot be read, or says what an agent does not know.
        """
        url, access = read_access(path)
        tree = tomllib.loads(path.read_text("utf-8"))
        _only(path, tree, {"name", "queue", "device", "limits"})
        devices = tree.get("device", [])
        if not isinstance(devices, list) or len(devices) != 1:
            raise InputRefusedError(
                f"{path}: {len(devices)} tables [[device]]; an agent lends one device: give each its own agent"
            )
        limits: dict[str, Any] = tree.get("limits", {})
        _only(path, devices[0], {"class", "driver", "cores", "options"})
        _only(path, limits, {"spool_bytes"})
        said: dict[str, Any] = {
            "name": tree.get("name"),
            "device_class": devices[0].get("class"),
            "url": url,
            "access": access,
            "device": _spec(devices[0]),
            "spool": path.parent / "spool",
            **limits,
        }
        values = said | {name: value for name, value in given.items() if value is not None}
        for name in ("name", "device_class"):
            if values[name] is None:
                raise InputRefusedError(f"{path}: no {name.removeprefix('device_')}")
        return cls(**values)


def _spec(device: Mapping[str, Any]) -> str:
    """Return the device's spec: its driver, with the cores and options that the file names."""
    options = dict(device.get("options", {}))
    if "cores" in device:
        cores = device["cores"]
        options |= {"cores": "+".join(map(str, cores)), "threads": len(cores)}
    arguments = ",".join(f"{name}={value}" for name, value in options.items())
    return f"{device.get('driver', 'local')}:{arguments}".rstrip(":")


def _only(path: Path, table: Mapping[str, Any], allowed: set[str]) -> None:
    if odd := set(table) - allowed:
        raise InputRefusedError(f"{path}: {', '.join(sorted(odd))}; allowed here: {', '.join(sorted(allowed))}")
